//! An image that is leased in full stays through its removal, with all of its blobs, so that pulling it again downloads
//! nothing; and all of it goes when the lease ends.

mod common;

use std::time::{Duration, SystemTime};

use common::containerd::{Client, Release, Session, Unpack};
use common::images::{Image, Kind};
use common::node::Node;
use common::tools::ready;
use common::wait_for;

const LIMIT: Duration = Duration::from_secs(60);
/// How soon after the end of a lease everything is gone.
const SOON: Duration = Duration::from_secs(2);
/// How long a lease goes on that a test waits for.
const AHEAD: Duration = Duration::from_secs(4);

/// Removes an image, and waits until containerd has collected everything.
fn remove(node: &Node, session: &Session<'_>, image: &Image) {
    session.ctr(&["images", "rm", "--sync", &image.reference]);
    wait_for("containerd's collection", LIMIT, || node.snapshots() == 0 && node.blobs() == 0);
}

/// Checks that nothing but what was pulled is left, once all is decided.
fn expect_left(node: &Node, session: &Session<'_>, pulled: &[Vec<String>; 2]) {
    node.operator(&session.namespace).collect().unwrap();
    assert_eq!(&[node.site.blob_files(), node.site.layer_dirs()], pulled);
    node.expect_whole_pool();
}

fn a_leased_image_is_pulled_again_without_a_download(release: Release, clients: &[Client]) {
    let node = Node::start_with_content(release, Unpack::Sequential);
    let (image, other) = (node.image(Kind::Full), node.image(Kind::Plain));
    for client in clients {
        let session = node.containerd.session(&format!("{client:?}"));
        let cli = |args: &[&str]| node.cli(&session.namespace, args);
        let downloads = node.registry.downloads();
        session.pull(*client, &image);
        assert!(node.registry.downloads() > downloads);
        let pulled = [node.site.blob_files(), node.site.layer_dirs()];
        cli(&["lease", "create", "keep", "--image", &image.reference]).ok();
        session.pull(*client, &other);
        session.ctr(&["images", "rm", "--sync", &other.reference]);
        assert!(node.blobs() > 0, "the leased one is still containerd's");
        remove(&node, &session, &image);
        expect_left(&node, &session, &pulled);

        let downloads = node.registry.downloads();
        session.pull(*client, &image);
        assert_eq!(node.registry.downloads(), downloads, "{client:?}");
        session.ctr_run_script(&image.reference, &image.check()).unwrap();
        assert_eq!(node.site.blob_files(), pulled[0]);
        // Whatever becomes of the lease: containerd counts on its blobs.
        cli(&["lease", "rm", "keep", "--sync"]).ok();
        session.ctr(&["images", "export", node.containerd.dir().join("exported").to_str().unwrap(), &image.reference]);

        let (end, in_time) = (SystemTime::now() + AHEAD, format!("{}s", AHEAD.as_secs()));
        cli(&["lease", "create", "short", "--expire", &in_time, "--image", &image.reference]).ok();
        remove(&node, &session, &image);
        let left = node.site.blob_files();
        assert!(left == pulled[0] || SystemTime::now() > end, "{left:?}");
        wait_for("the end of everything", AHEAD + SOON, || {
            let site = &node.site;
            site.blob_files().is_empty() && site.layer_dirs().is_empty() && site.trash_dirs().is_empty()
        });
        node.expect_whole_pool();
    }
}

#[test]
fn privileged_a_leased_image_is_pulled_again_without_a_download_with_containerd_1() {
    if ready("a_leased_image_is_pulled_again_without_a_download_with_containerd_1") {
        a_leased_image_is_pulled_again_without_a_download(Release::V1, &[Client::CtrLocal, Client::Nerdctl]);
    }
}

#[test]
fn privileged_a_leased_image_is_pulled_again_without_a_download_with_containerd_2() {
    if ready("a_leased_image_is_pulled_again_without_a_download_with_containerd_2") {
        let clients = [Client::CtrLocal, Client::CtrTransfer, Client::Nerdctl, Client::Library];
        a_leased_image_is_pulled_again_without_a_download(Release::V2, &clients);
    }
}
