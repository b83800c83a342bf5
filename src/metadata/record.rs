//! Records as the rest of the program sees them, and their encoding.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

mod applied;
mod borrowed;
mod content;
mod layer;
mod lease;
mod retained;

pub use applied::AppliedLayer;
pub use borrowed::{Borrowed, BorrowedBlob, BorrowedIngest, LabelPairs};
pub use content::{Blob, BlobFile, HashState, Ingest};
pub use layer::{Known, Layer, Variant};
pub use lease::{Lease, Policy};
pub(super) use lease::{decode_namespace, encode_namespace};
pub use retained::{Retained, RetainedBlob};

use crate::types::{Labels, LayerId, Scope, SnapshotKey};
use crate::{Error, Result};

/// Generated from `proto/leasehold/records/v1`.
#[allow(missing_docs, reason = "generated; the proto file has the documentation")]
pub(super) mod proto {
    include!(concat!(env!("OUT_DIR"), "/leasehold.records.v1.rs"));
}

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Read-only, by key.
    View,
    /// Writable, by key; cannot be a parent.
    Active,
    /// Read-only, by name; can be a parent.
    Committed,
}

impl Kind {
    /// Returns containerd's word, as filters use it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::View => "view",
            Kind::Active => "active",
            Kind::Committed => "committed",
        }
    }
}

/// A snapshot's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Number of the snapshot, which a commit does not change.
    pub id: u64,
    /// What it is.
    pub kind: Kind,
    /// The backing directory; a view with parents has none.
    pub layer: Option<LayerId>,
    /// The committed snapshot below it.
    pub parent: Option<SnapshotKey>,
    /// Number of the parent, 0 when there is none.
    pub parent_id: u64,
    /// Layers of all parents, nearest first.
    pub parent_layers: Vec<LayerId>,
    /// What the client attached.
    pub labels: Labels,
    /// When it was prepared, or committed.
    pub created_at: SystemTime,
    /// When its labels last changed.
    pub updated_at: SystemTime,
}

/// Disk usage of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub size: u64,
    /// Number of inodes.
    pub inodes: u64,
}

impl Snapshot {
    /// Returns the layers that a snapshot on top of this one has below it, nearest first.
    pub fn layers_for_children(&self) -> Vec<LayerId> {
        self.layer.iter().chain(&self.parent_layers).copied().collect()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.to_record().encode_to_vec()
    }

    fn to_record(&self) -> proto::Snapshot {
        proto::Snapshot {
            id: self.id,
            kind: match self.kind {
                Kind::View => proto::snapshot::Kind::View,
                Kind::Active => proto::snapshot::Kind::Active,
                Kind::Committed => proto::snapshot::Kind::Committed,
            }
            .into(),
            layer: self.layer.map(LayerId::get),
            parent: self.parent.as_ref().map(|parent| parent.as_str().to_owned()).unwrap_or_default(),
            parent_id: self.parent_id,
            parent_layers: self.parent_layers.iter().map(|layer| layer.get()).collect(),
            labels: self.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            created_at: nanos(self.created_at),
            updated_at: nanos(self.updated_at),
        }
    }

    /// Decodes the record of a snapshot of `scope`, which its parent is of as well.
    pub(super) fn decode(scope: &Scope, bytes: &[u8]) -> Result<Snapshot> {
        Snapshot::from_record(scope, proto::Snapshot::decode(bytes).map_err(|err| malformed("snapshot", err))?)
    }

    fn from_record(scope: &Scope, record: proto::Snapshot) -> Result<Snapshot> {
        let kind = match record.kind() {
            proto::snapshot::Kind::View => Kind::View,
            proto::snapshot::Kind::Active => Kind::Active,
            proto::snapshot::Kind::Committed => Kind::Committed,
            proto::snapshot::Kind::Unspecified => return Err(malformed("snapshot", "has no kind")),
        };
        Ok(Snapshot {
            id: record.id,
            kind,
            layer: record.layer.map(LayerId::new),
            parent: SnapshotKey::parse_parent_in(scope.clone(), record.parent)?,
            parent_id: record.parent_id,
            parent_layers: record.parent_layers.into_iter().map(LayerId::new).collect(),
            labels: Labels::from_record(record.labels),
            created_at: time(record.created_at),
            updated_at: time(record.updated_at),
        })
    }
}

impl Usage {
    /// Adds up.
    pub fn plus(self, other: Usage) -> Usage {
        Usage { size: self.size.saturating_add(other.size), inodes: self.inodes.saturating_add(other.inodes) }
    }

    /// Takes away; nothing is less than nothing.
    pub fn minus(self, other: Usage) -> Usage {
        Usage { size: self.size.saturating_sub(other.size), inodes: self.inodes.saturating_sub(other.inodes) }
    }

    fn to_record(self) -> proto::Usage {
        proto::Usage { size: self.size, inodes: self.inodes }
    }

    fn from_record(record: proto::Usage) -> Usage {
        Usage { size: record.size, inodes: record.inodes }
    }
}

/// Encodes a `trash` record; `usage` is what deleting it gives back.
pub(super) fn encode_trash(removed_at: SystemTime, usage: Option<Usage>) -> Vec<u8> {
    proto::Trash { removed_at: nanos(removed_at), usage: usage.map(Usage::to_record) }.encode_to_vec()
}

/// Reads from a `trash` record what deleting it gives back.
pub(super) fn decode_trash(bytes: &[u8]) -> Result<Option<Usage>> {
    let record = proto::Trash::decode(bytes).map_err(|err| malformed("trash", err))?;
    Ok(record.usage.map(Usage::from_record))
}

/// Nanoseconds since the epoch; a clock before 1970 or after 2262 is clamped rather than refused.
pub(super) fn nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

fn time(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn malformed(what: &str, problem: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("a {what} record cannot be read: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn snapshots_round_trip(
            id: u64, layer: Option<u64>, parents: Vec<u64>, parent in ".{0,20}", created: i64,
            label in "[a-z]{1,9}", value in ".{0,20}",
        ) {
            let snapshot = Snapshot {
                id,
                kind: Kind::Active,
                layer: layer.map(LayerId::new),
                parent: SnapshotKey::parse_parent(parent).unwrap(),
                parent_id: 7,
                parent_layers: parents.into_iter().map(LayerId::new).collect(),
                labels: Labels::parse([(label, value)]).unwrap(),
                created_at: time(created),
                updated_at: time(0),
            };
            prop_assert_eq!(Snapshot::decode(&Scope::Plugin, &snapshot.encode()).unwrap(), snapshot);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = (Snapshot::decode(&Scope::Plugin, &bytes), Layer::decode(&bytes), Lease::decode(&bytes));
        }
    }
}
