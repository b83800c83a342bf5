//! `fsck`, and what it repairs.
//!
//! Garbage is reclaimed, counts and links are corrected, an active layer without its directory gets an empty one. A
//! damaged committed snapshot is dropped with everything on top of it, because nothing can be mounted there any more;
//! the directories that are left are set aside in `lost+found/`, never deleted. So are the bytes of records that nobody
//! can read. No repair of leases takes a hold away (`leases.rs`).

mod leases;
mod reuse;

use std::collections::HashSet;
use std::time::SystemTime;

use crate::metadata::{Kind, Metadata, Retained, RetainedName, Snapshot};
use crate::overlay::LayerDirs;
use crate::types::{LayerId, SnapshotKey};
use crate::{Chain, Error, Result};

use super::create::recreate;
use super::fsck::Check;
use super::recover::forget_extracted;
use super::{FsckReport, ProblemKind, Snapshotter, Staged};

impl Snapshotter {
    /// Compares records and directories while requests are served; repairs what it can when `repair` is set.
    ///
    /// # Errors
    /// Those of reading. A repair that fails is reported with its problem.
    pub fn fsck(&self, repair: bool) -> Result<FsckReport> {
        let (check, mut report) = Check::run(&self.metadata, &self.dirs, &self.staged)?;
        if repair {
            for id in check.repair_all(&mut report) {
                self.reclaimer.enqueue(id);
            }
        }
        Ok(report)
    }
}

/// Compares the records and directories of a pool that no daemon serves; the caller holds the pool's lock.
///
/// # Errors
/// Those of reading. A repair that fails is reported with its problem.
pub fn fsck_offline(metadata: &Metadata, dirs: &LayerDirs, repair: bool) -> Result<FsckReport> {
    let staged = Staged::default();
    let (check, mut report) = Check::run(metadata, dirs, &staged)?;
    if repair {
        // What goes to trash is deleted by the next daemon.
        check.repair_all(&mut report);
        metadata.sync()?;
    }
    Ok(report)
}

impl Check<'_> {
    /// Repairs in place and notes in the report what was done. Returns what is to be reclaimed.
    fn repair_all(&self, report: &mut FsckReport) -> Vec<LayerId> {
        let mut trash = Vec::new();
        // What cannot be read may name anything, so nothing that looks unnamed is given up.
        let unreadable = report.problems.iter().any(|one| matches!(one.kind, ProblemKind::UnreadableRecord(_)));
        for problem in &mut report.problems {
            let given_up = matches!(problem.kind, ProblemKind::WrongReferences { .. } | ProblemKind::StaleChild(..));
            if unreadable && given_up {
                continue;
            }
            problem.repair = match self.repair(&problem.kind, &mut trash) {
                Ok(done) => done,
                Err(err) => Some(format!("failed: {}", Chain(&err))),
            };
        }
        trash
    }

    fn repair(&self, problem: &ProblemKind, trash: &mut Vec<LayerId>) -> Result<Option<String>> {
        let done = match problem {
            ProblemKind::OrphanDirectory(id) if self.dirs.has_content(*id)? => {
                if self.metadata.layer(*id)?.is_some() {
                    return Ok(None);
                }
                self.dirs.set_aside(*id)?;
                "set aside, because something is in it".into()
            }
            ProblemKind::OrphanDirectory(id) => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                if !txn.trash_orphan(*id)? {
                    return Ok(None);
                }
                txn.commit()?;
                crate::failpoint::hit("repair: orphan recorded");
                self.dirs.move_to_trash(*id)?;
                trash.push(*id);
                "moved to trash".into()
            }
            ProblemKind::OrphanTrash(id) => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                if !txn.trash_orphan(*id)? {
                    drop(txn);
                    // A record names it: its removal was not kept, only its move.
                    let back = self.dirs.bring_back(*id)?;
                    return Ok(back.then(|| "taken out of the trash, because a record names it".into()));
                }
                txn.commit()?;
                trash.push(*id);
                "recorded as trash".into()
            }
            ProblemKind::LeftoverStaging(id) => {
                self.dirs.discard_staged(*id)?;
                "deleted".into()
            }
            ProblemKind::MissingDirectory(id) => return self.repair_missing(*id, trash).map(Some),
            ProblemKind::MissingLayer(key, id) => {
                let retained = self.retained.values().flat_map(Retained::layers).filter(|layer| layer == id);
                let staged = self.applied.values().filter(|applied| applied.staged == Some(*id));
                let own = self.snapshots.values().filter(|one| one.layer == Some(*id));
                let counted = own.count() + retained.count() + staged.count();
                let mut txn = self.metadata.write(SystemTime::now())?;
                self.require_same(&txn, key)?;
                txn.remake_layer(*id, u32::try_from(counted).unwrap_or(u32::MAX), key)?;
                txn.commit()?;
                "record made again".into()
            }
            ProblemKind::RetainedWithoutLayer(name, _) => {
                trash.extend(self.drop_retained(name)?);
                "given up".into()
            }
            ProblemKind::WrongReferences { layer, recorded, counted } => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                if txn.layer(*layer)?.as_ref() != Some(recorded) {
                    return Ok(Some("changed meanwhile; run fsck again".into()));
                }
                let unnamed = txn.repair_references(*layer, *counted)?;
                txn.commit()?;
                // What was staged for it; it has a record in trash.
                trash.extend(unnamed.into_iter().filter(|id| id != layer));
                if *counted > 0 {
                    return Ok(Some("counted again".into()));
                }
                if self.dirs.has_content(*layer)? {
                    // The record says trash, and finds nothing there.
                    self.dirs.set_aside(*layer)?;
                    return Ok(Some("set aside, because something is in it and nothing names it".into()));
                }
                self.dirs.move_to_trash(*layer)?;
                trash.push(*layer);
                "moved to trash, because nothing names it".into()
            }
            ProblemKind::MissingParent(key) => format!("dropped: {}", self.drop_tree(key)?.join(", ")),
            ProblemKind::WrongParentLayers(key) => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                txn.repair_parent_layers(key)?;
                txn.commit()?;
                "taken from the parent again".into()
            }
            ProblemKind::MissingChild(parent, child) => self.repair_child(*parent, *child, true)?,
            ProblemKind::StaleChild(parent, child) => self.repair_child(*parent, *child, false)?,
            ProblemKind::Leases(fault) => self.repair_leases(fault)?,
            ProblemKind::Reuse(fault) => self.repair_reuse(fault, trash)?,
            ProblemKind::UnreadableRecord(record) => return self.set_record_aside(record),
            ProblemKind::UnknownName(_) => return Ok(None),
        };
        Ok(Some(done))
    }

    fn repair_missing(&self, id: LayerId, trash: &mut Vec<LayerId>) -> Result<String> {
        if self.metadata.layer(id)?.is_none() {
            return Ok("its snapshot was dropped or removed meanwhile".into());
        }
        let named: Vec<(&SnapshotKey, &Snapshot)> =
            self.snapshots.iter().filter(|(_, snapshot)| snapshot.layer == Some(id)).collect();
        let mut dropped = Vec::new();
        for (name, _) in self.retained.iter().filter(|(_, retained)| retained.layers().contains(&id)) {
            trash.extend(self.drop_retained(name)?);
            dropped.push(format!("retained {:?}", name.1));
        }
        if !named.is_empty() && named.iter().all(|(_, snapshot)| snapshot.kind != Kind::Committed) {
            // One at most: active snapshots and views have layers of their own.
            for (_, snapshot) in named {
                recreate(self.dirs, id, snapshot)?;
            }
            forget_extracted(self.metadata, id)?;
            return Ok("made again, empty".into());
        }
        for key in named.into_iter().map(|(key, _)| key).chain(self.staged_with(id)) {
            dropped.extend(self.drop_tree(key)?);
        }
        Ok(format!("dropped: {}", dropped.join(", ")))
    }

    /// Gives up a retained snapshot that lost a layer: nobody can use it any more. Returns what is to be reclaimed.
    fn drop_retained(&self, name: &RetainedName) -> Result<Vec<LayerId>> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        // Of that name another one may have been removed meanwhile, which is whole.
        let seen = self.retained.get(name).map(|seen| seen.removed_at);
        if self.metadata.retained(&name.0, &name.1)?.map(|now| now.removed_at) != seen {
            return Ok(Vec::new());
        }
        let trashed = txn.drop_retained(name)?.unwrap_or_default();
        txn.commit()?;
        for id in &trashed {
            self.dirs.move_to_trash(*id)?;
        }
        Ok(trashed)
    }

    /// Drops a damaged snapshot and all that is on top of it, and sets their directories aside. Returns their keys.
    fn drop_tree(&self, root: &SnapshotKey) -> Result<Vec<String>> {
        let mut order = vec![root];
        // Damaged records may name each other as parents in a circle.
        let mut seen = HashSet::from([root]);
        let mut next = 0;
        while let Some(parent) = order.get(next).copied() {
            let children = self.snapshots.iter().filter(|(_, one)| one.parent.as_ref() == Some(parent));
            order.extend(children.map(|(key, _)| key).filter(|key| seen.insert(key)));
            next += 1;
        }
        // Children first, so that a crash in between leaves no snapshot without its parent.
        for key in order.iter().rev() {
            let mut txn = self.metadata.write(SystemTime::now())?;
            if let Err(Error::NotFound(_)) = self.require_same(&txn, key) {
                continue;
            }
            let unnamed = txn.drop_damaged(key)?;
            txn.commit()?;
            crate::failpoint::hit("repair: damaged snapshot dropped");
            // Not before the record is gone: until then the snapshot may be another one by now. After a crash here,
            // start-up sets aside what has content and no record.
            for layer in unnamed {
                self.dirs.set_aside(layer)?;
                crate::failpoint::hit("repair: set aside");
            }
        }
        Ok(order.into_iter().map(|key| format!("{:?}", key.as_str())).collect())
    }

    fn repair_child(&self, parent: u64, child: u64, present: bool) -> Result<String> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        txn.repair_child(parent, child, present);
        txn.commit()?;
        Ok(if present { "entered".into() } else { "deleted".into() })
    }

    fn require_same(&self, txn: &crate::metadata::Transaction<'_>, key: &SnapshotKey) -> Result<()> {
        match self.snapshots.get(key) {
            Some(snapshot) => txn.require_same(key, snapshot.id, snapshot.kind),
            None => Ok(()),
        }
    }
}
