//! What lives on the API socket lives by the collector alone, and by containerd's rules.

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::client::Client;
use common::daemon::{Daemon, Site};
use common::{is_root, wait_for};

const SNAPSHOTS: &str = "snapshots/leasehold";
const ROOT: (&str, &str) = ("containerd.io/gc.root", "x");
const FLAT: (&str, &str) = ("containerd.io/gc.flat", "x");
const EXPIRED: (&str, &str) = ("containerd.io/gc.expire", "2001-02-03T04:05:06Z");
const REF: &str = "containerd.io/gc.ref.snapshot.leasehold";
const BREF: &str = "containerd.io/gc.bref.snapshot.leasehold";
const LIMIT: Duration = Duration::from_secs(30);

struct Node {
    site: Site,
    daemon: Daemon,
    client: Client,
}

impl Node {
    /// Starts a daemon that collects when it is told to, and when holds are taken away.
    fn start() -> Node {
        Node::with_settings("[gc]\nmutation_threshold = 0\n")
    }

    fn with_settings(settings: &str) -> Node {
        let site = Site::with_settings(settings);
        let daemon = site.start();
        let client = Client::api(&daemon, "default");
        // Later than the one at the start.
        client.collect().unwrap();
        Node { site, daemon, client }
    }

    /// Makes a chain of three: `<name>1` is the base.
    fn chain(&self, name: &str) {
        let mut parent = String::new();
        for number in 1..=3 {
            let next = format!("{name}{number}");
            self.client.make(&next, &parent, &[]).unwrap();
            parent = next;
        }
    }

    /// Collects and checks what is left, on disk as well.
    fn expect_left(&self, names: &str) {
        self.client.collect().unwrap();
        assert_eq!(self.client.names(), names);
        let again = self.client.collect().unwrap();
        assert_eq!((again.snapshots, self.client.names().as_str()), (0, names), "once more changes nothing");
        assert_eq!(self.site.layer_dirs().len(), names.split_whitespace().count());
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }
}

#[test]
fn privileged_what_nothing_holds_goes_with_its_parents() {
    if !is_root("what_nothing_holds_goes_with_its_parents") {
        return;
    }
    let node = Node::start();
    node.chain("a");
    node.client.prepare("active", "a3").unwrap();
    node.client.view("view", "a2").unwrap();
    let plan = node.client.plan().unwrap();
    assert_eq!((plan.snapshots, plan.garbage.len()), (5, 5));
    assert_eq!(node.client.names(), "a1 a2 a3 active view", "a plan changes nothing");
    let collected = node.client.collect().unwrap();
    assert_eq!((collected.snapshots, collected.objects, collected.marked), (5, 5, 0));
    node.expect_left("");
    wait_for("the end of all trash", LIMIT, || node.site.trash_dirs().is_empty());
}

#[test]
fn privileged_labels_hold_as_they_do_in_containerd() {
    if !is_root("labels_hold_as_they_do_in_containerd") {
        return;
    }
    let node = Node::start();
    node.chain("a");
    node.chain("b");
    node.chain("c");
    let client = &node.client;
    client.make("root", "a2", &[ROOT]).unwrap();
    // One refers to a chain, one is referred back from; neither of another snapshotter, or where the holder goes.
    client.make("refers", "", &[ROOT, (&format!("{REF}/1"), "b1")]).unwrap();
    client.make("back", "c1", &[(BREF, "refers")]).unwrap();
    client.make("elsewhere", "", &[ROOT, ("containerd.io/gc.ref.snapshot.overlayfs", "c3")]).unwrap();
    client.make("gone", "", &[(REF, "c3"), ("containerd.io/gc.roo", "x")]).unwrap();
    assert_eq!(
        client.why("a1").unwrap(),
        ["snapshot a1: snapshot leasehold/root > snapshot leasehold/a2 > snapshot leasehold/a1"]
    );
    assert_eq!(client.why("back").unwrap(), ["snapshot back: snapshot leasehold/refers > snapshot leasehold/back"]);
    assert_eq!(client.why("gone").unwrap(), ["snapshot gone: "]);
    node.expect_left("a1 a2 b1 back c1 elsewhere refers root");
    client.update("root", &[], &["labels"]).unwrap();
    node.expect_left("b1 back c1 elsewhere refers");
}

#[test]
fn privileged_leases_hold_until_they_end() {
    if !is_root("leases_hold_until_they_end") {
        return;
    }
    let node = Node::start();
    let client = &node.client;
    client.create_lease("keep", &[]).unwrap();
    client.create_lease("flat", &[FLAT]).unwrap();
    let leased = client.leased("keep");
    leased.make("k1", "", &[]).unwrap();
    leased.make("k2", "k1", &[]).unwrap();
    leased.prepare("k3", "k2").unwrap();
    client.make("ref", "", &[]).unwrap();
    client.make("f1", "", &[]).unwrap();
    client.make("f2", "f1", &[(REF, "ref")]).unwrap();
    client.add_resource("flat", SNAPSHOTS, "f2").unwrap();
    // The lease of another namespace, and of another snapshotter.
    client.make("other", "", &[]).unwrap();
    let elsewhere = Client::api(&node.daemon, "elsewhere");
    elsewhere.create_lease("keep", &[]).unwrap();
    elsewhere.add_resource("keep", SNAPSHOTS, "other").unwrap();
    client.add_resource("keep", "snapshots/overlayfs", "other").unwrap();
    node.expect_left("f1 f2 k1 k2 k3");
    assert_eq!(client.why("f1").unwrap(), ["snapshot f1: lease flat > snapshot leasehold/f2 > snapshot leasehold/f1"]);
    client.delete_resource("keep", SNAPSHOTS, "k3").unwrap();
    node.expect_left("f1 f2 k1 k2");
    client.delete_lease_with("flat", true).unwrap();
    assert_eq!(client.names(), "k1 k2");
    client.delete_lease_with("keep", true).unwrap();
    node.expect_left("");
}

#[test]
fn privileged_what_a_lease_held_goes_when_it_ends_with_nothing_else_happening() {
    if !is_root("what_a_lease_held_goes_when_it_ends_with_nothing_else_happening") {
        return;
    }
    let node = Node::start();
    let end = SystemTime::now() + Duration::from_secs(2);
    let label = humantime::format_rfc3339_millis(end).to_string();
    node.client.create_lease("short", &[("containerd.io/gc.expire", &label)]).unwrap();
    node.chain("a");
    node.client.add_resource("short", SNAPSHOTS, "a3").unwrap();
    node.client.collect().unwrap();
    assert_eq!(node.client.names(), "a1 a2 a3");
    assert!(SystemTime::now() < end, "too slow to say anything");
    let began = Instant::now();
    wait_for("the end of all layers", LIMIT, || node.site.layer_dirs().is_empty());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(node.client.lease_ids(&[]), "");
}

#[test]
fn privileged_a_lease_that_has_ended_holds_nothing() {
    if !is_root("a_lease_that_has_ended_holds_nothing") {
        return;
    }
    let node = Node::start();
    node.chain("a");
    drop(node.client.create_lease("past", &[EXPIRED]));
    drop(node.client.add_resource("past", SNAPSHOTS, "a3"));
    node.expect_left("");
}

#[test]
fn privileged_many_changes_are_a_reason_to_collect() {
    if !is_root("many_changes_are_a_reason_to_collect") {
        return;
    }
    let node = Node::with_settings("[gc]\nmutation_threshold = 5\n");
    node.client.make("garbage", "", &[]).unwrap();
    for number in 0..5 {
        node.client.create_lease(&number.to_string(), &[]).unwrap();
    }
    wait_for("a collection", LIMIT, || node.client.names().is_empty());
}

#[test]
fn privileged_the_plugin_socket_is_left_alone() {
    if !is_root("the_plugin_socket_is_left_alone") {
        return;
    }
    let node = Node::start();
    let containerd = Client::new(&node.daemon);
    containerd.prepare("default/1/active", "").unwrap();
    containerd.make("default/2/name", "", &[]).unwrap();
    node.client.make("name", "", &[]).unwrap();
    assert_eq!(
        node.client.why("name").unwrap(),
        ["containerd default/2/name: containerd default/2/name", "snapshot name: "]
    );
    node.client.collect().unwrap();
    assert_eq!((containerd.names().as_str(), node.client.names().as_str()), ("default/1/active default/2/name", ""));
}

#[test]
fn privileged_the_command_line_collects_and_explains() {
    if !is_root("the_command_line_collects_and_explains") {
        return;
    }
    let node = Node::start();
    let containerd = Client::new(&node.daemon);
    node.client.create_lease("keep", &[]).unwrap();
    node.client.add_resource("keep", SNAPSHOTS, "kept").unwrap();
    containerd.make("default/1/kept", "", &[]).unwrap();
    containerd.remove("default/1/kept").unwrap();
    node.client.make("garbage", "", &[]).unwrap();
    let json = |args: &[&str]| -> serde_json::Value {
        let output = node.site.command().args(args).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let text = |args: &[&str]| {
        let output = node.site.command().args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = json(&["gc", "--dry-run"]);
    assert_eq!((plan["garbage"][0]["name"].as_str(), &plan["retained"]), (Some("garbage"), &0.into()));
    assert!(text(&["gc", "--dry-run"]).contains("no lease, no root label"));
    let layers = node.site.layer_dirs();
    let why = |name: &str| json(&["why", name])[0].clone();
    assert_eq!(
        (why("kept")["kind"].as_str(), why("kept")["holds"][0]["name"].as_str()),
        (Some("retained"), Some("keep"))
    );
    let path = node.site.root().join("l").join(&layers[0]).join("fs");
    assert_eq!(why(path.to_str().unwrap())["name"], "kept");
    assert!(text(&["why", "garbage"]).contains("nothing: will be reclaimed"));
    assert!(!node.site.command().args(["why", "unknown"]).status().unwrap().success());
    assert_eq!(json(&["gc"])["snapshots"], 1);
    assert!(
        text(&["gc"])
            .starts_with("removed 0 ended leases, 0 retained snapshots and 0 retained blobs; 0 snapshots, 0 blobs")
    );
    assert_eq!(node.site.layer_dirs(), [layers[0].clone()]);
}
