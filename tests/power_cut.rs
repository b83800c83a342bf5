//! A power cut: what was only in memory is gone. Every record that was answered is there, and every layer whose data was
//! synced, by who wrote it or by the daemon where it is set to.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::{Daemon, Site};
use common::filesystem::{FileSystem, privileged};
use common::history::{History, Op, State, check_pool, found};
use common::random::Random;
use common::worker::Worker;

const SIZE: u64 = 320 << 20;
const CUTS: usize = 8;
const CUTS_UNDER_LOAD: usize = 80;
const CLIENTS: usize = 8;
/// The longest time under load before a cut, in microseconds: most cuts come while the logs are still laid out.
const LOAD: u64 = 100_000;

/// The file systems with a journal that can be shut down without writing it.
fn journalled() -> [FileSystem; 2] {
    [FileSystem::ext4(SIZE), FileSystem::xfs(SIZE, &[])]
}

fn site(filesystem: &FileSystem, settings: &str) -> Site {
    Site::with_settings(&format!("{UPPERDIR_SETTING}{settings}")).with_root(&filesystem.path().join("pool"))
}

/// Cuts the power, and starts a daemon on what reached the disk.
fn cut_power(filesystem: &FileSystem, site: &Site, daemon: Daemon) -> Daemon {
    filesystem.cut_power();
    daemon.kill();
    filesystem.restore_power();
    site.start()
}

/// Operations whose number and kind differ each time.
fn operations(random: &mut Random, round: usize, sync: bool) -> Vec<Op> {
    let mut ops = Vec::new();
    for number in 0..1 + random.below(12) {
        let name = format!("{round}.{number:02}");
        let parent = if number == 0 { String::new() } else { format!("{round}.{:02}", number - 1) };
        ops.extend([Op::prepare("key", &parent), Op::write("key", &name)]);
        if sync {
            ops.push(Op::sync("key"));
        }
        ops.push(Op::commit(&name, "key", ""));
        if random.below(3) == 0 {
            ops.push(Op::label(&name, "label", "value"));
        }
    }
    ops
}

#[test]
fn privileged_committed_layers_survive_a_power_cut_where_the_daemon_syncs_them() {
    privileged("committed_layers_survive_a_power_cut_where_the_daemon_syncs_them", || {
        survive("[durability]\nsync_layers_on_commit = true\n", false);
    });
}

#[test]
fn privileged_committed_layers_survive_a_power_cut_where_their_writer_syncs_them() {
    privileged("committed_layers_survive_a_power_cut_where_their_writer_syncs_them", || survive("", true));
}

fn survive(settings: &str, writer_syncs: bool) {
    let mut random = Random::new();
    for filesystem in journalled() {
        eprintln!("{}", filesystem.kind());
        let site = site(&filesystem, settings);
        let (mut daemon, mut history) = (site.start(), History::default());
        for round in 0..CUTS {
            let client = Client::new(&daemon);
            for op in operations(&mut random, round, writer_syncs) {
                history.run(&client, &op).unwrap();
            }
            daemon = cut_power(&filesystem, &site, daemon);
            history.settle(&found(&check_pool(&site, &Client::new(&daemon))));
        }
    }
}

#[test]
fn privileged_nothing_answered_is_lost_when_the_power_goes_under_load() {
    privileged("nothing_answered_is_lost_when_the_power_goes_under_load", || {
        let mut random = Random::new();
        for filesystem in journalled() {
            let site = site(&filesystem, "[durability]\nsync_layers_on_commit = true\n");
            let mut workers: Vec<Worker> = (0..CLIENTS).map(|number| Worker::new(number, random.fork())).collect();
            let mut daemon = site.start();
            Client::new(&daemon).make_layer("base", "", "below all").unwrap();
            for _ in 0..CUTS_UNDER_LOAD {
                let cut = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    for worker in &mut workers {
                        let (client, cut) = (Client::new(&daemon), &cut);
                        scope.spawn(move || worker.work_until(&client, cut));
                    }
                    // The moment of the cut is what varies here, not a state to wait for.
                    std::thread::park_timeout(Duration::from_micros(random.below(LOAD)));
                    cut.store(true, Ordering::SeqCst);
                    filesystem.cut_power();
                    daemon.kill();
                });
                filesystem.restore_power();
                daemon = site.start();
                let mut all = found(&check_pool(&site, &Client::new(&daemon)));
                assert_eq!(all.remove("base").unwrap().content.as_deref(), Some("below all"));
                for worker in &mut workers {
                    worker.settle_after_power_cut(&mut all);
                }
                assert_eq!(all, State::new(), "nobody made these");
            }
            let answered: u64 = workers.iter().map(|worker| worker.answered).sum();
            eprintln!("{}: {answered} answered calls", filesystem.kind());
        }
    });
}

/// Nobody syncs, so the layers themselves may be lost. That is found, and repaired by forgetting them.
#[test]
fn privileged_layers_that_nobody_synced_are_found_lost_and_the_rest_can_be_used() {
    privileged("layers_that_nobody_synced_are_found_lost_and_the_rest_can_be_used", || {
        let mut random = Random::new();
        for filesystem in journalled() {
            eprintln!("{}", filesystem.kind());
            let site = site(&filesystem, "");
            let (mut daemon, mut kept) = (site.start(), History::default());
            let ops =
                [Op::prepare("one", ""), Op::write("one", "synced"), Op::sync("one"), Op::commit("base", "one", "")];
            for op in ops {
                kept.run(&Client::new(&daemon), &op).unwrap();
            }
            for round in 0..CUTS {
                let (client, mut lost) = (Client::new(&daemon), kept.clone());
                for op in operations(&mut random, round, false) {
                    lost.run(&client, &op).unwrap();
                }
                for key in ["active", "removed"] {
                    client.prepare(key, "base").unwrap();
                }
                client.remove("removed").unwrap();
                daemon = cut_power(&filesystem, &site, daemon);
                let problems = site.fsck(true);
                assert!(problems.iter().all(|one| one.starts_with("missing-directory")), "{problems:?}");
                let client = Client::new(&daemon);
                // The record was synced: made again, empty, if the directory was lost.
                client.remove("active").unwrap();
                let found = found(&check_pool(&site, &client));
                for (name, snapshot) in &kept.state {
                    assert_eq!(found.get(name), Some(snapshot));
                }
                for name in found.keys().filter(|name| !kept.state.contains_key(*name)) {
                    assert!(lost.state.contains_key(name), "{name} was never made");
                }
                // Children were made later, and sort later.
                for name in found.keys().rev().filter(|name| !kept.state.contains_key(*name)) {
                    client.remove(name).unwrap();
                }
            }
        }
    });
}

#[test]
fn privileged_removed_layers_stay_removed_after_a_power_cut() {
    privileged("removed_layers_stay_removed_after_a_power_cut", || {
        for filesystem in journalled() {
            let site = site(&filesystem, "[durability]\nsync_layers_on_commit = true\n");
            let (mut daemon, mut history) = (site.start(), History::default());
            let client = Client::new(&daemon);
            for round in 0..3 {
                for op in
                    [Op::prepare("key", ""), Op::write("key", "x"), Op::commit(&format!("base {round}"), "key", "")]
                {
                    history.run(&client, &op).unwrap();
                }
            }
            for op in [Op::remove("base 0"), Op::Cleanup, Op::remove("base 1")] {
                history.run(&client, &op).unwrap();
            }
            daemon = cut_power(&filesystem, &site, daemon);
            history.settle(&found(&check_pool(&site, &Client::new(&daemon))));
            assert!(daemon.stop().success());
        }
    });
}

#[test]
fn privileged_a_daemon_whose_disk_fails_says_so_and_loses_nothing() {
    privileged("a_daemon_whose_disk_fails_says_so_and_loses_nothing", || {
        for filesystem in journalled() {
            let site = site(&filesystem, "");
            let (daemon, mut history) = (site.start(), History::default());
            let client = Client::new(&daemon);
            for op in operations(&mut Random::new(), 0, true) {
                history.run(&client, &op).unwrap();
            }
            filesystem.cut_power();
            // As often as it may try to open the database again.
            for _ in 0..3 {
                let status = client.update("0.00", &[("a", "b")], &["labels.a"]).unwrap_err();
                let codes = [tonic::Code::Internal, tonic::Code::Unavailable];
                assert!(codes.contains(&status.code()), "{status}");
                // What is not in memory cannot be read either, which is not the same as missing.
                if let Err(status) = client.stat("0.00") {
                    assert_eq!(status.code(), tonic::Code::Internal, "{status}");
                }
            }
            daemon.kill();
            filesystem.restore_power();
            let daemon = site.start();
            history.settle(&found(&check_pool(&site, &Client::new(&daemon))));
        }
    });
}
