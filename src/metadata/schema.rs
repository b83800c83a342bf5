//! Keys: the one place that encodes and decodes them.

pub(super) mod content;
pub(super) mod leases;
pub(super) mod reuse;

use crate::types::{LayerId, Namespace, Scope, SnapshotKey};
use crate::{Error, Result};

/// Keys of the column `meta`.
pub(super) mod meta {
    pub const SCHEMA: &[u8] = b"schema";
    pub const POOL: &[u8] = b"pool";
    pub const NEXT_LAYER: &[u8] = b"next_layer";
    pub const NEXT_SNAPSHOT: &[u8] = b"next_snapshot";
}

/// Ends a part of a key that is followed by another one. No namespace, lease id or resource holds it.
const END: u8 = 0;

/// What comes before the key of every snapshot of a scope: the namespace, empty for the plugin socket, and 0x00.
///
/// One prefix scan lists one scope, whatever the keys are.
pub(super) fn snapshots_of(scope: &Scope) -> Vec<u8> {
    [scope.as_str().as_bytes(), &[END]].concat()
}

/// `<namespace> 0x00 <key>`
pub(super) fn snapshot(key: &SnapshotKey) -> Vec<u8> {
    [key.scope().as_str().as_bytes(), &[END], key.as_str().as_bytes()].concat()
}

pub(super) fn parse_snapshot(bytes: &[u8]) -> Result<SnapshotKey> {
    let parse = |(namespace, key): (&str, &str)| {
        let scope = if namespace.is_empty() { Scope::Plugin } else { Scope::Api(Namespace::parse(namespace).ok()?) };
        SnapshotKey::parse_in(scope, key).ok()
    };
    split_text(bytes).and_then(parse).ok_or_else(|| malformed("snapshots", bytes))
}

/// `<namespace> 0x00 <name>`, the name as a lease says it
pub(super) fn retained(namespace: &Namespace, name: &str) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[END], name.as_bytes()].concat()
}

pub(super) fn parse_retained(bytes: &[u8]) -> Result<(Namespace, String)> {
    let parse = |(namespace, name): (&str, &str)| Some((Namespace::parse(namespace).ok()?, name.to_owned()));
    split_text(bytes).and_then(parse).ok_or_else(|| malformed("retained", bytes))
}

/// Splits a key at its first NUL.
fn split_text(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once(char::from(END))
}

/// Splits a key into its parts, without a copy. The last part is what is left, and may hold anything.
pub(super) fn split<const PARTS: usize>(bytes: &[u8]) -> Result<[&str; PARTS]> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("records", bytes))?;
    let mut parts = text.splitn(PARTS, char::from(END));
    let mut split = [""; PARTS];
    for part in &mut split {
        *part = parts.next().ok_or_else(|| malformed("records", bytes))?;
    }
    Ok(split)
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
        fn snapshot_keys_round_trip(namespace in "([a-z]{1,9})?", key in "(?s).{1,64}") {
            let scope =
                if namespace.is_empty() { Scope::Plugin } else { Scope::Api(Namespace::parse(namespace).unwrap()) };
            let key = SnapshotKey::parse_in(scope, key).unwrap();
            prop_assert_eq!(parse_snapshot(&snapshot(&key)).unwrap(), key.clone());
            prop_assert!(snapshot(&key).starts_with(&snapshots_of(key.scope())));
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
