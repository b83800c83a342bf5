//! A full disk: writes are refused with the reason, reads go on, nothing is lost, and when there is space again all works
//! again without a restart.

mod common;

use std::time::Duration;

use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::{Daemon, Site};
use common::filesystem::{FileSystem, privileged};
use common::history::{History, Op, State, check_pool, found};
use common::random::Random;
use common::wait_for;
use common::worker::Worker;
use tonic::{Code, Status};

const SIZE: u64 = 192 << 20;
/// How soon everything works again when there is space.
const RECOVERY: Duration = Duration::from_secs(10);

/// With a limit that stops new snapshots in time, and without, so that the database itself meets the full disk.
const LIMITS: [&str; 2] = ["32MiB", "0"];

fn each_file_system(test: impl Fn(&FileSystem, &str)) {
    for make in [FileSystem::tmpfs, FileSystem::ext4] {
        for limit in LIMITS {
            let filesystem = make(SIZE);
            eprintln!("{} with min_free = {limit:?}", filesystem.kind());
            test(&filesystem, limit);
        }
    }
}

fn site(filesystem: &FileSystem, min_free: &str) -> Site {
    let settings = format!("{UPPERDIR_SETTING}[limits]\nmin_free = {min_free:?}\n");
    Site::with_settings(&settings).with_root(&filesystem.path().join("pool"))
}

/// Serves a pool with what is to be kept through everything.
fn serve(site: &Site) -> (Daemon, Client, History) {
    let daemon = site.start();
    let client = Client::new(&daemon);
    let history = History::of(
        &client,
        [
            Op::prepare("one", ""),
            Op::write("one", "in the base"),
            Op::commit("base", "one", ""),
            Op::prepare("two", "base"),
            Op::write("two", "on the base"),
            Op::commit("second", "two", ""),
            Op::prepare("active", "second"),
            Op::write("active", "active"),
            Op::view("view", "second"),
            Op::prepare("to be removed", "second"),
            Op::prepare("to be committed", "second"),
        ],
    );
    (daemon, client, history)
}

/// Writes records until one does not fit any more, and returns why. What was answered is in the history.
fn write_until_full(client: &Client, history: &mut History) -> Status {
    let mut random = Random::new();
    // As many long labels as fit, again and again: each time the whole record is written, so that it is soon too much for
    // what the database has in reserve.
    for number in 0..4000 {
        let value: String = (0..200).map(|_| format!("{:016x}", random.next())).collect();
        if let Err(status) = history.run(client, &Op::label("base", &format!("l{}", number % 32), &value)) {
            return status;
        }
    }
    panic!("a full disk took everything");
}

fn is_refusal(status: &Status) -> bool {
    [Code::ResourceExhausted, Code::Unavailable].contains(&status.code())
}

/// Checks that everything can be read.
fn check_reads(client: &Client) {
    assert_eq!(client.list(&[]).unwrap().len(), 6);
    assert_eq!(client.stat("base").unwrap().name, "base");
    assert_eq!(client.mounts("active").unwrap().len(), 1);
    assert_eq!(client.mounts("view").unwrap().len(), 1);
    assert!(client.usage("second").unwrap().inodes > 0);
    assert!(client.usage("active").unwrap().inodes > 0);
}

/// Waits until a new snapshot can be made, and checks that all others are there.
fn check_recovered(site: &Site, client: &Client, history: &mut History) {
    wait_for_recovery(client);
    history.settle(&found(&check_pool(site, client)));
}

fn wait_for_recovery(client: &Client) {
    wait_for("the end of refusals", RECOVERY, || match client.prepare("after", "base") {
        Ok(_) => true,
        Err(status) if status.code() == Code::AlreadyExists => true,
        Err(status) => {
            assert!(is_refusal(&status), "{status}");
            false
        }
    });
    client.remove("after").unwrap();
}

#[test]
fn privileged_a_full_disk_refuses_new_snapshots_and_nothing_else() {
    privileged("a_full_disk_refuses_new_snapshots_and_nothing_else", || {
        each_file_system(|filesystem, min_free| {
            let site = site(filesystem, min_free);
            let (daemon, client, mut history) = serve(&site);
            let filler = filesystem.fill();
            if min_free == "0" {
                let status = write_until_full(&client, &mut history);
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            }
            for parent in ["", "second"] {
                let status = client.prepare("refused", parent).unwrap_err();
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            }
            check_reads(&client);
            drop(filler);
            check_recovered(&site, &client, &mut history);
            assert!(daemon.stop().success());
            assert_eq!(site.fsck(false), Vec::<String>::new());
        });
    });
}

#[test]
fn privileged_removals_and_commits_on_a_full_disk_are_done_or_refused_and_never_half() {
    privileged("removals_and_commits_on_a_full_disk_are_done_or_refused_and_never_half", || {
        each_file_system(|filesystem, min_free| {
            let site = site(filesystem, min_free);
            let (_daemon, client, mut history) = serve(&site);
            let filler = filesystem.fill();
            for op in [Op::remove("to be removed"), Op::commit("committed", "to be committed", "")] {
                match history.run(&client, &op) {
                    Ok(()) => eprintln!("{op:?} is done"),
                    Err(status) => {
                        assert!(is_refusal(&status), "{status}");
                        eprintln!("{op:?} is refused: {status}");
                        break;
                    }
                }
            }
            drop(filler);
            check_recovered(&site, &client, &mut history);
        });
    });
}

#[test]
fn privileged_a_daemon_killed_on_a_full_disk_loses_nothing_and_starts_or_says_why_not() {
    privileged("a_daemon_killed_on_a_full_disk_loses_nothing_and_starts_or_says_why_not", || {
        each_file_system(|filesystem, min_free| {
            let site = site(filesystem, min_free);
            let (daemon, client, mut history) = serve(&site);
            let filler = filesystem.fill();
            let status = write_until_full(&client, &mut history);
            assert!(is_refusal(&status), "{status}");
            daemon.kill();
            for _ in 0..3 {
                match site.try_start() {
                    Ok(daemon) => {
                        check_reads(&Client::new(&daemon));
                        daemon.kill();
                    }
                    Err(message) => assert!(message.contains("no space"), "{message}"),
                }
            }
            drop(filler);
            let daemon = site.start();
            check_recovered(&site, &Client::new(&daemon), &mut history);
        });
    });
}

#[test]
fn privileged_a_disk_that_is_full_again_and_again_loses_nothing() {
    privileged("a_disk_that_is_full_again_and_again_loses_nothing", || {
        for make in [FileSystem::tmpfs, FileSystem::ext4] {
            let filesystem = make(SIZE);
            let site = site(&filesystem, "0");
            let (_daemon, client, mut history) = serve(&site);
            for round in 0..5 {
                let filler = filesystem.fill();
                // A little more each time, so that it is met in another place.
                filler.free(round * 100_000);
                let status = write_until_full(&client, &mut history);
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                drop(filler);
                check_recovered(&site, &client, &mut history);
            }
        }
    });
}

#[test]
fn privileged_many_clients_on_a_disk_that_fills_up_lose_nothing() {
    privileged("many_clients_on_a_disk_that_fills_up_lose_nothing", || {
        let mut random = Random::new();
        for make in [FileSystem::tmpfs, FileSystem::ext4] {
            let filesystem = make(SIZE);
            let site = site(&filesystem, "0");
            let daemon = site.start();
            let client = Client::new(&daemon);
            let mut history = History::default();
            for op in [Op::prepare("one", ""), Op::commit("base", "one", "")] {
                history.run(&client, &op).unwrap();
            }
            let mut workers: Vec<Worker> = (0..8).map(|number| Worker::new(number, random.fork())).collect();
            for round in 0..4 {
                let filler = std::thread::scope(|scope| {
                    for worker in &mut workers {
                        let client = Client::new(&daemon);
                        scope.spawn(move || worker.work(&client, is_refusal));
                    }
                    let filler = filesystem.fill();
                    filler.free(round * 30_000);
                    // Takes what the database had in reserve.
                    write_until_full(&client, &mut history);
                    filler
                });
                drop(filler);
                wait_for_recovery(&client);
                let mut all = found(&check_pool(&site, &client));
                history.settle(&State::from_iter(all.remove_entry("base")));
                for worker in &mut workers {
                    worker.settle(&mut all);
                }
                assert_eq!(all, State::new(), "nobody made these");
            }
        }
    });
}
