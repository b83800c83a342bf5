//! What containerd removes is kept by the daemon's own leases, and given up when these end.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::containerd::{Client, Release, Session, Unpack};
use common::images::{Image, Kind};
use common::node::Node;
use common::tools::ready;
use common::wait_for;

const SETTINGS: &str = "[retention]\nafter_remove = \"24h\"\n";
/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(60);

/// Removes an image, waits until containerd has collected everything, and checks that its layers are still there.
fn remove_and_expect_layers(node: &Node, session: &Session<'_>, image: &Image) {
    session.nerdctl(&["rmi", &image.reference]);
    wait_for("containerd's collection", LIMIT, || node.snapshots() == 0);
    assert_eq!(session.snapshot_names(), Vec::<String>::new());
    wait_for("the end of deletions", LIMIT, || node.site.trash_dirs().is_empty());
    let layers = image.layers.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(node.site.layer_dirs().len(), layers);
    node.expect_whole_pool();
}

fn a_removed_image_is_kept(release: Release) {
    let mut node = Node::start_with_settings(release, Unpack::Parallel, SETTINGS);
    let image = node.image(Kind::Full);
    let namespace = {
        let session = node.containerd.session("kept");
        session.pull(Client::Nerdctl, &image);
        // Its container's snapshot is not kept.
        session.run_script(&image.reference, &image.check()).unwrap();
        let pulled = node.site.layer_dirs();
        remove_and_expect_layers(&node, &session, &image);
        assert!(node.site.layer_dirs().iter().all(|layer| pulled.contains(layer)));
        for chain in &image.layers {
            let said = node.site.cli(&["why", chain]).ok();
            assert!(said.contains("retained snapshot") && said.contains("lease retention-"), "{said}");
        }
        // It can be had again, whatever is still there of it, and of two generations the later one is kept.
        session.pull(Client::Nerdctl, &image);
        session.run_script(&image.reference, &image.check()).unwrap();
        remove_and_expect_layers(&node, &session, &image);
        session.namespace.clone()
    };
    node.kill_daemon();
    node.start_daemon();
    let listed = node.site.cli(&["lease", "-n", &namespace, "ls", "--quiet"]).ok();
    assert!(listed.lines().count() >= 1, "{listed}");
    for lease in listed.lines() {
        assert!(lease.starts_with("retention-"), "{lease}");
        node.site.cli(&["lease", "-n", &namespace, "rm", lease]).ok();
    }
    node.expect_empty_pool();
}

#[test]
fn privileged_a_removed_image_is_kept_with_containerd_1() {
    if ready("a_removed_image_is_kept_with_containerd_1") {
        a_removed_image_is_kept(Release::V1);
    }
}

#[test]
fn privileged_a_removed_image_is_kept_with_containerd_2() {
    if ready("a_removed_image_is_kept_with_containerd_2") {
        a_removed_image_is_kept(Release::V2);
    }
}
