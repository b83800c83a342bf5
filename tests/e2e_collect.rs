//! When containerd has collected an image, no directory of it remains.

mod common;

use common::containerd::{Client, Release, Unpack};
use common::images::Kind;
use common::node::Node;
use common::tools::ready;

fn nothing_remains(release: Release) {
    let node = Node::start(release, Unpack::Parallel);
    let images = [Kind::Full, Kind::Deep, Kind::Plain].map(|kind| node.image(kind));
    let session = node.containerd.session("collect");
    for image in &images {
        session.pull(Client::Nerdctl, image);
    }
    let chains = |range: std::ops::Range<usize>| {
        let mut chains: Vec<_> = images[range].iter().flat_map(|image| &image.layers).collect();
        chains.sort();
        chains.dedup();
        chains.len()
    };
    assert_eq!(session.snapshot_names().len(), chains(0..3));

    // A container holds its image's layers, whatever becomes of the image.
    let [full, deep, plain] = images.each_ref().map(|image| image.reference.as_str());
    session.start_container("holder", full);
    session.ctr(&["images", "rm", "--sync", full]);
    session.exec_script("holder", &images[0].check()).unwrap();
    session.nerdctl(&["rm", "-f", "holder"]);

    // What is shared stays for as long as one image has it.
    session.nerdctl(&["rmi", deep]);
    assert_eq!(session.snapshot_names().len(), chains(2..3));
    session.run_script(plain, &images[2].check()).unwrap();
    session.nerdctl(&["rmi", plain]);
    assert_eq!(session.snapshot_names(), Vec::<String>::new());
    node.expect_empty_pool();
}

#[test]
fn privileged_nothing_remains_with_containerd_1() {
    if ready("nothing_remains_with_containerd_1") {
        nothing_remains(Release::V1);
    }
}

#[test]
fn privileged_nothing_remains_with_containerd_2() {
    if ready("nothing_remains_with_containerd_2") {
        nothing_remains(Release::V2);
    }
}
