//! The key of an active snapshot or view, and the name of a committed one.

use super::{Namespace, Scope};
use crate::{Error, Result};

/// A snapshot's key or name, as the client sent it, and where it is looked up. 1 to 32,768 bytes of any UTF-8.
///
/// The upper bound is the longest key that containerd's own metadata can hold (`MaxKeySize` of bbolt).
/// A key may hold `/`, spaces, NUL and `..`, because it never becomes a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotKey {
    scope: Scope,
    key: Box<str>,
}

impl SnapshotKey {
    /// Longest key in bytes.
    pub const MAX_LEN: usize = 32_768;

    /// Checks a key that came through the plugin socket.
    ///
    /// # Errors
    /// As for [`parse_in`](Self::parse_in).
    pub fn parse(key: impl Into<String>) -> Result<SnapshotKey> {
        SnapshotKey::parse_in(Scope::Plugin, key)
    }

    /// Checks a client's key.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or an overlong key.
    pub fn parse_in(scope: Scope, key: impl Into<String>) -> Result<SnapshotKey> {
        let key = key.into();
        match key.len() {
            0 => Err(Error::invalid("snapshot key", "must not be empty")),
            len if len > Self::MAX_LEN => {
                Err(Error::invalid("snapshot key", format!("is {len} bytes long, the limit is {}", Self::MAX_LEN)))
            }
            _ => Ok(SnapshotKey { scope, key: key.into() }),
        }
    }

    /// Checks a parent that came through the plugin socket: the empty string means that there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an overlong key.
    pub fn parse_parent(parent: String) -> Result<Option<SnapshotKey>> {
        SnapshotKey::parse_parent_in(Scope::Plugin, parent)
    }

    /// Checks a client's parent: the empty string means that there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an overlong key.
    pub fn parse_parent_in(scope: Scope, parent: String) -> Result<Option<SnapshotKey>> {
        if parent.is_empty() { Ok(None) } else { SnapshotKey::parse_in(scope, parent).map(Some) }
    }

    /// Returns the key as text, without its scope.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Returns where the key is looked up.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the key as the client knows it that asked containerd, or us: without what containerd put before it.
    pub fn client_key(&self) -> &str {
        match self.scope {
            Scope::Plugin => self.parts().map_or(&self.key, |(_, _, key)| key),
            Scope::Api(_) => &self.key,
        }
    }

    /// Returns the namespace whose leases can name this snapshot: its own, or the one in containerd's key.
    /// `None` for a key of another form on the plugin socket.
    pub fn namespace(&self) -> Option<Namespace> {
        match &self.scope {
            Scope::Plugin => self.parts().and_then(|(namespace, ..)| Namespace::parse(namespace).ok()),
            Scope::Api(namespace) => Some(namespace.clone()),
        }
    }

    /// Returns the three parts of a key that containerd's metadata made: namespace, number, client key.
    /// `None` for a key of another form, as a direct client may send.
    pub fn parts(&self) -> Option<(&str, u64, &str)> {
        parts(&self.key)
    }
}

/// Returns the three parts of what containerd's metadata makes of a client's key or ref: namespace, number, and that.
pub(super) fn parts(text: &str) -> Option<(&str, u64, &str)> {
    let (namespace, rest) = text.split_once('/')?;
    let (number, key) = rest.split_once('/')?;
    Some((namespace, number.parse().ok()?, key))
}

#[cfg(test)]
mod tests {
    use super::super::{Namespace, Scope};
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

    #[test]
    fn leases_of_the_clients_namespace_name_a_snapshot() {
        let named = |key: SnapshotKey| (key.namespace().map(|ns| ns.to_string()), key.client_key().to_owned());
        let plugin = |key: &str| named(SnapshotKey::parse(key).unwrap());
        assert_eq!(plugin("k8s.io/7/a/b"), (Some("k8s.io".into()), "a/b".into()));
        assert_eq!(plugin("plain"), (None, "plain".into()));
        assert_eq!(plugin("not a namespace/7/a"), (None, "a".into()));
        let api = Scope::Api(Namespace::parse("default").unwrap());
        let own = SnapshotKey::parse_in(api, "k8s.io/7/a").unwrap();
        assert_eq!(named(own), (Some("default".into()), "k8s.io/7/a".into()));
    }
}
