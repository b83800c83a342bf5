//! The content store: blobs by their digests, and the ingests that they come from.
//!
//! An ingest's file is `ingests/<number>`. Once it is complete and durable it gets the name of its digest as well, then
//! the record of the blob is committed, then it loses its first name. So whatever a crash leaves can be told from the
//! records: without the record the ingest goes on; with it, the file is found by its number, even if the new name was
//! lost in a power cut, and nobody had to wait until that name was durable.
//!
//! Whoever gives a digest's file to a record, or takes the last record from it, has the digest to itself ([`Turns`]) from
//! the look at the records until the file has followed. Nobody waits there for anything but that.
//!
//! All functions are synchronous. Those of a [`Session`] may wait for the disk, and say so.

mod accounts;
mod commit;
mod crew;
mod document;
mod expire;
mod files;
mod fsck;
mod hasher;
mod holds;
mod import;
mod info;
mod inventory;
mod janitor;
mod list;
mod open;
mod read;
mod recover;
mod remove;
mod repair;
mod session;
mod shared;
mod sweep;
mod turns;
mod verify;
mod write_back;
mod writer;
mod writers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

pub use accounts::{BlobAccounts, BlobShare, Owner};
pub use crew::{Crew, Event, Progress, Report, threads_to_bring, threads_to_read};
pub use document::Document;
pub use files::{Files, Listing};
pub use fsck::{FsckReport, Problem, ProblemKind};
pub use holds::GivenUpBlobs;
pub use import::{Import, Imported, Reason, Skipped};
pub use info::Info;
pub use inventory::{Entry, Inventory, Upload, Uploads};
pub use list::{List, Status};
pub use read::{CHUNK, Reader};
pub use recover::{RecoveryReport, recover};
pub use repair::fsck_offline;
pub use session::{Action, Message, Reply, Session, Step};
pub use verify::{Damage, DamageKind, verify_offline};

/// For whoever reads blobs that are not in this store.
pub(crate) use hasher::Hasher;

use crate::Result;
use crate::metadata::{Metadata, Retention};
use crate::types::{Digest, FileId, LayerId};

use crew::Crews;
use document::Documents;
use janitor::Janitor;
use turns::Turns;
use writers::Writers;

/// What the content store may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many ingests there may be at a time.
    pub max_ingests: usize,
    /// How long blobs are kept that containerd deletes, where they are.
    pub retention: Option<Retention>,
    /// What namespaces have from each other.
    pub sharing: Sharing,
}

/// What namespaces of the API socket have from each other. They share files in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Who announces a digest that anybody has need not upload it.
    Shared,
    /// Who wants a blob has to upload all of it, unless a namespace that has it is labelled as shareable.
    Isolated,
}

/// What others do for the content store: the pool's other store, because they share trash and space, and the collector.
pub trait Neighbour: Send + Sync {
    /// Has a file deleted that is in trash, some time soon.
    fn reclaim(&self, number: LayerId);

    /// Hears that a blob was retained that can be evicted when space runs short.
    fn retained(&self);

    /// Fails where too little is free for something new, and nothing can be evicted for it. Never waits.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) and [`Error::Fs`](crate::Error::Fs).
    fn expect_space(&self) -> Result<()>;

    /// Fails where too little is free for something new: removing blobs has to be possible. May wait a bounded time for
    /// what is evicted to make room.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) and [`Error::Fs`](crate::Error::Fs).
    fn require_space(&self) -> Result<()>;

    /// Has the collector look for ingests that nothing holds, some time soon: some of the API socket have expired.
    fn look_for_expired(&self);
}

/// The blobs and ingests of one pool.
pub struct Content {
    metadata: Arc<Metadata>,
    files: Arc<Files>,
    settings: Settings,
    neighbour: Box<dyn Neighbour>,
    writers: Arc<Writers>,
    digests: Arc<Turns<Digest>>,
    /// Ingests between the making of their file and the commit of their record.
    being_made: Arc<Turns<FileId>>,
    /// How many ingests there are.
    ingests: AtomicUsize,
    /// Names this boot of the machine.
    boot: Box<str>,
    janitor: Janitor,
    crews: Crews,
    documents: Documents,
}

impl Content {
    /// Begins to serve a pool that was [recovered](recover()), and starts the background work.
    ///
    /// # Errors
    /// Those of the store; [`Error::Lost`](crate::Error::Lost) when the system has no more threads.
    pub fn start(
        metadata: Arc<Metadata>,
        files: Arc<Files>,
        settings: Settings,
        report: RecoveryReport,
        neighbour: Box<dyn Neighbour>,
    ) -> Result<Arc<Content>> {
        let content = Arc::new(Content {
            metadata,
            files,
            settings,
            neighbour,
            writers: Arc::default(),
            digests: Arc::default(),
            being_made: Arc::default(),
            ingests: AtomicUsize::new(report.ingests),
            boot: crate::overlay::boot(),
            janitor: Janitor::new(report.orphans),
            crews: Crews::default(),
            documents: Documents::default(),
        });
        content.start_janitor()?;
        Ok(content)
    }

    /// Stops the background work.
    pub fn stop(&self) {
        self.crews.stop();
        self.janitor.stop();
    }

    /// Returns how many uploads are in progress, those that nobody writes to at the moment included.
    pub fn ingests_open(&self) -> usize {
        self.ingests.load(Ordering::Relaxed)
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests;
