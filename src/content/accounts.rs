//! What containerd and namespaces have in blobs, and what each has alone.

use std::collections::{BTreeMap, HashMap};

use crate::Result;
use crate::types::{Digest, Namespace, Scope};

use super::Content;

/// Who has blobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// containerd, in whatever namespaces of its own.
    Containerd,
    /// Leases, of what containerd deleted.
    Retained,
    /// A namespace of the API socket.
    Namespace(Namespace),
}

/// What somebody has in blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobShare {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of all of them.
    pub size: u64,
    /// Bytes of those that nobody else has: they come back when these are removed.
    pub unique: u64,
}

/// Whose the blobs of a pool are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobAccounts {
    /// By owner; nobody who has none.
    pub owners: Vec<(Owner, BlobShare)>,
    /// Of the whole pool, each file once.
    pub total: BlobShare,
}

impl Content {
    /// Adds up what everybody has. Reads all records of blobs.
    ///
    /// # Errors
    /// Those of the store.
    pub fn accounts(&self) -> Result<BlobAccounts> {
        let mut owners: BTreeMap<Owner, BlobShare> = BTreeMap::new();
        let mut total = BlobShare::default();
        self.metadata.read(|records| {
            let mut shared: HashMap<Digest, bool> = HashMap::new();
            // What cannot be read is for fsck to report.
            records.each_blob_file(|digest, file| {
                if let Ok(file) = file {
                    total.add(file.size, true);
                    shared.insert(digest, file.references > 1);
                }
                Ok(())
            })?;
            let mut count = |owner: Owner, digest: &Digest, size: u64| {
                let is_shared = shared.get(digest).copied().unwrap_or(false);
                owners.entry(owner).or_default().add(size, !is_shared);
            };
            records.each_blob(|entry| {
                if let Ok((scope, digest, blob)) = entry {
                    let owner = match scope {
                        Scope::Plugin => Owner::Containerd,
                        Scope::Api(namespace) => Owner::Namespace(namespace),
                    };
                    count(owner, &digest, blob.size);
                }
                Ok(())
            })?;
            records.each_retained_blob(|entry| {
                if let Ok((digest, retained)) = entry {
                    count(Owner::Retained, &digest, retained.blob.size);
                }
                Ok(())
            })
        })?;
        Ok(BlobAccounts { owners: owners.into_iter().collect(), total })
    }
}

impl BlobShare {
    fn add(&mut self, size: u64, is_unique: bool) {
        self.blobs += 1;
        self.size = self.size.saturating_add(size);
        if is_unique {
            self.unique = self.unique.saturating_add(size);
        }
    }
}
