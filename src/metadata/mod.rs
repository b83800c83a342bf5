//! Typed records in the store, and the transactions that change them.
//!
//! This module is the only one that knows what the columns hold:
//!
//! ```text
//! meta       schema                       -> u32, version of everything below
//!            pool                         -> UUID of the pool, as text
//!            next_layer                   -> u64, no number of a layer or an ingest from here on was ever used
//!            next_snapshot                -> u64, the same for snapshots
//! snapshots  <namespace> 0x00 <key>       -> records.Snapshot
//! children   <parent id> <snapshot id>    -> empty
//! layers     <layer id>                   -> records.Layer
//! trash      <layer id>                   -> records.Trash, of a layer or of a blob's or ingest's file
//! leases     <namespace> 0x00 <lease>     -> records.Lease
//! members    <namespace> 0x00 <lease> 0x00 <type> 0x00 <resource>  -> empty
//! leased     <namespace> 0x00 <type> 0x00 <resource> 0x00 <lease>  -> empty
//! expiry     <nanoseconds since 1970> <namespace> 0x00 <lease>     -> empty
//! namespaces <namespace>                  -> records.Namespace
//! retained   <namespace> 0x00 <name>      -> records.Retained, of what containerd removed under that name
//! blobs      <namespace> 0x00 <digest>    -> records.Blob
//! files      <digest>                     -> records.BlobFile
//! ingests    <namespace> 0x00 <ref>       -> records.Ingest
//! retained_blobs  <digest>                -> records.RetainedBlob, of what containerd deleted
//! ```
//!
//! Integers in keys are 8 bytes, big-endian. In `snapshots`, `blobs` and `ingests` the namespace is empty for what came
//! through the plugin socket, whose keys and refs carry containerd's namespace themselves. A type is in containerd's notation, for example
//! `content` or `snapshots/leasehold`. No part that is followed by 0x00 holds one. Change this drawing with the code.
//!
//! Rules: a `snapshots` record's `layer` has a `layers` record, whose `references` counts such records, and the `retained`
//! ones that have the layer as their own or a parent's; a layer is either in `layers` or in `trash`; every snapshot with a parent has one entry in `children`, and its parent is of the
//! same namespace; every entry of `members` has one in `leased` and a lease; every lease that ends has one in `expiry`;
//! the namespace of every lease, and of every snapshot, blob and ingest of the API socket, is in `namespaces`; a `blobs`
//! or `retained_blobs` record's digest has a `files` record of the same size, whose `references` counts such records; no
//! digest is in `retained_blobs` and, for the plugin socket, in `blobs`.
//!
//! What the daemon itself leases (`[retention]`) is in leases that say so in their record: one for each namespace and
//! stretch of time, made by the removals in it. `trash` says what deleting a layer gives back, where that was counted.
//!
//! A lease with many members is marked as deleted first, and due since 1970; its members go in later transactions.

mod allocate;
mod applied;
mod blobs;
mod check;
mod check_reuse;
mod collectible;
mod commit;
mod content_leases;
mod create;
mod damaged;
mod evict;
mod expiry;
mod holders;
mod ingests;
mod journal;
mod known;
mod leases;
mod membership;
mod migrate;
mod named;
mod namespaces;
mod policy;
mod read;
mod record;
mod release;
mod remove;
mod request_lease;
mod retained;
mod retained_blobs;
mod schema;
mod sweep;
mod sweep_content;
mod trash;
mod undecided;
mod update;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use allocate::Numbers;
pub use applied::ActiveLayer;
pub use blobs::{BlobPage, CommitIngest, ImportBlob, Stored};
pub use check::{LeaseCheck, LeaseFault};
pub use check_reuse::{ReuseCheck, ReuseFault};
pub use collectible::{ApiBlob, ApiIngest, ApiObject, ApiSnapshot, NamedResource, StartAt};
pub use commit::{Commit, CommitActive, Committed, Settled, Unsettled};
use content_leases::ContentLeases;
pub use content_leases::TreesSeen;
pub use create::CreateSnapshot;
pub use damaged::DamagedRecord;
pub use evict::{Evictable, EvictableName, Evictables};
pub use expiry::{Due, DueState};
pub use ingests::IngestPage;
pub use journal::{Touched, Watch};
pub use leases::{Deletion, LeasePage};
pub use migrate::SCHEMA_VERSION;
pub use named::{BlobFilePage, NamedBy};
pub use policy::Retention;
pub use read::{Consistent, Page, Totals};
pub use record::{
    AppliedLayer, Blob, BlobFile, Borrowed, BorrowedBlob, BorrowedIngest, HashState, Ingest, Kind, Known, LabelPairs,
    Layer, Lease, Policy, Retained, RetainedBlob, Snapshot, Usage, Variant,
};
pub use remove::Removed;
pub use retained::{GivenUp, RetainedName};
pub use retained_blobs::DeletedBlob;
pub use sweep::{Swept, Unheld};
pub use sweep_content::{SweptBlob, UnheldBlob, UnheldIngest};
use undecided::Undecided;
pub use update::LabelUpdate;

use crate::Result;
use crate::store::{Column, Durability, Store, WriteTxn};
use crate::types::{FileId, LayerId};

/// The records of one pool.
pub struct Metadata {
    store: Store,
    numbers: Numbers,
    pool: String,
    journal: journal::Journal,
    /// Whether any lease may name anything. Only ever set: see [`Transaction::holder`].
    has_members: AtomicBool,
    content_leases: ContentLeases,
    undecided: Undecided,
}

/// A change of records. Holds the one write lock, so it does memory work only.
#[must_use = "dropping a transaction rolls it back"]
pub struct Transaction<'m> {
    txn: WriteTxn<'m>,
    metadata: &'m Metadata,
    now: SystemTime,
    /// Layers that lost their last reference, with what deleting them gives back.
    freed: Vec<(LayerId, Usage)>,
}

impl Metadata {
    /// Opens the records in `path`, making or migrating them as needed.
    ///
    /// # Errors
    /// [`Error::Pool`](crate::Error::Pool) with what to do when they cannot be opened or a newer version wrote them.
    pub fn open(path: PathBuf, durability: Durability) -> Result<Metadata> {
        let store = Store::open(path, durability)?;
        let pool = migrate::migrate(&store)?;
        let numbers = Numbers::load(&store)?;
        let has_members = AtomicBool::new(!store.page(Column::Leased, &[], None, 1)?.is_empty());
        let content_leases = ContentLeases::load(&store)?;
        let journal = journal::Journal::default();
        let undecided = Undecided::default();
        Ok(Metadata { store, numbers, pool, journal, has_members, content_leases, undecided })
    }

    /// Whether there are records in `path`, damaged or not.
    pub fn exists(path: &Path) -> bool {
        Store::exists(path)
    }

    /// Returns the id that the pool got when it was made.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// Returns a number that no layer of this pool ever had.
    pub fn allocate_layer(&self) -> LayerId {
        self.numbers.layer()
    }

    /// Returns a number that no layer and no file of this pool ever had.
    pub fn allocate_file(&self) -> FileId {
        FileId::new(self.numbers.layer())
    }

    /// Keeps numbers up to `seen` from being allocated: a directory of that name was found.
    pub fn reserve_layer(&self, seen: LayerId) {
        self.numbers.reserve_layer(seen);
    }

    /// Begins a change; `now` is what new timestamps say.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) or [`Error::Suspended`](crate::Error::Suspended) after a failed write.
    pub fn write(&self, now: SystemTime) -> Result<Transaction<'_>> {
        Ok(Transaction { txn: self.store.write()?, metadata: self, now, freed: Vec::new() })
    }

    /// Makes later syncs cheaper by writing some megabytes of log now. For the background, once after opening.
    ///
    /// # Errors
    /// Those of the store.
    pub fn lay_out_logs(&self) -> Result<()> {
        self.store.lay_out_logs()
    }

    /// Makes everything durable that was committed, whatever the durability of the pool is.
    ///
    /// # Errors
    /// As for [`Transaction::commit`].
    pub fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

impl Transaction<'_> {
    /// Makes the changes; returns when they are as durable as the pool was opened for.
    ///
    /// # Errors
    /// Of the store; whether the changes survive is then open until it was reopened.
    pub fn commit(self) -> Result<()> {
        self.txn.commit()
    }

    /// Like [`commit`](Self::commit), for what start-up can find out again.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn commit_unsynced(self) -> Result<()> {
        self.txn.commit_unsynced()
    }
}

#[cfg(test)]
mod tests;
