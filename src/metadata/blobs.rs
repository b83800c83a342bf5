//! Blobs, and the files that they share.
//!
//! A blob is of one scope, its file of all: a file goes when the last blob that names it goes. Whoever calls a
//! transaction here that may make or end a file has that digest to itself until the file has followed.

use std::time::SystemTime;

use super::damaged::DamagedRecord;
use super::record::{Blob, BlobFile, Usage};
use super::{Consistent, LabelUpdate, Metadata, Transaction, schema};
use crate::store::Column;
use crate::types::{Digest, FileId, IngestRef, Labels, LeaseId, Scope};
use crate::{Error, Resource, Result};

/// How many namespaces are read at a time.
const NAMESPACES_AT_ONCE: usize = 256;

/// Blobs in the order of their digests, and where the next page begins.
pub struct BlobPage {
    /// The blobs of this page.
    pub blobs: Vec<(Digest, Blob)>,
    /// The last digest that was read; `None` after the last page.
    pub next: Option<Digest>,
}

/// Turns an ingest, whose data is complete and durable, into a blob.
#[derive(Clone, Debug)]
pub struct CommitIngest {
    /// The ingest.
    pub name: IngestRef,
    /// Its file: the ref may be another ingest's by now.
    pub file: FileId,
    /// What it is.
    pub digest: Digest,
    /// Bytes in it.
    pub size: u64,
    /// What the blob has attached.
    pub labels: Labels,
    /// Whether its file has the blob's name already; else there must be another one with the same content.
    pub linked: bool,
    /// The lease that is to name the blob, and no longer the ingest.
    pub lease: Option<LeaseId>,
}

/// Makes a blob of a file that no ingest has written, and whose data is complete and durable.
#[derive(Clone, Debug)]
pub struct ImportBlob {
    /// Who gets it.
    pub scope: Scope,
    /// The file.
    pub file: FileId,
    /// What it is.
    pub digest: Digest,
    /// Bytes in it.
    pub size: u64,
    /// What the blob has attached.
    pub labels: Labels,
    /// As for [`CommitIngest`].
    pub linked: bool,
    /// When it was committed where it comes from.
    pub created_at: SystemTime,
}

/// What became of a committed ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Its file is the blob's.
    Own,
    /// There was a file of that digest. That of the ingest is in `trash`.
    Shared,
    /// There was such a blob: nothing was added. The ingest is gone, and its file in `trash`, unless it takes the place
    /// of a lost one.
    Exists,
}

impl Metadata {
    /// Reads a blob.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn blob(&self, scope: &Scope, digest: &Digest) -> Result<Blob> {
        found(digest, self.store.get(Column::Blobs, &schema::content::blob(scope, digest))?)
    }

    /// Reads a blob if its record is in memory; `None` when that is not known without the disk.
    ///
    /// # Errors
    /// As for [`blob`](Self::blob).
    pub fn cached_blob(&self, scope: &Scope, digest: &Digest) -> Result<Option<Blob>> {
        let cached = self.store.get_cached(Column::Blobs, &schema::content::blob(scope, digest))?;
        cached.map(|bytes| found(digest, bytes)).transpose()
    }

    /// Reads up to `limit` blobs of a scope after `after`. No state is kept between pages, so a slow reader holds nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn blobs(&self, scope: &Scope, after: Option<&Digest>, limit: usize) -> Result<BlobPage> {
        let after = after.map(|digest| schema::content::blob(scope, digest));
        let prefix = schema::content::prefix_of(scope);
        let entries = self.store.page(Column::Blobs, &prefix, after.as_deref(), limit)?;
        let blobs = entries.iter().filter_map(|(key, value)| readable(key, value)).collect();
        let next = match entries.last() {
            Some((key, _)) if entries.len() == limit => Some(schema::content::parse_blob(key)?.1),
            _ => None,
        };
        Ok(BlobPage { blobs, next })
    }

    /// Reads the record of a file; `None` when there is no such one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn blob_file(&self, digest: &Digest) -> Result<Option<BlobFile>> {
        self.store.get(Column::Files, &schema::content::file(digest))?.as_deref().map(BlobFile::decode).transpose()
    }
}

impl Consistent<'_> {
    /// Reads the record of a file; `None` when there is no such one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn blob_file(&self, digest: &Digest) -> Result<Option<BlobFile>> {
        self.txn.get(Column::Files, &schema::content::file(digest))?.as_deref().map(BlobFile::decode).transpose()
    }

    /// Calls `visit` with every blob of every scope. A record that cannot be decoded is passed as an error.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_blob(
        &self,
        mut visit: impl FnMut(Result<(Scope, Digest, Blob), DamagedRecord>) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::Blobs, &[], |key, value| {
            let decode = || {
                let (scope, digest) = schema::content::parse_blob(key)?;
                Ok((scope, digest, Blob::decode(value)?))
            };
            visit(decode().map_err(|err| DamagedRecord::new(Column::Blobs, key, value, &err)))
        })
    }

    /// Calls `visit` with every file, in the order of digests. A record that cannot be decoded is passed as an error, a
    /// key that is no digest is logged and skipped.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_blob_file(
        &self,
        mut visit: impl FnMut(Digest, Result<BlobFile, DamagedRecord>) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::Files, &[], |key, value| match schema::content::parse_file(key) {
            Ok(digest) => {
                let file = BlobFile::decode(value);
                visit(digest, file.map_err(|err| DamagedRecord::new(Column::Files, key, value, &err)))
            }
            Err(err) => {
                tracing::error!(error = %err, "a record's key is damaged; skipped");
                Ok(())
            }
        })
    }
}

impl Transaction<'_> {
    /// Makes an ingest a blob.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the ingest when its ref is no longer that of this file, and for the lease; [`Error::Lost`]
    /// when there is no file of that digest, neither the ingest's nor another one.
    pub fn commit_ingest(&mut self, commit: CommitIngest) -> Result<Stored> {
        let CommitIngest { name, file, digest, size, labels, linked, lease } = commit;
        self.require_ingest(&name, file)?;
        self.delete_ingest(&name);
        self.unlease_ingest(&name, lease.as_ref())?;
        let (scope, created_at) = (name.scope().clone(), self.now);
        self.add_blob(ImportBlob { scope, file, digest, size, labels, linked, created_at }, lease.as_ref())
    }

    /// Makes a blob of a file that no ingest has written.
    ///
    /// # Errors
    /// [`Error::Lost`] when there is no file of that digest, neither this nor another one.
    pub fn import_blob(&mut self, import: ImportBlob) -> Result<Stored> {
        let stored = self.add_blob(import, None)?;
        self.store_counters()?;
        Ok(stored)
    }

    fn add_blob(&mut self, blob: ImportBlob, lease: Option<&LeaseId>) -> Result<Stored> {
        let ImportBlob { scope, file, digest, size, labels, linked, created_at } = blob;
        let key = schema::content::blob(&scope, &digest);
        let exists = self.txn.get(Column::Blobs, &key)?.is_some();
        // Containerd has it again: one that was retained gives its reference to the new one.
        let adopted = scope == Scope::Plugin && self.forget_retained_blob(&digest)?;
        let known = self.blob_file(&digest)?;
        let references = known.as_ref().map_or(0, |known| known.references).saturating_add(u32::from(!exists));
        let references = references.saturating_sub(u32::from(adopted)).max(1);
        match known {
            // Also where there was a record, and its file was lost.
            _ if linked => self.put_blob_file(&digest, &BlobFile { size, references, id: file }),
            Some(known) => {
                self.trash(file.in_trash());
                self.put_blob_file(&digest, &BlobFile { references, ..known });
            }
            None => return Err(Error::Lost("the file of a blob")),
        }
        if exists {
            if let Scope::Api(_) = scope {
                self.find_blob(&scope, &digest, lease)?;
            }
            return Ok(Stored::Exists);
        }
        self.lease_blob(&scope, &digest, lease)?;
        if let Scope::Api(namespace) = &scope {
            self.ensure_namespace(namespace)?;
        }
        let stored = if linked { Stored::Own } else { Stored::Shared };
        let blob = Blob { size, labels, created_at, updated_at: created_at };
        self.note_blob(&scope, &digest, &blob);
        self.txn.put(Column::Blobs, key, blob.encode());
        Ok(stored)
    }

    /// Removes a blob. Returns its file when nothing names it any more; it is in `trash` then.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_blob(&mut self, scope: &Scope, digest: &Digest) -> Result<Option<FileId>> {
        let key = schema::content::blob(scope, digest);
        if self.txn.get(Column::Blobs, &key)?.is_none() {
            return Err(Error::NotFound(named(digest)));
        }
        self.txn.delete(Column::Blobs, key);
        self.release_file(digest)
    }

    /// Changes the labels of a blob and returns what it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a label that is too long.
    pub fn update_blob(&mut self, scope: &Scope, digest: &Digest, update: LabelUpdate) -> Result<Blob> {
        let key = schema::content::blob(scope, digest);
        let mut blob = found(digest, self.txn.get(Column::Blobs, &key)?)?;
        blob.labels = update.apply(blob.labels)?;
        blob.updated_at = self.now;
        self.note_blob(scope, digest, &blob);
        self.txn.put(Column::Blobs, key, blob.encode());
        Ok(blob)
    }

    /// Reads a blob as this transaction left it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn blob(&self, scope: &Scope, digest: &Digest) -> Result<Blob> {
        found(digest, self.txn.get(Column::Blobs, &schema::content::blob(scope, digest))?)
    }

    /// Reads the record of a file as this transaction left it; `None` when there is no such one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn blob_file(&self, digest: &Digest) -> Result<Option<BlobFile>> {
        self.txn.get(Column::Files, &schema::content::file(digest))?.as_deref().map(BlobFile::decode).transpose()
    }

    /// Whether there is a blob of that digest in any scope, or a retained one, readable or not.
    ///
    /// # Errors
    /// Those of the store.
    pub fn is_blob_named(&self, digest: &Digest) -> Result<bool> {
        let has = |scope: &Scope| {
            Ok::<_, Error>(self.txn.get(Column::Blobs, &schema::content::blob(scope, digest))?.is_some())
        };
        let retained = self.txn.get(Column::RetainedBlobs, &schema::content::retained_blob(digest))?;
        if retained.is_some() || has(&Scope::Plugin)? {
            return Ok(true);
        }
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let page = self.txn.page(Column::Namespaces, &[], after.as_deref(), NAMESPACES_AT_ONCE)?;
            for (key, _) in &page {
                if has(&Scope::Api(schema::leases::parse_namespace(key)?))? {
                    return Ok(true);
                }
            }
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(false),
            }
        }
    }

    /// Sets the record of a file to what was found out; `None` when nothing names it.
    pub fn repair_blob_file(&mut self, digest: &Digest, file: Option<&BlobFile>) {
        match file {
            Some(file) => self.put_blob_file(digest, file),
            None => self.txn.delete(Column::Files, schema::content::file(digest)),
        }
    }

    /// Removes the record of a blob, and leaves that of its file as it is.
    pub fn drop_damaged_blob(&mut self, scope: &Scope, digest: &Digest) {
        self.txn.delete(Column::Blobs, schema::content::blob(scope, digest));
    }

    /// Sets the size of a blob to that of its file.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn repair_blob_size(&mut self, scope: &Scope, digest: &Digest, size: u64) -> Result<()> {
        let key = schema::content::blob(scope, digest);
        let blob = Blob { size, ..found(digest, self.txn.get(Column::Blobs, &key)?)? };
        self.txn.put(Column::Blobs, key, blob.encode());
        Ok(())
    }

    /// Records that a file, which no record names, is to be reclaimed.
    pub fn trash_file(&mut self, file: FileId) {
        self.trash(file.in_trash());
    }

    /// Takes one reference off a file; returns it, in `trash`, when that was the last one.
    pub(super) fn release_file(&mut self, digest: &Digest) -> Result<Option<FileId>> {
        let Some(file) = self.blob_file(digest)? else { return Ok(None) };
        if file.references > 1 {
            self.put_blob_file(digest, &BlobFile { references: file.references - 1, ..file });
            return Ok(None);
        }
        self.txn.delete(Column::Files, schema::content::file(digest));
        self.freed.push((file.id.in_trash(), Usage { size: file.size, inodes: 1 }));
        self.trash(file.id.in_trash());
        Ok(Some(file.id))
    }

    fn put_blob_file(&mut self, digest: &Digest, file: &BlobFile) {
        self.txn.put(Column::Files, schema::content::file(digest), file.encode());
    }
}

/// Decodes an entry of a listing. One that is damaged must not hide all others from containerd's collector.
fn readable(key: &[u8], value: &[u8]) -> Option<(Digest, Blob)> {
    match schema::content::parse_blob(key).and_then(|(_, digest)| Ok((digest, Blob::decode(value)?))) {
        Ok(entry) => Some(entry),
        Err(err) => {
            tracing::error!(error = %err, key = %key.escape_ascii(), "a blob cannot be listed; see leasehold fsck");
            None
        }
    }
}

/// Names a blob in an error.
fn named(digest: &Digest) -> Resource {
    Resource::Blob(digest.as_str().to_owned())
}

fn found(digest: &Digest, bytes: Option<Vec<u8>>) -> Result<Blob> {
    Blob::decode(&bytes.ok_or_else(|| Error::NotFound(named(digest)))?)
}
