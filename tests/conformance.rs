//! containerd's own snapshotter suite passes, every case of it, on both sockets.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::tools::{built, ready, run};

/// What the suite has in the containerd release that `tests/go/go.mod` names.
const CASES: usize = 21;

#[test]
fn privileged_containerds_own_suite_passes_on_the_plugin_socket() {
    if ready("containerds_own_suite_passes_on_the_plugin_socket") {
        run_suite(|_| {});
    }
}

#[test]
fn privileged_containerds_own_suite_passes_on_the_api_socket() {
    if ready("containerds_own_suite_passes_on_the_api_socket") {
        run_suite(|command| _ = command.env("SNAPSUITE_API", "1"));
    }
}

fn run_suite(change: impl FnOnce(&mut Command)) {
    let mut command = Command::new(built("bin/snapsuite.test"));
    command.args(["-test.root", "-test.v"]).env("LEASEHOLD_BIN", env!("CARGO_BIN_EXE_leasehold"));
    change(&mut command);
    let report = run(&mut command);
    let cases = |verdict: &str| -> BTreeSet<String> {
        let line = format!("--- {verdict}: TestSnapshotter/");
        report.lines().filter_map(|text| Some(text.trim().strip_prefix(&line)?.to_owned())).collect()
    };
    assert_eq!(cases("SKIP"), BTreeSet::new(), "{report}");
    assert_eq!(cases("FAIL"), BTreeSet::new(), "{report}");
    assert_eq!(cases("PASS").len(), CASES, "{report}");
}
