//! Every client of containerd can pull images into leasehold, and containers of these images see the right tree.

mod common;

use common::containerd::{Client, Release, Unpack};
use common::images::{DEEP_LAYERS, Kind};
use common::node::Node;
use common::tools::ready;

fn every_client_pulls(release: Release, unpack: Unpack, clients: &[Client]) {
    let node = Node::start(release, unpack);
    let images = [node.image(Kind::Full), node.image(Kind::Deep)];
    assert_eq!(images[1].layers.len(), DEEP_LAYERS);
    for client in clients {
        // A namespace of its own, so that every layer is unpacked again.
        let session = node.containerd.session(&format!("{client:?}"));
        for image in &images {
            let before = node.containerd.unpacked(unpack);
            let printed = session.pull(*client, image);
            let by_transfer = node.containerd.unpacked(unpack) - before;
            assert_eq!(by_transfer, usize::from(release.transfers_for(*client)), "{client:?}");
            let by_library = matches!(client, Client::Library | Client::LibraryParallel);
            assert_eq!(unpack.count(&printed), usize::from(by_library), "{client:?}: {printed}");

            let names = session.snapshot_names();
            let missing: Vec<_> = image.layers.iter().filter(|chain| !names.contains(chain)).collect();
            assert!(missing.is_empty(), "{client:?} {:?}: {missing:?}", image.kind);
            session.ctr_run_script(&image.reference, &image.check()).unwrap();
        }
    }
    node.expect_whole_pool();
}

#[test]
fn privileged_containerd_1_pulls() {
    if ready("containerd_1_pulls") {
        let clients = [Client::CtrLocal, Client::Nerdctl, Client::Library];
        every_client_pulls(Release::V1, Unpack::Sequential, &clients);
    }
}

#[test]
fn privileged_containerd_2_pulls_layer_by_layer() {
    if ready("containerd_2_pulls_layer_by_layer") {
        let clients = [Client::CtrLocal, Client::CtrTransfer, Client::Nerdctl, Client::Library];
        every_client_pulls(Release::V2, Unpack::Sequential, &clients);
    }
}

#[test]
fn privileged_containerd_2_pulls_layers_in_parallel() {
    if ready("containerd_2_pulls_layers_in_parallel") {
        let clients = [Client::CtrLocal, Client::CtrTransfer, Client::Nerdctl, Client::LibraryParallel];
        every_client_pulls(Release::V2, Unpack::Parallel, &clients);
    }
}
