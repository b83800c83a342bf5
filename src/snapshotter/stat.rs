//! Stat and Usage.

use std::borrow::Cow;
use std::path::Path;

use crate::metadata::{Kind, Snapshot, Usage};
use crate::types::{Adaptor, LayerId, SnapshotKey, label};
use crate::{Result, overlay};

use super::Snapshotter;

/// Disk usage of a snapshot's own layer.
pub type SnapshotUsage = Usage;

/// A snapshot as a client sees it.
#[derive(Clone, Debug)]
pub struct Info {
    /// Key, or name when committed.
    pub key: SnapshotKey,
    /// Its record, with the labels that clients see.
    pub snapshot: Snapshot,
}

impl Adaptor for Info {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path.split_first()? {
            (&"kind", _) => Some(self.snapshot.kind.as_str().into()),
            (&"name", _) => Some(self.key.as_str().into()),
            // Present even when there is none, as in containerd: `parent==""` selects base layers.
            (&"parent", _) => Some(self.snapshot.parent.as_ref().map_or("", SnapshotKey::as_str).into()),
            (&"labels", label) => self.snapshot.labels.get(&label.join(".")).map(Cow::from),
            _ => None,
        }
    }
}

impl Snapshotter {
    /// Returns a snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub fn stat(&self, key: SnapshotKey) -> Result<Info> {
        let snapshot = self.metadata.snapshot(&key)?;
        Ok(self.info(key, snapshot))
    }

    /// Returns a snapshot if its record is in memory. For threads that must not wait.
    ///
    /// # Errors
    /// As for [`stat`](Self::stat).
    pub fn stat_cached(&self, key: &SnapshotKey) -> Result<Option<Info>> {
        Ok(self.metadata.cached_snapshot(key)?.map(|snapshot| self.info(key.clone(), snapshot)))
    }

    pub(super) fn info(&self, key: SnapshotKey, mut snapshot: Snapshot) -> Info {
        if self.settings.upperdir_label
            && let Some(layer) = snapshot.layer
        {
            let upperdir = self.layout().upperdir(layer);
            // Too long for a label only when the root is close to PATH_MAX; then there is no label.
            drop(snapshot.labels.insert(label::OVERLAY_UPPERDIR.into(), upperdir));
        }
        Info { key, snapshot }
    }

    /// Returns what a snapshot's own layer takes on disk, without its parents.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), and those of walking an active layer.
    pub fn usage(&self, key: &SnapshotKey) -> Result<SnapshotUsage> {
        let snapshot = self.metadata.snapshot(key)?;
        match (snapshot.kind, snapshot.layer) {
            (Kind::Active, Some(layer)) => Ok(self.measure(layer)?.plus(self.staged_usage(layer)?)),
            (Kind::Committed, Some(layer)) => {
                let counted = self.metadata.layer(layer)?.and_then(|record| record.usage);
                match counted {
                    Some(usage) => Ok(usage),
                    // Asked before the background came to it: counted here, once.
                    None => self.counting.count(layer),
                }
            }
            // As in containerd, a view takes nothing.
            (Kind::View, _) | (_, None) => Ok(Usage::default()),
        }
    }

    /// Returns what the layer takes that is staged for an active one.
    fn staged_usage(&self, layer: LayerId) -> Result<Usage> {
        if !self.metadata.layer(layer)?.is_some_and(|record| record.applied) {
            return Ok(Usage::default());
        }
        let staged = self.metadata.applied(layer)?.and_then(|applied| applied.staged);
        staged.map_or(Ok(Usage::default()), |staged| self.counting.count(staged))
    }

    /// Walks the layer of an active snapshot.
    pub(super) fn measure(&self, layer: LayerId) -> Result<Usage> {
        let usage = overlay::disk_usage(Path::new(&self.layout().upperdir(layer)))?;
        Ok(Usage { size: usage.size, inodes: usage.inodes })
    }
}
