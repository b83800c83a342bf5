//! A containerd of its own, and clients of it.
//!
//! Nothing is shared with other tests or with the host's containerd, except what shims and runc have in fixed places;
//! there the namespaces tell them apart, which is why every namespace begins with the name of the directory.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Client as Api;
use super::images::Image;
use super::tools::{built, installed, output, run, search_path};
use super::{leftovers, wait_for};

const START: Duration = Duration::from_secs(60);

/// The releases of containerd that the tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The distribution's: 1.6 on Debian 12.
    V1,
    /// The one that `tests/go` builds: 2.3.
    V2,
}

/// The clients that pull images, each of which does it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `ctr`: fetches and unpacks itself, layer by layer, without any label.
    CtrLocal,
    /// `ctr`, which has the transfer service of the daemon do it.
    CtrTransfer,
    /// nerdctl, which has the transfer service do it where that is complete, and otherwise does as `Library`.
    Nerdctl,
    /// containerd's Go library, as in BuildKit and moby: fetches and unpacks at the same time itself, and says by labels
    /// which layer it is.
    Library,
    /// The same, which unpacks layers in parallel.
    LibraryParallel,
}

/// How the layers of an image are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// One after the other, each on top of the one before.
    Sequential,
    /// Four at a time, each alone; they are put on top of each other at the end.
    Parallel,
}

/// A running containerd. Dropping it kills it and everything that it started, and unmounts what it mounted.
pub struct Containerd {
    release: Release,
    child: Child,
    // Last: deleted when the process is gone.
    dir: TempDir,
}

/// One namespace of a containerd, with the snapshotter that commands are told to use.
pub struct Session<'c> {
    containerd: &'c Containerd,
    pub namespace: String,
    pub snapshotter: &'static str,
}

impl Release {
    /// Whether a client has the transfer service of this release pull images.
    pub fn transfers_for(self, client: Client) -> bool {
        self == Release::V2 && matches!(client, Client::CtrTransfer | Client::Nerdctl)
    }

    /// Returns the version of the configuration file that this release reads.
    pub fn config_version(self) -> u32 {
        match self {
            Release::V1 => 2,
            Release::V2 => 3,
        }
    }

    fn program(self, name: &str) -> PathBuf {
        match self {
            Release::V1 => installed(name),
            Release::V2 => built(&format!("containerd-2.3/{name}")),
        }
    }
}

impl Unpack {
    /// Returns how many images were unpacked in this way, by the log of who did it.
    pub fn count(self, log: &str) -> usize {
        let parallel = match self {
            Unpack::Sequential => "parallel=false",
            Unpack::Parallel => "parallel=true",
        };
        log.lines().filter(|line| line.contains("\"image unpacked\"") && line.contains(parallel)).count()
    }
}

impl Containerd {
    /// Starts a containerd whose configuration ends with `stanzas`, which name its version, and waits until it serves.
    pub fn start(release: Release, stanzas: &str) -> Containerd {
        let dir = tempfile::Builder::new().prefix("lhcd").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        let child = spawn(release, dir.path(), stanzas);
        let mut containerd = Containerd { release, child, dir };
        containerd.wait_until_it_serves();
        containerd
    }

    /// Stops it, and starts it again with another configuration.
    pub fn restart(&mut self, stanzas: &str) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.release, self.dir.path(), stanzas);
        self.wait_until_it_serves();
    }

    fn wait_until_it_serves(&mut self) {
        let socket = self.socket();
        wait_for("containerd's start", START, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("containerd ended with {status}");
            }
            UnixStream::connect(&socket).is_ok()
        });
    }

    pub fn release(&self) -> Release {
        self.release
    }

    /// Returns its directory; what a test mounts below it is unmounted with the rest.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Opens a namespace of which `name` is the last part.
    pub fn session(&self, name: &str) -> Session<'_> {
        let namespace = format!("{}-{name}", self.namespace_prefix());
        Session { containerd: self, namespace, snapshotter: "leasehold" }
    }

    /// Returns how many images the transfer service has unpacked in this way.
    pub fn unpacked(&self, unpack: Unpack) -> usize {
        unpack.count(&self.log())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Returns the directory of its own content store.
    pub fn content_store(&self) -> PathBuf {
        self.dir().join("root/io.containerd.content.v1.content")
    }

    /// Returns where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("containerd.sock")
    }

    fn namespace_prefix(&self) -> String {
        self.dir().file_name().unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("level=debug")).collect();
            eprintln!("--- the end of containerd's log\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        // First: it would start things again.
        drop(self.child.kill());
        drop(self.child.wait());
        leftovers::kill_processes(self.dir());
        leftovers::unmount_below(self.dir());
        leftovers::remove_namespaces(&self.namespace_prefix());
    }
}

impl<'c> Session<'c> {
    /// Tells commands to use another snapshotter.
    pub fn with_snapshotter(mut self, snapshotter: &'static str) -> Session<'c> {
        self.snapshotter = snapshotter;
        self
    }

    /// Connects to containerd's own API.
    pub fn api(&self) -> Api {
        Api::connect(&self.containerd.socket()).unwrap().in_namespace(&self.namespace)
    }

    /// Returns `ctr <args>`, to run in another way.
    pub fn ctr_command(&self, args: &[&str]) -> Command {
        let mut command = self.client(self.containerd.release.program("ctr"));
        command.arg("--namespace").arg(&self.namespace).arg("--address").arg(self.containerd.socket()).args(args);
        command
    }

    /// Returns `nerdctl <args>`, to run in another way.
    pub fn nerdctl_command(&self, args: &[&str]) -> Command {
        let dir = self.containerd.dir();
        let mut command = self.client(built("bin/nerdctl"));
        command.arg("--namespace").arg(&self.namespace).arg("--address").arg(self.containerd.socket());
        command.args(["--snapshotter", self.snapshotter, "--cgroup-manager", "cgroupfs", "--insecure-registry"]);
        for (option, name) in [("--data-root", "nerdctl"), ("--cni-path", "cni"), ("--cni-netconfpath", "cninet")] {
            command.arg(option).arg(dir.join(name));
        }
        command.args(args);
        command
    }

    /// Runs `ctr` and returns what it prints.
    pub fn ctr(&self, args: &[&str]) -> String {
        run(&mut self.ctr_command(args))
    }

    /// Like [`ctr`](Self::ctr), with the failure as a value.
    pub fn try_ctr(&self, args: &[&str]) -> Result<String, String> {
        output(&mut self.ctr_command(args))
    }

    /// Runs `nerdctl` and returns what it prints.
    pub fn nerdctl(&self, args: &[&str]) -> String {
        run(&mut self.nerdctl_command(args))
    }

    /// Like [`nerdctl`](Self::nerdctl), with the failure as a value.
    pub fn try_nerdctl(&self, args: &[&str]) -> Result<String, String> {
        output(&mut self.nerdctl_command(args))
    }

    /// Runs a shell script in a new container that is removed afterwards; it fails when the script does. What a container
    /// prints is not looked at: clients may lose it when the container ends quickly.
    pub fn run_script(&self, image: &str, script: &str) -> Result<String, String> {
        self.try_nerdctl(&["run", "--rm", "--net", "none", image, "sh", "-c", script])
    }

    /// Like [`run_script`](Self::run_script), with `ctr`.
    pub fn ctr_run_script(&self, image: &str, script: &str) -> Result<String, String> {
        self.try_ctr(&["run", "--rm", "--snapshotter", self.snapshotter, image, "script", "sh", "-c", script])
    }

    /// Starts a container that does nothing until it is removed.
    pub fn start_container(&self, name: &str, image: &str) {
        self.nerdctl(&["run", "-d", "--name", name, "--net", "none", image, "sleep", "1000"]);
    }

    /// Runs a shell script in a container that runs.
    pub fn exec_script(&self, container: &str, script: &str) -> Result<String, String> {
        self.try_nerdctl(&["exec", container, "sh", "-c", script])
    }

    /// Runs `ctr snapshots`.
    pub fn snapshots(&self, args: &[&str]) -> String {
        self.ctr(&[&["snapshots", "--snapshotter", self.snapshotter], args].concat())
    }

    /// Returns the keys and names of all snapshots.
    pub fn snapshot_names(&self) -> Vec<String> {
        let table = self.snapshots(&["ls"]);
        table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Whether there is a snapshot of this key or name, as far as can be told.
    pub fn has_snapshot(&self, name: &str) -> bool {
        self.try_ctr(&["snapshots", "--snapshotter", self.snapshotter, "info", name]).is_ok()
    }

    /// Returns the command that pulls an image.
    pub fn pull_command(&self, client: Client, image: &Image) -> Command {
        let ctr = ["images", "pull", "--plain-http", "--snapshotter", self.snapshotter, image.reference.as_str()];
        match (client, self.containerd.release) {
            (Client::Nerdctl, _) => self.nerdctl_command(&["pull", "--quiet", &image.reference]),
            (Client::Library, _) => self.library_pull_command("1", image),
            (Client::LibraryParallel, _) => self.library_pull_command("4", image),
            // It can do nothing else.
            (Client::CtrLocal, Release::V1) | (Client::CtrTransfer, _) => self.ctr_command(&ctr),
            (Client::CtrLocal, Release::V2) => self.ctr_command(&[&ctr[..2], &["--local"], &ctr[2..]].concat()),
        }
    }

    /// Pulls an image and returns what the client prints.
    pub fn pull(&self, client: Client, image: &Image) -> String {
        run(&mut self.pull_command(client, image))
    }

    fn library_pull_command(&self, unpacks: &str, image: &Image) -> Command {
        let mut command = self.client(built("bin/clientpull"));
        command.arg("-address").arg(self.containerd.socket()).args(["-namespace", &self.namespace]);
        command.args(["-snapshotter", self.snapshotter, "-unpacks", unpacks, &image.reference]);
        command
    }

    fn client(&self, program: PathBuf) -> Command {
        let dir = self.containerd.dir();
        let mut command = Command::new(&program);
        command
            .env("PATH", search_path(program.parent().unwrap()))
            .env("TMPDIR", dir.join("tmp"))
            .env("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "1")
            // The host's settings of nerdctl and of registries.
            .env("NERDCTL_TOML", dir.join("nerdctl.toml"))
            .env("DOCKER_CONFIG", dir.join("docker"))
            .env_remove("CONTAINERD_SNAPSHOTTER");
        command
    }
}

/// Starts containerd in a directory.
fn spawn(release: Release, dir: &Path, stanzas: &str) -> Child {
    let config = dir.join("config.toml");
    std::fs::write(&config, minimal_config(dir) + stanzas).unwrap();
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let program = release.program("containerd");
    Command::new(&program)
        .arg("--config")
        .arg(&config)
        // Where it finds its shim, and where that finds runc.
        .env("PATH", search_path(program.parent().unwrap()))
        .env("TMPDIR", dir.join("tmp"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Returns the least configuration that keeps a containerd, its CRI included, away from the host's own. It has no
/// `version`, which the stanzas have, and no table, so that anything can follow.
fn minimal_config(dir: &Path) -> String {
    let path = |name: &str| dir.join(name);
    format!(
        r#"root = {root:?}
state = {state:?}
grpc.address = {socket:?}
ttrpc.address = {ttrpc:?}
debug.level = "debug"
plugins."io.containerd.internal.v1.opt".path = {opt:?}
plugins."io.containerd.grpc.v1.cri".cni.conf_dir = {cni:?}
plugins."io.containerd.cri.v1.runtime".cni.conf_dir = {cni:?}
plugins."io.containerd.nri.v1.nri".disable = true
"#,
        root = path("root"),
        state = path("state"),
        socket = path("containerd.sock"),
        ttrpc = path("containerd.sock.ttrpc"),
        opt = path("opt"),
        cni = path("cninet"),
    )
}
