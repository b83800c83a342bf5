//! The snapshotter: containerd's operations on snapshots, over records and layer directories.
//!
//! Every operation does its slow work (reading, making a directory) before or after the one short write transaction,
//! which checks everything again. The order is the design: a directory exists before the record that names it, and a
//! record is gone before its directory is touched.

mod accounts;
mod apply;
mod busy;
mod cleanup;
mod commit;
mod counting;
mod create;
mod eviction;
mod fetch;
mod fsck;
mod holds;
mod inventory;
mod list;
mod mounts;
mod pace;
mod pressure;
mod recover;
mod remove;
mod repair;
mod reuse;
mod room;
mod settle;
mod stat;
mod sweep;
mod unclear;
mod update;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

pub use accounts::{Accounts, ImageAccount, ImageTops, LeaseAccount, NamespaceAccount, Share};
pub use apply::{Applied, ApplyTurn, KnownLayer};
pub use busy::BusyLayer;
pub use create::Create;
pub use eviction::OnItsWay;
pub use fsck::{FsckReport, Problem, ProblemKind};
pub use holds::GivenUpSnapshots;
pub use inventory::{Entry, Inventory};
pub use list::List;
pub use pressure::{Look, Pressure, Wake};
pub use recover::RecoveryReport;
pub use repair::fsck_offline;
pub use reuse::Reuse;
pub use room::MIN_FREE_INODES;
pub use stat::{Info, SnapshotUsage};
pub use sweep::SweepReport;

use crate::background::Background;
use crate::metadata::{Metadata, Retention};
use crate::overlay::{self, LayerDirs, Layout, MountOptions};
use crate::types::{LayerId, MemberKind};
use crate::{Error, Result};

use apply::ApplyTurns;
use cleanup::Reclaimer;
use counting::Counting;
use pace::Pace;
use unclear::Unclear;

/// How snapshots are made and answered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What containerd's configuration calls the snapshotter, and so leases: `snapshots/<name>`.
    pub name: Box<str>,
    /// How mounts are built on this host.
    pub mounts: MountOptions,
    /// Whether every answer carries the label `containerd.io/snapshot/overlay.upperdir`.
    pub upperdir_label: bool,
    /// Whether Commit syncs the layer's file system before it answers.
    pub sync_layers_on_commit: bool,
    /// Prepare and View are refused below this many free bytes.
    pub min_free: u64,
    /// How many requests may wait for space at a time.
    pub waiting_for_space: usize,
    /// How long what containerd removes is kept; `None` for not at all.
    pub retention: Option<Retention>,
    /// Whether layers are used again.
    pub reuse: Reuse,
    /// How many layers are reclaimed at a time.
    pub reclaim_workers: usize,
    /// How many files and directories are deleted a second, by all together; 0 for as many as can be.
    pub reclaim_per_second: u64,
    /// How long Cleanup waits for what was in trash when it was called.
    pub cleanup_wait: Duration,
}

/// The snapshots of one pool.
pub struct Snapshotter {
    metadata: Arc<Metadata>,
    dirs: Arc<LayerDirs>,
    layout: Layout,
    settings: Settings,
    /// How leases name our snapshots.
    member_kind: MemberKind,
    /// Layers whose directory exists while their record is not committed yet.
    staged: Arc<Staged>,
    /// Layers that somebody applies to.
    turns: ApplyTurns,
    /// Names this boot of the machine.
    boot: Box<str>,
    unclear: Unclear,
    reclaimer: Reclaimer,
    counting: Counting,
    pressure: Pressure,
    /// What runs once after the start.
    afterwards: Background,
}

impl Snapshotter {
    /// Recovers the pool, then starts the background work. What was wrong and repaired is in the report.
    ///
    /// # Errors
    /// Those of the store and of the file system; nothing was lost.
    pub fn start(
        metadata: Arc<Metadata>,
        layout: Layout,
        dirs: LayerDirs,
        settings: Settings,
    ) -> Result<(Snapshotter, RecoveryReport)> {
        let dirs = Arc::new(dirs);
        let report = recover::recover(&metadata, &dirs)?;
        crate::failpoint::hit("start: recovered");
        let pace = pace(&dirs, &settings);
        let reclaimer = Reclaimer::start(metadata.clone(), dirs.clone(), settings.reclaim_workers, pace)?;
        for id in &report.trash {
            reclaimer.enqueue(*id);
        }
        let counting = Counting::start(metadata.clone(), layout.clone())?;
        let afterwards = Background::default();
        let logs = metadata.clone();
        afterwards.spawn("lay-out-logs", move || {
            if let Err(err) = logs.lay_out_logs() {
                tracing::warn!(error = %crate::Chain(&err), "the metadata's logs could not be laid out");
            }
        })?;
        let (staged, unclear) = (Arc::new(Staged::default()), Unclear::default());
        let member_kind = MemberKind::Snapshots(settings.name.clone());
        Ok((
            Snapshotter {
                metadata,
                dirs,
                layout,
                settings,
                member_kind,
                staged,
                turns: ApplyTurns::default(),
                boot: overlay::boot(),
                unclear,
                reclaimer,
                counting,
                pressure: Pressure::default(),
                afterwards,
            },
            report,
        ))
    }

    /// Has calls that only wait for the background answer at once, those to come included.
    pub fn release_waiting(&self) {
        self.reclaimer.release();
        self.pressure.detach();
    }

    /// Stops the background work; a layer that is being reclaimed is left for the next start.
    pub fn stop(&self) {
        self.reclaimer.stop();
        self.counting.stop();
        self.afterwards.join();
        crate::failpoint::hit("stop: background ended");
        if let Err(err) = self.metadata.sync() {
            tracing::warn!(error = %crate::Chain(&err), "last sync of the metadata failed");
        }
    }

    /// Returns the records.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// Returns what containerd's configuration calls the snapshotter.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Returns how leases name our snapshots.
    pub fn member_kind(&self) -> &MemberKind {
        &self.member_kind
    }

    /// Returns where the directories are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns how many bytes can still be written to the pool's file system.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn free_bytes(&self) -> Result<u64> {
        self.dirs.free_bytes()
    }

    /// Has a file deleted that is in trash, as a layer is.
    pub fn reclaim_file(&self, number: LayerId) {
        self.reclaimer.enqueue(number);
    }

    /// Returns the number of layers that wait to be reclaimed.
    pub fn trash_len(&self) -> usize {
        self.reclaimer.len()
    }

    /// Returns how many layers in trash cannot be deleted yet, and up to `limit` of them.
    pub fn busy_layers(&self, limit: usize) -> (usize, Vec<BusyLayer>) {
        self.reclaimer.busy(limit)
    }

    /// Has layers tried again now that could not be deleted.
    pub fn retry_busy(&self) {
        self.reclaimer.retry_busy();
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Returns how fast layers are deleted.
fn pace(dirs: &Arc<LayerDirs>, settings: &Settings) -> Pace {
    let (dirs, min_free) = (dirs.clone(), settings.min_free);
    // Not knowing is no reason to hurry.
    Pace::new(settings.reclaim_per_second, move || room::shortage(&dirs, min_free).is_ok_and(|found| found.is_some()))
}

/// Layers between the making of their directory and the commit of their record.
///
/// A check that finds a directory without a record looks here first, so that it does not take a new layer for an orphan.
#[derive(Default)]
struct Staged {
    ids: Mutex<HashSet<LayerId>>,
}

impl Staged {
    /// Notes a layer until the guard is dropped.
    fn note(self: &Arc<Self>, id: LayerId) -> Result<StagedGuard> {
        self.ids.lock().map_err(|_| Error::Lost("a snapshot's creation"))?.insert(id);
        Ok(StagedGuard { staged: self.clone(), id })
    }

    fn contains(&self, id: LayerId) -> bool {
        // When the lock is poisoned nothing is known, and "staged" is the answer that deletes nothing.
        self.ids.lock().map_or(true, |ids| ids.contains(&id))
    }
}

struct StagedGuard {
    staged: Arc<Staged>,
    id: LayerId,
}

impl Drop for StagedGuard {
    fn drop(&mut self) {
        if let Ok(mut ids) = self.staged.ids.lock() {
            ids.remove(&self.id);
        }
    }
}
