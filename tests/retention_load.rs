//! Evictions beside everything else that goes on: nothing that somebody leases is evicted, and nothing is left over.

mod common;

use std::time::{Duration, Instant};

use common::client::Client;
use common::pool::Pool;
use common::random::Random;
use common::{is_root, wait_for};

const SNAPSHOTS: &str = "snapshots/leasehold";
const LIMIT: Duration = Duration::from_secs(60);
const WORKERS: u32 = 4;
/// How long they work.
const TIME: Duration = Duration::from_secs(6);
/// As much as a few images.
const MAX_BYTES: u64 = 4 << 20;

/// Pulls and removes images, some of which it leases meanwhile, and checks that these stay.
fn work(pool: &Pool, worker: u32, random: &mut Random, deadline: Instant) {
    let containerd = Client::connect(pool.daemon.plugin_socket()).unwrap();
    let operator = Client::api(&pool.daemon, "default");
    let lease = format!("keep-{worker}");
    let mut number = worker * 1_000_000;
    while Instant::now() < deadline {
        // Few names, so that most were retained before, and some are evicted in this moment.
        let image = random.next() % 3;
        let [base, top] = ["base", "top"].map(|layer| format!("{worker}-{image}-{layer}"));
        let is_leased = random.next().is_multiple_of(2);
        // Before it is pulled, before it is removed, or when it is retained already.
        let when = if is_leased { random.next() % 3 } else { 3 };
        let take = || {
            operator.create_lease(&lease, &[]).unwrap();
            operator.add_resource(&lease, SNAPSHOTS, &top).unwrap();
        };
        if when == 0 {
            take();
        }
        let mut parent = String::new();
        for name in [&base, &top] {
            number += 2;
            let (key, committed) = (format!("default/{number}/x"), format!("default/{}/{name}", number + 1));
            let mounts = containerd.prepare(&key, &parent).unwrap();
            let file = common::client::upperdir_of_mounts(&mounts).join("file");
            std::fs::write(file, vec![1; 300_000]).unwrap();
            containerd.commit(&committed, &key).unwrap();
            parent = committed;
        }
        if when == 1 {
            take();
        }
        containerd.remove(&parent).unwrap();
        containerd.remove(&format!("default/{}/{base}", number - 1)).unwrap();
        if when == 2 {
            // It may be too late.
            take();
        }
        if when < 2 {
            let held = format!("retained {top}: lease keep-{worker}");
            // Everybody's evictions go on meanwhile.
            for _ in 0..3 {
                assert!(operator.why(&top).unwrap().contains(&held), "{:?}", operator.why(&top));
            }
        }
        if is_leased {
            operator.delete_lease(&lease).unwrap();
        }
    }
}

#[test]
fn privileged_evictions_under_load_spare_what_is_leased() {
    if !is_root("evictions_under_load_spare_what_is_leased") {
        return;
    }
    let pool = Pool::start(&format!("[retention]\nafter_remove = \"1h\"\nmax_bytes = {MAX_BYTES}\n"));
    let mut random = Random::new();
    let deadline = Instant::now() + TIME;
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (pool, mut random) = (&pool, random.fork());
            scope.spawn(move || work(pool, worker, &mut random, deadline));
        }
        while Instant::now() < deadline {
            pool.expect_whole();
        }
    });
    let log = std::fs::read_to_string(pool.site.log()).unwrap();
    let evicted = log.lines().filter(|line| line.contains("is evicted")).count();
    eprintln!("{evicted} evictions");
    assert!(evicted > 20, "too few to say anything");
    let kept = || pool.site.cli(&["info", "--json"]).json()["pool"]["retained_by_policy_bytes"].as_u64().unwrap();
    let there = || pool.site.cli(&["du", "--json"]).json()["total"]["size"].as_u64().unwrap();
    // What is kept is all there is: no name has two generations, and nothing was forgotten.
    wait_for("the maximum to be kept", LIMIT, || (1..=MAX_BYTES).contains(&there()) && kept() == there());
    pool.expect_whole();
    for lease in pool.operator.leases(&[]).unwrap() {
        pool.operator.delete_lease(&lease.id).unwrap();
    }
    pool.expect_gone(LIMIT);
}
