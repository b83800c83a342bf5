//! One stream of writes to an ingest, message by message.
//!
//! A session moves from thread to thread with its messages, so that no thread waits for a client. What a message may do
//! and what is answered is what containerd's service does, of which the client may be an unknowing one.

use std::time::SystemTime;

use bytes::Bytes;

use crate::types::{Digest, IngestRef, Labels, LeaseId};
use crate::{Error, Resource, Result};

use super::Content;
use super::commit::Commit;
use super::writer::Writer;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// How far the ingest is.
    Stat,
    /// To append the data.
    Write,
    /// To append the data, and to make the ingest a blob.
    Commit,
}

/// A message of a client.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it asks for.
    pub action: Action,
    /// Bytes in the whole; 0 when that is not said.
    pub total: u64,
    /// What the whole is, when that is said.
    pub expected: Option<Digest>,
    /// Where the data belongs: at the end of what is there, or at 0 to begin anew.
    pub offset: i64,
    /// What to append.
    pub data: Bytes,
    /// What the blob is to have attached.
    pub labels: Labels,
}

/// The answer to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was asked for.
    pub action: Action,
    /// When the ingest was begun.
    pub started_at: SystemTime,
    /// When it was last written to.
    pub updated_at: SystemTime,
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes in the whole, as the stream last said; 0 when it did not.
    pub total: u64,
    /// Digest of what is there.
    pub digest: Digest,
}

/// A stream that has its ref to itself.
pub struct Session {
    writer: Writer,
    total: u64,
}

/// What a message led to.
pub struct Step {
    /// The answer.
    pub reply: Reply,
    /// What further messages are for; `None` when the ingest is a blob.
    pub session: Option<Session>,
}

impl Session {
    /// Whether a message may have to wait for the disk, or reads the whole file.
    pub fn may_wait(&self, message: &Message) -> bool {
        let written = self.writer.synced == Some(self.writer.offset) && message.data.is_empty();
        let another =
            |digest: &Digest| self.writer.shared.is_none() && digest.algorithm() != self.writer.hasher.algorithm();
        match message.action {
            Action::Stat => self.writer.hashed < self.writer.offset,
            Action::Write => !message.data.is_empty(),
            Action::Commit => !written || message.expected.as_ref().is_some_and(another),
        }
    }
}

impl Content {
    /// Opens the stream of a first message, for a lease if the request is of one. Waits for nothing.
    ///
    /// # Errors
    /// [`Error::Locked`] when another stream has the ref; [`Error::AlreadyExists`] when the blob is there;
    /// [`Error::NotFound`] for the lease; [`Error::NoSpace`] when there are too many ingests, or too few bytes.
    pub fn open_session(&self, name: IngestRef, lease: Option<LeaseId>, first: &Message) -> Result<Session> {
        let writer = self.open(name, lease, first.total, first.expected.clone())?;
        Ok(Session { writer, total: 0 })
    }

    /// Does what a message asks for. When that fails, the stream has ended, and the ingest goes on another time.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a position that is not where the ingest is; [`Error::AlreadyExists`] when the blob is
    /// there, [`Error::Mismatch`] when it is not what it was said to be, [`Error::NotFound`] when the ingest was given
    /// up; [`Error::NoSpace`], [`Error::NotDurable`] and [`Error::Fs`].
    pub fn handle(&self, mut session: Session, message: Message) -> Result<Step> {
        match self.carry_out(&mut session, &message) {
            Ok(Progress::Open(reply)) => Ok(Step { reply, session: Some(session) }),
            Ok(Progress::Commit) => {
                let commit = Commit { total: session.total, expected: message.expected, labels: message.labels };
                self.commit(session.writer, commit).map(|reply| Step { reply, session: None })
            }
            Err(err) => {
                self.close(session.writer);
                Err(err)
            }
        }
    }

    /// Ends a stream whose ingest goes on another time.
    pub fn close_session(&self, session: Session) {
        self.close(session.writer);
    }

    fn carry_out(&self, session: &mut Session, message: &Message) -> Result<Progress> {
        let writer = &mut session.writer;
        writer.catch_up()?;
        if let Some(expected) = &message.expected
            && let Err(exists) = self.require_unknown(writer.entered.name().scope(), expected, writer.lease.as_ref())
        {
            if let Error::AlreadyExists(_) = exists {
                // Nobody will go on with it.
                self.give_up(writer)?;
            }
            return Err(exists);
        }
        if message.total > 0 {
            session.total = message.total;
        }
        if message.action != Action::Stat {
            self.take_data(session, message)?;
        }
        if message.action == Action::Commit {
            return Ok(Progress::Commit);
        }
        session.reply(message.action).map(Progress::Open)
    }

    /// Appends the data of a message, where it belongs.
    fn take_data(&self, session: &mut Session, message: &Message) -> Result<()> {
        let writer = &mut session.writer;
        writer.entered.require_wanted()?;
        match u64::try_from(message.offset) {
            Ok(0) if writer.offset > 0 => self.forget_data(writer, |_| {})?,
            Ok(offset) if offset == writer.offset => {}
            _ => {
                let problem = format!("a write at {} is not at the current offset {}", message.offset, writer.offset);
                return Err(Error::OutOfRange { resource: writer.resource(), problem });
            }
        }
        if message.data.is_empty() {
            return Ok(());
        }
        self.neighbour.require_space()?;
        if writer.shared.is_some() {
            self.unshare(writer, true, |_| {})?;
        }
        writer.append(&message.data, self.now())?;
        if writer.is_checkpoint_due() {
            self.checkpoint(writer)?;
        }
        if writer.offset == session.total {
            // containerd commits inside of its global transaction: then there is nothing left to wait for.
            writer.sync()?;
        }
        Ok(())
    }

    fn give_up(&self, writer: &Writer) -> Result<()> {
        match self.abort_from(writer.entered.name(), writer.lease.as_ref()) {
            // By somebody else.
            Ok(()) | Err(Error::NotFound(Resource::Ingest(_))) => Ok(()),
            Err(err) => Err(err),
        }
    }
}

enum Progress {
    Open(Reply),
    Commit,
}

impl Session {
    fn reply(&self, action: Action) -> Result<Reply> {
        let writer = &self.writer;
        Ok(Reply {
            action,
            started_at: writer.started_at,
            updated_at: writer.updated_at,
            offset: writer.offset,
            total: self.total,
            digest: writer.digest()?,
        })
    }
}
