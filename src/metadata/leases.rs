//! Leases: created, deleted, read.

use std::time::{SystemTime, UNIX_EPOCH};

use super::damaged::named;
use super::record::Lease;
use super::{Consistent, Metadata, Transaction, schema};
use crate::store::Column;
use crate::types::{Labels, LeaseId, Member, Namespace};
use crate::{Error, Resource, Result};

/// How many members one transaction removes. All writers wait for it, so it ends within about a millisecond.
const MEMBERS_AT_ONCE: usize = 512;

/// What a deletion left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing.
    Done,
    /// Nobody sees the lease any more, but members after this one are still to be removed, with
    /// [`Transaction::drop_members`].
    MembersAfter(Member),
}

/// Leases in the order of their ids, and where the next page begins.
pub struct LeasePage {
    /// The leases of this page.
    pub leases: Vec<(LeaseId, Lease)>,
    /// The last id that was read; `None` after the last page.
    pub next: Option<LeaseId>,
}

impl Metadata {
    /// Reads a lease, expired or not.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<Lease> {
        live(namespace, id, self.store.get(Column::Leases, &schema::leases::lease(namespace, id))?)
    }

    /// Reads up to `limit` leases of a namespace after `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn leases(&self, namespace: &Namespace, after: Option<&LeaseId>, limit: usize) -> Result<LeasePage> {
        let after = after.map(|id| schema::leases::lease(namespace, id));
        let prefix = schema::leases::leases_of(namespace);
        let entries = self.store.page(Column::Leases, &prefix, after.as_deref(), limit)?;
        let mut page = LeasePage { leases: Vec::new(), next: None };
        let full = entries.len() == limit;
        for (key, value) in entries {
            let (_, id) = schema::leases::parse_lease(&key)?;
            page.next = full.then_some(id);
            if let Some((_, id, lease)) = readable(&key, &value).filter(|(.., lease)| !lease.deleted) {
                page.leases.push((id, lease));
            }
        }
        Ok(page)
    }

    /// Returns the leases of a namespace that were deleted and still have members.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unfinished_deletions(&self, namespace: &Namespace) -> Result<Vec<LeaseId>> {
        let mut deleted = Vec::new();
        self.store.read(|txn| {
            txn.scan(Column::Leases, &schema::leases::leases_of(namespace), |key, value| {
                if named(Column::Leases, key, Lease::decode(value))?.deleted {
                    deleted.push(schema::leases::parse_lease(key)?.1);
                }
                Ok(())
            })
        })?;
        Ok(deleted)
    }
}

impl Consistent<'_> {
    /// Reads a lease, expired or not.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<Lease> {
        live(namespace, id, self.txn.get(Column::Leases, &schema::leases::lease(namespace, id))?)
    }

    /// Calls `visit` with every lease that can be read, namespace by namespace.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_lease(&self, mut visit: impl FnMut(Namespace, LeaseId, Lease) -> Result<()>) -> Result<()> {
        self.txn.scan(Column::Leases, &[], |key, value| match readable(key, value) {
            Some((_, _, lease)) if lease.deleted => Ok(()),
            Some((namespace, id, lease)) => visit(namespace, id, lease),
            None => Ok(()),
        })
    }
}

impl Transaction<'_> {
    /// Creates a lease, and its namespace where that is new.
    ///
    /// Returns `None`, changing nothing, where members of a deleted lease of that id are still to be removed.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub fn create_lease(
        &mut self,
        namespace: &Namespace,
        id: &LeaseId,
        labels: Labels,
        expires_at: Option<SystemTime>,
    ) -> Result<Option<Lease>> {
        match self.lease_record(namespace, id)? {
            Some(lease) if lease.deleted => return Ok(None),
            Some(_) => return Err(Error::AlreadyExists(resource(id))),
            None => {}
        }
        self.ensure_namespace(namespace)?;
        let lease = Lease::new(self.now, labels, expires_at);
        self.put_lease(namespace, id, &lease);
        self.note_lease(namespace, id);
        Ok(Some(lease))
    }

    /// Deletes a lease; from the commit on nobody sees it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_lease(&mut self, namespace: &Namespace, id: &LeaseId) -> Result<Deletion> {
        let lease = self.live_lease(namespace, id)?;
        self.delete_records(namespace, id, &lease);
        match self.drop_page(namespace, id, None)? {
            None => Ok(Deletion::Done),
            Some(last) => {
                // Due at once, so that a deletion which a crash interrupted is found again.
                let rest = Lease { deleted: true, ..Lease::new(self.now, Labels::default(), Some(UNIX_EPOCH)) };
                self.put_lease(namespace, id, &rest);
                Ok(Deletion::MembersAfter(last))
            }
        }
    }

    /// Goes on removing the members of a deleted lease, after `after` or from the first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn drop_members(&mut self, namespace: &Namespace, id: &LeaseId, after: Option<&Member>) -> Result<Deletion> {
        let Some(lease) = self.lease_record(namespace, id)?.filter(|lease| lease.deleted) else {
            return Ok(Deletion::Done);
        };
        let mut dropped = self.drop_page(namespace, id, after)?;
        if dropped.is_none() && self.txn.has_prefix(Column::Members, &schema::leases::members_of(namespace, id))? {
            // Another lease of this id was made and deleted since `after` was seen: what it named may come before that.
            dropped = self.drop_page(namespace, id, None)?;
        }
        match dropped {
            Some(last) => Ok(Deletion::MembersAfter(last)),
            None => {
                self.delete_records(namespace, id, &lease);
                Ok(Deletion::Done)
            }
        }
    }

    /// Removes the next members; returns the last of them unless there are no more.
    fn drop_page(&mut self, namespace: &Namespace, id: &LeaseId, after: Option<&Member>) -> Result<Option<Member>> {
        let after = after.map(|member| schema::leases::member(namespace, id, member));
        let prefix = schema::leases::members_of(namespace, id);
        let entries = self.txn.page(Column::Members, &prefix, after.as_deref(), MEMBERS_AT_ONCE)?;
        let full = entries.len() == MEMBERS_AT_ONCE;
        let mut last = None;
        for (key, _) in entries {
            let (_, _, member) = schema::leases::parse_member(&key)?;
            self.delete_member(namespace, id, &member);
            last = full.then_some(member);
        }
        Ok(last)
    }

    pub(super) fn put_lease(&mut self, namespace: &Namespace, id: &LeaseId, lease: &Lease) {
        self.txn.put(Column::Leases, schema::leases::lease(namespace, id), lease.encode());
        if let Some(at) = lease.expires_at {
            self.txn.put(Column::Expiry, schema::leases::expiry(at, namespace, id), Vec::new());
        }
    }

    pub(super) fn delete_records(&mut self, namespace: &Namespace, id: &LeaseId, lease: &Lease) {
        self.txn.delete(Column::Leases, schema::leases::lease(namespace, id));
        if let Some(at) = lease.expires_at {
            self.txn.delete(Column::Expiry, schema::leases::expiry(at, namespace, id));
        }
    }

    /// Reads a lease as this transaction left it.
    pub(super) fn live_lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<Lease> {
        live(namespace, id, self.txn.get(Column::Leases, &schema::leases::lease(namespace, id))?)
    }

    pub(super) fn lease_record(&self, namespace: &Namespace, id: &LeaseId) -> Result<Option<Lease>> {
        let key = schema::leases::lease(namespace, id);
        let bytes = self.txn.get(Column::Leases, &key)?;
        bytes.map(|bytes| named(Column::Leases, &key, Lease::decode(&bytes))).transpose()
    }
}

/// Names a lease in an error.
fn resource(id: &LeaseId) -> Resource {
    Resource::Lease(id.as_str().to_owned())
}

/// Decodes an entry of a listing. One that is damaged must not hide all others.
fn readable(key: &[u8], value: &[u8]) -> Option<(Namespace, LeaseId, Lease)> {
    let read = schema::leases::parse_lease(key).and_then(|(namespace, id)| Ok((namespace, id, Lease::decode(value)?)));
    named(Column::Leases, key, read)
        .inspect_err(|err| tracing::error!(error = %err, "a lease cannot be listed; see leasehold fsck"))
        .ok()
}

/// Decodes the record of a lease that was not deleted.
fn live(namespace: &Namespace, id: &LeaseId, bytes: Option<Vec<u8>>) -> Result<Lease> {
    let decode = |bytes: Vec<u8>| {
        Lease::decode(&bytes).or_else(|err| named(Column::Leases, &schema::leases::lease(namespace, id), Err(err)))
    };
    let lease = bytes.map(decode).transpose()?;
    lease.filter(|lease| !lease.deleted).ok_or_else(|| Error::NotFound(resource(id)))
}
