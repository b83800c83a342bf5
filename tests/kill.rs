//! Killed at any moment under load, the daemon loses nothing that it answered, and starts again without a human.
//!
//! `LEASEHOLD_SEED` repeats a run, as far as the kernel's scheduler does.

mod common;

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::Site;
use common::history::{State, check_pool, found};
use common::is_root;
use common::random::Random;
use common::worker::Worker;
use tonic::{Code, Status};

const KILLS: usize = 200;
const CLIENTS: usize = 8;
/// The longest time under load before a kill, in microseconds.
const LOAD: u64 = 150_000;
/// The longest time that a daemon gets to start, where it is killed then, in microseconds.
const START: u64 = 150_000;

#[test]
fn privileged_nothing_answered_is_lost_when_the_daemon_is_killed_two_hundred_times_under_load() {
    if !is_root("nothing_answered_is_lost_when_the_daemon_is_killed_two_hundred_times_under_load") {
        return;
    }
    let mut random = Random::new();
    let site = Site::with_settings(UPPERDIR_SETTING);
    let mut workers: Vec<Worker> = (0..CLIENTS).map(|number| Worker::new(number, random.fork())).collect();
    let mut daemon = site.start();
    Client::new(&daemon).make_layer("base", "", "below all").unwrap();
    for round in 0..KILLS {
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in &mut workers {
                let (socket, killed) = (daemon.plugin_socket().to_owned(), &killed);
                scope.spawn(move || match Client::connect(&socket) {
                    Ok(client) => worker.work(&client, |status| is_lost(status) && killed.load(Ordering::SeqCst)),
                    Err(err) => assert!(killed.load(Ordering::SeqCst), "{err}"),
                });
            }
            wait(random.below(LOAD));
            killed.store(true, Ordering::SeqCst);
            daemon.kill();
        });
        // Some die again while they recover.
        for _ in 0..random.below(8).saturating_sub(5) {
            let starting = site.spawn(|_| {});
            wait(random.below(START));
            starting.kill();
        }
        daemon = site.start();
        let all = check_pool(&site, &Client::new(&daemon));
        let mut found: State = found(&all);
        assert_eq!(found.remove("base").unwrap().content.as_deref(), Some("below all"));
        for worker in &mut workers {
            worker.settle(&mut found);
        }
        assert_eq!(found, State::new(), "nobody made these");
        if round % 50 == 49 {
            let answered: u64 = workers.iter().map(|worker| worker.answered).sum();
            eprintln!("{} kills, {answered} answered calls, {} snapshots", round + 1, all.len());
        }
    }
    assert!(daemon.stop().success());
    assert!(UnixStream::connect(site.plugin_socket()).is_err());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

/// Whether a call failed because the connection was lost.
fn is_lost(status: &Status) -> bool {
    [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal].contains(&status.code())
}

/// Lets others work for a while: the moment of a kill is what varies here, not a state to wait for.
fn wait(micros: u64) {
    std::thread::park_timeout(Duration::from_micros(micros));
}
