//! What the integration tests share: a daemon of their own, and waiting for a state with a deadline.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod client;
pub mod containerd;
pub mod daemon;
pub mod images;
mod leftovers;
pub mod node;
pub mod registry;
pub mod tools;

use std::time::{Duration, Instant};

/// Waits until `state` is true, looking again every few milliseconds; panics with `what` after `limit`.
pub fn wait_for(what: &str, limit: Duration, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !state() {
        assert!(Instant::now() < deadline, "{what} did not happen within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether the test runs as root; says so loudly when it does not.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED, NOT PASSED: {test} needs root");
    }
    root
}
