//! containerd with leasehold as its differ: it unpacks every layer of every pull, and images live as they always do.

mod common;

use common::applies::Applies;
use common::containerd::{Client, Release, Session, Unpack};
use common::images::{Image, Kind};
use common::metrics::Metrics;
use common::node::Node;
use common::tools::ready;

/// A node, and who can tell what leasehold has done.
fn node(unpack: Unpack, options: &[&str]) -> (Node, Metrics) {
    let metrics = Metrics::somewhere();
    (Node::start_with_differ(Release::V2, unpack, &metrics.settings(), options), metrics)
}

/// Pulls an image, and checks that leasehold unpacked all of it.
fn pull(session: &Session<'_>, client: Client, image: &Image, metrics: &Metrics) {
    let (before, names) = (Applies::read(metrics), session.snapshot_names());
    session.pull(client, image);
    let (after, new) = (Applies::read(metrics), image.layers.iter().filter(|layer| !names.contains(layer)).count());
    assert_eq!(after.done() - before.done(), new, "{client:?} {:?}: {after:?}", image.kind);
    assert!(new > 0, "{client:?} {:?}", image.kind);
    assert_eq!((after.failed, after.unsupported), (0, 0), "{client:?} {:?}", image.kind);
}

fn every_pull_is_unpacked_here(unpack: Unpack, options: &[&str], clients: &[Client]) {
    let (node, metrics) = node(unpack, options);
    let images = [node.image(Kind::Full), node.image(Kind::Deep)];
    for client in clients {
        let session = node.containerd.session(&format!("{client:?}"));
        for image in &images {
            pull(&session, *client, image, &metrics);
            session.ctr_run_script(&image.reference, &image.check()).unwrap();
        }
    }
    node.expect_whole_pool();
    for client in clients {
        let session = node.containerd.session(&format!("{client:?}"));
        for image in &images {
            session.ctr(&["images", "rm", "--sync", &image.reference]);
        }
    }
    node.expect_empty_pool();
}

fn images_are_made_and_pushed(options: &[&str]) {
    let (node, metrics) = node(Unpack::Sequential, options);
    let image = node.image(Kind::Full);
    let here = node.containerd.session("here");
    pull(&here, Client::Nerdctl, &image, &metrics);

    let [committed, zstd] = ["committed", "zstd"].map(|tag| node.registry.reference(&format!("test:{tag}")));
    here.start_container("writer", &image.reference);
    here.exec_script("writer", "echo new > /new").unwrap();
    here.nerdctl(&["commit", "writer", &committed]);
    here.nerdctl(&["rm", "-f", "writer"]);
    here.nerdctl(&["image", "convert", "--zstd", "--oci", &image.reference, &zstd]);
    for reference in [&committed, &zstd] {
        here.nerdctl(&["push", reference]);
    }
    here.nerdctl(&["system", "prune", "-af"]);
    // What was made of the container is kept for a while, because leasehold does not hear when nerdctl has done with it.
    for lease in here.ctr(&["leases", "ls", "-q"]).split_whitespace() {
        assert!(lease.starts_with("leasehold-diff-"), "{lease}");
        here.ctr(&["leases", "rm", "--sync", lease]);
    }
    node.expect_empty_pool();

    for (namespace, reference, check, layers) in [
        ("committed", &committed, "test $(cat /new) = new".to_owned(), image.layers.len() + 1),
        ("zstd", &zstd, image.check(), image.layers.len()),
    ] {
        let there = node.containerd.session(namespace);
        let before = Applies::read(&metrics);
        there.pull(Client::Nerdctl, &Image { reference: reference.clone(), ..image.clone() });
        assert_eq!(Applies::read(&metrics).done() - before.done(), layers);
        there.run_script(reference, &check).unwrap();
        there.nerdctl(&["system", "prune", "-af"]);
    }
    assert_eq!(Applies::read(&metrics).failed, 0);
    node.expect_empty_pool();
}

const CLIENTS: [Client; 4] = [Client::CtrLocal, Client::CtrTransfer, Client::Nerdctl, Client::Library];

#[test]
fn privileged_pulls_are_unpacked_layer_by_layer() {
    if ready("pulls_are_unpacked_layer_by_layer") {
        every_pull_is_unpacked_here(Unpack::Sequential, &[], &CLIENTS);
    }
}

#[test]
fn privileged_pulls_are_unpacked_layer_by_layer_from_our_own_store() {
    if ready("pulls_are_unpacked_layer_by_layer_from_our_own_store") {
        every_pull_is_unpacked_here(Unpack::Sequential, &["--content"], &CLIENTS);
    }
}

#[test]
fn privileged_pulls_are_unpacked_four_layers_at_a_time() {
    if ready("pulls_are_unpacked_four_layers_at_a_time") {
        let clients = [Client::CtrLocal, Client::CtrTransfer, Client::Nerdctl, Client::LibraryParallel];
        every_pull_is_unpacked_here(Unpack::Parallel, &["--content"], &clients);
    }
}

#[test]
fn privileged_images_are_made_and_pushed_from_containerds_store() {
    if ready("images_are_made_and_pushed_from_containerds_store") {
        images_are_made_and_pushed(&[]);
    }
}

#[test]
fn privileged_images_are_made_and_pushed_from_our_own_store() {
    if ready("images_are_made_and_pushed_from_our_own_store") {
        images_are_made_and_pushed(&["--content"]);
    }
}
