//! What a lease names stays on disk when containerd removes it, and goes when the last lease on it does.

mod common;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::client::Client;
use common::pool::Pool;
use common::{is_root, wait_for};

const SNAPSHOTS: &str = "snapshots/leasehold";
/// How soon after the end of a hold everything is gone.
const SOON: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

fn in_future(seconds: u64) -> String {
    humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

#[test]
fn privileged_a_leased_chain_stays_until_its_lease_is_deleted() {
    if !is_root("a_leased_chain_stays_until_its_lease_is_deleted") {
        return;
    }
    let pool = Pool::start("");
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", SNAPSHOTS, "chain-2").unwrap();
    pool.pull("default", 1);
    pool.remove_all();
    // The chain's two layers, without the one above.
    assert_eq!(pool.layers(), 2);
    assert_eq!(pool.site.fsck(false), Vec::<String>::new());
    assert!(pool.containerd.stat("default/4/chain-2").is_err());
    // Its key is free.
    pool.containerd.prepare("default/4/chain-2", "").unwrap();
    assert_eq!(pool.layers(), 3);
    pool.containerd.remove("default/4/chain-2").unwrap();
    // An empty one does not take the place of what is held under the name.
    wait_for("the end of the empty one", LIMIT, || pool.layers() == 2);
    assert!(pool.site.cli(&["why", "chain-2"]).ok().contains("keep"));
    pool.operator.delete_lease("keep").unwrap();
    pool.expect_gone(SOON);
}

#[test]
fn privileged_an_expired_lease_lets_go_with_nothing_else_happening() {
    if !is_root("an_expired_lease_lets_go_with_nothing_else_happening") {
        return;
    }
    for restart in [None, Some(false), Some(true)] {
        let mut pool = Pool::start("");
        let end = SystemTime::now() + Duration::from_secs(3);
        let label = humantime::format_rfc3339_millis(end).to_string();
        pool.operator
            .create_lease("short", &[("containerd.io/gc.expire", &label), ("containerd.io/gc.flat", "true")])
            .unwrap();
        pool.operator.add_resource("short", SNAPSHOTS, "chain-3").unwrap();
        pool.pull("default", 1);
        pool.remove_all();
        if let Some(kill) = restart {
            pool = pool.restart(kill);
        }
        assert_eq!(pool.layers(), 3, "{restart:?}");
        assert!(SystemTime::now() < end, "too slow to say anything");
        pool.expect_gone(end.duration_since(SystemTime::now()).unwrap() + SOON);
        assert_eq!(pool.operator.lease_ids(&[]), "");
    }
}

#[test]
fn privileged_what_expired_while_no_daemon_ran_goes_at_the_start() {
    if !is_root("what_expired_while_no_daemon_ran_goes_at_the_start") {
        return;
    }
    let pool = Pool::start("");
    let end = in_future(1);
    pool.operator.create_lease("short", &[("containerd.io/gc.expire", &end)]).unwrap();
    pool.operator.add_resource("short", SNAPSHOTS, "chain-3").unwrap();
    pool.pull("default", 1);
    pool.remove_all();
    let Pool { site, daemon, .. } = pool;
    daemon.kill();
    wait_for("the lease's end", LIMIT, || in_future(0) > end);
    Pool::serve(site).expect_gone(SOON);
}

#[test]
fn privileged_a_lease_in_the_past_holds_nothing() {
    if !is_root("a_lease_in_the_past_holds_nothing") {
        return;
    }
    let pool = Pool::start("");
    // Members may be added to it for as long as it is there, which a collector may end at any time.
    drop(pool.operator.create_lease("past", &[("containerd.io/gc.expire", "2001-02-03T04:05:06Z")]));
    drop(pool.operator.add_resource("past", SNAPSHOTS, "chain-3"));
    pool.pull("default", 1);
    pool.remove_all();
    pool.expect_gone(SOON);

    // What would go because of it can be told, although its end cannot be written.
    let pool = Pool::start("[gc]\nstartup_delay = \"10m\"\n");
    for (lease, end) in [("past", "1960-01-01T00:00:00Z"), ("holds", "9999-12-31T23:59:59-01:00")] {
        pool.operator.create_lease(lease, &[("containerd.io/gc.expire", end)]).unwrap();
        pool.operator.add_resource(lease, SNAPSHOTS, "chain-3").unwrap();
    }
    pool.pull("default", 1);
    pool.remove_all();
    assert!(pool.site.cli(&["why", "chain-3"]).ok().contains("lease holds"));
    pool.operator.delete_lease("holds").unwrap();
    assert!(pool.site.cli(&["gc", "--dry-run"]).ok().contains("lease past ended at a moment before 1970"));
}

#[test]
fn privileged_the_last_hold_decides() {
    if !is_root("the_last_hold_decides") {
        return;
    }
    let pool = Pool::start("");
    for lease in ["one", "two", "three"] {
        pool.operator.create_lease(lease, &[]).unwrap();
        pool.operator.add_resource(lease, SNAPSHOTS, "chain-3").unwrap();
    }
    pool.pull("default", 1);
    pool.remove_all();
    pool.operator.delete_lease_with("one", true).unwrap();
    assert_eq!(pool.layers(), 3);
    pool.operator.delete_resource("two", SNAPSHOTS, "chain-3").unwrap();
    pool.operator.create_lease("other", &[]).unwrap();
    pool.operator.delete_lease_with("other", true).unwrap();
    assert_eq!(pool.layers(), 3);
    pool.operator.delete_lease_with("three", true).unwrap();
    // The directories are out of sight when a synchronous deletion answers.
    assert_eq!(pool.layers(), 0);
    pool.expect_gone(SOON);
}

#[test]
fn privileged_leases_hold_in_their_namespace_and_of_their_snapshotter() {
    if !is_root("leases_hold_in_their_namespace_and_of_their_snapshotter") {
        return;
    }
    let pool = Pool::start("");
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", "snapshots/overlayfs", "chain-3").unwrap();
    let elsewhere = Client::api(&pool.daemon, "elsewhere");
    elsewhere.create_lease("keep", &[]).unwrap();
    elsewhere.add_resource("keep", SNAPSHOTS, "chain-1").unwrap();
    pool.pull("default", 1);
    pool.pull("elsewhere", 7);
    pool.remove_all();
    assert_eq!(pool.layers(), 1);
    elsewhere.delete_lease("keep").unwrap();
    pool.expect_gone(SOON);
}

#[test]
fn privileged_a_name_keeps_its_last_snapshot_only() {
    if !is_root("a_name_keeps_its_last_snapshot_only") {
        return;
    }
    let pool = Pool::start("");
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", SNAPSHOTS, "chain-3").unwrap();
    let mut kept = Vec::<String>::new();
    for first in [1, 11, 21] {
        pool.pull("default", first);
        pool.remove_all();
        wait_for("the generation before", LIMIT, || pool.layers() == 3);
        let now = pool.site.layer_dirs();
        assert!(now.iter().all(|layer| !kept.contains(layer)), "{now:?}");
        assert_eq!(pool.site.fsck(false), Vec::<String>::new());
        kept = now;
    }
    pool.operator.delete_lease("keep").unwrap();
    pool.expect_gone(SOON);
}

#[test]
fn privileged_parents_that_are_still_used_stay() {
    if !is_root("parents_that_are_still_used_stay") {
        return;
    }
    let pool = Pool::start("");
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", SNAPSHOTS, "chain-3").unwrap();
    pool.pull("default", 1);
    pool.containerd.remove("default/6/chain-3").unwrap();
    pool.containerd.prepare("default/7/container", "default/4/chain-2").unwrap();
    pool.operator.delete_lease_with("keep", true).unwrap();
    assert_eq!(pool.layers(), 3);
    let mounts = pool.containerd.mounts("default/7/container").unwrap();
    let lower = mounts[0].options.iter().find_map(|option| option.strip_prefix("lowerdir=")).unwrap();
    assert!(lower.split(':').map(PathBuf::from).all(|dir| dir.is_dir()), "{lower}");
    pool.remove_all();
    pool.expect_gone(SOON);
}

#[test]
fn privileged_a_retained_snapshot_that_lost_a_layer_is_given_up_by_a_repair() {
    if !is_root("a_retained_snapshot_that_lost_a_layer_is_given_up_by_a_repair") {
        return;
    }
    let pool = Pool::start("");
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", SNAPSHOTS, "chain-3").unwrap();
    pool.pull("default", 1);
    pool.remove_all();
    let lost = pool.site.layer_dirs().swap_remove(0);
    std::fs::remove_dir_all(pool.site.root().join("l").join(lost)).unwrap();
    let problems = pool.site.fsck(true);
    assert!(problems.len() == 1 && problems[0].starts_with("missing-directory"), "{problems:?}");
    pool.expect_gone(LIMIT);
}

#[test]
fn privileged_what_would_keep_a_snapshot_after_its_removal_is_told_before() {
    if !is_root("what_would_keep_a_snapshot_after_its_removal_is_told_before") {
        return;
    }
    let pool = Pool::start("");
    pool.pull("default", 1);
    pool.pull("other", 11);
    let why = |name: &str| -> Vec<String> {
        let found = pool.site.cli(&["why", "-n", "default", "--json", name]).json()[0].take();
        assert_eq!((found["kind"].as_str(), found["held"].as_bool()), (Some("containerd"), Some(true)));
        let after = found["after_removal"].as_array().unwrap();
        after
            .iter()
            .map(|lease| format!("{}: {}", lease["name"].as_str().unwrap(), lease["reason"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(why("chain-2"), Vec::<String>::new());
    assert!(pool.site.cli(&["why", "chain-2"]).ok().contains("after a removal nothing would keep it"));
    let named = |lease: &str, expire: Option<&str>, names: &[&str]| {
        let labels: Vec<_> = expire.iter().map(|end| ("containerd.io/gc.expire", *end)).collect();
        pool.operator.create_lease(lease, &labels).unwrap();
        names.iter().for_each(|name| pool.operator.add_resource(lease, SNAPSHOTS, name).unwrap());
    };
    named("never", None, &["chain-2", "chain-3"]);
    named("ends", Some("2099-01-02T03:04:05Z"), &["chain-3"]);
    named("below", None, &["chain-1"]);
    let [never, ends] = ["never: names it, and never ends", "ends: names it, and ends at 2099-01-02T03:04:05Z"];
    assert_eq!(why("chain-3"), [ends, never]);
    let ends_above = "ends: names chain-3, which is on it, and ends at 2099-01-02T03:04:05Z";
    assert_eq!(why("chain-2"), [never, ends_above]);
    assert!(
        pool.site
            .cli(&["why", "chain-2"])
            .ok()
            .contains(&format!("  after a removal: lease ends in default: {}", &ends_above[6..]))
    );
    assert_eq!(why("chain-1").len(), 3);
    // As it comes to pass.
    pool.containerd.remove("default/6/chain-3").unwrap();
    assert_eq!(why("chain-2"), [never, ends_above]);
    pool.containerd.remove("default/4/chain-2").unwrap();
    pool.operator.delete_lease("never").unwrap();
    pool.operator.delete_lease_with("below", true).unwrap();
    assert_eq!(why("chain-1"), ["ends: names chain-3, which is on it, and ends at 2099-01-02T03:04:05Z"]);
}

#[test]
fn privileged_leases_that_end_together_let_go_soon() {
    if !is_root("leases_that_end_together_let_go_soon") {
        return;
    }
    const LEASES: usize = 800;
    let pool = Pool::start("");
    pool.pull("default", 1);
    let end = SystemTime::now() + Duration::from_secs(10);
    let label = humantime::format_rfc3339_millis(end).to_string();
    std::thread::scope(|scope| {
        for first in 0..16 {
            let (operator, label) = (pool.operator.another(), &label);
            scope.spawn(move || {
                for lease in (first..LEASES).step_by(16).map(|number| format!("lease-{number}")) {
                    operator.create_lease(&lease, &[("containerd.io/gc.expire", label)]).unwrap();
                    operator.add_resource(&lease, SNAPSHOTS, "chain-3").unwrap();
                }
            });
        }
    });
    pool.remove_all();
    assert_eq!(pool.layers(), 3);
    assert!(SystemTime::now() < end, "too slow to say anything");
    pool.expect_gone(end.duration_since(SystemTime::now()).unwrap() + SOON);
    assert_eq!(pool.operator.lease_ids(&[]), "");
}
