//! Records of retained snapshots and blobs.

use std::time::SystemTime;

use prost::Message;

use super::{Blob, Snapshot, malformed, nanos, proto, time};
use crate::Result;
use crate::types::{LayerId, Scope, SnapshotKey};

/// A snapshot that containerd removed while a lease named it.
#[derive(Clone, Debug, PartialEq)]
pub struct Retained {
    /// As it was.
    pub snapshot: Snapshot,
    /// The key that containerd removed.
    pub key: SnapshotKey,
    /// When.
    pub removed_at: SystemTime,
}

/// A blob that containerd deleted while a lease named it.
#[derive(Clone, Debug, PartialEq)]
pub struct RetainedBlob {
    /// As it was.
    pub blob: Blob,
    /// When it was deleted.
    pub removed_at: SystemTime,
}

impl Retained {
    /// Returns the layers that it keeps: its own and those of all parents, nearest first.
    pub fn layers(&self) -> Vec<LayerId> {
        self.snapshot.layers_for_children()
    }

    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        proto::Retained {
            snapshot: Some(self.snapshot.to_record()),
            key: self.key.as_str().to_owned(),
            removed_at: nanos(self.removed_at),
        }
        .encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<Retained> {
        let record = proto::Retained::decode(bytes).map_err(|err| malformed("retained snapshot", err))?;
        let snapshot = record.snapshot.ok_or_else(|| malformed("retained snapshot", "has no snapshot"))?;
        Ok(Retained {
            snapshot: Snapshot::from_record(&Scope::Plugin, snapshot)?,
            key: SnapshotKey::parse(record.key).map_err(|err| malformed("retained snapshot", err))?,
            removed_at: time(record.removed_at),
        })
    }
}

impl RetainedBlob {
    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        proto::RetainedBlob { blob: Some(self.blob.to_record()), removed_at: nanos(self.removed_at) }.encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<RetainedBlob> {
        let record = proto::RetainedBlob::decode(bytes).map_err(|err| malformed("retained blob", err))?;
        let blob = record.blob.ok_or_else(|| malformed("retained blob", "has no blob"))?;
        Ok(RetainedBlob { blob: Blob::from_record(blob), removed_at: time(record.removed_at) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::Kind;
    use super::*;
    use crate::types::Labels;

    #[test]
    fn records_round_trip() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        let retained = Retained {
            snapshot: Snapshot {
                id: 7,
                kind: Kind::Committed,
                layer: Some(LayerId::new(3)),
                parent: Some(SnapshotKey::parse("default/1/parent").unwrap()),
                parent_id: 5,
                parent_layers: vec![LayerId::new(2), LayerId::new(1)],
                labels: Labels::default(),
                created_at: at,
                updated_at: at,
            },
            key: SnapshotKey::parse("default/7/name").unwrap(),
            removed_at: at + Duration::from_secs(1),
        };
        assert_eq!(Retained::decode(&retained.encode()).unwrap(), retained);
        assert_eq!(retained.layers(), [3, 2, 1].map(LayerId::new));
        assert!(Retained::decode(b"").is_err());
        let labels = Labels::parse([("label".to_owned(), "value".to_owned())]).unwrap();
        let blob = Blob { size: 7, labels, created_at: at, updated_at: at + Duration::from_secs(1) };
        let retained = RetainedBlob { blob, removed_at: at + Duration::from_secs(2) };
        assert_eq!(RetainedBlob::decode(&retained.encode()).unwrap(), retained);
        assert!(RetainedBlob::decode(b"").is_err());
    }
}
