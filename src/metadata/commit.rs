//! Commit, with rebase, and with what was applied to the layer.
//!
//! What was applied may need work on directories before it is committed, for which no transaction may wait. So
//! [`Transaction::commit_active`] answers once what there is to do, and is called again with what was done. Most snapshots are
//! written to by containers and were never applied to: those are committed at once.

use super::read::named;
use super::record::{AppliedLayer, Kind, Known, Layer, Snapshot, Usage};
use super::{Transaction, schema};
use crate::store::Column;
use crate::types::{Labels, LayerId, SnapshotKey, SnapshotLease};
use crate::{Error, Result};

/// Turns the active snapshot `key` into the committed snapshot `name`.
#[derive(Clone, Debug)]
pub struct CommitActive {
    /// The committed snapshot to be.
    pub name: SnapshotKey,
    /// The active snapshot.
    pub key: SnapshotKey,
    /// Only for a snapshot that was prepared without a parent.
    pub parent: Option<SnapshotKey>,
    /// Replace those of the active snapshot.
    pub labels: Labels,
    /// The lease that is to name it, and no longer the active snapshot.
    pub lease: Option<SnapshotLease>,
}

/// What a call of [`Transaction::commit_active`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Commit {
    /// It is committed.
    Done(Committed),
    /// Nothing was changed: the caller settles this first.
    Unsettled(Box<Unsettled>),
}

/// A committed snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Its record.
    pub snapshot: Snapshot,
    /// The layer that was written to.
    pub written: Option<LayerId>,
    /// Layers that no record names any more; they are in `trash`.
    pub trashed: Vec<LayerId>,
}

/// A layer to which something was applied, and which is to be committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsettled {
    /// The layer.
    pub layer: LayerId,
    /// What was applied to it.
    pub applied: AppliedLayer,
    /// The layers that will be below it, nearest first.
    pub below: Vec<LayerId>,
    /// Whether those were not known when it was applied.
    pub rebased: bool,
}

/// What becomes of such a layer, after its directory was made to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// What was settled.
    pub of: Unsettled,
    /// What others may find it by; `None` for nothing.
    pub known: Option<Known>,
    /// A layer that holds the same and whether it can take its place.
    pub other: Option<(LayerId, bool)>,
    /// What it takes, where that is known.
    pub usage: Option<Usage>,
}

impl Transaction<'_> {
    /// Commits an active snapshot. The snapshot's number stays, the key is gone. So does the layer, unless a known one holds
    /// the same and takes its place.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for the name, [`Error::NotFound`] for the key or the new parent,
    /// and on the API socket for the lease; [`Error::WrongState`] for a snapshot that is not active or a new parent that is not committed,
    /// [`Error::Invalid`] for another parent than it was prepared with.
    pub fn commit_active(&mut self, commit: &CommitActive, settled: Option<&Settled>) -> Result<Commit> {
        self.require_absent(&commit.name)?;
        let active = self.snapshot(&commit.key)?;
        if active.kind != Kind::Active {
            return Err(Error::WrongState { resource: named(&commit.key), problem: "is not active" });
        }
        let parent = match &commit.parent {
            Some(parent) => self.new_parent(&commit.key, &active, parent)?,
            None => None,
        };
        let mut committed = Snapshot {
            kind: Kind::Committed,
            labels: commit.labels.clone(),
            created_at: self.now,
            updated_at: self.now,
            ..active
        };
        let rebased = parent.is_some();
        if let Some((name, parent)) = parent {
            committed.parent_layers = parent.layers_for_children();
            committed.parent_id = parent.id;
            committed.parent = Some(name);
        }
        let (written, mut trashed) = (committed.layer, Vec::new());
        if let Some(id) = committed.layer
            && let Some(layer) = self.layer(id)?
        {
            match self.commit_layer(id, layer, &committed, rebased, settled)? {
                Ok((layer, unnamed)) => (committed.layer, trashed) = (Some(layer), unnamed),
                Err(unsettled) => return Ok(Commit::Unsettled(unsettled)),
            }
        }
        if rebased {
            self.txn.put(Column::Children, schema::child(committed.parent_id, committed.id), Vec::new());
        }
        self.lease_snapshot(&commit.name, commit.lease.as_ref())?;
        self.unlease_snapshot(&commit.key, commit.lease.as_ref())?;
        self.txn.delete(Column::Snapshots, schema::snapshot(&commit.key));
        self.put_snapshot(&commit.name, &committed);
        self.note_snapshot(&commit.name, &committed);
        Ok(Commit::Done(Committed { snapshot: committed, written, trashed }))
    }

    /// Returns the parent that a commit gives to a snapshot which has none.
    fn new_parent(
        &self,
        key: &SnapshotKey,
        snapshot: &Snapshot,
        name: &SnapshotKey,
    ) -> Result<Option<(SnapshotKey, Snapshot)>> {
        if let Some(existing) = &snapshot.parent {
            return if existing == name {
                Ok(None)
            } else {
                Err(Error::invalid("parent", format!("{} was prepared on another one", named(key))))
            };
        }
        let parent = self.snapshot(name)?;
        if parent.kind != Kind::Committed {
            return Err(Error::WrongState { resource: named(name), problem: "is not committed" });
        }
        Ok(Some((name.clone(), parent)))
    }

    /// Commits a layer, and returns which one the snapshot has then, with those that nothing names any more. What has to be
    /// settled before comes as an error, with nothing changed.
    fn commit_layer(
        &mut self,
        id: LayerId,
        layer: Layer,
        snapshot: &Snapshot,
        rebased: bool,
        settled: Option<&Settled>,
    ) -> Result<Result<(LayerId, Vec<LayerId>), Box<Unsettled>>> {
        // Nobody writes to it any more.
        let layer = Layer { active: None, ..layer };
        let applied = if layer.applied { self.applied(id)? } else { None };
        let Some(applied) = applied else {
            self.put_layer(id, &Layer { applied: false, ..layer });
            return Ok(Ok((id, Vec::new())));
        };
        let now = Unsettled { layer: id, applied, below: snapshot.parent_layers.clone(), rebased };
        let Some(settled) = settled.filter(|settled| settled.of == now) else { return Ok(Err(Box::new(now))) };
        let Unsettled { applied, .. } = now;
        if let Some(staged) = applied.staged {
            // The reference that staging took is the snapshot's.
            self.txn.delete(Column::Applied, schema::layer(id));
            let unnamed = self.forget_layer(id, Some(&Layer { applied: false, ..layer }))?;
            self.add_known_blob(staged, applied.blob.as_ref())?;
            unnamed.iter().for_each(|id| self.trash(*id));
            return Ok(Ok((staged, unnamed)));
        }
        let found = settled.known.as_ref().map(|known| self.found_by(known)).transpose()?.flatten();
        match (found, settled.other) {
            (Some(found), Some((other, true))) if found == other => {
                self.add_reference(other)?;
                self.add_known_blob(other, applied.blob.as_ref())?;
                let usage = layer.usage.or(settled.usage);
                let unnamed = self.forget_layer(id, Some(&Layer { usage, ..layer }))?;
                unnamed.iter().for_each(|id| self.trash(*id));
                return Ok(Ok((other, unnamed)));
            }
            // Whether it can take this one's place nobody looked at.
            (Some(found), other) if other.is_none_or(|(other, _)| found != other) => {
                return Ok(Err(Box::new(settled.of.clone())));
            }
            _ => {}
        }
        self.txn.delete(Column::Applied, schema::layer(id));
        let known = settled.known.clone().filter(|_| found.is_none());
        if let Some(known) = &known {
            self.index(id, known);
        }
        self.put_layer(id, &Layer { usage: settled.usage, applied: false, known, ..layer });
        Ok(Ok((id, Vec::new())))
    }

    /// Stores the disk usage of a committed layer; nothing happens when the layer is gone.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_usage(&mut self, id: LayerId, usage: Usage) -> Result<()> {
        if let Some(layer) = self.layer(id)? {
            self.put_layer(id, &Layer { usage: Some(usage), ..layer });
        }
        Ok(())
    }
}
