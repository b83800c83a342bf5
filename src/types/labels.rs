//! Labels: what clients and containerd attach to leases, snapshots and blobs.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Keys that containerd gives a meaning.
pub mod keys {
    /// Name of the snapshot that an extraction will be committed as: a ChainID.
    pub const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";
    /// Identity of the layer that an extraction will hold: a DiffID. Sent by containerd 2.3 and later.
    pub const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
    /// ChainID of the layers below an extraction. Sent by containerd 2.3 and later.
    pub const PARENT_CHAIN_ID: &str = "containerd.io/snapshot/parent-chain-id";
    /// Mapping of user ids that a container's snapshot is wanted with: `<container>:<host>:<length>`, comma-separated.
    pub const UID_MAPPING: &str = "containerd.io/snapshot/uidmapping";
    /// Mapping of group ids, in the form of [`UID_MAPPING`].
    pub const GID_MAPPING: &str = "containerd.io/snapshot/gidmapping";
    /// When an object may be collected although something could still need it, in RFC 3339.
    pub const GC_EXPIRE: &str = "containerd.io/gc.expire";
    /// Present on a lease that keeps only what it names.
    pub const GC_FLAT: &str = "containerd.io/gc.flat";
    /// What a namespace has others may have from it, if the value is `true`.
    pub const SHAREABLE: &str = "containerd.io/namespace.shareable";
    /// Which policy of the daemon made a lease. Nobody else can give it to one.
    pub const POLICY: &str = "leasehold.io/policy";
    /// Path of a snapshot's upperdir, reported where the configuration asks for it.
    pub const OVERLAY_UPPERDIR: &str = "containerd.io/snapshot/overlay.upperdir";
}

/// Labels of one object, sorted by key.
///
/// A key and its value are together at most [`MAX_LEN`](Self::MAX_LEN) bytes long, as in containerd. All of them are at most
/// [`MAX_TOTAL`](Self::MAX_TOTAL) bytes long, so that a page of a listing always fits a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    map: BTreeMap<String, String>,
    /// Length of all keys and values, in bytes.
    total: usize,
}

impl Labels {
    /// Longest key and value together, in bytes.
    pub const MAX_LEN: usize = 4096;

    /// All keys and values together, in bytes.
    pub const MAX_TOTAL: usize = 128 << 10;

    /// Checks a client's labels. Of several with the same key the last one counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key and value that are too long together.
    pub fn parse(labels: impl IntoIterator<Item = (String, String)>) -> Result<Labels> {
        let mut checked = Labels::default();
        for (key, value) in labels {
            checked.insert(key, value)?;
        }
        Ok(checked)
    }

    /// Takes labels from a record. They were checked before they were stored.
    pub fn from_record(labels: impl IntoIterator<Item = (String, String)>) -> Labels {
        let map: BTreeMap<String, String> = labels.into_iter().collect();
        let total = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        Labels { map, total }
    }

    /// Returns the value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.map.get(key).map(String::as_str)
    }

    /// Returns the label that a filter names: `path` is what follows `labels`, and its fields are joined with dots.
    /// So `labels.containerd.io` and `labels."containerd.io"` are the same.
    pub fn field(&self, path: &[&str]) -> Option<&str> {
        match path {
            [key] => self.get(key),
            _ => self.get(&path.join(".")),
        }
    }

    /// Sets a label and returns its former value.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key and value that are too long together, or with all others; nothing is changed then.
    pub fn insert(&mut self, key: String, value: String) -> Result<Option<String>> {
        let len = key.len() + value.len();
        if len > Self::MAX_LEN {
            return Err(Error::invalid(
                "label",
                format!("{} is {len} bytes long with its value, the limit is {}", shortened(&key), Self::MAX_LEN),
            ));
        }
        let before = self.map.get(&key).map_or(0, |value| key.len() + value.len());
        let total = self.total - before + len;
        if total > Self::MAX_TOTAL {
            return Err(Error::invalid(
                "labels",
                format!("are {total} bytes long in all with {}, the limit is {}", shortened(&key), Self::MAX_TOTAL),
            ));
        }
        self.total = total;
        Ok(self.map.insert(key, value))
    }

    /// Removes a label and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let value = self.map.remove(key)?;
        self.total -= key.len() + value.len();
        Some(value)
    }

    /// Returns the labels in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.map.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Returns the labels as a map.
    pub fn into_inner(self) -> BTreeMap<String, String> {
        self.map
    }
}

/// Escapes a key for a message and cuts it where it is longer than anybody wants to read.
fn shortened(key: &str) -> String {
    const LIMIT: usize = 64;
    match key.char_indices().nth(LIMIT) {
        None => format!("{key:?}"),
        Some((end, _)) => format!("{:?}...", key.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;

    fn label(key: usize, value: usize) -> [(String, String); 1] {
        [("k".repeat(key), "v".repeat(value))]
    }

    #[test]
    fn key_and_value_are_bounded_together() {
        for (key, value) in [(0, 0), (4, 5), (1, 4095), (65, 4031), (63, 4033), (4096, 0)] {
            assert!(Labels::parse(label(key, value)).is_ok(), "{key} + {value}");
        }
        for (key, value) in [(1, 4096), (76, 4021), (4096, 1)] {
            assert!(Labels::parse(label(key, value)).is_err(), "{key} + {value}");
        }
    }

    #[test]
    fn the_message_shows_the_beginning_of_a_long_key() {
        let err = Labels::parse(label(5000, 1)).unwrap_err().to_string();
        let shown = "k".repeat(64);
        assert_eq!(err, format!("label: \"{shown}\"... is 5001 bytes long with its value, the limit is 4096"));
        let err = Labels::parse([("é\n".to_owned(), "v".repeat(4096))]).unwrap_err().to_string();
        assert_eq!(err, "label: \"é\\n\" is 4099 bytes long with its value, the limit is 4096");
    }

    #[test]
    fn a_refused_label_changes_nothing() {
        let mut labels = Labels::parse([("a".to_owned(), "1".to_owned())]).unwrap();
        assert!(labels.insert("a".to_owned(), "v".repeat(4096)).is_err());
        assert_eq!(labels.get("a"), Some("1"));
        assert_eq!(labels.insert("a".to_owned(), "2".to_owned()).unwrap(), Some("1".to_owned()));
        assert_eq!(labels.remove("a"), Some("2".to_owned()));
        assert!(labels.is_empty());
    }

    #[test]
    fn all_together_are_bounded() {
        let value = "v".repeat(4095);
        let key = |n: u8| char::from(n + 32).to_string();
        let mut labels = Labels::parse((0..32).map(|n| (key(n), value.clone()))).unwrap();
        assert!(labels.insert(key(40), String::new()).is_err());
        // What is replaced or removed makes room.
        labels.insert(key(0), String::new()).unwrap();
        labels.insert(key(40), "v".repeat(4094)).unwrap();
        assert!(labels.insert(key(41), String::new()).is_err());
        labels.remove(&key(5)).unwrap();
        labels.insert(key(41), value.clone()).unwrap();
        assert!(Labels::parse((0..33).map(|n| (key(n), value.clone()))).is_err());
    }

    #[test]
    fn records_are_not_checked_again() {
        let labels = Labels::from_record(label(1, 5000));
        assert_eq!(labels.iter().count(), 1);
        assert_eq!(labels.clone().into_inner().len(), 1);
    }

    #[test]
    fn fields_of_a_path_are_joined_with_dots() {
        let labels = Labels::parse([("a.b/c.d".to_owned(), "1".to_owned())]).unwrap();
        assert_eq!(labels.field(&["a", "b/c", "d"]), Some("1"));
        assert_eq!(labels.field(&["a.b/c.d"]), Some("1"));
        assert_eq!(labels.field(&["a"]), None);
        assert_eq!(labels.field(&[]), None);
    }
}
