//! Start-up recovery: what a crash left is put right before the first request.
//!
//! Only numbers are compared, records of layers with names of directories, so that a pool with very many snapshots
//! starts at once. The complete comparison is `fsck`.

use std::collections::HashSet;
use std::time::SystemTime;

use crate::metadata::{Kind, Metadata};
use crate::overlay::{LayerDirs, Listing};
use crate::types::LayerId;
use crate::{Result, failpoint};

use super::create::recreate;

/// What recovery found and did.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// Unfinished directories that were deleted.
    pub unfinished: usize,
    /// Directories without a record, which went to trash.
    pub orphans: usize,
    /// Directories without a record in which something is, now in `lost+found`: their records were lost.
    pub set_aside: usize,
    /// Active layers whose directory was missing and made again, empty.
    pub recreated: Vec<LayerId>,
    /// Committed layers whose directory is missing: data was lost outside of leasehold.
    pub damaged: Vec<LayerId>,
    /// Everything to be reclaimed.
    pub trash: Vec<LayerId>,
}

pub(super) fn recover(metadata: &Metadata, dirs: &LayerDirs) -> Result<RecoveryReport> {
    let mut report = RecoveryReport::default();
    for id in known(dirs.list_staging()?) {
        dirs.discard_staged(id)?;
        failpoint::hit("recover: unfinished directory deleted");
        report.unfinished += 1;
    }
    let mut on_disk = known(dirs.list_layers()?);
    let in_trash = known(dirs.list_trash()?);
    let (records, trash) = recorded(metadata)?;
    // Directories may have numbers that no committed record ever had, and so may records in trash: those of directories
    // that an earlier start found. A new layer of such a number would be taken for trash.
    if let Some(highest) = on_disk.iter().chain(&in_trash).chain(&records).chain(&trash).max() {
        metadata.reserve_layer(*highest);
    }

    let mut orphans: Vec<LayerId> =
        on_disk.iter().filter(|id| !records.contains(id) && !trash.contains(id)).copied().collect();
    set_aside_written(dirs, &mut orphans, &mut report)?;
    report.orphans = orphans.len();
    bring_back(dirs, &in_trash, &mut on_disk, &records, &trash)?;
    let unrecorded = in_trash.iter().filter(|id| !trash.contains(id) && !records.contains(id)).copied();
    let new_trash: Vec<LayerId> = orphans.iter().copied().chain(unrecorded).collect();
    record_trash(metadata, &new_trash)?;
    failpoint::hit("recover: orphans recorded");
    for id in &orphans {
        dirs.move_to_trash(*id)?;
        failpoint::hit("recover: orphan moved");
    }
    report.trash = trash.into_iter().chain(new_trash).collect();

    let on_disk: HashSet<LayerId> = on_disk.into_iter().collect();
    let missing: HashSet<LayerId> = records.difference(&on_disk).copied().collect();
    restore(metadata, dirs, &missing, &mut report)?;
    Ok(report)
}

/// Keeps orphans that were written into. A creation under way at a crash was never answered, so nobody wrote into its
/// layer: what has content had a record, and only a human can say what it was.
fn set_aside_written(dirs: &LayerDirs, orphans: &mut Vec<LayerId>, report: &mut RecoveryReport) -> Result<()> {
    let mut empty = Vec::new();
    for id in std::mem::take(orphans) {
        if !dirs.has_content(id)? {
            empty.push(id);
        } else if let Some(path) = dirs.set_aside(id)? {
            tracing::error!(layer = %id, path = %path.display(), "the record of a layer was lost; set aside");
            failpoint::hit("recover: written orphan set aside");
            report.set_aside += 1;
        }
    }
    *orphans = empty;
    Ok(())
}

/// Takes layers out of the trash that a record names: their removal was not kept, only their move.
fn bring_back(
    dirs: &LayerDirs,
    in_trash: &[LayerId],
    on_disk: &mut Vec<LayerId>,
    records: &HashSet<LayerId>,
    trash: &HashSet<LayerId>,
) -> Result<()> {
    for id in in_trash.iter().filter(|id| records.contains(id) && !trash.contains(id)) {
        if dirs.bring_back(*id)? {
            tracing::warn!(layer = %id, "a layer in the trash has a record; taken out again");
            on_disk.push(*id);
        }
    }
    Ok(())
}

/// The numbers of all layers and of all trash.
fn recorded(metadata: &Metadata) -> Result<(HashSet<LayerId>, HashSet<LayerId>)> {
    metadata.read(|records| {
        let (mut layers, mut trash) = (HashSet::new(), HashSet::new());
        // The numbers are in the keys: what a damaged record says is for fsck to report, and no reason not to start.
        records.each_layer(|id, _| {
            layers.insert(id);
            Ok(())
        })?;
        records.each_trash(|id| {
            trash.insert(id);
            Ok(())
        })?;
        Ok((layers, trash))
    })
}

fn record_trash(metadata: &Metadata, ids: &[LayerId]) -> Result<()> {
    let mut txn = metadata.write(SystemTime::now())?;
    for id in ids {
        txn.trash_orphan(*id)?;
    }
    txn.commit()
}

/// Makes missing directories of active layers again: what was in them was not synced when the power went, and an empty
/// one can be mounted, removed and unpacked into. A committed layer's content cannot be made up.
fn restore(
    metadata: &Metadata,
    dirs: &LayerDirs,
    missing: &HashSet<LayerId>,
    report: &mut RecoveryReport,
) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let mut lost = Vec::new();
    metadata.read(|records| {
        records.each_snapshot(|entry| {
            if let Ok((key, snapshot)) = entry
                && let Some(layer) = snapshot.layer.filter(|layer| missing.contains(layer))
                && snapshot.kind != Kind::Committed
            {
                lost.push((key, layer, snapshot));
            }
            Ok(())
        })
    })?;
    let mut damaged: HashSet<LayerId> = missing.clone();
    for (key, layer, snapshot) in lost {
        recreate(dirs, layer, &snapshot)?;
        forget_extracted(metadata, layer)?;
        failpoint::hit("recover: directory made again");
        tracing::warn!(key = key.as_str(), %layer, "the directory of a snapshot was missing; made again, empty");
        damaged.remove(&layer);
        report.recreated.push(layer);
    }
    for layer in &damaged {
        tracing::error!(%layer, "the directory of a committed layer is missing; see leasehold fsck");
    }
    report.damaged = damaged.into_iter().collect();
    Ok(())
}

/// Forgets what was extracted into an active layer whose directory was lost: what it holds now is not that. Of a staged layer
/// nothing was lost.
pub(super) fn forget_extracted(metadata: &Metadata, layer: LayerId) -> Result<()> {
    if metadata.applied(layer)?.is_some_and(|applied| applied.staged.is_none()) {
        let mut txn = metadata.write(SystemTime::now())?;
        txn.drop_applied(layer)?;
        txn.commit()?;
    }
    Ok(())
}

/// Returns the numbers of a listing. Foreign names are somebody's, so they stay.
fn known(listing: Listing) -> Vec<LayerId> {
    for name in &listing.unknown {
        tracing::warn!(?name, "unknown name in the pool; left alone");
    }
    listing.ids
}

impl RecoveryReport {
    /// Logs what was done, when anything was.
    pub fn log(&self) {
        let RecoveryReport { unfinished, orphans, set_aside, recreated, damaged, trash } = self;
        tracing::info!(
            unfinished,
            orphans,
            set_aside,
            recreated = recreated.len(),
            damaged = damaged.len(),
            trash = trash.len(),
            "pool recovered"
        );
    }
}
