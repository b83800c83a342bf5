//! A real daemon, with a pool and sockets of its own.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use leasehold::grpc::proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use leasehold::grpc::proto::leasehold::admin::v1::admin_client::AdminClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::wait_for;

/// How long a daemon may take to start on a loaded machine.
const START: Duration = Duration::from_secs(60);

/// Where a pool and its daemon's files are. Outlives daemons, so that a test can kill one and start another.
pub struct Site {
    dir: TempDir,
    root: PathBuf,
    settings: String,
}

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    plugin: PathBuf,
    api: PathBuf,
}

impl Site {
    /// Makes a site in a new directory of the system's temporary directory, with a short path for the sockets.
    pub fn new() -> Site {
        Site::with_settings("")
    }

    /// Makes a site with more settings than the paths, as TOML sections.
    pub fn with_settings(settings: &str) -> Site {
        let dir = tempfile::Builder::new().prefix("lh").tempdir().unwrap();
        let root = dir.path().join("pool");
        Site { dir, root, settings: settings.to_owned() }
    }

    /// Puts the pool elsewhere, for example on a small file system.
    pub fn with_root(mut self, root: &Path) -> Site {
        self.root = root.to_owned();
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn plugin_socket(&self) -> PathBuf {
        self.dir.path().join("plugin.sock")
    }

    pub fn api_socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// Writes the configuration and returns its path.
    pub fn config(&self) -> PathBuf {
        let path = self.dir.path().join("config.toml");
        let text = format!(
            "root = {:?}\n[plugin]\nsocket = {:?}\n[api]\nsocket = {:?}\n{}",
            self.root,
            self.plugin_socket(),
            self.api_socket(),
            self.settings
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns the command `leasehold --config <this site's>`.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command.arg("--config").arg(self.config());
        command
    }

    /// Where the daemons of this site write their logs.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }

    /// Starts a daemon and waits until it serves.
    pub fn start(&self) -> Daemon {
        self.start_with(|_| {})
    }

    /// Like [`start`](Self::start), with changes to the command, such as environment variables.
    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let mut daemon = self.spawn(change);
        let (plugin, api) = (self.plugin_socket(), self.api_socket());
        wait_for("the daemon's start", START, || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", std::fs::read_to_string(self.log()).unwrap());
            }
            UnixStream::connect(&plugin).is_ok() && UnixStream::connect(&api).is_ok()
        });
        daemon
    }

    /// Starts a daemon; when it ends instead of serving, returns what it said.
    pub fn try_start(&self) -> Result<Daemon, String> {
        let said_before = std::fs::read_to_string(self.log()).map_or(0, |log| log.len());
        let mut daemon = self.spawn(|_| {});
        let mut ended = None;
        wait_for("the daemon's start or end", START, || {
            ended = daemon.try_wait();
            ended.is_some()
                || [self.plugin_socket(), self.api_socket()].iter().all(|path| UnixStream::connect(path).is_ok())
        });
        match ended {
            None => Ok(daemon),
            Some(_) => Err(std::fs::read_to_string(self.log()).unwrap().split_off(said_before)),
        }
    }

    /// Starts a daemon without waiting for it.
    pub fn spawn(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command();
        command.arg("serve").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        change(&mut command);
        Daemon { child: command.spawn().unwrap(), plugin: self.plugin_socket(), api: self.api_socket() }
    }

    /// Runs `leasehold fsck --json`, with the daemon or without, and returns the problems as `kind: what`.
    pub fn fsck(&self, repair: bool) -> Vec<String> {
        let mut command = self.command();
        command.args(["fsck", "--json"]);
        if repair {
            command.arg("--repair");
        }
        let output = command.output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|err| panic!("{err}: {}", String::from_utf8_lossy(&output.stderr)));
        let text = |problem: &serde_json::Value, field: &str| problem[field].as_str().unwrap().to_owned();
        let problems = report["problems"].as_array().unwrap();
        problems.iter().map(|one| format!("{}: {}", text(one, "kind"), text(one, "what"))).collect()
    }

    /// Returns the names in `l/`.
    pub fn layer_dirs(&self) -> Vec<String> {
        names(&self.root.join("l"))
    }

    /// Returns the names in `trash/`.
    pub fn trash_dirs(&self) -> Vec<String> {
        names(&self.root.join("trash"))
    }

    /// Returns the names in `ingests/`.
    pub fn ingest_files(&self) -> Vec<String> {
        names(&self.root.join("ingests"))
    }

    /// Returns the digests of all files in `blobs/`.
    pub fn blob_files(&self) -> Vec<String> {
        let of = |algorithm: &str| {
            let names = names(&self.root.join("blobs").join(algorithm));
            names.into_iter().map(move |name| format!("{algorithm}:{name}")).collect::<Vec<_>>()
        };
        ["sha256", "sha384", "sha512"].map(of).concat()
    }

    /// Returns where the file of a blob is.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        self.root.join("blobs").join(digest.replace(':', "/"))
    }

    /// Returns the names in `staging/`.
    pub fn staging_dirs(&self) -> Vec<String> {
        names(&self.root.join("staging"))
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn plugin_socket(&self) -> &Path {
        &self.plugin
    }

    pub fn api_socket(&self) -> &Path {
        &self.api
    }

    /// Connects a client of the Snapshots service, as containerd does.
    pub async fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(leasehold::grpc::client(&self.plugin).await.unwrap())
    }

    /// Connects a client of the command line's service.
    pub async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(leasehold::grpc::client(&self.api).await.unwrap())
    }

    /// Kills it, as the out-of-memory killer would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and returns how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, for example at a fail point.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Returns how it ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
