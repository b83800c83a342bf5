//! List, Status and ListStatuses.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::Result;
use crate::metadata::Ingest;
use crate::types::{Adaptor, Digest, Filter, IngestRef, Scope};

use super::{Content, Info};

/// How many records one page reads. With the longest labels they fit a message of 16 MiB.
const PAGE: usize = 64;

/// A listing of blobs under way. Between pages it holds nothing but its position, so that a slow reader stops nobody.
pub struct List {
    scope: Scope,
    filter: Filter,
    position: Position,
}

enum Position {
    Start,
    After(Digest),
    End,
}

impl List {
    /// Begins a listing of what is in `scope` and matches `filter`.
    pub fn new(scope: Scope, filter: Filter) -> List {
        List { scope, filter, position: Position::Start }
    }
}

/// An upload in progress as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its ref.
    pub name: IngestRef,
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes in the whole; 0 when that was not said.
    pub total: u64,
    /// What it will be, when that was said.
    pub expected: Option<Digest>,
    /// When it was begun.
    pub started_at: SystemTime,
    /// When it was last written to.
    pub updated_at: SystemTime,
}

impl Adaptor for Status {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        (*path.first()? == "ref").then(|| self.name.as_str().into())
    }
}

impl Content {
    /// Returns the next blobs of a listing, in the order of their digests; `None` after the last.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_page(&self, list: &mut List) -> Result<Option<Vec<Info>>> {
        loop {
            let after = match &list.position {
                Position::Start => None,
                Position::After(digest) => Some(digest),
                Position::End => return Ok(None),
            };
            let page = self.metadata.blobs(&list.scope, after, PAGE)?;
            list.position = page.next.map_or(Position::End, Position::After);
            let blobs = page.blobs.into_iter().map(|(digest, blob)| Info { digest, blob });
            let matching: Vec<Info> = blobs.filter(|info| list.filter.matches(info)).collect();
            if !matching.is_empty() {
                return Ok(Some(matching));
            }
        }
    }

    /// Returns how far an upload is.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub fn status(&self, name: IngestRef) -> Result<Status> {
        let ingest = self.metadata.ingest(&name)?;
        self.status_of(name, ingest)
    }

    /// Returns how far all uploads of a scope are that match `filter`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn statuses(&self, scope: &Scope, filter: &Filter) -> Result<Vec<Status>> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.metadata.ingests(scope, after.as_ref(), PAGE)?;
            for (name, ingest) in page.ingests {
                let status = self.status_of(name, ingest)?;
                if filter.matches(&status) {
                    all.push(status);
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    pub(super) fn status_of(&self, name: IngestRef, ingest: Ingest) -> Result<Status> {
        // Whoever writes knows it better than the file, of which a part may not be answered yet.
        let (offset, updated_at) = match self.writers.progress(&name).and_then(|progress| progress.get()) {
            Some(progress) => progress,
            None => match self.files.find_ingest(ingest.id)? {
                Some(found) => (found.size, ingest.updated_at.max(found.written_at)),
                None => (0, ingest.updated_at),
            },
        };
        let Ingest { total, expected, started_at, .. } = ingest;
        Ok(Status { name, offset, total, expected, started_at, updated_at })
    }
}
