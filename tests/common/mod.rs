//! What the integration tests share: a daemon of their own, and waiting for a state with a deadline.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod applies;
pub mod cli;
pub mod client;
pub mod collections;
pub mod containerd;
pub mod content;
pub mod daemon;
pub mod damage;
pub mod diff;
pub mod filesystem;
pub mod foreign;
pub mod handmade;
pub mod headers;
pub mod history;
pub mod images;
pub mod leases;
mod leftovers;
pub mod metrics;
pub mod node;
pub mod pool;
pub mod random;
pub mod reconnect;
pub mod registry;
pub mod tools;
pub mod worker;

use std::time::{Duration, Instant};

/// Waits until `state` is true, looking again every few milliseconds; panics with `what` after `limit`.
pub fn wait_for(what: &str, limit: Duration, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !state() {
        assert!(Instant::now() < deadline, "{what} did not happen within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether the test runs as root; says so loudly when it does not, and fails where everything is required.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "root");
    }
    root
}

/// Says that a test did not run; panics where everything is required, in CI and with `LEASEHOLD_REQUIRE_ALL`.
pub fn skip(test: &str, needs: &str) {
    let required = ["CI", "LEASEHOLD_REQUIRE_ALL"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!required, "{test} needs {needs}");
    eprintln!("SKIPPED, NOT PASSED: {test} needs {needs}");
}
