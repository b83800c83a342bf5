//! The way of a compared layer into the content store.

use bytes::Bytes;

use super::compress::Sink;
use crate::content::{Action, Content, Message, Session, Step};
use crate::metadata::LabelUpdate;
use crate::types::{Digest, IngestRef, Labels, LeaseId};
use crate::{Chain, Error, Resource, Result};

/// The label of a blob that says what its stream is when it is not compressed.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// An upload that is made here. It is given up when it is dropped before it was committed.
pub(super) struct Upload<'c> {
    content: &'c Content,
    name: IngestRef,
    lease: Option<LeaseId>,
    session: Option<Session>,
    size: u64,
    /// It is a blob, and its ref may be somebody else's.
    ended: bool,
}

impl<'c> Upload<'c> {
    /// Begins an upload. What there is under its ref is forgotten.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody has the ref; [`Error::NotFound`] for the lease; [`Error::NoSpace`].
    pub fn begin(content: &'c Content, name: IngestRef, lease: Option<LeaseId>) -> Result<Upload<'c>> {
        let session = content.open_session(name.clone(), lease.clone(), &message(Action::Stat, 0, Bytes::new()))?;
        Ok(Upload { content, name, lease, session: Some(session), size: 0, ended: false })
    }

    /// Makes the upload a blob, and returns it with its size. One that was there already is as good.
    ///
    /// # Errors
    /// As for [`Content::handle`].
    pub fn commit(mut self, diff_id: &Digest, mut labels: Labels) -> Result<(Digest, u64)> {
        labels.insert(UNCOMPRESSED.into(), diff_id.as_str().into())?;
        let whole = self.step(message(Action::Stat, self.size, Bytes::new()))?;
        let commit = Message { labels, total: self.size, ..message(Action::Commit, self.size, Bytes::new()) };
        match self.step(commit) {
            Ok(_) => self.ended = true,
            Err(Error::AlreadyExists(Resource::Blob(_))) => {
                self.ended = true;
                self.complete(&whole, diff_id)?;
            }
            Err(err) => return Err(err),
        }
        Ok((whole, self.size))
    }

    /// Says of a blob that was there what it is uncompressed, unless that was said.
    fn complete(&self, digest: &Digest, diff_id: &Digest) -> Result<()> {
        let scope = self.name.scope();
        let known = self.content.info(scope, digest.clone())?;
        if known.blob.labels.get(UNCOMPRESSED).is_none() {
            let label = (UNCOMPRESSED.to_owned(), Some(diff_id.as_str().to_owned()));
            self.content.update(scope, digest.clone(), LabelUpdate::Merge(vec![label]))?;
        }
        Ok(())
    }

    /// Carries a message out, and returns the digest of what is there.
    fn step(&mut self, message: Message) -> Result<Digest> {
        let session = self.session.take().ok_or(Error::Lost("the upload of a layer"))?;
        let Step { reply, session } = self.content.handle(session, message)?;
        self.session = session;
        Ok(reply.digest)
    }
}

impl Sink for Upload<'_> {
    fn append(&mut self, bytes: Vec<u8>) -> Result<()> {
        let len = bytes.len() as u64;
        self.step(message(Action::Write, self.size, bytes.into()))?;
        self.size += len;
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(session) = self.session.take() {
            self.content.close_session(session);
        }
        match self.content.abort_from(&self.name, self.lease.as_ref()) {
            // Somebody else gave it up.
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(err) => {
                tracing::warn!(name = self.name.as_str(), error = %Chain(&err), "the upload of a layer is left behind");
            }
        }
    }
}

fn message(action: Action, offset: u64, data: Bytes) -> Message {
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    Message { action, total: 0, expected: None, offset, data, labels: Labels::default() }
}
