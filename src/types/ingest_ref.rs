//! The name of an upload in progress.

use super::key::parts;
use super::{Namespace, Scope};
use crate::{Error, Result};

/// An ingest's ref, as the client sent it, and where it is looked up. 1 to 32,768 bytes of any UTF-8.
///
/// The upper bound is that of keys in containerd's own metadata. A ref may hold anything, because it never becomes a
/// path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngestRef {
    scope: Scope,
    text: Box<str>,
}

impl IngestRef {
    /// Longest ref in bytes.
    pub const MAX_LEN: usize = 32_768;

    /// Checks a client's ref.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or an overlong ref.
    pub fn parse_in(scope: Scope, text: impl Into<String>) -> Result<IngestRef> {
        let text = text.into();
        match text.len() {
            0 => Err(Error::invalid("ref", "must not be empty")),
            len if len > Self::MAX_LEN => {
                Err(Error::invalid("ref", format!("is {len} bytes long, the limit is {}", Self::MAX_LEN)))
            }
            _ => Ok(IngestRef { scope, text: text.into() }),
        }
    }

    /// Returns the ref as text, without its scope.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns where the ref is looked up.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns what leases can call this upload, and the namespace that they have to be in: without what containerd put
    /// before it. `None` for a ref of another form on the plugin socket.
    pub fn in_leases(&self) -> Option<(Namespace, &str)> {
        match &self.scope {
            Scope::Plugin => {
                let (namespace, _, text) = parts(&self.text)?;
                Some((Namespace::parse(namespace).ok()?, text))
            }
            Scope::Api(namespace) => Some((namespace.clone(), &self.text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{IngestRef, Namespace, Scope};

    #[test]
    fn length_is_bounded() {
        assert!(IngestRef::parse_in(Scope::Plugin, "").is_err());
        assert!(IngestRef::parse_in(Scope::Plugin, "r".repeat(32_768)).is_ok());
        assert!(IngestRef::parse_in(Scope::Plugin, "r".repeat(32_769)).is_err());
        assert_eq!(IngestRef::parse_in(Scope::Plugin, "../a\0b").unwrap().as_str(), "../a\0b");
    }

    #[test]
    fn leases_call_it_as_clients_do() {
        let of = |scope: &Scope, text: &str| {
            let name = IngestRef::parse_in(scope.clone(), text).unwrap();
            name.in_leases().map(|(namespace, text)| (namespace.to_string(), text.to_owned()))
        };
        let found = |namespace: &str, text: &str| Some((namespace.to_owned(), text.to_owned()));
        assert_eq!(of(&Scope::Plugin, "default/7/layer a/b"), found("default", "layer a/b"));
        assert_eq!(of(&Scope::Plugin, "layer"), None);
        assert_eq!(of(&Scope::Plugin, "default/x/layer"), None);
        assert_eq!(of(&Scope::Api(Namespace::parse("ns").unwrap()), "default/7/a"), found("ns", "default/7/a"));
    }
}
