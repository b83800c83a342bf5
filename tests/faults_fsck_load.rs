//! A check beside requests takes nothing that is under way for a problem, and a repair touches none of it.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::Site;
use common::history::{State, check_pool, found};
use common::is_root;
use common::random::Random;
use common::worker::Worker;

const CLIENTS: usize = 8;
const CHECKS: usize = 400;

#[test]
fn privileged_checks_and_repairs_under_load_find_nothing_and_change_nothing() {
    if !is_root("checks_and_repairs_under_load_find_nothing_and_change_nothing") {
        return;
    }
    let mut random = Random::new();
    let site = Site::with_settings(UPPERDIR_SETTING);
    let daemon = site.start();
    Client::new(&daemon).make_layer("base", "", "below all").unwrap();
    let mut workers: Vec<Worker> = (0..CLIENTS).map(|number| Worker::new(number, random.fork())).collect();
    let killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in &mut workers {
            let (client, killed) = (Client::new(&daemon), &killed);
            scope.spawn(move || worker.work(&client, |_| killed.load(Ordering::SeqCst)));
        }
        // Ends the load also where an assertion fails.
        let checked = std::panic::catch_unwind(|| {
            for check in 0..CHECKS {
                assert_eq!(site.fsck(check % 2 == 1), Vec::<String>::new(), "check {check}");
            }
        });
        killed.store(true, Ordering::SeqCst);
        daemon.kill();
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    });
    let daemon = site.start();
    let mut all = found(&check_pool(&site, &Client::new(&daemon)));
    all.remove("base").unwrap();
    for worker in &mut workers {
        worker.settle(&mut all);
    }
    assert_eq!(all, State::new(), "nobody made these");
    eprintln!("{} answered calls beside {CHECKS} checks", workers.iter().map(|worker| worker.answered).sum::<u64>());
}
