//! What leases are made of: their ids, and the resources that they name.

use std::fmt::{self, Write as _};

use super::{Digest, SnapshotKey};
use crate::{Error, Result};

/// Longest id of a lease or of what it names, in bytes: the longest key of containerd's own metadata.
const MAX_LEN: usize = 32_768;

/// The id of a lease, unique in its namespace.
///
/// It can be any text without NUL, as it comes from any client; NUL ends it in the keys of records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(Box<str>);

impl LeaseId {
    /// Checks a client's id.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or an overlong id, and for one with NUL in it.
    pub fn parse(id: impl Into<String>) -> Result<LeaseId> {
        let id = id.into();
        check("lease id", &id)?;
        Ok(LeaseId(id.into()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For people and logs: an id may hold any character, and must not forge a line of its own.
impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char.is_control() {
            true => write!(f, "{}", char.escape_default()),
            false => f.write_char(char),
        })
    }
}

/// Which kind of resource a lease names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKind {
    /// A blob, by its digest.
    Content,
    /// An image, by its name.
    Images,
    /// An upload under way, by its ref.
    Ingests,
    /// A snapshot of the snapshotter of this name, by its key or name.
    Snapshots(Box<str>),
}

impl MemberKind {
    /// Reads the type of a resource in containerd's notation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a type with a part too few or too many, [`Error::Unsupported`] for one that no lease can
    /// name.
    pub fn parse(text: &str) -> Result<MemberKind> {
        let malformed = || Error::invalid("resource type", format!("{text:?} has a part too few or too many"));
        let (first, rest) = text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let kind = match first {
            "content" => MemberKind::Content,
            "images" => MemberKind::Images,
            "ingests" => MemberKind::Ingests,
            "snapshots" => {
                let name = rest.filter(|name| !name.contains('/')).ok_or_else(malformed)?;
                check("resource type", name)?;
                return Ok(MemberKind::Snapshots(name.into()));
            }
            _ => return Err(Error::Unsupported(format!("a lease on resources of type {first:?}"))),
        };
        if rest.is_some() { Err(malformed()) } else { Ok(kind) }
    }
}

impl fmt::Display for MemberKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberKind::Content => f.write_str("content"),
            MemberKind::Images => f.write_str("images"),
            MemberKind::Ingests => f.write_str("ingests"),
            MemberKind::Snapshots(name) => write!(f, "snapshots/{name}"),
        }
    }
}

/// A resource that a lease names, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    kind: MemberKind,
    id: Box<str>,
}

impl Member {
    /// Checks a resource of a kind.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or an overlong id, for one with NUL in it, and for content that is no digest.
    pub fn new(kind: MemberKind, id: impl Into<String>) -> Result<Member> {
        let id = id.into();
        check("resource id", &id)?;
        if kind == MemberKind::Content {
            Digest::parse(id.as_str())?;
        }
        Ok(Member { kind, id: id.into() })
    }

    /// Checks a client's resource: its type in containerd's notation, and its id.
    ///
    /// # Errors
    /// As for [`new`](Self::new) and [`MemberKind::parse`].
    pub fn parse(kind: &str, id: impl Into<String>) -> Result<Member> {
        Member::new(MemberKind::parse(kind)?, id)
    }

    /// Returns what kind of resource it is.
    pub fn kind(&self) -> &MemberKind {
        &self.kind
    }

    /// Returns the resource's id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The lease of a request on snapshots: what the request makes, it is to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotLease {
    /// The lease. Its namespace is that of the snapshot.
    pub id: LeaseId,
    /// What our snapshotter is called: by containerd's configuration, and so in leases.
    pub snapshotter: Box<str>,
}

impl SnapshotLease {
    /// Returns what the lease calls a snapshot.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that no lease can name.
    pub fn member(&self, key: &SnapshotKey) -> Result<Member> {
        Member::new(MemberKind::Snapshots(self.snapshotter.clone()), key.client_key())
    }
}

/// Checks that a client's text can be a part of a key.
fn check(what: &'static str, text: &str) -> Result<()> {
    match text.len() {
        0 => Err(Error::invalid(what, "must not be empty")),
        len if len > MAX_LEN => Err(Error::invalid(what, format!("is {len} bytes long, the limit is {MAX_LEN}"))),
        _ if text.contains('\0') => Err(Error::invalid(what, "must not contain NUL")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_any_text_without_nul() {
        for id in ["a", "a/b c", "é\n", &"i".repeat(32_768)] {
            assert_eq!(LeaseId::parse(id).unwrap().as_str(), id);
        }
        for id in ["", "\0", "a\0b", &"i".repeat(32_769)] {
            assert!(matches!(LeaseId::parse(id), Err(Error::Invalid { .. })), "{id:?}");
            assert!(matches!(Member::parse("ingests", id), Err(Error::Invalid { .. })), "{id:?}");
        }
    }

    #[test]
    fn an_id_forges_no_line_of_a_log() {
        assert_eq!(LeaseId::parse("é b\n\u{1b}[1m").unwrap().to_string(), "é b\\n\\u{1b}[1m");
    }

    #[test]
    fn types_have_the_parts_that_containerd_gives_them() {
        for kind in ["content", "images", "ingests", "snapshots/overlayfs", "snapshots/a b"] {
            assert_eq!(MemberKind::parse(kind).unwrap().to_string(), kind);
        }
        for kind in ["content/a", "images/", "ingests/a/b", "snapshots", "snapshots/", "snapshots/a/b", "snapshots/\0"]
        {
            assert!(matches!(MemberKind::parse(kind), Err(Error::Invalid { .. })), "{kind:?}");
        }
        for kind in ["", "leases", "containers", "/content", "Content", "snapshots2/a"] {
            assert!(matches!(MemberKind::parse(kind), Err(Error::Unsupported(_))), "{kind:?}");
        }
    }

    #[test]
    fn content_is_named_by_digest() {
        assert!(Member::parse("content", format!("sha256:{}", "0a".repeat(32))).is_ok());
        assert!(matches!(Member::parse("content", "name"), Err(Error::Invalid { .. })));
        assert!(Member::parse("images", "name").is_ok());
    }
}
