//! The key of an active snapshot or view, and the name of a committed one.

use crate::{Error, Result};

/// A snapshot's key or name, as the client sent it: 1 to 32,768 bytes of any UTF-8.
///
/// The upper bound is the longest key that containerd's own metadata can hold (`MaxKeySize` of bbolt).
/// A key may hold `/`, spaces, NUL and `..`, because it never becomes a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotKey(Box<str>);

impl SnapshotKey {
    /// Longest key in bytes.
    pub const MAX_LEN: usize = 32_768;

    /// Checks a client's key.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or an overlong key.
    pub fn parse(key: impl Into<String>) -> Result<SnapshotKey> {
        let key = key.into();
        match key.len() {
            0 => Err(Error::invalid("snapshot key", "must not be empty")),
            len if len > Self::MAX_LEN => {
                Err(Error::invalid("snapshot key", format!("is {len} bytes long, the limit is {}", Self::MAX_LEN)))
            }
            _ => Ok(SnapshotKey(key.into())),
        }
    }

    /// Checks a client's parent: the empty string means that there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an overlong key.
    pub fn parse_parent(parent: String) -> Result<Option<SnapshotKey>> {
        if parent.is_empty() { Ok(None) } else { SnapshotKey::parse(parent).map(Some) }
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the three parts of a key that containerd's metadata made: namespace, number, client key.
    /// `None` for a key of another form, as a direct client may send.
    pub fn parts(&self) -> Option<(&str, u64, &str)> {
        let (namespace, rest) = self.0.split_once('/')?;
        let (number, key) = rest.split_once('/')?;
        Some((namespace, number.parse().ok()?, key))
    }
}

#[cfg(test)]
mod tests {
    use super::SnapshotKey;

    #[test]
    fn length_is_bounded() {
        assert!(SnapshotKey::parse("").is_err());
        assert!(SnapshotKey::parse("k".repeat(32_768)).is_ok());
        assert!(SnapshotKey::parse("k".repeat(32_769)).is_err());
        assert_eq!(SnapshotKey::parse_parent(String::new()).unwrap(), None);
    }

    #[test]
    fn containerd_keys_have_three_parts() {
        let parts = |key: &str| {
            let key = SnapshotKey::parse(key).unwrap();
            key.parts().map(|(ns, n, key)| (ns.to_owned(), n, key.to_owned()))
        };
        assert_eq!(
            parts("default/12/extract-1 sha256:ab/c"),
            Some(("default".into(), 12, "extract-1 sha256:ab/c".into()))
        );
        assert_eq!(parts("default/x/key"), None);
        assert_eq!(parts("plain"), None);
    }
}
