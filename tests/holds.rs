//! What a lease names stays on disk when containerd removes it, and goes when the last lease on it does.

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::{Daemon, Site};
use common::{is_root, wait_for};

const SNAPSHOTS: &str = "snapshots/leasehold";
/// How soon after the end of a hold everything is gone.
const SOON: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

struct Node {
    site: Site,
    daemon: Daemon,
    containerd: Client,
    operator: Client,
}

impl Node {
    fn start() -> Node {
        let site = Site::with_settings(UPPERDIR_SETTING);
        let daemon = site.start();
        let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "default"));
        Node { site, daemon, containerd, operator }
    }

    /// Starts again, after a kill or a stop.
    fn restart(self, kill: bool) -> Node {
        let Node { site, daemon, .. } = self;
        if kill {
            daemon.kill();
        } else {
            assert!(daemon.stop().success());
        }
        let daemon = site.start();
        let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "default"));
        Node { site, daemon, containerd, operator }
    }

    /// Unpacks an image of three layers into a namespace, as containerd does; `first` is the first of its numbers.
    fn pull(&self, namespace: &str, first: u32) {
        let mut parent = String::new();
        for (number, chain) in (first..).step_by(2).zip(["chain-1", "chain-2", "chain-3"]) {
            let key = format!("{namespace}/{number}/extract {chain}");
            let name = format!("{namespace}/{}/{chain}", number + 1);
            self.containerd.prepare(&key, &parent).unwrap();
            self.containerd.commit(&name, &key).unwrap();
            parent = name;
        }
    }

    /// Removes all that containerd knows, children first, and returns when its trash is gone.
    fn remove_all(&self) {
        let mut names: Vec<String> = self.containerd.list(&[]).unwrap().into_iter().map(|info| info.name).collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.rsplit('/').next().unwrap().to_owned()));
        for name in names {
            self.containerd.remove(&name).unwrap();
        }
        self.containerd.cleanup().unwrap();
        assert_eq!(self.containerd.list(&[]).unwrap().len(), 0);
    }

    fn layers(&self) -> usize {
        self.site.layer_dirs().len()
    }

    /// Waits until no layer is left, at most for `limit`.
    fn expect_gone(&self, limit: Duration) {
        let began = Instant::now();
        wait_for("the end of all layers", LIMIT, || self.layers() == 0 && self.site.trash_dirs().is_empty());
        assert!(began.elapsed() < limit, "{:?}", began.elapsed());
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }
}

fn in_future(seconds: u64) -> String {
    humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

#[test]
fn privileged_a_leased_chain_stays_until_its_lease_is_deleted() {
    if !is_root("a_leased_chain_stays_until_its_lease_is_deleted") {
        return;
    }
    let node = Node::start();
    node.operator.create_lease("keep", &[]).unwrap();
    node.operator.add_resource("keep", SNAPSHOTS, "chain-2").unwrap();
    node.pull("default", 1);
    node.remove_all();
    // The chain's two layers, without the one above.
    assert_eq!(node.layers(), 2);
    assert_eq!(node.site.fsck(false), Vec::<String>::new());
    assert!(node.containerd.stat("default/4/chain-2").is_err());
    // Its key is free.
    node.containerd.prepare("default/4/chain-2", "").unwrap();
    assert_eq!(node.layers(), 3);
    node.containerd.remove("default/4/chain-2").unwrap();
    node.operator.delete_lease("keep").unwrap();
    node.expect_gone(SOON);
}

#[test]
fn privileged_an_expired_lease_lets_go_with_nothing_else_happening() {
    if !is_root("an_expired_lease_lets_go_with_nothing_else_happening") {
        return;
    }
    for restart in [None, Some(false), Some(true)] {
        let mut node = Node::start();
        let end = SystemTime::now() + Duration::from_secs(3);
        let label = humantime::format_rfc3339_millis(end).to_string();
        node.operator
            .create_lease("short", &[("containerd.io/gc.expire", &label), ("containerd.io/gc.flat", "true")])
            .unwrap();
        node.operator.add_resource("short", SNAPSHOTS, "chain-3").unwrap();
        node.pull("default", 1);
        node.remove_all();
        if let Some(kill) = restart {
            node = node.restart(kill);
        }
        assert_eq!(node.layers(), 3, "{restart:?}");
        assert!(SystemTime::now() < end, "too slow to say anything");
        node.expect_gone(end.duration_since(SystemTime::now()).unwrap() + SOON);
        assert_eq!(node.operator.lease_ids(&[]), "");
    }
}

#[test]
fn privileged_what_expired_while_no_daemon_ran_goes_at_the_start() {
    if !is_root("what_expired_while_no_daemon_ran_goes_at_the_start") {
        return;
    }
    let node = Node::start();
    let end = in_future(1);
    node.operator.create_lease("short", &[("containerd.io/gc.expire", &end)]).unwrap();
    node.operator.add_resource("short", SNAPSHOTS, "chain-3").unwrap();
    node.pull("default", 1);
    node.remove_all();
    let Node { site, daemon, .. } = node;
    daemon.kill();
    wait_for("the lease's end", LIMIT, || in_future(0) > end);
    let daemon = site.start();
    let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "default"));
    Node { site, daemon, containerd, operator }.expect_gone(SOON);
}

#[test]
fn privileged_a_lease_in_the_past_holds_nothing() {
    if !is_root("a_lease_in_the_past_holds_nothing") {
        return;
    }
    let node = Node::start();
    // Members may be added to it for as long as it is there, which a collector may end at any time.
    drop(node.operator.create_lease("past", &[("containerd.io/gc.expire", "2001-02-03T04:05:06Z")]));
    drop(node.operator.add_resource("past", SNAPSHOTS, "chain-3"));
    node.pull("default", 1);
    node.remove_all();
    node.expect_gone(SOON);
}

#[test]
fn privileged_the_last_hold_decides() {
    if !is_root("the_last_hold_decides") {
        return;
    }
    let node = Node::start();
    for lease in ["one", "two", "three"] {
        node.operator.create_lease(lease, &[]).unwrap();
        node.operator.add_resource(lease, SNAPSHOTS, "chain-3").unwrap();
    }
    node.pull("default", 1);
    node.remove_all();
    node.operator.delete_lease_with("one", true).unwrap();
    assert_eq!(node.layers(), 3);
    node.operator.delete_resource("two", SNAPSHOTS, "chain-3").unwrap();
    node.operator.create_lease("other", &[]).unwrap();
    node.operator.delete_lease_with("other", true).unwrap();
    assert_eq!(node.layers(), 3);
    node.operator.delete_lease_with("three", true).unwrap();
    // The directories are out of sight when a synchronous deletion answers.
    assert_eq!(node.layers(), 0);
    node.expect_gone(SOON);
}

#[test]
fn privileged_leases_hold_in_their_namespace_and_of_their_snapshotter() {
    if !is_root("leases_hold_in_their_namespace_and_of_their_snapshotter") {
        return;
    }
    let node = Node::start();
    node.operator.create_lease("keep", &[]).unwrap();
    node.operator.add_resource("keep", "snapshots/overlayfs", "chain-3").unwrap();
    let elsewhere = Client::api(&node.daemon, "elsewhere");
    elsewhere.create_lease("keep", &[]).unwrap();
    elsewhere.add_resource("keep", SNAPSHOTS, "chain-1").unwrap();
    node.pull("default", 1);
    node.pull("elsewhere", 7);
    node.remove_all();
    assert_eq!(node.layers(), 1);
    elsewhere.delete_lease("keep").unwrap();
    node.expect_gone(SOON);
}

#[test]
fn privileged_a_name_keeps_its_last_snapshot_only() {
    if !is_root("a_name_keeps_its_last_snapshot_only") {
        return;
    }
    let node = Node::start();
    node.operator.create_lease("keep", &[]).unwrap();
    node.operator.add_resource("keep", SNAPSHOTS, "chain-3").unwrap();
    let mut kept = Vec::<String>::new();
    for first in [1, 11, 21] {
        node.pull("default", first);
        node.remove_all();
        wait_for("the generation before", LIMIT, || node.layers() == 3);
        let now = node.site.layer_dirs();
        assert!(now.iter().all(|layer| !kept.contains(layer)), "{now:?}");
        assert_eq!(node.site.fsck(false), Vec::<String>::new());
        kept = now;
    }
    node.operator.delete_lease("keep").unwrap();
    node.expect_gone(SOON);
}

#[test]
fn privileged_parents_that_are_still_used_stay() {
    if !is_root("parents_that_are_still_used_stay") {
        return;
    }
    let node = Node::start();
    node.operator.create_lease("keep", &[]).unwrap();
    node.operator.add_resource("keep", SNAPSHOTS, "chain-3").unwrap();
    node.pull("default", 1);
    node.containerd.remove("default/6/chain-3").unwrap();
    node.containerd.prepare("default/7/container", "default/4/chain-2").unwrap();
    node.operator.delete_lease_with("keep", true).unwrap();
    assert_eq!(node.layers(), 3);
    let mounts = node.containerd.mounts("default/7/container").unwrap();
    let lower = mounts[0].options.iter().find_map(|option| option.strip_prefix("lowerdir=")).unwrap();
    assert!(lower.split(':').map(PathBuf::from).all(|dir| dir.is_dir()), "{lower}");
    node.remove_all();
    node.expect_gone(SOON);
}

#[test]
fn privileged_a_retained_snapshot_that_lost_a_layer_is_given_up_by_a_repair() {
    if !is_root("a_retained_snapshot_that_lost_a_layer_is_given_up_by_a_repair") {
        return;
    }
    let node = Node::start();
    node.operator.create_lease("keep", &[]).unwrap();
    node.operator.add_resource("keep", SNAPSHOTS, "chain-3").unwrap();
    node.pull("default", 1);
    node.remove_all();
    let lost = node.site.layer_dirs().swap_remove(0);
    std::fs::remove_dir_all(node.site.root().join("l").join(lost)).unwrap();
    let problems = node.site.fsck(true);
    assert!(problems.len() == 1 && problems[0].starts_with("missing-directory"), "{problems:?}");
    node.expect_gone(LIMIT);
}

#[test]
fn privileged_what_would_keep_a_snapshot_after_its_removal_is_told_before() {
    if !is_root("what_would_keep_a_snapshot_after_its_removal_is_told_before") {
        return;
    }
    let node = Node::start();
    node.pull("default", 1);
    node.pull("other", 11);
    let why = |name: &str| -> Vec<String> {
        let found = node.site.cli(&["why", "-n", "default", "--json", name]).json()[0].take();
        assert_eq!((found["kind"].as_str(), found["held"].as_bool()), (Some("containerd"), Some(true)));
        let after = found["after_removal"].as_array().unwrap();
        after
            .iter()
            .map(|lease| format!("{}: {}", lease["name"].as_str().unwrap(), lease["reason"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(why("chain-2"), Vec::<String>::new());
    assert!(node.site.cli(&["why", "chain-2"]).ok().contains("after a removal nothing would keep it"));
    let named = |lease: &str, expire: Option<&str>, names: &[&str]| {
        let labels: Vec<_> = expire.iter().map(|end| ("containerd.io/gc.expire", *end)).collect();
        node.operator.create_lease(lease, &labels).unwrap();
        names.iter().for_each(|name| node.operator.add_resource(lease, SNAPSHOTS, name).unwrap());
    };
    named("never", None, &["chain-2", "chain-3"]);
    named("ends", Some("2099-01-02T03:04:05Z"), &["chain-3"]);
    named("below", None, &["chain-1"]);
    let [never, ends] = ["never: names it, and never ends", "ends: names it, and ends at 2099-01-02T03:04:05Z"];
    assert_eq!(why("chain-3"), [ends, never]);
    let ends_above = "ends: names chain-3, which is on it, and ends at 2099-01-02T03:04:05Z";
    assert_eq!(why("chain-2"), [never, ends_above]);
    assert!(
        node.site
            .cli(&["why", "chain-2"])
            .ok()
            .contains(&format!("  after a removal: lease ends in default: {}", &ends_above[6..]))
    );
    assert_eq!(why("chain-1").len(), 3);
    // As it comes to pass.
    node.containerd.remove("default/6/chain-3").unwrap();
    assert_eq!(why("chain-2"), [never, ends_above]);
    node.containerd.remove("default/4/chain-2").unwrap();
    node.operator.delete_lease("never").unwrap();
    node.operator.delete_lease_with("below", true).unwrap();
    assert_eq!(why("chain-1"), ["ends: names chain-3, which is on it, and ends at 2099-01-02T03:04:05Z"]);
}
