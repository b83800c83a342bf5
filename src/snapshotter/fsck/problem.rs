//! What can be wrong, in words for people and for programs.

use std::fmt;

use crate::metadata::{DamagedRecord, Layer, LeaseFault, RetainedName, ReuseFault};
use crate::types::{LayerId, LeaseId, Member, Namespace, SnapshotKey, rfc3339_seconds};

/// The disagreements there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A directory in `l/` that no record names.
    OrphanDirectory(LayerId),
    /// A directory in `staging/` that nobody is making.
    LeftoverStaging(LayerId),
    /// A directory in `trash/` that no record names.
    OrphanTrash(LayerId),
    /// A name that leasehold did not give; it is never touched.
    UnknownName(String),
    /// A layer without its directory, or without a part of it.
    MissingDirectory(LayerId),
    /// A snapshot that names a layer without a record.
    MissingLayer(SnapshotKey, LayerId),
    /// A retained snapshot that keeps a layer without a record.
    RetainedWithoutLayer(RetainedName, LayerId),
    /// A layer whose record counts wrongly the snapshots that name it, and the retained ones that keep it.
    WrongReferences {
        /// The layer.
        layer: LayerId,
        /// What its record says.
        recorded: Layer,
        /// What was counted.
        counted: u32,
    },
    /// A snapshot whose parent does not exist.
    MissingParent(SnapshotKey),
    /// A snapshot whose list of layers is not that of its parent.
    WrongParentLayers(SnapshotKey),
    /// A child without an entry in `children`, by the numbers of parent and child.
    MissingChild(u64, u64),
    /// An entry in `children` without such a child.
    StaleChild(u64, u64),
    /// Records of leases that disagree.
    Leases(LeaseFault),
    /// Records by which layers are used again that disagree.
    Reuse(ReuseFault),
    /// A record that cannot be decoded.
    UnreadableRecord(DamagedRecord),
}

impl ProblemKind {
    /// Returns a fixed word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            ProblemKind::OrphanDirectory(_) => "orphan-directory",
            ProblemKind::LeftoverStaging(_) => "leftover-staging",
            ProblemKind::OrphanTrash(_) => "orphan-trash",
            ProblemKind::UnknownName(_) => "unknown-name",
            ProblemKind::MissingDirectory(_) => "missing-directory",
            ProblemKind::MissingLayer(..) => "missing-layer",
            ProblemKind::RetainedWithoutLayer(..) => "retained-without-layer",
            ProblemKind::WrongReferences { .. } => "wrong-references",
            ProblemKind::MissingParent(_) => "missing-parent",
            ProblemKind::WrongParentLayers(_) => "wrong-parent-layers",
            ProblemKind::MissingChild(..) => "missing-child",
            ProblemKind::StaleChild(..) => "stale-child",
            ProblemKind::Leases(LeaseFault::OneSided(..)) => "one-sided-member",
            ProblemKind::Leases(LeaseFault::Ownerless(..)) => "member-without-lease",
            ProblemKind::Leases(LeaseFault::MissingExpiry(..)) => "missing-expiry",
            ProblemKind::Leases(LeaseFault::WrongExpiry(..)) => "wrong-expiry",
            ProblemKind::Leases(LeaseFault::MissingNamespace(_)) => "missing-namespace",
            ProblemKind::Reuse(ReuseFault::WrongEntry(..)) => "wrong-entry",
            ProblemKind::Reuse(ReuseFault::MissingEntry(_)) => "missing-entry",
            ProblemKind::Reuse(ReuseFault::StaleApplied(_)) => "stale-applied",
            ProblemKind::Reuse(ReuseFault::MissingApplied(_)) => "missing-applied",
            ProblemKind::Reuse(ReuseFault::StagedWithoutLayer(..)) => "staged-without-layer",
            ProblemKind::UnreadableRecord(_) => "unreadable-record",
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProblemKind::OrphanDirectory(id) => write!(f, "no record names the directory l/{id}"),
            ProblemKind::LeftoverStaging(id) => write!(f, "nobody is making the directory staging/{id}"),
            ProblemKind::OrphanTrash(id) => write!(f, "no record names the directory trash/{id}"),
            ProblemKind::UnknownName(name) => {
                write!(f, "{name:?} is not a name that leasehold gave; it stays until you move it away")
            }
            ProblemKind::MissingDirectory(id) => write!(f, "the directory l/{id} or a part of it is missing"),
            ProblemKind::MissingLayer(key, id) => {
                write!(f, "snapshot {:?} names layer {id}, which has no record", key.as_str())
            }
            ProblemKind::RetainedWithoutLayer((namespace, name), id) => {
                write!(f, "retained snapshot {name:?} of namespace {namespace} keeps layer {id}, which has no record")
            }
            ProblemKind::WrongReferences { layer, recorded, counted } => {
                write!(f, "layer {layer} is named by {counted} snapshots, its record says {}", recorded.references)
            }
            ProblemKind::MissingParent(key) => write!(f, "the parent of snapshot {:?} does not exist", key.as_str()),
            ProblemKind::WrongParentLayers(key) => {
                write!(f, "the layers listed in snapshot {:?} are not those of its parent", key.as_str())
            }
            ProblemKind::MissingChild(parent, child) => {
                write!(f, "snapshot number {child} is not entered as a child of number {parent}")
            }
            ProblemKind::StaleChild(parent, child) => {
                write!(f, "snapshot number {child} is entered as a child of number {parent}, and is not")
            }
            ProblemKind::Leases(fault) => fmt_leases(fault, f),
            ProblemKind::Reuse(fault) => fmt_reuse(fault, f),
            ProblemKind::UnreadableRecord(record) => write!(f, "{record}"),
        }
    }
}

fn fmt_leases(fault: &LeaseFault, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fault {
        LeaseFault::OneSided(namespace, id, members) => {
            fmt_members(members, f)?;
            write!(f, " of {}: only one of members and leased has it", Lease(namespace, id))
        }
        LeaseFault::Ownerless(namespace, id, members) => {
            fmt_members(members, f)?;
            write!(f, " of {}, which does not exist", Lease(namespace, id))
        }
        LeaseFault::MissingExpiry(namespace, id) => {
            write!(f, "{} is not entered under its end", Lease(namespace, id))
        }
        LeaseFault::WrongExpiry(at, namespace, id) => {
            write!(f, "{} does not end at {}", Lease(namespace, id), rfc3339_seconds(*at))
        }
        LeaseFault::MissingNamespace(namespace) => {
            write!(f, "namespace {namespace} has no record, and there is something in it")
        }
    }
}

fn fmt_reuse(fault: &ReuseFault, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fault {
        ReuseFault::WrongEntry(column, key) => {
            write!(f, "{} \"{}\" leads to no layer that holds that", column.name(), key.escape_ascii())
        }
        ReuseFault::MissingEntry(id) => write!(f, "layer {id} is not found by what it is known to hold"),
        ReuseFault::StaleApplied(id) => write!(f, "something was applied to layer {id}, which does not say so"),
        ReuseFault::MissingApplied(id) => write!(f, "no record tells what was applied to layer {id}"),
        ReuseFault::StagedWithoutLayer(id, staged) => {
            write!(f, "layer {staged}, which is staged for layer {id}, has no record")
        }
    }
}

/// A lease, as it is named in a sentence.
struct Lease<'a>(&'a Namespace, &'a LeaseId);

impl fmt::Display for Lease<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {:?} of namespace {}", self.1.as_str(), self.0)
    }
}

/// Names the first of some members, and says how many there are.
fn fmt_members(members: &[Member], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match members.first() {
        Some(first) => write!(f, "{} {:?}", first.kind(), first.id())?,
        None => f.write_str("nothing")?,
    }
    if members.len() > 1 { write!(f, " and {} more", members.len() - 1) } else { Ok(()) }
}
