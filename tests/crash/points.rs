//! Crashing at a numbered fail point.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tonic::Status;

use crate::common::client::Client;
use crate::common::daemon::Site;
use crate::common::wait_for;

const LIMIT: Duration = Duration::from_secs(60);
/// Where a process is to crash: the n-th time that it passes the point of a name. Nowhere, to count the points.
pub struct CrashAt(Option<(usize, String)>);

/// How a run ended.
pub enum Outcome {
    Crashed,
    /// It ended well, after it passed the points of these names.
    Ended(Vec<String>),
}

/// Runs `run` once without a crash, then with a crash at every point that it passed. Returns the points' names.
pub fn each_point(run: impl Fn(&CrashAt) -> Outcome) -> BTreeSet<String> {
    if !cfg!(feature = "failpoints") {
        crate::common::skip("crashes", "the feature `failpoints`");
        return in_sources();
    }
    let Outcome::Ended(passed) = run(&CrashAt(None)) else { panic!("a crash without a reason") };
    eprintln!("{} points", passed.len());
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut crashed = BTreeSet::new();
    for name in passed {
        let time = times.entry(name.clone()).or_default();
        *time += 1;
        // Shown when the run fails.
        eprintln!("crash at {time} {name}");
        // In the background the last time may be missing, when two things are done at once.
        if let Outcome::Crashed = run(&CrashAt(Some((*time, name.clone())))) {
            crashed.insert(name);
        }
    }
    crashed
}

impl CrashAt {
    /// Runs a command to its crash or its end.
    pub fn run(&self, command: &mut Command) -> Outcome {
        let trace = tempfile::NamedTempFile::new().unwrap();
        self.prepare(command, trace.path());
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        // A command that reports problems fails; only a signal is a crash.
        self.outcome(status, trace.path(), |status| status.code().is_some())
    }

    /// Starts a daemon, lets `work` use it when it got so far, and stops it. Nothing but a crash may stop `work`.
    pub fn serve(&self, site: &Site, work: impl FnOnce(&Client) -> Result<(), Status>) -> Outcome {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut daemon = site.spawn(|command| self.prepare(command, trace.path()));
        let mut client = None;
        wait_for("the daemon's start or crash", LIMIT, || {
            client = Client::connect(daemon.plugin_socket()).ok();
            client.is_some() && UnixStream::connect(site.api_socket()).is_ok() || daemon.try_wait().is_some()
        });
        if let Some(client) = client {
            match work(&client) {
                Ok(()) if daemon.try_wait().is_none() => daemon.signal(Signal::TERM),
                Ok(()) => {}
                Err(status) => {
                    wait_for(&format!("the crash that explains {status}"), LIMIT, || daemon.try_wait().is_some());
                }
            }
        }
        wait_for("the daemon's end", LIMIT, || daemon.try_wait().is_some());
        self.outcome(daemon.wait(), trace.path(), ExitStatus::success)
    }

    fn prepare(&self, command: &mut Command, trace: &Path) {
        command.env("LEASEHOLD_POINTS", trace);
        if let Some((time, name)) = &self.0 {
            command.env("LEASEHOLD_CRASH_AT", format!("{time} {name}"));
        }
    }

    fn outcome(&self, status: ExitStatus, trace: &Path, ended_well: impl Fn(&ExitStatus) -> bool) -> Outcome {
        let passed: Vec<String> = fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect();
        if ended_well(&status) {
            return Outcome::Ended(passed);
        }
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
        Outcome::Crashed
    }
}

/// Returns the names of all fail points in the sources.
pub fn in_sources() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let points = text.split("failpoint::hit(\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(points.map(str::to_owned));
        }
    }
    names
}
