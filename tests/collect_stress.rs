//! Nothing that is held is collected, and everything else is, while clients of both sockets change all there is.

#[path = "collect_stress/client.rs"]
mod client;
mod common;
#[path = "collect_stress/model.rs"]
mod model;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::ApiClient;
use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::Site;
use common::history::{State, check_pool, found};
use common::random::Random;
use common::worker::Worker;
use common::{is_root, wait_for};

/// How long the load lasts, in seconds.
const SECONDS: &str = "LEASEHOLD_STRESS_SECONDS";
const API_CLIENTS: usize = 6;
const PLUGIN_CLIENTS: usize = 3;
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn privileged_what_is_held_stays_and_the_rest_goes_under_load() {
    if !is_root("what_is_held_stays_and_the_rest_goes_under_load") {
        return;
    }
    let seconds = std::env::var(SECONDS).map_or(20, |text| text.parse().expect("a number of seconds"));
    let mut random = Random::new();
    let site = Site::with_settings(&format!("{UPPERDIR_SETTING}[gc]\nmutation_threshold = 20\n"));
    let daemon = site.start();
    let containerd = Client::new(&daemon);
    containerd.make_layer("base", "", "below all").unwrap();
    let mut workers: Vec<Worker> = (0..PLUGIN_CLIENTS).map(|number| Worker::new(number, random.fork())).collect();
    let mut clients: Vec<ApiClient> =
        (0..API_CLIENTS).map(|number| ApiClient::new(Client::api(&daemon, "default"), number, random.fork())).collect();
    let (end, failed) = (Instant::now() + Duration::from_secs(seconds), AtomicBool::new(false));
    let (mut collections, mut collected) = (0, 0);
    std::thread::scope(|scope| {
        let go_on = || Instant::now() < end && !failed.load(Ordering::SeqCst);
        for client in &mut clients {
            let stop = StopOnPanic(&failed);
            scope.spawn(move || {
                let _stop = stop;
                while go_on() {
                    client.step();
                }
            });
        }
        for worker in &mut workers {
            let (client, stop) = (Client::new(&daemon), StopOnPanic(&failed));
            scope.spawn(move || {
                let _stop = stop;
                worker.work_while(&client, go_on);
            });
        }
        let operator = Client::api(&daemon, "default");
        while go_on() {
            collected += operator.collect().unwrap().snapshots;
            collections += 1;
        }
    });
    let answered: u64 = clients.iter().map(|client| client.answered).sum::<u64>()
        + workers.iter().map(|worker| worker.answered).sum::<u64>();
    eprintln!("{answered} calls, {collections} collections of {collected} snapshots");

    let api = Client::api(&daemon, "default");
    wait_for("the end of leases that end", LIMIT, || api.lease_ids(&[]).split_whitespace().count() == leases(&clients));
    clients.iter_mut().for_each(ApiClient::check);
    api.collect().unwrap();
    let held: BTreeSet<String> = clients.iter().flat_map(|client| client.model.held_forever()).collect();
    let names: BTreeSet<String> = api.list(&[]).unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, held, "what there is on the left, what is held on the right");

    for name in &held {
        api.update(name, &[], &["labels"]).unwrap();
    }
    for id in api.lease_ids(&[]).split_whitespace() {
        api.delete_lease(id).unwrap();
    }
    api.collect().unwrap();
    assert_eq!(api.names(), "");
    let all = check_pool(&site, &containerd);
    let mut left: State = found(&all);
    assert!(left.remove("base").is_some());
    workers.iter_mut().for_each(|worker| worker.settle(&mut left));
    assert_eq!(left, State::new(), "nobody made these");
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

/// Returns how many leases never end.
fn leases(clients: &[ApiClient]) -> usize {
    clients.iter().flat_map(|client| client.model.leases.values()).filter(|lease| lease.ends.is_none()).count()
}

/// Ends the others when one fails, so that the first failure is what is seen.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
