//! Every setting of the daemon with its default, and the reading of them from a TOML file.
//!
//! The rule kept here is that all mistakes of a file are reported at once, each with its line and the path of its key.
//! `plugin-config/config.toml` describes the settings to the operator; a test keeps it in step with this module.

mod mistakes;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::mistakes::{ConfigErrors, Mistake};
use self::settings::Settings;

/// The daemon's configuration. Valid by construction where it was loaded or parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The pool's directory, absolute, and fit to be part of overlayfs' mount options.
    pub root: PathBuf,
    /// The socket that containerd's configuration names.
    pub plugin: Socket,
    /// The socket of direct clients and of the command line.
    pub api: Socket,
    /// How snapshots are made and mounted.
    pub snapshotter: Snapshotter,
    /// What is on disk before an answer goes out.
    pub durability: Durability,
    /// How directories that no record names are deleted.
    pub reclaim: Reclaim,
    /// When what nothing holds is collected.
    pub gc: Gc,
    /// What the daemon itself keeps of what containerd removes.
    pub retention: Retention,
    /// How blobs are kept.
    pub content: Content,
    /// How layers are unpacked.
    pub diff: Diff,
    /// What the daemon may use, and what it leaves free.
    pub limits: Limits,
    /// What is logged, and how.
    pub log: Log,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// The daemon as a process.
    pub daemon: Daemon,
}

/// A listening socket. Its mode is 0600, or 0660 where it has a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Absolute path, at most 107 bytes long.
    pub socket: PathBuf,
    /// Name or number of the group that may connect as well.
    pub group: Option<String>,
}

/// How snapshots are made and mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshotter {
    /// Name that containerd knows the snapshotter by. An identifier.
    pub name: String,
    /// Whether snapshots carry their upperdir as a label.
    pub upperdir_label: bool,
    /// Whether owners are changed by `chown` where the host has no id-mapped mounts.
    pub slow_chown: bool,
    /// What every overlay mount gets beyond the options that the daemon chooses.
    pub mount_options: Vec<String>,
}

/// What is on disk before an answer goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// Whether records are synced before an answer that depends on them.
    pub sync_records: bool,
    /// Whether the file system of a layer is synced before Commit answers.
    pub sync_layers_on_commit: bool,
}

/// How directories that no record names are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaim {
    /// How many are deleted at a time.
    pub workers: usize,
    /// How many files and directories are deleted a second, by all together. 0 for as many as can be.
    pub max_per_second: usize,
    /// How long Cleanup waits for what was in trash when it was called.
    pub cleanup_wait: Duration,
}

/// When what nothing holds is collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// The share of the time that collections nobody waits for may take.
    pub pause_threshold: Share,
    /// So many holds that were taken away end the rest after a collection early. 0: none do.
    pub deletion_threshold: usize,
    /// So many changes on the API socket are a reason for a collection. 0: they are none.
    pub mutation_threshold: usize,
    /// How long a collection waits for more, once there is a reason for it.
    pub schedule_delay: Duration,
    /// How long after the start the first collection is.
    pub startup_delay: Duration,
}

/// How blobs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// How many uploads there may be at a time, those that nobody goes on with included.
    pub max_ingests: usize,
    /// What namespaces of the API socket have from each other.
    pub sharing_policy: SharingPolicy,
}

/// What namespaces of the API socket have from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharingPolicy {
    /// Every blob that is announced by its digest.
    Shared,
    /// Only what is uploaded again, and what is in namespaces that are labelled as shareable.
    Isolated,
}

/// How layers are unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The directory of containerd's own content store, where blobs are that are not in ours.
    pub content_root: Option<PathBuf>,
    /// What is done about layers that are there already.
    pub reuse: Reuse,
    /// Who has them together.
    pub share: SharedBy,
    /// Where containerd serves its clients: the layers that are made for these are put into its content store there.
    pub containerd_socket: Option<PathBuf>,
    /// Whether every layer is on disk before the answer.
    pub sync: bool,
    /// How many layers are unpacked at a time. 0: as many as there are processors.
    pub max_concurrent_applies: usize,
    /// How many bytes a layer may have, uncompressed. 0: any number.
    pub max_layer_size: u64,
    /// How many times the size of its blob a large layer may have. 0: any number.
    pub max_ratio: usize,
    /// How many files and directories a layer may have. 0: any number.
    pub max_entries: usize,
}

/// What is done about layers that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing.
    Off,
    /// They are not unpacked again.
    Apply,
    /// Nor are they fetched again.
    Fetch,
}

/// Who has layers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedBy {
    /// All namespaces.
    All,
    /// Each namespace has its own.
    Namespace,
}

/// A share of the whole, to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub(super) u32);

impl Share {
    /// Returns the share as a number from 0 to 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

/// What the daemon itself keeps of what containerd removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long. Nothing is kept for no time at all.
    pub after_remove: Duration,
    /// How much at most, in bytes; the oldest goes first. 0: any amount.
    pub max_bytes: u64,
    /// The oldest goes as long as less than this is free. 0: only where requests would be refused.
    pub min_free: u64,
}

/// What the daemon may use, and what it leaves free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many requests work at a time; others wait.
    pub max_concurrent_requests: usize,
    /// Below this many free bytes no new snapshot is made. 0 turns the check off.
    pub min_free: u64,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives in the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
    /// How one line looks.
    pub format: LogFormat,
}

/// How one line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address of the HTTP listener. Without one there is none.
    pub listen: Option<SocketAddr>,
}

/// The daemon as a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// How long requests under way may take to finish when the daemon stops.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            root: "/var/lib/leasehold".into(),
            plugin: Socket { socket: "/run/leasehold/plugin.sock".into(), group: None },
            api: Socket { socket: "/run/leasehold/api.sock".into(), group: None },
            snapshotter: Snapshotter {
                name: "leasehold".into(),
                upperdir_label: false,
                slow_chown: false,
                mount_options: Vec::new(),
            },
            durability: Durability { sync_records: true, sync_layers_on_commit: false },
            reclaim: Reclaim { workers: 2, max_per_second: 0, cleanup_wait: Duration::from_secs(10) },
            gc: Gc {
                pause_threshold: Share(100_000),
                deletion_threshold: 0,
                mutation_threshold: 100,
                schedule_delay: Duration::ZERO,
                startup_delay: Duration::from_millis(100),
            },
            retention: Retention { after_remove: Duration::ZERO, max_bytes: 0, min_free: 0 },
            content: Content { max_ingests: 10_000, sharing_policy: SharingPolicy::Shared },
            diff: Diff {
                content_root: Some("/var/lib/containerd/io.containerd.content.v1.content".into()),
                reuse: Reuse::Apply,
                share: SharedBy::All,
                containerd_socket: Some("/run/containerd/containerd.sock".into()),
                sync: true,
                max_concurrent_applies: 0,
                max_layer_size: 256 << 30,
                max_ratio: 1100,
                max_entries: 10_000_000,
            },
            limits: Limits { max_concurrent_requests: 32, min_free: 64 << 20 },
            log: Log { level: "info".into(), format: LogFormat::Text },
            metrics: Metrics { listen: None },
            daemon: Daemon { shutdown_grace: Duration::from_secs(10) },
        }
    }
}

impl Config {
    /// Reads a configuration file that has to exist.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all mistakes, or with why the file cannot be read.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let text = std::fs::read_to_string(path).map_err(|err| ConfigErrors::unreadable(path, &err))?;
        Config::parse(&text).map_err(|errors| errors.in_file(path))
    }

    /// Reads a configuration file; where there is none, the defaults hold.
    ///
    /// # Errors
    /// As for [`load`](Self::load), except that a missing file is none.
    pub fn load_or_default(path: &Path) -> Result<Config, ConfigErrors> {
        match std::fs::symlink_metadata(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
            // A dangling symbolic link was meant to lead somewhere, so it is not a missing file.
            _ => Config::load(path),
        }
    }

    /// Parses a configuration; what it leaves out has its default.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all mistakes.
    pub fn parse(text: &str) -> Result<Config, ConfigErrors> {
        let mut settings = Settings::parse(text)?;
        let config = Config::read(&mut settings);
        settings.finish()?;
        Ok(config)
    }

    /// Reads every setting there is: what is not read here is unknown.
    fn read(from: &mut Settings<'_>) -> Config {
        let default = Config::default();
        let config = Config {
            root: from.read("root", default.root, value::root),
            plugin: Socket {
                socket: from.read("plugin.socket", default.plugin.socket, value::socket),
                group: from.read("plugin.group", default.plugin.group, value::group),
            },
            api: Socket {
                socket: from.read("api.socket", default.api.socket, value::socket),
                group: from.read("api.group", default.api.group, value::group),
            },
            snapshotter: Snapshotter {
                name: from.read("snapshotter.name", default.snapshotter.name, value::identifier),
                upperdir_label: from.read(
                    "snapshotter.upperdir_label",
                    default.snapshotter.upperdir_label,
                    value::boolean,
                ),
                slow_chown: from.read("snapshotter.slow_chown", default.snapshotter.slow_chown, value::boolean),
                mount_options: from.read(
                    "snapshotter.mount_options",
                    default.snapshotter.mount_options,
                    value::mount_options,
                ),
            },
            durability: Durability {
                sync_records: from.read("durability.sync_records", default.durability.sync_records, value::boolean),
                sync_layers_on_commit: from.read(
                    "durability.sync_layers_on_commit",
                    default.durability.sync_layers_on_commit,
                    value::boolean,
                ),
            },
            reclaim: Reclaim {
                workers: from.read("reclaim.workers", default.reclaim.workers, value::number(1..=64)),
                max_per_second: from.read(
                    "reclaim.max_per_second",
                    default.reclaim.max_per_second,
                    value::number(0..=10_000_000),
                ),
                cleanup_wait: from.read("reclaim.cleanup_wait", default.reclaim.cleanup_wait, value::wait),
            },
            gc: Gc {
                pause_threshold: from.read("gc.pause_threshold", default.gc.pause_threshold, value::share),
                deletion_threshold: from.read(
                    "gc.deletion_threshold",
                    default.gc.deletion_threshold,
                    value::number(0..=1_000_000),
                ),
                mutation_threshold: from.read(
                    "gc.mutation_threshold",
                    default.gc.mutation_threshold,
                    value::number(0..=1_000_000),
                ),
                schedule_delay: from.read("gc.schedule_delay", default.gc.schedule_delay, value::wait),
                startup_delay: from.read("gc.startup_delay", default.gc.startup_delay, value::wait),
            },
            retention: Retention {
                after_remove: from.read("retention.after_remove", default.retention.after_remove, value::age),
                max_bytes: from.read("retention.max_bytes", default.retention.max_bytes, value::size),
                min_free: from.read("retention.min_free", default.retention.min_free, value::size),
            },
            content: Content {
                max_ingests: from.read(
                    "content.max_ingests",
                    default.content.max_ingests,
                    value::number(1..=1_000_000),
                ),
                sharing_policy: from.read(
                    "content.sharing_policy",
                    default.content.sharing_policy,
                    value::sharing_policy,
                ),
            },
            diff: Diff {
                content_root: from.read("diff.content_root", default.diff.content_root, value::optional_path),
                reuse: from.read("diff.reuse", default.diff.reuse, value::reuse),
                share: from.read("diff.share", default.diff.share, value::shared_by),
                containerd_socket: from.read(
                    "diff.containerd_socket",
                    default.diff.containerd_socket,
                    value::optional_path,
                ),
                sync: from.read("diff.sync", default.diff.sync, value::boolean),
                max_concurrent_applies: from.read(
                    "diff.max_concurrent_applies",
                    default.diff.max_concurrent_applies,
                    value::number(0..=256),
                ),
                max_layer_size: from.read("diff.max_layer_size", default.diff.max_layer_size, value::size),
                max_ratio: from.read("diff.max_ratio", default.diff.max_ratio, value::number(0..=1_000_000_000)),
                max_entries: from.read("diff.max_entries", default.diff.max_entries, value::number(0..=1_000_000_000)),
            },
            limits: Limits {
                max_concurrent_requests: from.read(
                    "limits.max_concurrent_requests",
                    default.limits.max_concurrent_requests,
                    value::number(1..=1024),
                ),
                min_free: from.read("limits.min_free", default.limits.min_free, value::size),
            },
            log: Log {
                level: from.read("log.level", default.log.level, value::log_level),
                format: from.read("log.format", default.log.format, value::log_format),
            },
            metrics: Metrics { listen: from.read("metrics.listen", default.metrics.listen, value::listen) },
            daemon: Daemon {
                shutdown_grace: from.read("daemon.shutdown_grace", default.daemon.shutdown_grace, value::wait),
            },
        };
        if config.plugin.socket == config.api.socket {
            from.reject("api.socket", "is the path of plugin.socket, too; each socket needs its own");
        }
        config.check_retention(from);
        config
    }

    fn check_retention(&self, from: &mut Settings<'_>) {
        let Retention { after_remove, max_bytes, min_free } = self.retention;
        for (key, bytes) in [("retention.max_bytes", max_bytes), ("retention.min_free", min_free)] {
            if after_remove.is_zero() && bytes > 0 {
                from.reject(key, "has no effect while retention.after_remove is not set: nothing is kept");
            }
        }
        if min_free > 0 && min_free <= self.limits.min_free {
            let limit = self.limits.min_free;
            let problem = format!("must be more than limits.min_free ({limit}), below which nothing new is made");
            from.reject("retention.min_free", problem);
        }
    }
}
