//! Applying to active layers: whose turn it is, what is recorded of it, and known layers that take the place of work.
//!
//! The differ takes a turn, extracts or has a known layer staged, and ends the turn by saying what it did. While a turn lasts
//! nobody else applies to that layer, and it is not committed. It may be removed: then what was applied is of no use.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metadata::{ActiveLayer, AppliedLayer, Snapshot, Usage};
use crate::overlay::Mount;
use crate::types::{Digest, LayerId, SnapshotKey, label};
use crate::{Error, Resource, Result, failpoint, overlay};

use super::Snapshotter;
use super::mounts::is_extraction;
use super::reuse::Below;

/// How many paths there may be of those that a commit may have to do something about: of implicit directories, and of what
/// hides something. Each costs it a few system calls, and containerd waits.
const MAX_LISTED: usize = 32 << 10;
/// How long they may be together.
const MAX_LISTED_LENGTH: usize = 4 << 20;

/// What was applied to a layer.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The blob that it came in; only if its digest was checked.
    pub blob: Option<Digest>,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Its size.
    pub size: u64,
    /// What it takes, as [`overlay::disk_usage`] would count it, if that is known.
    pub usage: Option<overlay::Usage>,
    /// Directories made without an entry of their own, relative; the empty path for the root.
    pub implicit: Vec<PathBuf>,
    /// Whiteouts that were made.
    pub whiteouts: Vec<PathBuf>,
    /// Directories that were made opaque.
    pub opaque: Vec<PathBuf>,
    /// Whether it would survive a power cut.
    pub durable: bool,
}

/// A known layer that took the place of extraction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLayer {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Its size.
    pub size: u64,
}

/// The turn of one who applies to an active layer.
#[must_use = "dropping it ends the turn"]
pub struct ApplyTurn<'s> {
    snapshotter: &'s Snapshotter,
    layer: LayerId,
    active: ActiveLayer,
    fresh: bool,
    /// Whether the layer's own mounts would show whiteouts as what is applied has them.
    as_mounted: bool,
    _turn: Applying<'s>,
}

impl Snapshotter {
    /// Takes the turn on the active layer whose upperdir this is; `None` when it is not one of ours.
    ///
    /// # Errors
    /// [`Error::Locked`] while somebody else has it; [`Error::WrongState`] for a layer that is not active, [`Error::NotFound`]
    /// for one that is gone.
    pub fn begin_apply(&self, upperdir: &str) -> Result<Option<ApplyTurn<'_>>> {
        let Some(layer) = self.layout().layer_of(upperdir) else { return Ok(None) };
        let turn = self.take_turn(layer)?;
        // In a transaction, so that a commit either came before, and is seen, or comes after, and sees the turn.
        let mut txn = self.metadata.write(self.now())?;
        let mut active = txn.active_layer(layer)?;
        if let Some(applied) = active.applied.as_mut().filter(|applied| applied.verified && applied.staged.is_none()) {
            // What comes now may be cut off at any byte. Durable before the first of them.
            txn.unverify(layer)?;
            self.note_no_space(txn.commit())?;
            applied.verified = false;
        } else {
            drop(txn);
        }
        let fresh = active.applied.is_none() && !self.dirs.has_content(layer)?;
        Ok(Some(ApplyTurn { snapshotter: self, layer, active, fresh, as_mounted: true, _turn: turn }))
    }

    /// Notes that somebody is about to write to an upperdir without asking for its mounts, here or, where this differ does not
    /// support what is asked for, with containerd's. Nothing happens for a directory that is not one of ours.
    ///
    /// # Errors
    /// Those of the store.
    pub fn expect_writing(&self, upperdir: &str) -> Result<()> {
        let Some(layer) = self.layout().layer_of(upperdir) else { return Ok(()) };
        self.turns.note_mounts(layer);
        if !self.metadata.layer(layer)?.is_some_and(|record| record.applied) {
            return Ok(());
        }
        let mut txn = self.metadata.write(self.now())?;
        if txn.unverify(layer)? {
            self.note_no_space(txn.commit())?;
        }
        Ok(())
    }

    /// Has a known layer with what is in this blob take the place of extraction, if there is one that can: then there is
    /// nothing to finish. Nothing was done where there is none. Takes the same time for a layer of any size. One that is to be
    /// `durable` is not replaced by one that is not.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the active layer is gone, and those of the store.
    pub fn stage_known(&self, turn: &ApplyTurn<'_>, blob: &Digest, durable: bool) -> Result<Option<KnownLayer>> {
        let ActiveLayer { key, snapshot, .. } = &turn.active;
        if !turn.fresh || !turn.as_mounted || !is_unpacked(key, snapshot) || self.dirs.was_mounted(turn.layer)? {
            return Ok(None);
        }
        let Some(namespace) = self.shares_in(key) else { return Ok(None) };
        let below = Below::of(snapshot, self.is_overlay(key, snapshot));
        let diff_id = self.metadata.diff_id_of(blob)?;
        let found = self.metadata.known_layer(&namespace, &diff_id, &below.variants())?;
        let Some((layer, known)) = found.filter(|(_, known)| below.can_have(known)) else { return Ok(None) };
        if durable && !known.boot.is_empty() || !self.can_replace(layer, &known, turn.layer)? {
            return Ok(None);
        }
        let mut txn = self.metadata.write(self.now())?;
        if txn.stage(turn.layer, layer, &known, Some(blob))?.is_none() {
            return Ok(None);
        }
        failpoint::hit("stage known: before the record");
        // Not before Commit, whose sync covers it, has anybody a claim on it.
        self.note_no_space(txn.commit_unsynced())?;
        failpoint::hit("stage known: record written");
        tracing::debug!(layer = %turn.layer, known = %layer, %blob, "a known layer is staged");
        Ok(Some(KnownLayer { diff_id: known.diff_id, size: known.size }))
    }

    /// Takes back a layer that was staged, because more is to be applied. What it holds was extracted before this, as `extracted`
    /// says: until now, Commit would have refused what is there. Nothing happens when nothing was staged.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the active layer is gone, and those of the store. The layer may be taken back then, so that what
    /// was extracted has to stay.
    pub fn unstage(&self, turn: &mut ApplyTurn<'_>, extracted: Applied) -> Result<()> {
        if turn.staged().is_none() {
            return Ok(());
        }
        let applied = self.applied_layer(turn, extracted)?;
        let mut txn = self.metadata.write(self.now())?;
        let trashed = txn.unstage(turn.layer, &applied)?;
        self.note_no_space(txn.commit()).inspect_err(|_| self.note_unclear(&trashed))?;
        failpoint::hit("unstage: record written");
        self.reclaim(&trashed);
        turn.active.applied = Some(applied);
        Ok(())
    }

    /// Records what was applied, so that Commit knows what the layer holds. Only a layer that nothing else was applied to or
    /// written to, and where a whiteout stays one, holds what its archive does.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the layer was removed meanwhile, and those of the store.
    pub fn finish_apply(&self, turn: ApplyTurn<'_>, applied: Applied) -> Result<()> {
        self.record_applied(&turn, applied)
    }

    /// Like [`finish_apply`](Self::finish_apply), within the turn.
    ///
    /// # Errors
    /// As for [`finish_apply`](Self::finish_apply). The record may be there then: see [`forget_applied`](Self::forget_applied).
    pub fn record_applied(&self, turn: &ApplyTurn<'_>, applied: Applied) -> Result<()> {
        let applied = self.applied_layer(turn, applied)?;
        let mut txn = self.metadata.write(self.now())?;
        txn.set_applied(turn.layer, &applied)?;
        failpoint::hit("finish apply: before the record");
        self.note_no_space(txn.commit_unsynced())?;
        failpoint::hit("finish apply: record written");
        // Only now: who asks for the mounts later finds the record.
        if applied.verified && self.turns.meanwhile(turn.layer).mounts {
            let mut txn = self.metadata.write(self.now())?;
            txn.unverify(turn.layer)?;
            self.note_no_space(txn.commit_unsynced())?;
        }
        Ok(())
    }

    /// Makes sure that nothing is recorded of what was applied to an empty layer, so that it can be emptied again. Nothing
    /// else would do: a failed write may have been carried out, and an empty layer must not be taken for what was applied.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the layer was removed meanwhile, and those of the store. What was applied has to stay.
    pub fn forget_applied(&self, turn: &ApplyTurn<'_>) -> Result<()> {
        let mut txn = self.metadata.write(self.now())?;
        txn.active_layer(turn.layer)?;
        let trashed = txn.drop_applied(turn.layer)?;
        self.note_no_space(txn.commit()).inspect_err(|_| self.note_unclear(&trashed))?;
        self.reclaim(&trashed);
        Ok(())
    }

    /// Says what a layer holds after something was applied to it.
    fn applied_layer(&self, turn: &ApplyTurn<'_>, applied: Applied) -> Result<AppliedLayer> {
        let ActiveLayer { key, snapshot, applied: before } = &turn.active;
        let Applied { blob, diff_id, size, usage, mut implicit, mut whiteouts, mut opaque, durable } = applied;
        if let Some(before) = before {
            for (list, before) in
                [(&mut implicit, &before.implicit), (&mut whiteouts, &before.whiteouts), (&mut opaque, &before.opaque)]
            {
                list.extend(before.iter().cloned());
                list.sort();
                list.dedup();
            }
        }
        // With a parent nothing will change below it, so that it is enough to know whether there are any.
        let is_settled = snapshot.parent.is_some();
        let implicit_unlisted =
            before.as_ref().is_some_and(|before| before.implicit_unlisted) || !is_settled && !is_short(&[&implicit]);
        let hiding_unlisted = before.as_ref().is_some_and(|before| before.hiding_unlisted)
            || !is_settled && !is_short(&[&whiteouts, &opaque]);
        if is_settled || implicit_unlisted {
            let (root, other): (Vec<_>, Vec<_>) = implicit.into_iter().partition(|path| path.as_os_str().is_empty());
            implicit = root.into_iter().take(1).chain(other.into_iter().take(1)).collect();
        }
        if is_settled || hiding_unlisted {
            whiteouts.truncate(1);
            opaque.truncate(1);
        }
        Ok(AppliedLayer {
            diff_id,
            size,
            blob,
            usage: usage.filter(|_| turn.fresh).map(|usage| Usage { size: usage.size, inodes: usage.inodes }),
            implicit,
            whiteouts,
            opaque,
            staged: None,
            verified: turn.fresh && turn.as_mounted && self.is_overlay(key, snapshot),
            boot: if durable { "".into() } else { self.boot.clone() },
            base: false,
            implicit_unlisted,
            hiding_unlisted,
        })
    }

    /// Whether what is applied to an active snapshot is applied to the upperdir of an overlay, where whiteouts stay.
    fn is_overlay(&self, key: &SnapshotKey, snapshot: &Snapshot) -> bool {
        !snapshot.parent_layers.is_empty() || is_extraction(key, snapshot) && !self.settings.mounts.userns
    }
}

impl ApplyTurn<'_> {
    /// Returns the layer.
    pub fn layer(&self) -> LayerId {
        self.layer
    }

    /// Returns the directory to extract into.
    pub fn upperdir(&self) -> PathBuf {
        self.snapshotter.layout().upperdir(self.layer).into()
    }

    /// Returns the directories of the layers below, nearest first.
    pub fn parents(&self) -> Vec<PathBuf> {
        let layout = self.snapshotter.layout();
        self.active.snapshot.parent_layers.iter().map(|layer| layout.upperdir(*layer).into()).collect()
    }

    /// Returns what shows the layer.
    pub fn mounts(&self) -> Vec<Mount> {
        self.snapshotter.mounts_of(&self.active.key, &self.active.snapshot, None)
    }

    /// Notes that whiteouts are not made as its own mounts have them: so nobody else is to have the layer, nor it that of others.
    pub fn apply_otherwise(&mut self) {
        self.as_mounted = false;
    }

    /// Whether nothing was applied before, and nothing was written.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether there is a parent.
    pub fn has_parent(&self) -> bool {
        self.active.snapshot.parent.is_some()
    }

    /// Returns the blob for which a known layer is staged. Before anything else is applied it is to be
    /// [taken back](Snapshotter::unstage).
    pub fn staged(&self) -> Option<&Digest> {
        let applied = self.active.applied.as_ref().filter(|applied| applied.staged.is_some())?;
        applied.blob.as_ref()
    }

    /// Whether the layer was removed meanwhile, so that going on is of no use.
    pub fn is_removed(&self) -> bool {
        self.snapshotter.turns.meanwhile(self.layer).removed
    }
}

/// Whether a snapshot is there to be unpacked into and committed, and no more. Who uses the mounts that Prepare returned for
/// anything else would not see what is staged.
fn is_unpacked(key: &SnapshotKey, snapshot: &Snapshot) -> bool {
    key.client_key().starts_with("extract-") || snapshot.labels.get(label::SNAPSHOT_REF).is_some()
}

/// Whether a commit can go through lists of paths without holding up containerd for long.
fn is_short(lists: &[&Vec<PathBuf>]) -> bool {
    let (mut number, mut length) = (0, 0);
    for path in lists.iter().copied().flatten() {
        number += 1;
        length += path.as_os_str().len() + 1;
    }
    number <= MAX_LISTED && length <= MAX_LISTED_LENGTH
}

/// Layers that somebody applies to, or commits after that, and whether they were removed meanwhile.
#[derive(Default)]
pub(super) struct ApplyTurns {
    layers: Mutex<HashMap<LayerId, Meanwhile>>,
}

/// What happened to a layer while somebody had it.
#[derive(Clone, Copy, Debug, Default)]
struct Meanwhile {
    removed: bool,
    /// Somebody asked for its mounts, and may have written to it.
    mounts: bool,
}

/// While it lives, nobody else has the layer. One that was removed meanwhile is deleted after it.
pub(super) struct Applying<'s> {
    snapshotter: &'s Snapshotter,
    layer: LayerId,
}

impl Snapshotter {
    /// Takes a layer.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody has it.
    pub(super) fn take_turn(&self, layer: LayerId) -> Result<Applying<'_>> {
        let mut layers = self.turns.lock();
        if layers.contains_key(&layer) {
            return Err(Error::Locked(Resource::Layer(layer.get())));
        }
        layers.insert(layer, Meanwhile::default());
        Ok(Applying { snapshotter: self, layer })
    }
}

impl ApplyTurns {
    /// Whether somebody has a layer.
    pub fn has(&self, layer: LayerId) -> bool {
        self.lock().contains_key(&layer)
    }

    /// Notes that a layer was removed. False when nobody has it.
    pub fn note_removed(&self, layer: LayerId) -> bool {
        self.lock().get_mut(&layer).map(|meanwhile| meanwhile.removed = true).is_some()
    }

    /// Notes that somebody asked for the mounts of a layer.
    pub fn note_mounts(&self, layer: LayerId) {
        if let Some(meanwhile) = self.lock().get_mut(&layer) {
            meanwhile.mounts = true;
        }
    }

    fn meanwhile(&self, layer: LayerId) -> Meanwhile {
        self.lock().get(&layer).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LayerId, Meanwhile>> {
        // Each change is one insertion, removal or assignment, so it is whole even after a panic.
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        let meanwhile = self.snapshotter.turns.lock().remove(&self.layer);
        if meanwhile.is_some_and(|meanwhile| meanwhile.removed) {
            self.snapshotter.reclaimer.enqueue(self.layer);
        }
    }
}

#[cfg(test)]
mod tests;
