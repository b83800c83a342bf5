//! Blobs that containerd deleted while a lease named them.
//!
//! A retained blob is no blob any more: it is not listed, and cannot be deleted. It is one reference to its file, like
//! the blob that it was and may be again: whoever asks for it by its digest on the plugin socket has it back.

use std::time::SystemTime;

use super::damaged::DamagedRecord;
use super::record::{Blob, RetainedBlob};
use super::{Consistent, GivenUp, Metadata, Retention, Transaction, TreesSeen, schema};
use crate::store::Column;
use crate::types::{Digest, FileId, LeaseId, MemberKind, Namespace, Scope};
use crate::{Chain, Error, Resource, Result};

/// What became of a blob that containerd deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletedBlob {
    /// It is gone, and so is this file, which is in `trash`, where nothing else names it.
    Gone(Option<FileId>),
    /// It is retained, because of this lease.
    Retained(Namespace, LeaseId),
    /// It is retained, because of this one of the daemon's own.
    ByPolicy(LeaseId),
    /// It is retained until a collection finds out whether a tree holds it.
    Undecided,
}

impl Metadata {
    /// Reads a retained blob.
    ///
    /// # Errors
    /// Those of the store.
    pub fn retained_blob(&self, digest: &Digest) -> Result<Option<RetainedBlob>> {
        let bytes = self.store.get(Column::RetainedBlobs, &schema::content::retained_blob(digest))?;
        bytes.as_deref().map(RetainedBlob::decode).transpose()
    }

    /// Whether a blob is retained; `None` when that is not known without the disk.
    ///
    /// # Errors
    /// Those of the store.
    pub fn cached_is_retained_blob(&self, digest: &Digest) -> Result<Option<bool>> {
        let cached = self.store.get_cached(Column::RetainedBlobs, &schema::content::retained_blob(digest))?;
        Ok(cached.map(|bytes| bytes.is_some()))
    }

    /// Returns up to `limit` retained blobs after `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn retained_blobs(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<Digest>> {
        let after = after.map(schema::content::retained_blob);
        let entries = self.store.page(Column::RetainedBlobs, &[], after.as_deref(), limit)?;
        entries.iter().map(|(key, _)| schema::content::parse_retained_blob(key)).collect()
    }

    /// Returns an unexpired lease, of any namespace, that names a blob.
    ///
    /// # Errors
    /// Those of the store.
    pub fn blob_held_by(&self, digest: &Digest, now: SystemTime) -> Result<Option<(Namespace, LeaseId)>> {
        first_holder(self.content_leases.namespaces(), |namespace| {
            self.held_by(namespace, &MemberKind::Content, digest.as_str(), now)
        })
    }

    /// Returns the namespaces in which leases may name blobs.
    pub fn namespaces_of_content_leases(&self) -> Vec<Namespace> {
        self.content_leases.namespaces()
    }
}

impl Consistent<'_> {
    /// Calls `visit` with every retained blob, in the order of digests. A record that cannot be decoded is passed as an
    /// error.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_retained_blob(
        &self,
        mut visit: impl FnMut(Result<(Digest, RetainedBlob), DamagedRecord>) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::RetainedBlobs, &[], |key, value| {
            let read =
                schema::content::parse_retained_blob(key).and_then(|digest| Ok((digest, RetainedBlob::decode(value)?)));
            visit(read.map_err(|err| DamagedRecord::new(Column::RetainedBlobs, key, value, &err)))
        })
    }
}

impl Transaction<'_> {
    /// Removes a blob that containerd deleted. Where a lease of any namespace names it, or may hold it with a tree, it
    /// becomes a retained one; so it does where the daemon keeps such a one for a while.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_blob(&mut self, digest: &Digest, retention: Option<&Retention>) -> Result<DeletedBlob> {
        if let Some(retention) = retention
            && let Some((_, lease)) = self.lease_blob_by_policy(retention, digest)?
        {
            // First: its time counts from the deletion, also under another lease.
            self.retain_blob(digest)?;
            return Ok(DeletedBlob::ByPolicy(lease));
        }
        match self.blob_held_by(digest)? {
            Some((namespace, lease)) => {
                self.retain_blob(digest)?;
                Ok(DeletedBlob::Retained(namespace, lease))
            }
            None if self.has_trees(None) => {
                self.retain_blob(digest)?;
                Ok(DeletedBlob::Undecided)
            }
            None => self.remove_blob(&Scope::Plugin, digest).map(DeletedBlob::Gone),
        }
    }

    /// Makes a retained blob containerd's again, and returns it; `None` when it is not retained.
    ///
    /// # Errors
    /// Those of the store.
    pub fn adopt_blob(&mut self, digest: &Digest) -> Result<Option<Blob>> {
        let key = schema::content::retained_blob(digest);
        let Some(bytes) = self.txn.get(Column::RetainedBlobs, &key)? else { return Ok(None) };
        let retained = match RetainedBlob::decode(&bytes) {
            Ok(retained) => retained,
            Err(err) => {
                // Damage, which must not keep containerd from uploading it.
                tracing::error!(error = %Chain(&err), %digest, "a retained blob cannot be read; see leasehold fsck");
                return Ok(None);
            }
        };
        self.txn.delete(Column::RetainedBlobs, key);
        self.txn.put(Column::Blobs, schema::content::blob(&Scope::Plugin, digest), retained.blob.encode());
        Ok(Some(retained.blob))
    }

    /// Gives up a retained blob that no tree held, unless it was deleted anew since `removed_at`, or an unexpired lease
    /// names it. Its file is in `trash`, where nothing else names it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn give_up_blob(
        &mut self,
        digest: &Digest,
        removed_at: SystemTime,
        trees: TreesSeen,
    ) -> Result<GivenUp<Option<FileId>>> {
        if self.trees_seen() != trees {
            return Ok(GivenUp::TreesChanged);
        }
        let bytes = self.txn.get(Column::RetainedBlobs, &schema::content::retained_blob(digest))?;
        let now = bytes.as_deref().map(RetainedBlob::decode).transpose()?;
        let same = now.is_some_and(|now| now.removed_at == removed_at);
        if !same || self.blob_held_by(digest)?.is_some() {
            return Ok(GivenUp::Kept);
        }
        Ok(self.drop_retained_blob(digest)?.map_or(GivenUp::Kept, GivenUp::Gone))
    }

    /// Gives up a retained blob, held or not.
    ///
    /// # Errors
    /// Those of the store.
    pub fn drop_retained_blob(&mut self, digest: &Digest) -> Result<Option<Option<FileId>>> {
        if self.forget_retained_blob(digest)? { self.release_file(digest).map(Some) } else { Ok(None) }
    }

    /// Removes the record of a retained blob, whatever it says, and leaves that of its file as it is: whoever calls this
    /// takes its reference over. False when there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn forget_retained_blob(&mut self, digest: &Digest) -> Result<bool> {
        let key = schema::content::retained_blob(digest);
        let exists = self.txn.get(Column::RetainedBlobs, &key)?.is_some();
        if exists {
            self.txn.delete(Column::RetainedBlobs, key);
        }
        Ok(exists)
    }

    fn blob_held_by(&self, digest: &Digest) -> Result<Option<(Namespace, LeaseId)>> {
        first_holder(self.metadata.content_leases.namespaces(), |namespace| {
            self.held_by(namespace, &MemberKind::Content, digest.as_str(), self.now)
        })
    }

    /// Makes a blob of the plugin socket a retained one. Its reference to the file goes over to that.
    fn retain_blob(&mut self, digest: &Digest) -> Result<()> {
        let key = schema::content::blob(&Scope::Plugin, digest);
        let not_found = || Error::NotFound(Resource::Blob(digest.as_str().to_owned()));
        let blob = Blob::decode(&self.txn.get(Column::Blobs, &key)?.ok_or_else(not_found)?)?;
        self.txn.delete(Column::Blobs, key);
        if self.forget_retained_blob(digest)? {
            // Damage: it cannot be both.
            self.release_file(digest)?;
        }
        let retained = RetainedBlob { blob, removed_at: self.now };
        self.txn.put(Column::RetainedBlobs, schema::content::retained_blob(digest), retained.encode());
        Ok(())
    }
}

fn first_holder(
    namespaces: Vec<Namespace>,
    mut held_by: impl FnMut(&Namespace) -> Result<Option<LeaseId>>,
) -> Result<Option<(Namespace, LeaseId)>> {
    for namespace in namespaces {
        if let Some(lease) = held_by(&namespace)? {
            return Ok(Some((namespace, lease)));
        }
    }
    Ok(None)
}
