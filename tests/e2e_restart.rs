//! leasehold may die at any time: containerd goes on without being restarted, and so do its containers.

mod common;

use std::process::{Child, Stdio};

use common::containerd::{Client, Release, Unpack};
use common::images::Kind;
use common::node::Node;
use common::reconnect::RECONNECTION;
use common::tools::ready;
use common::wait_for;

/// How many layers of a deep image are there when leasehold is killed.
const SOME_LAYERS: usize = 10;

fn containers_outlive_it(release: Release) {
    let mut node = Node::start(release, Unpack::Parallel);
    let [before, after, dropped] = [Kind::Plain, Kind::Full, Kind::Deep].map(|kind| node.image(kind));
    {
        let session = node.containerd.session("restart");
        session.pull(Client::Nerdctl, &before);
        session.pull(Client::Nerdctl, &dropped);
        session.start_container("old", &before.reference);
        session.exec_script("old", "echo before > /written").unwrap();
    }
    node.kill_daemon();
    {
        // A container does not need the snapshotter to go on.
        let session = node.containerd.session("restart");
        session.exec_script("old", "echo during >> /written").unwrap();
        let refused = session.run_script(&before.reference, "true");
        assert!(refused.is_err(), "{refused:?}");
        // containerd forgets the snapshots at once, and has leasehold remove them when it can.
        session.ctr(&["images", "rm", &dropped.reference]);
    }
    node.start_daemon();

    let session = node.containerd.session("restart");
    session.pull_after_restart(Client::Library, &after);
    let is_written = "test \"$(echo $(cat /written))\" = 'before during'";
    session.exec_script("old", is_written).unwrap();
    session.run_script(&before.reference, &before.check()).unwrap();
    session.run_script(&after.reference, &after.check()).unwrap();
    session.nerdctl(&["commit", "old", "committed"]);
    session.run_script("committed", is_written).unwrap();
    node.expect_whole_pool();
    session.nerdctl(&["rm", "-f", "old"]);
    session.nerdctl(&["system", "prune", "-af"]);
    node.expect_empty_pool();
}

fn a_pull_can_be_repeated(release: Release, client: Client) {
    let mut node = Node::start(release, Unpack::Parallel);
    let image = node.image(Kind::Deep);
    let mut pull = {
        let session = node.containerd.session("restart");
        Pull(session.pull_command(client, &image).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    wait_for("some layers", RECONNECTION, || node.site.layer_dirs().len() >= SOME_LAYERS);
    node.kill_daemon();
    // containerd does not wait for a snapshotter that is gone.
    let ended = pull.0.wait().unwrap();
    assert!(!ended.success(), "the pull was over before leasehold was killed");
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
fn privileged_containers_outlive_it_with_containerd_1() {
    if ready("containers_outlive_it_with_containerd_1") {
        containers_outlive_it(Release::V1);
    }
}

#[test]
fn privileged_containers_outlive_it_with_containerd_2() {
    if ready("containers_outlive_it_with_containerd_2") {
        containers_outlive_it(Release::V2);
    }
}

#[test]
fn privileged_a_pull_can_be_repeated_with_containerd_1() {
    if ready("a_pull_can_be_repeated_with_containerd_1") {
        a_pull_can_be_repeated(Release::V1, Client::CtrLocal);
    }
}

#[test]
fn privileged_a_pull_can_be_repeated_with_containerd_2() {
    if ready("a_pull_can_be_repeated_with_containerd_2") {
        a_pull_can_be_repeated(Release::V2, Client::CtrTransfer);
    }
}
