//! Crashing at a numbered fail point.

use std::collections::BTreeSet;
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
/// More points than any run passes: a run that never gets to its end is a mistake.
const MOST: u64 = 1000;

/// The number of the point at which a process is to crash.
#[derive(Clone, Copy, Debug)]
pub struct CrashAt(u64);

/// How a run ended.
pub enum Outcome {
    /// At the point of that name.
    Crashed(String),
    /// It passes fewer points, and ended well.
    Ended,
}

/// Runs `run` with a crash at its first point, its second, and so on, until it passes no more. Returns the names of the
/// points at which it crashed.
pub fn each_point(run: impl Fn(CrashAt) -> Outcome) -> BTreeSet<String> {
    if !cfg!(feature = "failpoints") {
        crate::common::skip("crashes", "the feature `failpoints`");
        return in_sources();
    }
    let mut crashed = BTreeSet::new();
    for number in 1..MOST {
        // Shown when the run fails.
        eprintln!("crash at point {number}");
        match run(CrashAt(number)) {
            Outcome::Crashed(name) => drop(crashed.insert(name)),
            Outcome::Ended => {
                eprintln!("{} points", number - 1);
                return crashed;
            }
        }
    }
    panic!("more than {MOST} points");
}

impl CrashAt {
    /// Runs a command to its crash or its end.
    pub fn run(self, command: &mut Command) -> Outcome {
        let trace = tempfile::NamedTempFile::new().unwrap();
        self.prepare(command, trace.path());
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        // A command that reports problems fails; only a signal is a crash.
        outcome(status, trace.path(), |status| status.code().is_some())
    }

    /// Starts a daemon, lets `work` use it when it got so far, and stops it. Nothing but a crash may stop `work`.
    pub fn serve(self, site: &Site, work: impl FnOnce(&Client) -> Result<(), Status>) -> Outcome {
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
                Err(status) => wait_for(&format!("the crash that explains {status}"), LIMIT, || daemon.try_wait().is_some()),
            }
        }
        wait_for("the daemon's end", LIMIT, || daemon.try_wait().is_some());
        outcome(daemon.wait(), trace.path(), ExitStatus::success)
    }

    fn prepare(self, command: &mut Command, trace: &Path) {
        command.env("LEASEHOLD_CRASH_AT", self.0.to_string()).env("LEASEHOLD_POINTS", trace);
    }
}

fn outcome(status: ExitStatus, trace: &Path, ended_well: impl Fn(&ExitStatus) -> bool) -> Outcome {
    if ended_well(&status) {
        return Outcome::Ended;
    }
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
    let passed = fs::read_to_string(trace).unwrap();
    let (_, name) = passed.lines().last().unwrap().split_once(' ').unwrap();
    Outcome::Crashed(name.to_owned())
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
