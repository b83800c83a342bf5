//! At every fail point in the sources: the process ends there, and the next start puts everything right without a human.

#[path = "crash/collect.rs"]
mod collect;
mod common;
#[path = "crash/content.rs"]
mod content;
#[path = "crash/damage.rs"]
mod damage;
#[path = "crash/import.rs"]
mod import;
#[path = "crash/leases.rs"]
mod leases;
#[path = "crash/points.rs"]
mod points;
#[path = "crash/retained_blobs.rs"]
mod retained_blobs;
#[path = "crash/retention.rs"]
mod retention;
#[path = "crash/reuse.rs"]
mod reuse;
#[path = "crash/workload.rs"]
mod workload;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::Site;
use common::history::{History, check_pool, found};
use common::is_root;
use points::{each_point, in_sources};

/// Problems that a crash may leave: directories that no record names. Nobody misses them, and a start removes them.
const GARBAGE: [&str; 3] = ["orphan-directory", "orphan-trash", "leftover-staging"];

fn site() -> Site {
    Site::with_settings(UPPERDIR_SETTING)
}

/// Checks a pool whose process crashed, through a start and to the end of the next daemon.
fn check_after_crash(site: &Site, history: &mut History) {
    let is_empty =
        |dir: &str| std::fs::read_dir(site.root().join(dir)).map_or(true, |mut names| names.next().is_none());
    // A check makes no pool where the crash came before there was one.
    if !is_empty("meta") || !is_empty("l") {
        for problem in offline_copy(site).fsck(false) {
            assert!(GARBAGE.iter().any(|kind| problem.starts_with(kind)), "{problem}");
        }
    }
    let daemon = site.start();
    history.settle(&found(&check_pool(site, &Client::new(&daemon))));
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

/// Copies the pool, because looking at it without a daemon opens the database, which recovers it.
fn offline_copy(site: &Site) -> Site {
    let copy = Site::new();
    damage::copy(site.root(), copy.root());
    copy
}

/// Makes a pool, changes it in every way there is and stops.
fn workload() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        each_point(|at| {
            let (site, mut history) = (site(), History::default());
            let outcome = workload::run(&site, &mut history, at);
            if site.root().exists() {
                check_after_crash(&site, &mut history);
            }
            outcome
        })
    })
}

/// Starts on a pool with everything that crashes leave behind.
fn recovery() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = damage::pool_with_leftovers(site());
        each_point(|at| {
            let site = site();
            damage::copy(template.site.root(), site.root());
            let outcome = at.serve(&site, Client::cleanup);
            let mut history = template.history.clone();
            let daemon = site.start();
            history.settle(&found(&check_pool(&site, &Client::new(&daemon))));
            assert!(daemon.stop().success());
            assert_eq!(site.fsck(false), Vec::<String>::new());
            assert_eq!(damage::set_aside(&site), [damage::WITHOUT_RECORD.to_owned()].into());
            outcome
        })
    })
}

/// Repairs a pool from which directories and records were lost.
fn repair() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = damage::damaged_pool(site());
        each_point(|at| {
            let site = site();
            damage::copy(template.site.root(), site.root());
            let outcome = at.run(site.command().args(["fsck", "--repair"]));
            // While a record cannot be read, some repairs are left to the next.
            for _ in 0..2 {
                site.fsck(true);
            }
            assert_eq!(site.fsck(false), Vec::<String>::new());
            let [one, two] = damage::ON_LOST;
            assert_eq!(damage::set_aside(&site), [damage::WITHOUT_RECORD, one, two].map(String::from).into());
            let mut history = template.history.clone();
            let daemon = site.start();
            history.settle(&found(&check_pool(&site, &Client::new(&daemon))));
            outcome
        })
    })
}

/// Changes leases and namespaces.
fn lease_changes() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = leases::template();
        each_point(|at| {
            let site = site();
            damage::copy(template.root(), site.root());
            let (answered, outcome) = leases::run(&site, at);
            leases::check(&site, answered);
            outcome
        })
    })
}

/// Collects what nothing holds any more.
fn collections() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = collect::template();
        each_point(|at| {
            let site = collect::copy(&template);
            let outcome = collect::run(&site, at);
            collect::check(&site);
            outcome
        })
    })
}

/// Removes what the daemon keeps for a while, and has it evicted.
fn evictions() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = retention::template();
        each_point(|at| {
            let site = retention::copy(&template);
            let (answered, outcome) = retention::run(&site, at);
            retention::check(&site, answered);
            outcome
        })
    })
}

/// Deletes what a lease names, and has it back or given up.
fn retained_blob_changes() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = retained_blobs::template();
        each_point(|at| {
            let site = site();
            damage::copy(template.root(), site.root());
            let (answered, outcome) = retained_blobs::run(&site, at);
            retained_blobs::check(&site, answered);
            outcome
        })
    })
}

/// Uploads, commits and deletes, on a pool with everything that crashes leave of blobs.
fn uploads() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = content::template();
        each_point(|at| {
            let site = site();
            damage::copy(template.root(), site.root());
            let (answered, outcome) = content::run(&site, at);
            content::check(&site, answered);
            outcome
        })
    })
}

/// Repairs a pool from which files and records of blobs were lost.
fn blob_repair() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = content::damaged();
        each_point(|at| {
            let site = site();
            damage::copy(template.root(), site.root());
            let outcome = content::repair(&site, at);
            content::check_repaired(&site);
            outcome
        })
    })
}

/// Has layers used again.
fn reused_layers() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        each_point(|at| {
            let site = site();
            let (answered, outcome) = reuse::run(&site, at);
            reuse::check(&site, answered);
            outcome
        })
    })
}

/// Takes over the blobs of another store.
fn imports() -> &'static BTreeSet<String> {
    static CRASHED: OnceLock<BTreeSet<String>> = OnceLock::new();
    CRASHED.get_or_init(|| {
        let template = import::template();
        each_point(|at| {
            let site = site();
            damage::copy(template.root(), site.root());
            let foreign = import::foreign(&site);
            let outcome = import::run(&site, &foreign, at);
            import::check(&site, &foreign);
            outcome
        })
    })
}

#[test]
fn privileged_an_import_that_crashed_at_any_point_is_completed_by_the_next() {
    if is_root("an_import_that_crashed_at_any_point_is_completed_by_the_next") {
        imports();
    }
}

#[test]
fn privileged_layers_that_are_used_again_survive_a_crash_at_every_point() {
    if is_root("layers_that_are_used_again_survive_a_crash_at_every_point") {
        reused_layers();
    }
}

#[test]
fn privileged_a_crash_at_every_point_of_an_eviction_loses_nothing_that_is_leased() {
    if is_root("a_crash_at_every_point_of_an_eviction_loses_nothing_that_is_leased") {
        evictions();
    }
}

#[test]
fn privileged_uploads_and_blobs_survive_a_crash_at_every_point_of_their_changes() {
    if is_root("uploads_and_blobs_survive_a_crash_at_every_point_of_their_changes") {
        uploads();
    }
}

#[test]
fn privileged_blobs_that_are_leased_survive_a_crash_at_every_point_of_their_deletion() {
    if is_root("blobs_that_are_leased_survive_a_crash_at_every_point_of_their_deletion") {
        retained_blob_changes();
    }
}

#[test]
fn privileged_a_crash_at_every_point_of_a_repair_of_blobs_is_repaired() {
    if is_root("a_crash_at_every_point_of_a_repair_of_blobs_is_repaired") {
        blob_repair();
    }
}

#[test]
fn privileged_a_crash_at_every_point_of_a_collection_keeps_what_is_held() {
    if is_root("a_crash_at_every_point_of_a_collection_keeps_what_is_held") {
        collections();
    }
}

#[test]
fn privileged_leases_survive_a_crash_at_every_point_of_their_changes() {
    if is_root("leases_survive_a_crash_at_every_point_of_their_changes") {
        lease_changes();
    }
}

#[test]
fn privileged_every_answer_survives_a_crash_at_every_point_of_every_operation() {
    if is_root("every_answer_survives_a_crash_at_every_point_of_every_operation") {
        workload();
    }
}

#[test]
fn privileged_a_crash_at_every_point_of_recovery_is_recovered_from() {
    if is_root("a_crash_at_every_point_of_recovery_is_recovered_from") {
        recovery();
    }
}

#[test]
fn privileged_a_crash_at_every_point_of_a_repair_is_repaired() {
    if is_root("a_crash_at_every_point_of_a_repair_is_repaired") {
        repair();
    }
}

#[test]
fn privileged_every_fail_point_in_the_sources_was_crashed_at() {
    if is_root("every_fail_point_in_the_sources_was_crashed_at") {
        let leases = [lease_changes(), collections(), evictions(), retained_blob_changes()];
        let blobs = [uploads(), blob_repair(), imports(), reused_layers()];
        let runs = [workload(), recovery(), repair()].into_iter().chain(leases).chain(blobs);
        let crashed: BTreeSet<String> = runs.flatten().cloned().collect();
        let missed: Vec<_> = in_sources().into_iter().filter(|name| !crashed.contains(name)).collect();
        assert!(missed.is_empty(), "no crash at {missed:?}");
    }
}
