//! The name of an upload in progress.

use super::Scope;
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
}

#[cfg(test)]
mod tests {
    use super::{IngestRef, Scope};

    #[test]
    fn length_is_bounded() {
        assert!(IngestRef::parse_in(Scope::Plugin, "").is_err());
        assert!(IngestRef::parse_in(Scope::Plugin, "r".repeat(32_768)).is_ok());
        assert!(IngestRef::parse_in(Scope::Plugin, "r".repeat(32_769)).is_err());
        assert_eq!(IngestRef::parse_in(Scope::Plugin, "../a\0b").unwrap().as_str(), "../a\0b");
    }
}
