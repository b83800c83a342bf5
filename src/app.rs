//! Wires everything, and owns the order of start and shutdown.
//!
//! Start: lock the pool, probe the host, open and migrate the records, recover, bind the sockets, and only then tell
//! systemd that the daemon is ready. Shutdown: take no new request, finish those under way within the grace period,
//! stop the background, sync, give the lock back. A kill at any moment is covered by recovery.

mod allocator;

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Group;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, SharingPolicy};
use crate::content::{self, Content, Files};
use crate::diff::{self, Differ};
use crate::gc::{Collectible, Collector, EvictionLimits, Evictor, Schedule};
use crate::grpc::{Listener, Servers};
use crate::leases::{Changes, Leases};
use crate::metadata::{Metadata, Retention};
use crate::overlay::{HostFeatures, LayerDirs, Layout, MountOptions, probe};
use crate::pool::PoolLock;
use crate::snapshotter::{Reuse, Settings, Snapshotter};
use crate::store::Durability;
use crate::telemetry;
use crate::types::LayerId;
use crate::{Chain, Error, Result};

/// A daemon that is ready to serve.
pub struct App {
    config: Config,
    snapshotter: Arc<Snapshotter>,
    leases: Arc<Leases>,
    collectible: Arc<Collectible>,
    content: Arc<Content>,
    differ: Arc<Differ>,
    host: HostFeatures,
    // Last: given back when everything else is gone.
    _lock: PoolLock,
}

/// An owned pool whose records and directories are open, as the daemon and the offline commands need it.
pub struct OpenPool {
    /// The records.
    pub metadata: Metadata,
    /// Where everything is.
    pub layout: Layout,
    /// The directories of layers.
    pub dirs: LayerDirs,
    /// Those of blobs and uploads.
    pub files: Files,
    /// What the host can do.
    pub host: HostFeatures,
    /// Keeps others out.
    pub lock: PoolLock,
}

impl OpenPool {
    /// Locks and opens the pool of a configuration, making it when it does not exist.
    ///
    /// # Errors
    /// [`Error::Pool`] with what to do when it is owned, damaged, too new, or the host cannot hold it.
    pub fn open(config: &Config) -> Result<OpenPool> {
        let layout = Layout::new(&config.root)?;
        let lock = PoolLock::acquire(layout.root())?;
        layout.create()?;
        let dirs = LayerDirs::open(&layout)?;
        let files = Files::open(&layout)?;
        let host = probe(&layout)?;
        require_metadata(&layout, &dirs, &files)?;
        let durability = if config.durability.sync_records { Durability::Synced } else { Durability::Written };
        let metadata = Metadata::open(layout.meta(), durability)?;
        Ok(OpenPool { metadata, layout, dirs, files, host, lock })
    }
}

/// Keeps a pool that lost its records from being taken for a new one, in which no layer and no blob would have a record.
fn require_metadata(layout: &Layout, dirs: &LayerDirs, files: &Files) -> Result<()> {
    let is_empty = || Ok::<_, Error>(dirs.list_layers()?.ids.is_empty() && files.list_blobs()?.known.is_empty());
    if Metadata::exists(&layout.meta()) || is_empty()? {
        return Ok(());
    }
    Err(Error::Pool(format!(
        "{}: there are layers or blobs, but no metadata database in meta/. Nothing was changed. Restore meta/ from a backup, or \
         move the whole root aside and start with an empty one",
        layout.root().display()
    )))
}

impl App {
    /// Opens and recovers the pool.
    ///
    /// # Errors
    /// As for [`OpenPool::open`].
    pub fn build(config: Config) -> Result<App> {
        allocator::share_arenas();
        let OpenPool { metadata, layout, dirs, files, host, lock } = OpenPool::open(&config)?;
        let metadata = Arc::new(metadata);
        tracing::info!(
            pool = metadata.pool(),
            root = %config.root.display(),
            transitions = lock.ownership().transitions,
            "pool opened"
        );
        // Before that of layers, which takes what is in trash for garbage where no record says otherwise.
        let blobs = content::recover(&metadata, &files)?;
        blobs.log();
        let (snapshotter, report) = Snapshotter::start(metadata.clone(), layout, dirs, settings(&config, &host))?;
        report.log();
        allocator::return_free();
        let snapshotter = Arc::new(snapshotter);
        let leases = Arc::new(Leases::new(metadata.clone(), Arc::default()));
        let neighbour = Box::new(Neighbour { snapshotter: snapshotter.clone(), changes: leases.changes().clone() });
        let content = Content::start(metadata, Arc::new(files), content_settings(&config), blobs, neighbour)?;
        let collectible = Arc::new(Collectible::new(snapshotter.clone(), content.clone(), leases.clone()));
        let differ = Differ::new(snapshotter.clone(), content.clone(), differ_settings(&config, &host));
        Ok(App { config, snapshotter, leases, collectible, content, differ: Arc::new(differ), host, _lock: lock })
    }

    /// Has something done with the blobs of a pool that nobody serves, and gives it back.
    pub fn with_content<T>(self, work: impl FnOnce(&Content) -> T) -> T {
        let done = work(&self.content);
        self.content.stop();
        self.snapshotter.stop();
        done
    }

    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// [`Error::Pool`] or [`Error::Fs`] when a socket or the metrics listener cannot be bound.
    pub fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("leasehold")
            .worker_threads(edge_threads())
            .max_blocking_threads(self.config.limits.max_concurrent_requests)
            .build()
            .map_err(|err| Error::Pool(format!("the runtime cannot be started: {err}")))?;
        let collector = Collector::start(self.collectible.clone(), schedule(&self.config))?;
        let evictor = Evictor::start(self.collectible.clone(), eviction_limits(&self.config))?;
        let result = runtime.block_on(self.serve());
        // What did not end within the grace period gets a last second; recovery covers the rest.
        self.differ.release();
        runtime.shutdown_timeout(Duration::from_secs(1));
        self.differ.join();
        evictor.stop();
        collector.stop();
        // Before what it hands its files to.
        self.content.stop();
        self.snapshotter.stop();
        tracing::info!("stopped");
        result
    }

    async fn serve(&self) -> Result<()> {
        if let Some(address) = self.config.metrics.listen {
            telemetry::serve_metrics(address)?;
            tokio::spawn(telemetry::report_pool(self.snapshotter.clone(), self.content.clone()));
        }
        // Before anybody can connect: until then a signal ends the process at once.
        let signalled = stop_signal();
        let (plugin, api) = self.listeners()?;
        let stop = CancellationToken::new();
        let threads = self.config.limits.max_concurrent_requests;
        let servers = Servers::new(
            self.snapshotter.clone(),
            self.leases.clone(),
            self.collectible.clone(),
            self.content.clone(),
            self.differ.clone(),
            self.host.clone(),
            threads,
            self.config.diff.max_concurrent_applies,
            self.config.diff.containerd_socket.clone(),
        );
        let serving = tokio::spawn(servers.serve(plugin, api, stop.clone()));
        tokio::spawn(feed_watchdog(self.snapshotter.clone()));
        notify(&[NotifyState::Ready]);
        tracing::info!(
            plugin = %self.config.plugin.socket.display(),
            api = %self.config.api.socket.display(),
            "serving"
        );
        let (stopper, snapshotter, changes) = (stop.clone(), self.snapshotter.clone(), self.leases.changes().clone());
        let content = self.content.clone();
        tokio::spawn(async move {
            signalled.await;
            // Before the servers end, which may be at once.
            notify(&[NotifyState::Stopping]);
            stopper.cancel();
            snapshotter.release_waiting();
            content.release();
            changes.detach();
        });
        drain(serving, stop, self.config.daemon.shutdown_grace).await
    }

    /// Takes the sockets that systemd passed, by their names, and binds the others.
    fn listeners(&self) -> Result<(Listener, Listener)> {
        let mut inherited = inherited_sockets();
        let mut take = |name: &str, path: &Path, group: Option<&str>| {
            let Some(index) = inherited.iter().position(|(given, _)| given == name) else {
                return Listener::bind(path, group.map(group_id).transpose()?);
            };
            if let Some(group) = group {
                tracing::warn!(
                    group,
                    "{name}.group has no effect on a socket that systemd passed; set SocketGroup= and SocketMode= of \
                     its unit"
                );
            }
            Ok(Listener::inherited(inherited.swap_remove(index).1))
        };
        let (plugin, api) = (&self.config.plugin, &self.config.api);
        let listeners =
            (take("plugin", &plugin.socket, plugin.group.as_deref())?, take("api", &api.socket, api.group.as_deref())?);
        for (name, _) in inherited {
            tracing::warn!(name, "systemd passed a socket of an unknown name; closed");
        }
        Ok(listeners)
    }
}

/// How many threads decode and encode. Few, because the work is done on the blocking pool: each further thread mostly
/// wakes up others.
fn edge_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).clamp(1, 4)
}

/// The snapshotter and the collector, for the content store.
struct Neighbour {
    snapshotter: Arc<Snapshotter>,
    changes: Arc<Changes>,
}

impl content::Neighbour for Neighbour {
    fn reclaim(&self, number: LayerId) {
        self.snapshotter.reclaim_file(number);
    }

    fn retained(&self) {
        self.snapshotter.pressure().retained();
    }

    fn expect_space(&self) -> Result<()> {
        self.snapshotter.expect_free_space()
    }

    fn require_space(&self) -> Result<()> {
        self.snapshotter.require_free_space()
    }

    fn look_for_expired(&self) {
        self.changes.dirty();
    }
}

/// Waits for the servers to end; after the stop, for the grace period at most.
async fn drain(
    mut serving: tokio::task::JoinHandle<Result<()>>,
    stop: CancellationToken,
    grace: Duration,
) -> Result<()> {
    tokio::select! {
        // Before the stop, servers end only because they failed.
        ended = &mut serving => return ended.unwrap_or(Err(Error::Lost("a server"))),
        () = stop.cancelled() => {}
    }
    tracing::info!(grace = ?grace, "stopping; requests under way are finished");
    match tokio::time::timeout(grace, &mut serving).await {
        Ok(ended) => ended.unwrap_or(Err(Error::Lost("a server"))),
        Err(_) => {
            tracing::warn!("requests are still under way after the grace period; they are dropped");
            serving.abort();
            Ok(())
        }
    }
}

fn settings(config: &Config, host: &HostFeatures) -> Settings {
    Settings {
        name: config.snapshotter.name.as_str().into(),
        mounts: MountOptions::new(&config.snapshotter.mount_options, true, host),
        upperdir_label: config.snapshotter.upperdir_label,
        sync_layers_on_commit: config.durability.sync_layers_on_commit,
        min_free: config.limits.min_free,
        waiting_for_space: config.limits.max_concurrent_requests.div_ceil(8),
        retention: Retention::new(config.retention.after_remove),
        reuse: Reuse {
            enabled: config.diff.reuse != config::Reuse::Off,
            per_namespace: config.diff.share == config::SharedBy::Namespace,
            fetch: config.diff.reuse == config::Reuse::Fetch,
        },
        reclaim_workers: config.reclaim.workers,
        reclaim_per_second: config.reclaim.max_per_second as u64,
        cleanup_wait: config.reclaim.cleanup_wait,
    }
}

fn eviction_limits(config: &Config) -> EvictionLimits {
    EvictionLimits { max_bytes: config.retention.max_bytes, min_free: config.retention.min_free }
}

fn content_settings(config: &Config) -> content::Settings {
    let sharing = match config.content.sharing_policy {
        SharingPolicy::Shared => content::Sharing::Shared,
        SharingPolicy::Isolated => content::Sharing::Isolated,
    };
    content::Settings {
        max_ingests: config.content.max_ingests,
        sharing,
        retention: Retention::new(config.retention.after_remove),
    }
}

fn differ_settings(config: &Config, host: &HostFeatures) -> diff::Settings {
    let config = &config.diff;
    diff::Settings {
        limits: diff::Limits { max_size: config.max_layer_size, max_ratio: config.max_ratio as u64 },
        extraction: diff::extract::Limits {
            entries: if config.max_entries == 0 { u64::MAX } else { config.max_entries as u64 },
            // Where nobody may make them.
            devices: if host.userns { diff::extract::Devices::Skip } else { diff::extract::Devices::Make },
            ..diff::extract::Limits::default()
        },
        sync: config.sync,
        userxattr: host.userxattr,
        content_root: config.content_root.clone(),
    }
}

fn schedule(config: &Config) -> Schedule {
    Schedule {
        pause_threshold: config.gc.pause_threshold.as_f64(),
        deletion_threshold: config.gc.deletion_threshold as u64,
        mutation_threshold: config.gc.mutation_threshold as u64,
        schedule_delay: config.gc.schedule_delay,
        startup_delay: config.gc.startup_delay,
    }
}

/// Finds a group by its number or its name.
fn group_id(group: &str) -> Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        _ => Err(Error::Pool(format!("the group {group:?} of a socket does not exist. Make it, or configure another"))),
    }
}

#[expect(unsafe_code, reason = "systemd passes sockets as descriptor numbers, and each is taken over exactly once")]
fn inherited_sockets() -> Vec<(String, OwnedFd)> {
    match sd_notify::listen_fds_with_names() {
        // SAFETY: the service manager opened these descriptors for this process, and nothing else here uses them.
        Ok(sockets) => sockets.map(|(fd, name)| (name, unsafe { OwnedFd::from_raw_fd(fd) })).collect(),
        Err(err) => {
            tracing::debug!(error = %err, "no sockets were passed");
            Vec::new()
        }
    }
}

/// Catches SIGTERM and SIGINT from now on; what is returned ends when one has come.
fn stop_signal() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            // Without a handler the default action of the signal ends the process.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Tells systemd at half its period that the daemon can still answer: the blocking pool and the records, not only the
/// event loop.
async fn feed_watchdog(snapshotter: Arc<Snapshotter>) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(period / 2);
    loop {
        ticks.tick().await;
        let snapshotter = snapshotter.clone();
        match tokio::task::spawn_blocking(move || snapshotter.metadata().totals()).await {
            Ok(Ok(_)) => notify(&[NotifyState::Watchdog]),
            Ok(Err(err)) => {
                tracing::error!(error = %Chain(&err), "the records cannot be read; the watchdog is not fed")
            }
            Err(err) => tracing::error!(error = %err, "the blocking pool is gone; the watchdog is not fed"),
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(err) = sd_notify::notify(state) {
        tracing::debug!(error = %err, "the service manager cannot be notified");
    }
}
