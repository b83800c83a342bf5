//! What containerd removes is kept for a while where `[retention]` says so, and no longer than there is space for it.

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::client::Client;
use common::filesystem::{FileSystem, free_bytes, privileged};
use common::metrics::Metrics;
use common::pool::Pool;
use common::{is_root, wait_for};
use tonic::Code;

const SNAPSHOTS: &str = "snapshots/leasehold";
const POLICY: (&str, &str) = ("leasehold.io/policy", "retention");
const EXPIRE: &str = "containerd.io/gc.expire";
/// How soon after the end of a hold everything is gone, and how soon what is too much is evicted.
const SOON: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

const HOUR: &str = "[retention]\nafter_remove = \"1h\"\n";

/// Tells which of these are retained, by what keeps them: the daemon's own leases, or `keep`.
fn kept(pool: &Pool, names: &[&str]) -> String {
    let mut kept = Vec::new();
    for name in names {
        let lines = pool.operator.why(name).unwrap();
        let by = |lease: &str| lines.iter().any(|line| line.starts_with(&format!("retained {name}: lease {lease}")));
        kept.extend((by("retention-") || by("keep")).then_some(*name));
    }
    kept.join(" ")
}

/// Waits until no more than these are retained.
fn expect_kept(pool: &Pool, names: &[&str], expected: &str) {
    wait_for(&format!("only {expected:?} of {names:?}"), LIMIT, || kept(pool, names).len() <= expected.len());
    assert_eq!(kept(pool, names), expected);
    pool.expect_whole();
}

/// Returns when the last of the daemon's own leases ends.
fn end(client: &Client) -> SystemTime {
    let leases = client.leases(&[&format!("labels.\"{}\"=={}", POLICY.0, POLICY.1)]).unwrap();
    let ends = leases.iter().map(|lease| humantime::parse_rfc3339(&lease.labels[EXPIRE]).unwrap());
    ends.max().expect("a lease of the daemon's own")
}

/// Returns the log lines of evictions, with what each was for.
fn evictions(pool: &Pool) -> Vec<String> {
    let log = std::fs::read_to_string(pool.site.log()).unwrap();
    log.lines().filter(|line| line.contains("is evicted")).map(str::to_owned).collect()
}

#[test]
fn privileged_nothing_is_kept_unless_it_is_asked_for() {
    if !is_root("nothing_is_kept_unless_it_is_asked_for") {
        return;
    }
    let pool = Pool::start("");
    pool.pull("default", 1);
    pool.remove_all();
    assert_eq!((pool.layers(), pool.operator.namespaces().as_str()), (0, ""));
    pool.expect_gone(LIMIT);
}

#[test]
fn privileged_what_is_removed_is_leased_by_the_daemon() {
    if !is_root("what_is_removed_is_leased_by_the_daemon") {
        return;
    }
    let pool = Pool::start(HOUR);
    let before = SystemTime::now();
    pool.pull("default", 1);
    pool.containerd.prepare("default/7/container", "default/6/chain-3").unwrap();
    pool.remove_all();
    // Not the container.
    assert_eq!(pool.layers(), 3);
    assert_eq!(kept(&pool, &["chain-1", "chain-2", "chain-3", "container"]), "chain-1 chain-2 chain-3");
    let end = end(&pool.operator);
    assert!(end >= before + Duration::from_secs(3600), "{end:?}");
    assert!(end <= SystemTime::now() + Duration::from_secs(3600 + 225), "{end:?}");
    assert_eq!(pool.operator.namespaces(), "default");

    let said = pool.site.cli(&["why", "chain-1"]).ok();
    assert!(said.contains("lease retention-") && said.contains("when space runs short"), "{said}");
    let said = pool.site.cli(&["lease", "ls"]).ok();
    assert!(said.contains("leasehold.io/policy=retention"), "{said}");
    assert!(pool.site.cli(&["gc", "--dry-run"]).ok().contains('0'));
    wait_for("the sum of what is kept", LIMIT, || {
        pool.site.cli(&["info", "--json"]).json()["pool"]["retained_by_policy_bytes"].as_u64() > Some(0)
    });

    // Nobody else can make such a lease, but everybody may end one.
    for label in [POLICY, ("leasehold.io/policy/x", "y")] {
        let status = pool.operator.create_lease("forged", &[label]).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    for lease in pool.operator.leases(&[]).unwrap() {
        pool.site.cli(&["lease", "rm", "--sync", &lease.id]).ok();
    }
    assert_eq!(pool.layers(), 0);
    pool.expect_gone(SOON);
}

#[test]
fn privileged_what_is_kept_goes_when_its_time_is_over_whatever_happened_to_the_daemon() {
    if !is_root("what_is_kept_goes_when_its_time_is_over_whatever_happened_to_the_daemon") {
        return;
    }
    for restart in [None, Some(false), Some(true)] {
        let mut pool = Pool::start("[retention]\nafter_remove = \"3s\"\n");
        pool.pull("default", 1);
        let removed = SystemTime::now();
        pool.remove_all();
        let end = end(&pool.operator);
        if let Some(kill) = restart {
            pool = pool.restart(kill);
        }
        assert_eq!(pool.layers(), 3, "{restart:?}");
        assert!(SystemTime::now() < end, "too slow to say anything");
        wait_for("the end of the time", LIMIT, || {
            let layers = pool.layers();
            let kept_for = SystemTime::now().duration_since(removed).unwrap();
            assert!(layers == 3 || kept_for >= Duration::from_secs(3), "{restart:?}: {layers} after {kept_for:?}");
            SystemTime::now() > end
        });
        pool.expect_gone(SOON);
        assert_eq!(pool.operator.lease_ids(&[]), "");
    }
}

#[test]
fn privileged_a_client_is_not_what_ends_the_time() {
    if !is_root("a_client_is_not_what_ends_the_time") {
        return;
    }
    let pool = Pool::start(HOUR);
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", SNAPSHOTS, "chain-3").unwrap();
    pool.pull("default", 1);
    pool.remove_all();
    pool.operator.delete_lease_with("keep", true).unwrap();
    assert_eq!(pool.layers(), 3);
    // Turned off: what is kept stays until its time is over, and nothing more is kept.
    let Pool { site, daemon, .. } = pool;
    assert!(daemon.stop().success());
    let pool = Pool::serve(site.set_settings(""));
    pool.containerd.prepare("default/11/x", "").unwrap();
    pool.containerd.commit("default/12/other", "default/11/x").unwrap();
    pool.remove_all();
    assert_eq!(kept(&pool, &["chain-1", "chain-2", "chain-3", "other"]), "chain-1 chain-2 chain-3");
    // A namespace goes with all its leases.
    pool.operator.delete_namespace("default").unwrap();
    pool.expect_gone(SOON);
}

#[test]
fn privileged_the_oldest_goes_where_there_is_more_than_may_be() {
    if !is_root("the_oldest_goes_where_there_is_more_than_may_be") {
        return;
    }
    let metrics = Metrics::somewhere();
    let pool = Pool::start(&format!("{HOUR}max_bytes = \"10MiB\"\n{}", metrics.settings()));
    let chains = ["kept-1", "kept-2", "a-1", "a-2", "b-1", "b-2", "c-1", "c-2"];
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", SNAPSHOTS, "kept-2").unwrap();
    for (first, image) in (1..).step_by(10).zip(chains.chunks(2)) {
        pool.unpack("default", first, image, 2 * MIB);
        pool.remove_all();
    }
    // Children go before their parents. What the lease names counts for nothing, with its parent.
    let expected = "kept-1 kept-2 b-1 b-2 c-1 c-2";
    let began = Instant::now();
    expect_kept(&pool, &chains, expected);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // Directories follow when the records of all are on disk.
    wait_for("the end of the layers", LIMIT, || pool.layers() == 6);
    let lines = evictions(&pool);
    assert!(lines.len() == 2 && lines[0].contains("a-2") && lines[1].contains("a-1"), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("max_bytes")), "{lines:?}");
    let shown = |what: &str| metrics.read().lines().any(|line| line.starts_with(what));
    wait_for("the count of evictions", LIMIT, || shown("leasehold_evictions_total{reason=\"max_bytes\"} 2"));
    // Four layers of two MiB and a directory.
    wait_for("the sum of what is kept", LIMIT, || shown("leasehold_retained_by_policy_bytes 84"));

    // Now it counts, and is the oldest.
    pool.operator.delete_lease("keep").unwrap();
    expect_kept(&pool, &chains, "b-1 b-2 c-1 c-2");
    // Everything that is not too much is still there after a start.
    let pool = pool.restart(true);
    pool.operator.collect().unwrap();
    expect_kept(&pool, &chains, "b-1 b-2 c-1 c-2");
}

#[test]
fn privileged_a_lease_on_the_same_name_survives_an_eviction() {
    if !is_root("a_lease_on_the_same_name_survives_an_eviction") {
        return;
    }
    // All is too much.
    let pool = Pool::start(&format!("{HOUR}max_bytes = 1\n"));
    pool.operator.create_lease("keep", &[]).unwrap();
    pool.operator.add_resource("keep", SNAPSHOTS, "chain-2").unwrap();
    pool.pull("default", 1);
    pool.pull("elsewhere", 11);
    pool.remove_all();
    wait_for("the eviction of all else", LIMIT, || pool.layers() == 2);
    assert_eq!(pool.operator.resources("keep").unwrap(), [(SNAPSHOTS.to_owned(), "chain-2".to_owned())]);
    assert_eq!(Client::api(&pool.daemon, "elsewhere").lease_ids(&[]), "", "a lease that names nothing goes");
    pool.operator.delete_lease("keep").unwrap();
    pool.expect_gone(LIMIT);
    assert_eq!(pool.operator.lease_ids(&[]), "");
}

#[test]
fn privileged_the_oldest_goes_until_enough_is_free() {
    privileged("the_oldest_goes_until_enough_is_free", || {
        const MIN_FREE: u64 = 256 * MIB;
        const LAYER: u64 = 40 * MIB;
        let filesystem = FileSystem::ext4(512 * MIB);
        let settings = format!("{HOUR}min_free = {MIN_FREE}\n[limits]\nmin_free = \"32MiB\"\n");
        let pool = Pool::serve(Pool::site(&settings).with_root(&filesystem.path().join("pool")));
        let chains: Vec<String> = (1..=8).map(|number| format!("chain-{number}")).collect();
        let chains: Vec<&str> = chains.iter().map(String::as_str).collect();
        pool.unpack("default", 1, &chains, LAYER);
        assert!(free_bytes(filesystem.path()) < MIN_FREE - LAYER, "too much is free to say anything");
        pool.remove_all();
        wait_for("enough free space", LIMIT, || free_bytes(filesystem.path()) >= MIN_FREE);
        wait_for("the end of deletions", LIMIT, || pool.site.trash_dirs().is_empty());
        let free = free_bytes(filesystem.path());
        assert!(free < MIN_FREE + LAYER, "{free}: more was evicted than needed");
        let lines = evictions(&pool);
        assert!(lines.iter().all(|line| line.contains("min_free")), "{lines:?}");
        // The base is removed last, and is the youngest.
        let left = chains[..pool.layers()].join(" ");
        assert_eq!(kept(&pool, &chains), left);
        pool.expect_whole();
    });
}

#[test]
fn privileged_what_is_kept_makes_no_pull_fail() {
    privileged("what_is_kept_makes_no_pull_fail", || {
        for make in [FileSystem::ext4, FileSystem::tmpfs] {
            let filesystem = make(384 * MIB);
            let settings = format!("{HOUR}[limits]\nmin_free = \"64MiB\"\n");
            let pool = Pool::serve(Pool::site(&settings).with_root(&filesystem.path().join("pool")));
            pool.operator.create_lease("keep", &[]).unwrap();
            pool.operator.add_resource("keep", SNAPSHOTS, "leased").unwrap();
            let chains = ["a", "b", "c", "d"];
            for (first, chain) in (1..).step_by(10).zip(["leased", "a", "b", "c", "d"]) {
                pool.unpack("default", first, &[chain], 24 * MIB);
            }
            pool.remove_all();
            assert_eq!(kept(&pool, &chains), "a b c d");
            let filler = filesystem.fill_but(16 * MIB);
            for key in ["default/101/x", "default/102/y"] {
                pool.containerd.prepare(key, "").unwrap();
            }
            assert!(free_bytes(filesystem.path()) >= 64 * MIB);
            let lines = evictions(&pool);
            assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("pressure")), "{lines:?}");

            // What a client leases stays: then there is no space, and nobody waits for it.
            wait_for("the rest", LIMIT, || kept(&pool, &chains).is_empty());
            drop(filler);
            let _filler = filesystem.fill_but(16 * MIB);
            let began = Instant::now();
            let status = pool.containerd.prepare("default/103/z", "").unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
            assert_eq!(kept(&pool, &["leased"]), "leased");
        }
    });
}

#[test]
fn privileged_what_is_kept_makes_no_upload_fail() {
    privileged("what_is_kept_makes_no_upload_fail", || {
        let filesystem = FileSystem::ext4(384 * MIB);
        let settings = format!("{HOUR}[limits]\nmin_free = \"64MiB\"\n");
        let pool = Pool::serve(Pool::site(&settings).with_root(&filesystem.path().join("pool")));
        let chains = ["a", "b"];
        pool.unpack("default", 1, &chains, 64 * MIB);
        pool.remove_all();
        assert_eq!(kept(&pool, &chains), "a b");
        let filler = filesystem.fill_but(16 * MIB);
        pool.containerd.store("ref", &[7; 4096]).unwrap();
        assert!(free_bytes(filesystem.path()) >= 64 * MIB);
        // Where there is nothing to evict, nobody waits.
        wait_for("the rest", LIMIT, || kept(&pool, &chains).is_empty());
        drop(filler);
        let _filler = filesystem.fill_but(16 * MIB);
        let began = Instant::now();
        let status = pool.containerd.store("other", &[8; 4096]).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    });
}
