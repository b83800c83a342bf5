//! Keys: the one place that encodes and decodes them.

use crate::types::{LayerId, SnapshotKey};
use crate::{Error, Result};

/// Keys of the column `meta`.
pub(super) mod meta {
    pub const SCHEMA: &[u8] = b"schema";
    pub const POOL: &[u8] = b"pool";
    pub const NEXT_LAYER: &[u8] = b"next_layer";
    pub const NEXT_SNAPSHOT: &[u8] = b"next_snapshot";
}

/// What comes before a snapshot's key: the namespace, here the empty one of the plugin socket, and 0x00.
///
/// A namespace holds no NUL, so one prefix scan lists one namespace whatever the keys are.
pub(super) const PLUGIN_SNAPSHOTS: &[u8] = &[0];

/// `<namespace> 0x00 <key>`
pub(super) fn snapshot(key: &SnapshotKey) -> Vec<u8> {
    [PLUGIN_SNAPSHOTS, key.as_str().as_bytes()].concat()
}

pub(super) fn parse_snapshot(bytes: &[u8]) -> Result<SnapshotKey> {
    bytes
        .strip_prefix(PLUGIN_SNAPSHOTS)
        .and_then(|key| std::str::from_utf8(key).ok())
        .and_then(|key| SnapshotKey::parse(key).ok())
        .ok_or_else(|| malformed("snapshots", bytes))
}

/// `<parent id> <snapshot id>`: one prefix seek tells whether a snapshot has children.
pub(super) fn child(parent: u64, snapshot: u64) -> Vec<u8> {
    [parent.to_be_bytes(), snapshot.to_be_bytes()].concat()
}

pub(super) fn parse_child(bytes: &[u8]) -> Result<(u64, u64)> {
    bytes
        .split_at_checked(8)
        .and_then(|(parent, snapshot)| Some((number(parent)?, number(snapshot)?)))
        .ok_or_else(|| malformed("children", bytes))
}

/// The prefix of all children of a snapshot.
pub(super) fn children_of(parent: u64) -> [u8; 8] {
    parent.to_be_bytes()
}

/// `<layer id>`
pub(super) fn layer(id: LayerId) -> Vec<u8> {
    id.get().to_be_bytes().to_vec()
}

pub(super) fn parse_layer(bytes: &[u8]) -> Result<LayerId> {
    number(bytes).map(LayerId::new).ok_or_else(|| malformed("layers or trash", bytes))
}

/// Reads a counter of the column `meta`.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn malformed(column: &str, bytes: &[u8]) -> Error {
    Error::Corrupt(format!("a key of {column} cannot be read: {}", bytes.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn snapshot_keys_round_trip(key in ".{1,64}") {
            let key = SnapshotKey::parse(key).unwrap();
            prop_assert_eq!(parse_snapshot(&snapshot(&key)).unwrap(), key);
        }

        #[test]
        fn child_keys_round_trip_and_sort_by_parent(a: (u64, u64), b: (u64, u64)) {
            prop_assert_eq!(parse_child(&child(a.0, a.1)).unwrap(), a);
            prop_assert_eq!(child(a.0, a.1).cmp(&child(b.0, b.1)), a.cmp(&b));
            prop_assert!(child(a.0, a.1).starts_with(&children_of(a.0)));
        }

        #[test]
        fn layer_keys_round_trip(id: u64) {
            let id = LayerId::new(id);
            prop_assert_eq!(parse_layer(&layer(id)).unwrap(), id);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = (parse_snapshot(&bytes), parse_child(&bytes), parse_layer(&bytes));
        }
    }
}
