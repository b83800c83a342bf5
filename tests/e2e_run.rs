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

    // That scripts which fail are found out.
    assert!(session.run_script(&image.reference, "false").is_err());
    assert!(session.ctr_run_script(&image.reference, "false").is_err());
    session.run_script(&image.reference, &image.check()).unwrap();
    session.nerdctl(&["run", "--rm", "--net", "host", &image.reference, "sh", "-c", &image.check()]);

    // A new file, a change of one from the image, and a removal.
    session.start_container("writer", &image.reference);
    session.exec_script("writer", "echo new > /new && echo more >> /etc/passwd && rm /seed").unwrap();
    let is_changed = "test $(cat /new) = new && test $(tail -n 1 /etc/passwd) = more && test ! -e /seed";
    session.exec_script("writer", is_changed).unwrap();
    let committed = node.registry.reference("test:committed");
    session.nerdctl(&["commit", "writer", &committed]);
    session.nerdctl(&["rm", "-f", "writer"]);
    session.run_script(&committed, is_changed).unwrap();
    session.ctr_run_script(&committed, is_changed).unwrap();
    // The image that it came from is as it was.
    session.run_script(&image.reference, &image.check()).unwrap();
    assert_eq!(session.nerdctl(&["ps", "-aq"]), "");

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
