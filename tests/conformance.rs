//! containerd's own suites pass, every case of them: for snapshotters and content stores on both sockets, and for content
//! that namespaces of the API socket share, or do not.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::tools::{built, ready, run};

/// One of containerd's suites.
struct Suite {
    test: &'static str,
    /// What it has in the containerd release that `tests/go/go.mod` names.
    cases: usize,
}

const SNAPSHOTTER: Suite = Suite { test: "TestSnapshotter", cases: 21 };
const CONTENT: Suite = Suite { test: "TestContent", cases: 12 };
const SHARED: Suite = Suite { test: "TestContentShared", cases: 2 };
const ISOLATED: Suite = Suite { test: "TestContentIsolated", cases: 2 };

#[test]
fn privileged_containerds_own_suite_passes_on_the_plugin_socket() {
    if ready("containerds_own_suite_passes_on_the_plugin_socket") {
        run_suite(&SNAPSHOTTER, |_| {});
    }
}

#[test]
fn privileged_containerds_own_suite_passes_on_the_api_socket() {
    if ready("containerds_own_suite_passes_on_the_api_socket") {
        run_suite(&SNAPSHOTTER, |command| _ = command.env("SNAPSUITE_API", "1"));
    }
}

#[test]
fn privileged_containerds_own_content_suite_passes_on_the_plugin_socket() {
    if ready("containerds_own_content_suite_passes_on_the_plugin_socket") {
        run_suite(&CONTENT, |_| {});
    }
}

#[test]
fn privileged_containerds_own_content_suite_passes_on_the_api_socket() {
    if ready("containerds_own_content_suite_passes_on_the_api_socket") {
        run_suite(&CONTENT, |command| _ = command.env("SNAPSUITE_API", "1"));
    }
}

#[test]
fn privileged_containerds_own_suites_of_shared_and_isolated_content_pass() {
    if ready("containerds_own_suites_of_shared_and_isolated_content_pass") {
        run_suite(&SHARED, |_| {});
        run_suite(&ISOLATED, |_| {});
    }
}

fn run_suite(suite: &Suite, change: impl FnOnce(&mut Command)) {
    let mut command = Command::new(built("bin/snapsuite.test"));
    command.args(["-test.root", "-test.v", "-test.run", &format!("^{}$", suite.test)]);
    command.env("LEASEHOLD_BIN", env!("CARGO_BIN_EXE_leasehold"));
    change(&mut command);
    let report = run(&mut command);
    let cases = |verdict: &str| -> BTreeSet<String> {
        let line = format!("--- {verdict}: {}/", suite.test);
        report.lines().filter_map(|text| Some(text.trim().strip_prefix(&line)?.to_owned())).collect()
    };
    assert_eq!(cases("SKIP"), BTreeSet::new(), "{report}");
    assert_eq!(cases("FAIL"), BTreeSet::new(), "{report}");
    assert_eq!(cases("PASS").len(), suite.cases, "{report}");
}
