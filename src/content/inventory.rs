//! What there is of blobs and uploads, and which leases hold it: for people, page by page.
//!
//! Blobs of containerd come first, then those of each namespace of the API socket, then retained ones. So what containerd
//! deletes while the pages are read may come twice, and is never left out, unless nothing holds it.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::metadata::{Blob, Ingest};
use crate::types::{Digest, IngestRef, LeaseId, MemberKind, Namespace, Scope};
use crate::{Error, Result};

use super::{Content, Status};

/// How many records one page reads. With the longest labels they fit a message of 16 MiB.
const PAGE: usize = 64;
/// Of how many leases on one blob the ids are told.
const LEASES: usize = 16;

/// A blob, or a retained one.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Who has it, or had it before it was retained.
    pub scope: Scope,
    /// What it is.
    pub digest: Digest,
    /// Its record.
    pub blob: Blob,
    /// When containerd deleted it; `None` for one that is there.
    pub removed_at: Option<SystemTime>,
    /// Unexpired leases that name it, the first of them where there are many.
    pub leases: Vec<(Namespace, LeaseId)>,
    /// Whether there are more.
    pub more_leases: bool,
}

/// An upload.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// How far it is.
    pub status: Status,
    /// When it is given up, unless somebody goes on with it; `None` when it never is.
    pub expires_at: Option<SystemTime>,
    /// Whether somebody has it open.
    pub open: bool,
}

/// A listing of blobs under way. Between pages it holds nothing but its position.
#[derive(Default)]
pub struct Inventory(Position<Digest>);

/// A listing of uploads under way. Between pages it holds nothing but its position.
#[derive(Default)]
pub struct Uploads(Position<IngestRef>);

#[derive(Default)]
enum Position<K> {
    #[default]
    Start,
    /// In the first scope, after a key; the other scopes follow.
    Live(VecDeque<Scope>, Option<K>),
    Retained(Option<Digest>),
    End,
}

impl Content {
    /// Returns the next page of a listing; `None` after the last.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_entries(&self, inventory: &mut Inventory) -> Result<Option<Vec<Entry>>> {
        loop {
            let (entries, next) = match std::mem::replace(&mut inventory.0, Position::End) {
                Position::Start => (Vec::new(), Position::Live(self.scopes()?, None)),
                Position::Live(scopes, after) => self.live_entries(scopes, after)?,
                Position::Retained(after) => self.retained_entries(after)?,
                Position::End => return Ok(None),
            };
            inventory.0 = next;
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
    }

    /// Returns the next page of a listing of uploads; `None` after the last.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_uploads(&self, uploads: &mut Uploads) -> Result<Option<Vec<Upload>>> {
        loop {
            let (mut scopes, after) = match std::mem::replace(&mut uploads.0, Position::End) {
                Position::Start => (self.scopes()?, None),
                Position::Live(scopes, after) => (scopes, after),
                Position::Retained(_) | Position::End => return Ok(None),
            };
            let Some(scope) = scopes.front() else { return Ok(None) };
            let page = self.metadata.ingests(scope, after.as_ref(), PAGE)?;
            if page.next.is_none() {
                scopes.pop_front();
            }
            uploads.0 = Position::Live(scopes, page.next);
            let found = page.ingests.into_iter().map(|(name, ingest)| self.upload(name, ingest));
            let found = found.collect::<Result<Vec<_>>>()?;
            if !found.is_empty() {
                return Ok(Some(found));
            }
        }
    }

    fn scopes(&self) -> Result<VecDeque<Scope>> {
        let namespaces = self.metadata.namespaces()?.into_iter().map(|(name, _)| Scope::Api(name));
        Ok(std::iter::once(Scope::Plugin).chain(namespaces).collect())
    }

    fn live_entries(
        &self,
        mut scopes: VecDeque<Scope>,
        after: Option<Digest>,
    ) -> Result<(Vec<Entry>, Position<Digest>)> {
        let Some(scope) = scopes.front() else { return Ok((Vec::new(), Position::Retained(None))) };
        let page = self.metadata.blobs(scope, after.as_ref(), PAGE)?;
        let entry = |(digest, blob)| self.entry(scope, digest, blob, None);
        let entries = page.blobs.into_iter().map(entry).collect::<Result<_>>()?;
        if page.next.is_none() {
            scopes.pop_front();
        }
        Ok((entries, Position::Live(scopes, page.next)))
    }

    fn retained_entries(&self, after: Option<Digest>) -> Result<(Vec<Entry>, Position<Digest>)> {
        let digests = self.metadata.retained_blobs(after.as_ref(), PAGE)?;
        let next = digests.last().cloned().map_or(Position::End, |last| Position::Retained(Some(last)));
        let mut entries = Vec::new();
        for digest in digests {
            match self.metadata.retained_blob(&digest) {
                Ok(Some(retained)) => {
                    entries.push(self.entry(&Scope::Plugin, digest, retained.blob, Some(retained.removed_at))?);
                }
                // Given up, or adopted, meanwhile.
                Ok(None) => {}
                // One damaged record must not hide all others.
                Err(err @ Error::Corrupt(_)) => tracing::error!(error = %err, %digest, "cannot be listed"),
                Err(err) => return Err(err),
            }
        }
        Ok((entries, next))
    }

    fn entry(&self, scope: &Scope, digest: Digest, blob: Blob, removed_at: Option<SystemTime>) -> Result<Entry> {
        // Those on the plugin socket have no namespace: a lease of any one holds them.
        let namespaces = match scope {
            Scope::Plugin => self.metadata.namespaces_of_content_leases(),
            Scope::Api(namespace) => vec![namespace.clone()],
        };
        let mut leases = Vec::new();
        for namespace in namespaces {
            let left = (LEASES + 1).saturating_sub(leases.len());
            let found = self.metadata.holders(&namespace, &MemberKind::Content, digest.as_str(), self.now(), left)?;
            leases.extend(found.into_iter().map(|lease| (namespace.clone(), lease)));
        }
        let more_leases = leases.len() > LEASES;
        leases.truncate(LEASES);
        Ok(Entry { scope: scope.clone(), digest, blob, removed_at, leases, more_leases })
    }

    fn upload(&self, name: IngestRef, ingest: Ingest) -> Result<Upload> {
        let (open, expires_at) = (self.writers.progress(&name).is_some(), ingest.expires_at);
        Ok(Upload { status: self.status_of(name, ingest)?, expires_at, open })
    }
}
