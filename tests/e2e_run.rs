//! Containers live on leasehold from run to rm, and what was written in one becomes an image.

mod common;

use common::containerd::{Client, Release, Unpack};
use common::images::Kind;
use common::node::Node;
use common::tools::ready;

fn a_container_lives(release: Release) {
    let node = Node::start(release, Unpack::Parallel);
    let image = node.image(Kind::Plain);
    let session = node.containerd.session("run");
    session.pull(Client::Nerdctl, &image);

    for network in ["none", "host"] {
        let printed = session.nerdctl(&["run", "--rm", "--net", network, &image.reference, "echo", "hello"]);
        assert_eq!(printed, "hello\n");
    }
    session.nerdctl(&["run", "-d", "--name", "writer", "--net", "none", &image.reference, "sleep", "1000"]);
    // A new file, a change of one from the image, and a removal.
    session.nerdctl(&["exec", "writer", "sh", "-c", "echo new > /new && echo more >> /etc/passwd && rm /seed"]);
    let changes = "cat /new && tail -n 1 /etc/passwd && test ! -e /seed";
    assert_eq!(session.nerdctl(&["exec", "writer", "sh", "-c", changes]), "new\nmore\n");

    let committed = node.registry.reference("test:committed");
    session.nerdctl(&["commit", "writer", &committed]);
    session.nerdctl(&["rm", "-f", "writer"]);
    let run = ["run", "--rm", "--net", "none"];
    assert_eq!(session.nerdctl(&[&run[..], &[&committed, "sh", "-c", changes]].concat()), "new\nmore\n");
    // The image that it came from is as it was.
    session.nerdctl(&[&run[..], &[&image.reference, "sh", "-c", &image.check()]].concat());
    assert_eq!(session.nerdctl(&["ps", "-aq"]), "");

    let printed = session.ctr(&["run", "--rm", "--snapshotter", "leasehold", &committed, "ctr-run", "cat", "/new"]);
    assert_eq!(printed, "new\n");
    session.nerdctl(&["rmi", &committed, &image.reference]);
    assert_eq!(session.nerdctl(&["images", "-q"]), "");
    node.expect_empty_pool();
}

#[test]
fn privileged_a_container_lives_on_containerd_1() {
    if ready("a_container_lives_on_containerd_1") {
        a_container_lives(Release::V1);
    }
}

#[test]
fn privileged_a_container_lives_on_containerd_2() {
    if ready("a_container_lives_on_containerd_2") {
        a_container_lives(Release::V2);
    }
}
