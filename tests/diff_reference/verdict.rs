//! What became of each layer, and whether that is the same with both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use super::common::tools::built;
use super::exceptions;
use super::ours::WRONG_USAGE;

/// One application of one layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub case: String,
    pub plain: bool,
    pub layer: usize,
}

/// Why a layer was refused, if it was. Those after it were not tried.
pub type Outcomes = BTreeMap<Key, Option<String>>;

/// Reads what `refapply` prints.
pub fn parse(printed: &str) -> Outcomes {
    let outcome = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let case = line["case"].as_str().unwrap().to_owned();
        let layer = usize::try_from(line["layer"].as_u64().unwrap()).unwrap();
        let key = Key { case, plain: line["plain"].as_bool().unwrap(), layer };
        (key, line["error"].as_str().map(str::to_owned))
    };
    printed.lines().map(outcome).collect()
}

/// Returns the time as `treediff` takes it, in whole seconds.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Summary {
    /// Applications of a layer by both.
    pub layers: usize,
    /// Those that left the same tree.
    pub equal: usize,
    /// Those that both refused.
    pub refused: usize,
    /// Those that only we apply, as intended.
    pub excepted: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { layers, equal, refused, excepted } = self;
        write!(f, "{layers} layers applied twice: {equal} are equal, {refused} refused, {excepted} only by us")
    }
}

/// Who refused what.
pub struct Verdict {
    summary: Summary,
    problems: Vec<String>,
    /// Directories, as `CASE/0` or `CASE/plain`, that at least one of the two did not finish.
    incomparable: BTreeSet<String>,
}

impl Verdict {
    pub fn new(ours: &Outcomes, theirs: &Outcomes) -> Verdict {
        let mut verdict = Verdict { summary: Summary::default(), problems: Vec::new(), incomparable: BTreeSet::new() };
        let keys: BTreeSet<&Key> = ours.keys().chain(theirs.keys()).collect();
        for key in keys {
            match (ours.get(key), theirs.get(key)) {
                (Some(None), Some(None)) => verdict.summary.equal += 1,
                (Some(Some(ours)), Some(Some(_))) if !ours.starts_with(WRONG_USAGE) => {
                    verdict.summary.refused += 1;
                    verdict.leave_out(key);
                }
                (Some(None), Some(Some(theirs))) if exceptions::may_be_applied(key, theirs) => {
                    verdict.summary.excepted += 1;
                    verdict.leave_out(key);
                }
                (Some(ours), Some(theirs)) => {
                    let shown = |said: &Option<String>| said.clone().unwrap_or_else(|| "applied".into());
                    verdict.problems.push(format!("{key}\n    ours:   {}\n    theirs: {}", shown(ours), shown(theirs)));
                    verdict.leave_out(key);
                }
                // One of the two did not come so far.
                _ => {
                    verdict.leave_out(key);
                    continue;
                }
            }
            verdict.summary.layers += 1;
        }
        verdict
    }

    fn leave_out(&mut self, key: &Key) {
        self.incomparable.insert(key.dir());
    }

    /// Removes what was left half done.
    pub fn remove_incomparable(&self, out: &Path) {
        for dir in &self.incomparable {
            match std::fs::remove_dir_all(out.join(dir)) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => panic!("remove {dir}: {err}"),
                _ => {}
            }
        }
    }

    /// Panics if there is any difference.
    pub fn settle(mut self, trees: Vec<String>) -> Summary {
        self.problems.extend(trees);
        let Verdict { summary, problems, .. } = self;
        assert!(
            problems.is_empty(),
            "{summary}\n{} differences, ours|theirs:\n{}",
            problems.len(),
            problems.join("\n")
        );
        summary
    }
}

impl Key {
    fn dir(&self) -> String {
        if self.plain { format!("{}/plain", self.case) } else { format!("{}/{}", self.case, self.layer) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {} layer {} in {}", self.case, self.layer, self.dir())
    }
}

/// Returns each path that differs, with how it does.
pub fn compare_trees(ours: &Path, theirs: &Path, since: &str) -> Vec<String> {
    let output =
        Command::new(built("bin/treediff")).args(["-touched-since", since]).args([ours, theirs]).output().unwrap();
    // 2 says that it could not tell.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.is_empty(), output.status.success());
    lines
}
