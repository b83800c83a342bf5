//! Ingests: uploads in progress.

use std::time::SystemTime;

use super::damaged::DamagedRecord;
use super::record::Ingest;
use super::{Consistent, Metadata, Transaction, schema};
use crate::store::Column;
use crate::types::{FileId, IngestRef, LeaseId, Scope};
use crate::{Error, Resource, Result};

/// Ingests in the order of their refs, and where the next page begins.
pub struct IngestPage {
    /// The ingests of this page.
    pub ingests: Vec<(IngestRef, Ingest)>,
    /// The last ref that was read; `None` after the last page.
    pub next: Option<IngestRef>,
}

impl Metadata {
    /// Reads an ingest.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn ingest(&self, name: &IngestRef) -> Result<Ingest> {
        found(name, self.store.get(Column::Ingests, &schema::content::ingest(name))?)
    }

    /// Reads up to `limit` ingests of a scope after `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn ingests(&self, scope: &Scope, after: Option<&IngestRef>, limit: usize) -> Result<IngestPage> {
        let after = after.map(schema::content::ingest);
        let prefix = schema::content::prefix_of(scope);
        let entries = self.store.page(Column::Ingests, &prefix, after.as_deref(), limit)?;
        let ingests = entries.iter().filter_map(|(key, value)| readable(key, value)).collect();
        let next = match entries.last() {
            Some((key, _)) if entries.len() == limit => Some(schema::content::parse_ingest(key)?),
            _ => None,
        };
        Ok(IngestPage { ingests, next })
    }
}

impl Consistent<'_> {
    /// Calls `visit` with every ingest of every scope. A record that cannot be decoded is passed as an error.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_ingest(
        &self,
        mut visit: impl FnMut(Result<(IngestRef, Ingest), DamagedRecord>) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::Ingests, &[], |key, value| {
            visit(decode(key, value).map_err(|err| DamagedRecord::new(Column::Ingests, key, value, &err)))
        })
    }
}

impl Transaction<'_> {
    /// Begins an ingest, which the lease of the request is to name.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::NotFound`] for the lease.
    pub fn create_ingest(&mut self, name: &IngestRef, ingest: &Ingest, lease: Option<&LeaseId>) -> Result<()> {
        let key = schema::content::ingest(name);
        if self.txn.get(Column::Ingests, &key)?.is_some() {
            return Err(Error::AlreadyExists(named(name)));
        }
        if let Scope::Api(namespace) = name.scope() {
            self.ensure_namespace(namespace)?;
        }
        self.lease_ingest(name, lease)?;
        self.note_ingest(name, ingest);
        self.txn.put(Column::Ingests, key, ingest.encode());
        self.store_counters()
    }

    /// Changes the record of an ingest.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the ref is not that of `file` any more.
    pub fn update_ingest(&mut self, name: &IngestRef, file: FileId, change: impl FnOnce(&mut Ingest)) -> Result<()> {
        let mut ingest = self.require_ingest(name, file)?;
        change(&mut ingest);
        self.txn.put(Column::Ingests, schema::content::ingest(name), ingest.encode());
        Ok(())
    }

    /// Gives an ingest another file, which `change` names. The former one is in `trash` now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the ref is not that of `former` any more.
    pub fn replace_ingest_file(
        &mut self,
        name: &IngestRef,
        former: FileId,
        change: impl FnOnce(&mut Ingest),
    ) -> Result<()> {
        self.update_ingest(name, former, change)?;
        self.trash(former.in_trash());
        self.store_counters()
    }

    /// Gives an ingest up. Returns its file, which is in `trash` now.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn drop_ingest(&mut self, name: &IngestRef) -> Result<FileId> {
        let ingest = self.ingest(name)?;
        self.delete_ingest(name);
        self.trash(ingest.id.in_trash());
        Ok(ingest.id)
    }

    /// Reads an ingest as this transaction left it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn ingest(&self, name: &IngestRef) -> Result<Ingest> {
        found(name, self.txn.get(Column::Ingests, &schema::content::ingest(name))?)
    }

    pub(super) fn delete_ingest(&mut self, name: &IngestRef) {
        self.txn.delete(Column::Ingests, schema::content::ingest(name));
    }

    /// Reads an ingest; fails when its file is another one by now.
    pub(super) fn require_ingest(&self, name: &IngestRef, file: FileId) -> Result<Ingest> {
        let ingest = self.ingest(name)?;
        if ingest.id == file { Ok(ingest) } else { Err(Error::NotFound(named(name))) }
    }
}

impl Ingest {
    /// Whether it has expired: containerd's rule for leases, which this follows.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| now > at)
    }
}

fn readable(key: &[u8], value: &[u8]) -> Option<(IngestRef, Ingest)> {
    match decode(key, value) {
        Ok(entry) => Some(entry),
        Err(err) => {
            tracing::error!(error = %err, key = %key.escape_ascii(), "an ingest cannot be listed; see leasehold fsck");
            None
        }
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<(IngestRef, Ingest)> {
    Ok((schema::content::parse_ingest(key)?, Ingest::decode(value)?))
}

/// Names an ingest in an error.
fn named(name: &IngestRef) -> Resource {
    Resource::Ingest(name.as_str().to_owned())
}

fn found(name: &IngestRef, bytes: Option<Vec<u8>>) -> Result<Ingest> {
    Ingest::decode(&bytes.ok_or_else(|| Error::NotFound(named(name)))?)
}
