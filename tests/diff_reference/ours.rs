//! Applying chains of layers with our extraction.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold::Chain;
use leasehold::diff::extract::{Extracted, Limits, Target, Whiteouts, extract};
use leasehold::overlay::disk_usage;

use super::verdict::{Key, Outcomes};

/// How it is told that the answer of an extraction is wrong.
pub const WRONG_USAGE: &str = "wrong usage";

/// Applies each chain below `cases` twice: as layers of an overlay, to `out/CASE/0`, 1 and so on, and one after the other
/// to `out/CASE/plain`.
pub fn apply_all(cases: &Path, out: &Path) -> Outcomes {
    let mut names: Vec<String> =
        fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Outcomes::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let of_case = apply_chain(name, &cases.join(name), &out.join(name));
                    outcomes.lock().unwrap().extend(of_case);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

fn apply_chain(case: &str, layers: &Path, out: &Path) -> Outcomes {
    let layers: Vec<PathBuf> =
        (0..).map(|n| layers.join(format!("{n}.tar"))).take_while(|layer| layer.is_file()).collect();
    let mut outcomes = Outcomes::new();
    let mut one = |layer: usize, plain: bool, dir: &Path, parents: &[PathBuf], whiteouts| {
        fs::create_dir_all(dir).unwrap();
        let problem = apply(&layers[layer], dir, parents, whiteouts).err();
        let done = problem.is_none();
        outcomes.insert(Key { case: case.to_owned(), layer, plain }, problem);
        done
    };

    let mut parents = Vec::new();
    for layer in 0..layers.len() {
        let dir = out.join(layer.to_string());
        if !one(layer, false, &dir, &parents, Whiteouts::Overlay) {
            break;
        }
        parents.insert(0, dir);
    }
    let plain = out.join("plain");
    (0..layers.len()).take_while(|layer| one(*layer, true, &plain, &[], Whiteouts::Remove)).count();
    outcomes
}

fn apply(layer: &Path, dir: &Path, parents: &[PathBuf], whiteouts: Whiteouts) -> Result<(), String> {
    let root = File::open(dir).unwrap();
    let target = Target { root: root.as_fd(), parents, whiteouts };
    let mut input = BufReader::with_capacity(1 << 20, File::open(layer).unwrap());
    let extracted = extract(&mut input, &target, &Limits::default(), &|| false);
    let Extracted { usage, .. } = extracted.map_err(|err| Chain(&err).to_string())?;
    // What is said to be in the directory is in it.
    let counted = disk_usage(dir).unwrap();
    match usage {
        Some(usage) if usage != counted => Err(format!("{WRONG_USAGE}: {usage:?} instead of {counted:?}")),
        _ => Ok(()),
    }
}
