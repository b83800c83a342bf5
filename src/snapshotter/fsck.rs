//! The complete comparison of records with each other and with directories.
//!
//! It runs beside requests: a finding that another thread's unfinished operation explains is looked at again before it
//! is reported. The order of those second looks is what makes them right, see [`Check::confirm`].

mod problem;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use problem::ProblemKind;

use crate::Result;
use crate::metadata::{AppliedLayer, Kind, Layer, Metadata, Retained, RetainedName, Snapshot};
use crate::overlay::LayerDirs;
use crate::types::{LayerId, SnapshotKey};

use super::Staged;

/// What a check found.
#[derive(Debug, Default)]
pub struct FsckReport {
    /// Snapshots that were checked.
    pub snapshots: u64,
    /// Layers that were checked.
    pub layers: u64,
    /// Layer directories that were found.
    pub directories: u64,
    /// Leases that were checked.
    pub leases: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// What was done about it; `None` when nothing was.
    pub repair: Option<String>,
}

/// One check, with what it has read.
pub(super) struct Check<'a> {
    pub metadata: &'a Metadata,
    pub dirs: &'a LayerDirs,
    pub staged: &'a Staged,
    /// Snapshots by name, for the second pass and for repairs.
    pub snapshots: BTreeMap<SnapshotKey, Snapshot>,
    layers: BTreeMap<LayerId, Layer>,
    /// Layers whose records are there and cannot be decoded.
    unreadable: HashSet<LayerId>,
    /// Retained snapshots, for the second pass and for repairs.
    pub retained: BTreeMap<RetainedName, Retained>,
    /// What was applied to active layers, for repairs.
    pub applied: BTreeMap<LayerId, AppliedLayer>,
    children: HashSet<(u64, u64)>,
    trash: HashSet<LayerId>,
    leases: u64,
    found: Vec<ProblemKind>,
}

impl<'a> Check<'a> {
    /// Reads everything and compares.
    pub fn run(metadata: &'a Metadata, dirs: &'a LayerDirs, staged: &'a Staged) -> Result<(Check<'a>, FsckReport)> {
        let mut check = Check {
            metadata,
            dirs,
            staged,
            snapshots: BTreeMap::new(),
            layers: BTreeMap::new(),
            unreadable: HashSet::new(),
            retained: BTreeMap::new(),
            applied: BTreeMap::new(),
            children: HashSet::new(),
            trash: HashSet::new(),
            leases: 0,
            found: Vec::new(),
        };
        // Directories before records: what is made in between has a record, and what goes is looked at again.
        let (staging, layers, trash) = (dirs.list_staging()?, dirs.list_layers()?, dirs.list_trash()?);
        check.read_records()?;
        check.compare_records();
        let unknown = [("staging", &staging), ("l", &layers), ("trash", &trash)];
        for (dir, listing) in unknown {
            check.found.extend(
                listing
                    .unknown
                    .iter()
                    .map(|name| ProblemKind::UnknownName(format!("{dir}/{}", name.to_string_lossy()))),
            );
        }
        check.found.extend(staging.ids.iter().map(|id| ProblemKind::LeftoverStaging(*id)));
        check.compare_directories(&layers.ids, &trash.ids)?;
        let mut problems = Vec::new();
        for kind in std::mem::take(&mut check.found) {
            if check.confirm(&kind)? {
                problems.push(Problem { kind, repair: None });
            }
        }
        let report = FsckReport {
            snapshots: check.snapshots.len() as u64,
            layers: check.layers.len() as u64,
            directories: layers.ids.len() as u64,
            leases: check.leases,
            problems,
        };
        Ok((check, report))
    }

    fn read_records(&mut self) -> Result<()> {
        let Check {
            metadata, snapshots, layers, unreadable, retained, applied, children, trash, leases, found, ..
        } = self;
        metadata.read(|records| {
            records.each_snapshot(|entry| {
                match entry {
                    Ok((key, snapshot)) => drop(snapshots.insert(key, snapshot)),
                    Err(damaged) => found.push(ProblemKind::UnreadableRecord(damaged)),
                }
                Ok(())
            })?;
            records.each_layer(|id, layer| {
                match layer {
                    Ok(layer) => drop(layers.insert(id, layer)),
                    Err(damaged) => {
                        unreadable.insert(id);
                        found.push(ProblemKind::UnreadableRecord(damaged));
                    }
                }
                Ok(())
            })?;
            records.each_retained(|entry| {
                match entry {
                    Ok((name, record)) => drop(retained.insert(name, record)),
                    Err(damaged) => found.push(ProblemKind::UnreadableRecord(damaged)),
                }
                Ok(())
            })?;
            records.each_applied(|id, record| {
                match record {
                    Ok(record) => drop(applied.insert(id, record)),
                    Err(damaged) => found.push(ProblemKind::UnreadableRecord(damaged)),
                }
                Ok(())
            })?;
            records.each_child(|parent, child| {
                children.insert((parent, child));
                Ok(())
            })?;
            records.each_trash(|id| {
                trash.insert(id);
                Ok(())
            })?;
            let check = records.check_reuse()?;
            found.extend(check.damaged.into_iter().map(ProblemKind::UnreadableRecord));
            found.extend(check.faults.into_iter().map(ProblemKind::Reuse));
            let check = records.check_leases()?;
            *leases = check.leases;
            found.extend(check.damaged.into_iter().map(ProblemKind::UnreadableRecord));
            found.extend(check.faults.into_iter().map(ProblemKind::Leases));
            Ok(())
        })
    }

    fn compare_records(&mut self) {
        let mut references: HashMap<LayerId, u32> = HashMap::new();
        let mut children = HashSet::new();
        for (key, snapshot) in &self.snapshots {
            if let Some(id) = snapshot.layer {
                *references.entry(id).or_default() += 1;
                if !self.layers.contains_key(&id) && !self.unreadable.contains(&id) {
                    self.found.push(ProblemKind::MissingLayer(key.clone(), id));
                }
            }
            let Some(parent_key) = &snapshot.parent else { continue };
            children.insert((snapshot.parent_id, snapshot.id));
            match self.snapshots.get(parent_key) {
                Some(parent) if parent.kind == Kind::Committed && parent.id == snapshot.parent_id => {
                    if parent.layers_for_children() != snapshot.parent_layers {
                        self.found.push(ProblemKind::WrongParentLayers(key.clone()));
                    }
                }
                _ => self.found.push(ProblemKind::MissingParent(key.clone())),
            }
        }
        for (name, retained) in &self.retained {
            for id in retained.layers() {
                *references.entry(id).or_default() += 1;
                if !self.layers.contains_key(&id) && !self.unreadable.contains(&id) {
                    self.found.push(ProblemKind::RetainedWithoutLayer(name.clone(), id));
                }
            }
        }
        for staged in self.applied.values().filter_map(|applied| applied.staged) {
            *references.entry(staged).or_default() += 1;
        }
        for (parent, child) in children.difference(&self.children) {
            self.found.push(ProblemKind::MissingChild(*parent, *child));
        }
        for (parent, child) in self.children.difference(&children) {
            self.found.push(ProblemKind::StaleChild(*parent, *child));
        }
        for (id, layer) in &self.layers {
            let counted = references.get(id).copied().unwrap_or(0);
            if counted != layer.references {
                let recorded = layer.clone();
                self.found.push(ProblemKind::WrongReferences { layer: *id, recorded, counted });
            }
        }
    }

    fn compare_directories(&mut self, on_disk: &[LayerId], in_trash: &[LayerId]) -> Result<()> {
        for id in on_disk {
            let has_record = self.layers.contains_key(id) || self.unreadable.contains(id);
            if !has_record && !self.trash.contains(id) {
                self.found.push(ProblemKind::OrphanDirectory(*id));
            }
        }
        for id in in_trash {
            if !self.trash.contains(id) {
                self.found.push(ProblemKind::OrphanTrash(*id));
            }
        }
        let active: HashSet<LayerId> =
            self.snapshots.values().filter(|one| one.kind == Kind::Active).filter_map(|one| one.layer).collect();
        for id in self.layers.keys() {
            if !self.dirs.is_whole(*id, active.contains(id))? {
                self.found.push(ProblemKind::MissingDirectory(*id));
            }
        }
        Ok(())
    }

    /// Whether a finding still holds, given what requests do meanwhile.
    ///
    /// A creation notes the layer as staged, makes the directory, commits the record, then drops the note: so look at
    /// the note first and at the record second. A removal commits first and moves the directory second: so look at
    /// the directory first and at the record second.
    fn confirm(&self, problem: &ProblemKind) -> Result<bool> {
        Ok(match problem {
            ProblemKind::OrphanDirectory(id) => {
                !self.staged.contains(*id)
                    && self.metadata.layer(*id)?.is_none()
                    && !self.metadata.is_trash(*id)?
                    && self.dirs.exists(*id)?
            }
            ProblemKind::LeftoverStaging(id) => !self.staged.contains(*id) && self.dirs.is_staged(*id)?,
            ProblemKind::OrphanTrash(id) => !self.metadata.is_trash(*id)? && self.dirs.is_trashed(*id)?,
            // The directory was looked at before: now the record decides.
            ProblemKind::MissingDirectory(id) => self.metadata.layer(*id)?.is_some(),
            // Records were read at one moment and changes are whole, so these are never in between.
            ProblemKind::UnknownName(_)
            | ProblemKind::MissingLayer(..)
            | ProblemKind::RetainedWithoutLayer(..)
            | ProblemKind::WrongReferences { .. }
            | ProblemKind::MissingParent(_)
            | ProblemKind::WrongParentLayers(_)
            | ProblemKind::MissingChild(..)
            | ProblemKind::StaleChild(..)
            | ProblemKind::Leases(_)
            | ProblemKind::Reuse(_)
            | ProblemKind::UnreadableRecord(_) => true,
        })
    }
}
