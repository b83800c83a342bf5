//! What clients of the API socket use while a collection runs.
//!
//! A collection reads a state of the database that gets older while it works. So from before it reads until it is done,
//! every transaction takes down what it writes or has a lease name; the collection looks at that inside the transactions
//! in which it removes something. The rest of the time, and for what came through the plugin socket, this is the
//! look at one flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{Blob, Ingest, Metadata, Snapshot, Transaction};
use crate::Result;
use crate::types::{Digest, IngestRef, Labels, LeaseId, Member, Namespace, Scope, SnapshotKey};

/// Something that was written, with what it refers to.
#[derive(Clone, Debug, PartialEq)]
pub enum Touched {
    /// A snapshot of the API socket was created or changed.
    Snapshot {
        /// Its namespace.
        namespace: Namespace,
        /// Its key or name.
        key: SnapshotKey,
        /// The committed snapshot below it.
        parent: Option<SnapshotKey>,
        /// Its labels now.
        labels: Labels,
    },
    /// A blob of the API socket was made or changed, or a client was told that it is there.
    Blob {
        /// Its namespace.
        namespace: Namespace,
        /// What it is.
        digest: Digest,
        /// Its labels now.
        labels: Labels,
    },
    /// An ingest of the API socket was begun.
    Ingest {
        /// Its namespace.
        namespace: Namespace,
        /// Its ref.
        name: IngestRef,
        /// What it will be, when the client said that.
        expected: Option<Digest>,
    },
    /// A lease was created.
    Lease(Namespace, LeaseId),
    /// A lease names this now.
    Member(Namespace, Member),
}

/// What was touched while somebody watches.
#[derive(Default)]
pub(super) struct Journal {
    watched: AtomicBool,
    touched: Mutex<Vec<Touched>>,
}

impl Journal {
    fn note(&self, touched: impl FnOnce() -> Touched) {
        // Transactions are one after the other, and so is the change of the flag: see `Metadata::watch`.
        if self.watched.load(Ordering::Acquire) {
            self.entries().push(touched());
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Touched>> {
        // Each change is one push or one take, so it is whole even after a panic.
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, what is touched is taken down. For one collector.
#[must_use = "dropping it ends the watch"]
pub struct Watch<'m> {
    metadata: &'m Metadata,
}

impl Metadata {
    /// Begins to take down what transactions touch. All that begin from now on see it, and none is under way.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn watch(&self) -> Result<Watch<'_>> {
        let watch = Watch { metadata: self };
        self.journal.watched.store(true, Ordering::Release);
        // Whoever began before, and took nothing down, has ended when this has its turn.
        drop(self.write(SystemTime::now())?);
        Ok(watch)
    }
}

impl Watch<'_> {
    /// Hands over what was touched since the last time. Nothing can be added while the caller has the one write
    /// transaction, so that it decides on everything there is.
    pub fn take(&self, _within: &Transaction<'_>) -> Vec<Touched> {
        std::mem::take(&mut *self.metadata.journal.entries())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.metadata.journal.watched.store(false, Ordering::Release);
        *self.metadata.journal.entries() = Vec::new();
    }
}

impl Transaction<'_> {
    /// Takes down a snapshot that this transaction writes.
    pub(super) fn note_snapshot(&self, key: &SnapshotKey, snapshot: &Snapshot) {
        if let Scope::Api(namespace) = key.scope() {
            self.metadata.journal.note(|| Touched::Snapshot {
                namespace: namespace.clone(),
                key: key.clone(),
                parent: snapshot.parent.clone(),
                labels: snapshot.labels.clone(),
            });
        }
    }

    /// Takes down a blob that this transaction writes, or whose existence its caller is told.
    pub(super) fn note_blob(&self, scope: &Scope, digest: &Digest, blob: &Blob) {
        if let Scope::Api(namespace) = scope {
            self.metadata.journal.note(|| Touched::Blob {
                namespace: namespace.clone(),
                digest: digest.clone(),
                labels: blob.labels.clone(),
            });
        }
    }

    /// Takes down an ingest that this transaction begins.
    pub(super) fn note_ingest(&self, name: &IngestRef, ingest: &Ingest) {
        if let Scope::Api(namespace) = name.scope() {
            self.metadata.journal.note(|| Touched::Ingest {
                namespace: namespace.clone(),
                name: name.clone(),
                expected: ingest.expected.clone(),
            });
        }
    }

    pub(super) fn note_lease(&self, namespace: &Namespace, id: &LeaseId) {
        self.metadata.journal.note(|| Touched::Lease(namespace.clone(), id.clone()));
    }

    pub(super) fn note_member(&self, namespace: &Namespace, member: &Member) {
        self.metadata.journal.note(|| Touched::Member(namespace.clone(), member.clone()));
    }
}
