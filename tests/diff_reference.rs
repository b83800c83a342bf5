//! What is extracted from a layer is, in every attribute, what containerd's own applier makes of it, and what that refuses
//! is refused.
//!
//! Both apply the same chains of layers, as layers of an overlay and one after the other to a plain directory. What may
//! differ is in one table, with the reason.

#[path = "diff_reference/chains.rs"]
mod chains;
mod common;
#[path = "diff_reference/exceptions.rs"]
mod exceptions;
#[path = "diff_reference/ours.rs"]
mod ours;
#[path = "diff_reference/verdict.rs"]
mod verdict;

use std::env;
use std::path::Path;
use std::process::Command;

use common::filesystem::{FileSystem, privileged};
use common::tools::{built, ready, run};

/// How many random chains are made, in the place of [`CHAINS`].
const CHAINS_VARIABLE: &str = "LEASEHOLD_REFERENCE_CHAINS";
/// The seed of the first one; the others follow.
const SEED_VARIABLE: &str = "LEASEHOLD_SEED";
/// Compares real trees and packages, too, which takes minutes and a mirror of Debian.
const LONG_VARIABLE: &str = "LEASEHOLD_REFERENCE_LONG";

/// Chains of about two layers.
const CHAINS: u64 = 1500;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Bytes of the file system for all trees; most of it stays a hole.
const SPACE: u64 = 64 << 30;

/// Runs a test in a file system of its own: one that limits times and attributes as the one of a host does, and in
/// which nothing was removed before, so that it is fast.
fn with_scratch(test: &str, body: impl FnOnce(&Path) + Send) {
    if ready(test) {
        privileged(test, || body(FileSystem::ext4_with(SPACE, &["-i", "8192"]).path()));
    }
}

/// Applies the chains below `cases` with both, and panics with every difference.
fn compare(dir: &Path, cases: &Path) -> verdict::Summary {
    let (ours, theirs) = (dir.join("ours"), dir.join("theirs"));
    let since = verdict::now();
    let theirs_said = verdict::parse(&run(Command::new(built("bin/refapply"))
        .arg("cases")
        .arg("-cases")
        .arg(cases)
        .arg("-out")
        .arg(&theirs)));
    let ours_said = ours::apply_all(cases, &ours);
    let verdict = verdict::Verdict::new(&ours_said, &theirs_said);
    verdict.remove_incomparable(&ours);
    verdict.remove_incomparable(&theirs);
    verdict.settle(verdict::compare_trees(&ours, &theirs, &since))
}

#[test]
fn privileged_odd_layers_are_applied_as_containerd_does() {
    with_scratch("privileged_odd_layers_are_applied_as_containerd_does", |dir| {
        let cases = dir.join("cases");
        let (count, seed) = (number(CHAINS_VARIABLE, CHAINS), number(SEED_VARIABLE, 1));
        run(Command::new(built("bin/tarcases")).arg("-o").arg(&cases).args([
            "-count",
            &count.to_string(),
            "-seed",
            &seed.to_string(),
        ]));
        let summary = compare(dir, &cases);
        eprintln!("{summary}");
        // A generator that makes nothing of use would let everything pass.
        assert!(count < CHAINS || summary.layers >= 4000, "{summary}");
        assert!(summary.equal * 2 > summary.layers, "{summary}");
        assert!(summary.refused * 20 > summary.layers, "{summary}");
    });
}

#[test]
fn privileged_real_layers_are_applied_as_containerd_does() {
    with_scratch("privileged_real_layers_are_applied_as_containerd_does", |dir| {
        let cases = dir.join("cases");
        chains::make(&cases, env::var_os(LONG_VARIABLE).is_some());
        let summary = compare(dir, &cases);
        eprintln!("{summary}");
        assert_eq!(summary.refused, 0, "{summary}");
    });
}
