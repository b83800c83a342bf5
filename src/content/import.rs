//! Taking over the blobs of another content store, such as containerd's own, when a node is switched over.
//!
//! A blob's file gets a name in `ingests` first, by a link, a clone or a copy; then its digest is computed, it is made
//! durable, and becomes a blob as an upload does. There is no record of it until then: what a crash leaves of it is garbage,
//! which the next start deletes. What is there is not brought again, so that an import that was broken off goes on.
//!
//! Blobs are brought for the plugin socket. containerd deletes from a store what its own records do not have, so that what
//! is brought needs no hold: either containerd knows it, or it goes with containerd's next collection of content.

mod bring;
mod source;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::{Digest, Scope};
use crate::{Error, Result};

use super::Content;
use super::crew::{Meter, Report};
use bring::Way;
use source::Source;

/// What is to be brought.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    /// The directory of the other store.
    pub from: &'a Path,
    /// Only tells what would be done. No file is read.
    pub dry_run: bool,
    /// How many blobs at a time.
    pub threads: usize,
}

/// What was brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Blobs that share their file with the other store.
    pub linked: u64,
    /// Blobs that share the blocks of their files.
    pub cloned: u64,
    /// Blobs that were copied; of a dry run, those that would be cloned or copied.
    pub copied: u64,
    /// Bytes in all of these.
    pub bytes: u64,
    /// Blobs that were there before.
    pub known: u64,
    /// Names that were not brought.
    pub skipped: u64,
    /// Blobs that the other store has, and the pool has not: those that were not brought, and those that have come since.
    pub missing: u64,
}

/// Something that was not brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name below the directory.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

/// Why something was not brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its name is no digest.
    NoDigest,
    /// It is a directory, a symbolic link or something else that is no file.
    NoFile,
    /// It went while it was to be brought.
    Vanished,
    /// It has another digest: this one.
    Is(Digest),
    /// It cannot be read, and why.
    Unreadable(String),
}

impl Reason {
    /// Returns a fixed word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::NoDigest => "no-digest",
            Reason::NoFile => "no-file",
            Reason::Vanished => "vanished",
            Reason::Is(_) => "damaged",
            Reason::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoDigest => f.write_str("its name is no digest"),
            Reason::NoFile => f.write_str("it is no file"),
            Reason::Vanished => f.write_str("it was deleted meanwhile"),
            Reason::Is(digest) => write!(f, "it is damaged: its digest is {digest}"),
            Reason::Unreadable(why) => write!(f, "it cannot be read: {why}"),
        }
    }
}

/// Counts while threads bring blobs.
#[derive(Default)]
struct Counts {
    linked: AtomicU64,
    cloned: AtomicU64,
    copied: AtomicU64,
    bytes: AtomicU64,
    known: AtomicU64,
    skipped: AtomicU64,
}

impl Content {
    /// Brings the blobs of another store, and passes what it does not bring to `report`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no store; [`Error::NoSpace`], with how many there are now, when not all of them
    /// fit; [`Error::ShuttingDown`] when it was ended early; those of writing. What was brought before stays.
    pub fn import(&self, import: Import<'_>, report: Report<'_, Skipped>) -> Result<Imported> {
        let source = Source::open(import.from, &self.files)?;
        let contents = source.list()?;
        let counts = Counts::default();
        let all = (contents.blobs.len() as u64, contents.blobs.iter().map(|(_, size)| size).sum());
        let mut unknown = contents.unknown.into_iter();
        let mut blobs = contents.blobs.into_iter();
        let next = || Ok(unknown.next().map(Err).or_else(|| blobs.next().map(Ok)));
        let work = |item: Result<(Digest, u64), String>, meter: &Meter<'_>| {
            let (name, result) = match item {
                Err(name) => (name, Err(Reason::NoDigest)),
                Ok((digest, size)) => {
                    let name = format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex());
                    (name, self.import_one(&source, &digest, size, import.dry_run, &counts, meter)?)
                }
            };
            Ok(result.err().map(|reason| {
                counts.skipped.fetch_add(1, Ordering::Relaxed);
                Skipped { name, reason }
            }))
        };
        if let Err(err) = self.crew(import.threads).run(all, next, work, report) {
            return Err(counts.explain(err, all.0));
        }
        Ok(Imported { missing: self.left_of(&source)?, ..counts.imported() })
    }

    /// Brings one blob. The inner error is why it is not brought.
    fn import_one(
        &self,
        source: &Source,
        digest: &Digest,
        size: u64,
        dry_run: bool,
        counts: &Counts,
        meter: &Meter<'_>,
    ) -> Result<Result<(), Reason>> {
        if self.has(digest)? {
            counts.known.fetch_add(1, Ordering::Relaxed);
            meter.advance(size)?;
            return Ok(Ok(()));
        }
        let found = match source.file(digest) {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let (size, way) = if dry_run {
            meter.advance(size)?;
            (found.metadata.len(), if self.can_link(&found)? { Way::Linked } else { Way::Copied })
        } else {
            match self.bring(found, digest, meter)? {
                Ok(brought) => brought,
                Err(reason) => return Ok(Err(reason)),
            }
        };
        counts.count(way, size);
        Ok(Ok(()))
    }

    /// Whether a blob is there for containerd, with its file.
    fn has(&self, digest: &Digest) -> Result<bool> {
        match self.metadata.blob(&Scope::Plugin, digest) {
            Ok(_) => Ok(self.files.find_blob(digest)?.is_some()),
            Err(Error::NotFound(_)) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Counts what the other store has, and the pool has not.
    fn left_of(&self, source: &Source) -> Result<u64> {
        let mut missing = 0;
        for (digest, _) in source.list()?.blobs {
            missing += u64::from(!self.has(&digest)?);
        }
        Ok(missing)
    }
}

impl Counts {
    fn count(&self, way: Way, size: u64) {
        let counter = match way {
            Way::Linked => &self.linked,
            Way::Cloned => &self.cloned,
            Way::Copied => &self.copied,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
    }

    fn imported(&self) -> Imported {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Imported {
            linked: read(&self.linked),
            cloned: read(&self.cloned),
            copied: read(&self.copied),
            bytes: read(&self.bytes),
            known: read(&self.known),
            skipped: read(&self.skipped),
            missing: 0,
        }
    }

    /// Says in an error for lack of space how far the import came.
    fn explain(&self, err: Error, all: u64) -> Error {
        let Imported { linked, cloned, copied, known, .. } = self.imported();
        let there = linked + cloned + copied + known;
        match err {
            Error::NoSpace { what, source } => {
                Error::NoSpace { what: format!("{there} of {all} blobs are in the pool now, and stay; {what}"), source }
            }
            err => err,
        }
    }
}
