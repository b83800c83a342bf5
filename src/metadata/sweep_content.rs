//! Removing blobs and ingests of the API socket that nothing holds, with a last look.

use super::record::nanos;
use super::{Ingest, Transaction};
use crate::types::{Digest, FileId, IngestRef, MemberKind, Namespace, Scope};
use crate::{Error, Result};

/// A blob of the API socket that nothing seemed to hold, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnheldBlob {
    /// Its namespace.
    pub namespace: Namespace,
    /// What it is.
    pub digest: Digest,
    /// When it had last changed, in nanoseconds since 1970.
    pub updated_at: i64,
}

/// An ingest of the API socket that nothing seemed to hold, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnheldIngest {
    /// Its namespace, which its ref carries as well.
    pub namespace: Namespace,
    /// Its ref.
    pub name: IngestRef,
    /// Its file: another ingest of that ref has another one.
    pub file: FileId,
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweptBlob {
    /// It is gone. Nothing names its file any more where that is told; it is in `trash` then.
    Removed(Option<FileId>),
    /// It is not what was seen any more, or is held by now.
    Kept,
}

impl Transaction<'_> {
    /// Removes a blob if it still is what was seen and no unexpired lease names it. The caller has the digest to itself.
    ///
    /// # Errors
    /// Those of the store.
    pub fn sweep_blob(&mut self, unheld: &UnheldBlob) -> Result<SweptBlob> {
        let UnheldBlob { namespace, digest, updated_at } = unheld;
        let scope = Scope::Api(namespace.clone());
        match self.blob(&scope, digest) {
            Ok(blob) if nanos(blob.updated_at) == *updated_at => {}
            Ok(_) | Err(Error::NotFound(_)) => return Ok(SweptBlob::Kept),
            Err(err) => return Err(err),
        }
        if self.held_by(namespace, &MemberKind::Content, digest.as_str(), self.now)?.is_some() {
            return Ok(SweptBlob::Kept);
        }
        self.remove_blob(&scope, digest).map(SweptBlob::Removed)
    }

    /// Gives an ingest up if it still is what was seen, has not begun to last longer, and no unexpired lease names it.
    /// Returns its file, which is in `trash` now.
    ///
    /// # Errors
    /// Those of the store.
    pub fn sweep_ingest(&mut self, unheld: &UnheldIngest) -> Result<Option<FileId>> {
        let UnheldIngest { namespace, name, file } = unheld;
        let lasts = |ingest: &Ingest| ingest.expires_at.is_some() && !ingest.is_expired(self.now);
        match self.require_ingest(name, *file) {
            Ok(ingest) if !lasts(&ingest) => {}
            Ok(_) | Err(Error::NotFound(_)) => return Ok(None),
            Err(err) => return Err(err),
        }
        if self.held_by(namespace, &MemberKind::Ingests, name.as_str(), self.now)?.is_some() {
            return Ok(None);
        }
        self.drop_ingest(name).map(Some)
    }
}
