//! Every client of containerd can pull images into leasehold, and containers of these images see the right tree.

mod common;

use common::containerd::Release;
use common::images::{DEEP_LAYERS, Image, Kind};
use common::node::{Node, Unpack};
use common::tools::ready;

fn every_client_pulls(release: Release, unpack: Unpack) {
    let node = Node::start(release, unpack);
    let images = [node.image(Kind::Full), node.image(Kind::Deep)];
    assert_eq!(images[1].layers.len(), DEEP_LAYERS);
    for client in release.clients() {
        // A namespace of its own, so that every layer is unpacked again.
        let session = node.containerd.session(&format!("{client:?}"));
        for image in &images {
            session.pull(*client, image);
            let names = session.snapshot_names();
            let missing = |image: &Image| -> Vec<_> {
                image.layers.iter().map(|layer| &layer.chain_id).filter(|chain| !names.contains(chain)).cloned().collect()
            };
            assert_eq!(missing(image), Vec::<String>::new(), "{client:?} {:?}", image.kind);
            let check = ["run", "--rm", "--snapshotter", "leasehold", &image.reference, "check", "sh", "-c"];
            session.ctr(&[&check[..], &[&image.check()]].concat());
        }
    }
    if release == Release::V2 {
        let unpacked = |how: &str| node.containerd.logged(&["image unpacked", how]);
        assert_eq!(unpacked("parallel=true"), unpack == Unpack::Parallel);
        assert_eq!(unpacked("parallel=false"), unpack == Unpack::Sequential);
    }
    node.expect_whole_pool();
}

#[test]
fn privileged_containerd_1_pulls() {
    if ready("containerd_1_pulls") {
        every_client_pulls(Release::V1, Unpack::Sequential);
    }
}

#[test]
fn privileged_containerd_2_pulls_layer_by_layer() {
    if ready("containerd_2_pulls_layer_by_layer") {
        every_client_pulls(Release::V2, Unpack::Sequential);
    }
}

#[test]
fn privileged_containerd_2_pulls_layers_in_parallel() {
    if ready("containerd_2_pulls_layers_in_parallel") {
        every_client_pulls(Release::V2, Unpack::Parallel);
    }
}
