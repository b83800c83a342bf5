//! containerd with leasehold as its content store: images are pulled, run, exported and imported, and nothing of them is
//! left when they are removed.

mod common;

use std::process::{Child, Stdio};

use common::containerd::{Client, Release, Unpack};
use common::images::Kind;
use common::node::Node;
use common::reconnect::RECONNECTION;
use common::tools::ready;
use common::wait_for;

/// How many blobs of a deep image are there when leasehold is killed.
const SOME_BLOBS: usize = 20;

fn images_live_in_it(release: Release, clients: &[Client]) {
    let mut node = Node::start_with_content(release, Unpack::Sequential);
    let images = [node.image(Kind::Full), node.image(Kind::Deep)];
    for client in clients {
        let session = node.containerd.session(&format!("{client:?}"));
        for image in &images {
            session.pull(*client, image);
            session.ctr_run_script(&image.reference, &image.check()).unwrap();
        }
    }
    // The same blobs in every namespace: manifests, configurations, layers.
    let layers = images.iter().map(|image| image.layers.len()).sum::<usize>();
    assert!((layers..layers + 10).contains(&node.blobs()), "{} blobs of {layers} layers", node.blobs());
    node.expect_whole_pool();

    node.stop_daemon();
    node.start_daemon();
    let (from, to) = (node.containerd.session(&format!("{:?}", clients[0])), node.containerd.session("imported"));
    let archive = node.containerd.dir().join("exported.tar");
    wait_for("an export after the restart", RECONNECTION, || {
        from.try_ctr(&["images", "export", archive.to_str().unwrap(), &images[0].reference]).is_ok()
    });
    to.ctr(&["images", "import", "--snapshotter", "leasehold", archive.to_str().unwrap()]);
    to.ctr_run_script(&images[0].reference, &images[0].check()).unwrap();

    for client in clients {
        let session = node.containerd.session(&format!("{client:?}"));
        for image in &images {
            session.ctr(&["images", "rm", "--sync", &image.reference]);
        }
    }
    to.ctr(&["images", "rm", "--sync", &images[0].reference]);
    node.expect_empty_pool();
    assert_eq!(node.blobs(), 0);
}

fn a_pull_goes_on_after_a_kill(release: Release, client: Client) {
    let mut node = Node::start_with_content(release, Unpack::Sequential);
    let image = node.image(Kind::Deep);
    let mut pull = {
        let session = node.containerd.session("restart");
        Pull(session.pull_command(client, &image).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    wait_for("some blobs", RECONNECTION, || node.site.blob_files().len() >= SOME_BLOBS);
    node.kill_daemon();
    // containerd does not wait for a content store that is gone. Where all was fetched, it is one without layers.
    let _ = pull.0.wait().unwrap();
    node.start_daemon();
    let session = node.containerd.session("restart");
    session.pull_after_restart(client, &image);
    session.ctr_run_script(&image.reference, &image.check()).unwrap();
    node.expect_whole_pool();
    session.ctr(&["images", "rm", "--sync", &image.reference]);
    node.expect_empty_pool();
}

/// A pull under way. Dropping it kills it.
struct Pull(Child);

impl Drop for Pull {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn privileged_images_live_in_it_with_containerd_1() {
    if ready("images_live_in_it_with_containerd_1") {
        images_live_in_it(Release::V1, &[Client::CtrLocal, Client::Nerdctl, Client::Library]);
    }
}

#[test]
fn privileged_images_live_in_it_with_containerd_2() {
    if ready("images_live_in_it_with_containerd_2") {
        images_live_in_it(Release::V2, &[Client::CtrLocal, Client::CtrTransfer, Client::Nerdctl, Client::Library]);
    }
}

#[test]
fn privileged_a_pull_goes_on_after_a_kill_with_containerd_1() {
    if ready("a_pull_goes_on_after_a_kill_with_containerd_1") {
        a_pull_goes_on_after_a_kill(Release::V1, Client::CtrLocal);
    }
}

#[test]
fn privileged_a_pull_goes_on_after_a_kill_with_containerd_2() {
    if ready("a_pull_goes_on_after_a_kill_with_containerd_2") {
        a_pull_goes_on_after_a_kill(Release::V2, Client::CtrTransfer);
    }
}
