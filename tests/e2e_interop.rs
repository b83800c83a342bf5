//! containerd's and nerdctl's other commands work on leasehold: namespaces, snapshots, labels, save, load, prune.

mod common;

use common::containerd::{Client, Release, Unpack};
use common::images::Kind;
use common::node::Node;
use common::tools::ready;

fn namespaces_are_apart(release: Release) {
    let node = Node::start(release, Unpack::Parallel);
    let image = node.image(Kind::Full);
    let [first, second] = ["first", "second"].map(|name| node.containerd.session(name));
    for session in [&first, &second] {
        session.pull(Client::Nerdctl, &image);
        assert_eq!(session.snapshot_names().len(), image.layers.len());
    }
    first.ctr(&["images", "rm", "--sync", &image.reference]);
    assert_eq!(first.snapshot_names(), Vec::<String>::new());
    assert_eq!(second.snapshot_names().len(), image.layers.len());
    second.run_script(&image.reference, &image.check()).unwrap();
    second.ctr(&["images", "rm", "--sync", &image.reference]);
    node.expect_empty_pool();
}

fn snapshot_commands_work(release: Release) {
    let node = Node::start(release, Unpack::Parallel);
    let image = node.image(Kind::Plain);
    let session = node.containerd.session("snapshots");
    session.pull(Client::Nerdctl, &image);
    let [base, top] = [image.layers[0].as_str(), image.layers[1].as_str()];

    // Key, parent and kind, in the order of the names.
    let mut rows = [vec![base, "Committed"], vec![top, base, "Committed"]];
    rows.sort();
    let table = session.snapshots(&["ls"]);
    let listed: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(listed, rows);

    let usage = |key: &str| -> (f64, u64) {
        let table = session.snapshots(&["usage", "-b", key]);
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[0], key);
        (row[1].parse().unwrap(), row[2].parse().unwrap())
    };
    let (base_size, base_inodes) = usage(base);
    assert!(base_size > 1e6 && base_inodes > 20, "{base_size} bytes, {base_inodes} inodes");
    // A file and the root directory.
    assert_eq!(usage(top).1, 2);

    let info = |key: &str| -> serde_json::Value { serde_json::from_str(&session.snapshots(&["info", key])).unwrap() };
    session.snapshots(&["prepare", "active", top]);
    assert_eq!(info("active")["Kind"], "Active");
    assert_eq!(info("active")["Parent"], top);
    session.snapshots(&["label", "active", "containerd.io/snapshot/test=one", "other=two"]);
    assert_eq!(info("active")["Labels"]["containerd.io/snapshot/test"], "one");
    assert_eq!(info("active")["Labels"]["other"], "two");
    // Without a value, a label is taken away.
    session.snapshots(&["label", "active", "containerd.io/snapshot/test="]);
    assert_eq!(info("active")["Labels"]["containerd.io/snapshot/test"], serde_json::Value::Null);
    assert_eq!(info("active")["Labels"]["other"], "two");
    let large = format!("containerd.io/snapshot/large={}", "x".repeat(4096));
    let label = ["snapshots", "--snapshotter", "leasehold", "label", "active", &large];
    let refused = session.try_ctr(&label).unwrap_err();
    assert!(refused.contains("maximum size (4096 bytes)"), "{refused}");

    session.snapshots(&["commit", "committed", "active"]);
    assert_eq!(info("committed")["Kind"], "Committed");
    session.snapshots(&["rm", "committed"]);
    session.ctr(&["images", "rm", "--sync", &image.reference]);
    node.expect_empty_pool();
}

fn images_are_saved_loaded_and_pruned(release: Release) {
    let node = Node::start(release, Unpack::Parallel);
    let image = node.image(Kind::Full);
    let session = node.containerd.session("images");
    session.pull(Client::Nerdctl, &image);
    let listed = || session.nerdctl(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(listed().trim(), image.reference);
    // nerdctl leaves both to containerd's transfer service, which containerd 1.6 does not have.
    let by_ctr = release == Release::V1;

    let archive = node.containerd.dir().join("saved.tar").display().to_string();
    if by_ctr {
        session.ctr(&["images", "export", &archive, &image.reference]);
    } else {
        session.nerdctl(&["save", "-o", &archive, &image.reference]);
    }
    session.nerdctl(&["system", "prune", "-af"]);
    assert_eq!(listed(), "");
    node.expect_empty_pool();

    if by_ctr {
        session.ctr(&["images", "import", "--snapshotter", session.snapshotter, &archive]);
    } else {
        session.nerdctl(&["load", "-i", &archive]);
    }
    // nerdctl lists the digest, too.
    assert!(listed().lines().any(|name| name == image.reference), "{}", listed());
    assert_eq!(session.snapshot_names().len(), image.layers.len());
    let run = ["run", "--net", "none", "--name", "stopped", &image.reference, "sh", "-c"];
    session.nerdctl(&[&run[..], &[&image.check()]].concat());
    // What only a stopped container has is pruned together with it.
    session.nerdctl(&["system", "prune", "-af"]);
    assert_eq!(session.nerdctl(&["ps", "-aq"]), "");
    node.expect_empty_pool();
}

#[test]
fn privileged_namespaces_are_apart_with_containerd_1() {
    if ready("namespaces_are_apart_with_containerd_1") {
        namespaces_are_apart(Release::V1);
    }
}

#[test]
fn privileged_namespaces_are_apart_with_containerd_2() {
    if ready("namespaces_are_apart_with_containerd_2") {
        namespaces_are_apart(Release::V2);
    }
}

#[test]
fn privileged_snapshot_commands_work_with_containerd_1() {
    if ready("snapshot_commands_work_with_containerd_1") {
        snapshot_commands_work(Release::V1);
    }
}

#[test]
fn privileged_snapshot_commands_work_with_containerd_2() {
    if ready("snapshot_commands_work_with_containerd_2") {
        snapshot_commands_work(Release::V2);
    }
}

#[test]
fn privileged_images_are_saved_loaded_and_pruned_with_containerd_1() {
    if ready("images_are_saved_loaded_and_pruned_with_containerd_1") {
        images_are_saved_loaded_and_pruned(Release::V1);
    }
}

#[test]
fn privileged_images_are_saved_loaded_and_pruned_with_containerd_2() {
    if ready("images_are_saved_loaded_and_pruned_with_containerd_2") {
        images_are_saved_loaded_and_pruned(Release::V2);
    }
}
