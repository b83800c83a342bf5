//! What leases name, in both directions.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::damaged::named;
use super::record::Lease;
use super::{Consistent, Metadata, Transaction, schema};
use crate::store::{Column, Entry};
use crate::types::{Labels, LeaseId, Member, MemberKind, Namespace, Scope, SnapshotKey, SnapshotLease};
use crate::{Error, Result};

/// How many leases on one resource are read at a time. Most resources have none or one.
pub(super) const LEASES_AT_ONCE: usize = 16;

impl Metadata {
    /// Returns the first unexpired lease of a namespace that names a resource.
    ///
    /// # Errors
    /// Those of the store.
    pub fn held_by(
        &self,
        namespace: &Namespace,
        kind: &MemberKind,
        resource: &str,
        now: SystemTime,
    ) -> Result<Option<LeaseId>> {
        let page = |prefix: &[u8], after: Option<&[u8]>| self.store.page(Column::Leased, prefix, after, LEASES_AT_ONCE);
        first_unexpired(namespace, kind, resource, now, page, |id| self.lease(namespace, id))
    }
}

impl Consistent<'_> {
    /// Calls `visit` with everything that a lease names, type by type. Nothing for a lease that does not exist.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_member_of(
        &self,
        namespace: &Namespace,
        id: &LeaseId,
        mut visit: impl FnMut(Member) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::Members, &schema::leases::members_of(namespace, id), |key, _| {
            visit(named(Column::Members, key, schema::leases::parse_member(key))?.2)
        })
    }
}

impl Transaction<'_> {
    /// Has a lease name a resource. Naming it twice is naming it once.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the lease.
    pub fn add_member(&mut self, namespace: &Namespace, id: &LeaseId, member: &Member) -> Result<()> {
        let is_flat = self.live_lease(namespace, id)?.is_flat();
        self.put_member(namespace, id, member, is_flat);
        Ok(())
    }

    /// Has a lease no longer name a resource, whether it did or not.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the lease.
    pub fn remove_member(&mut self, namespace: &Namespace, id: &LeaseId, member: &Member) -> Result<()> {
        self.live_lease(namespace, id)?;
        self.delete_member(namespace, id, member);
        Ok(())
    }

    /// Like [`Metadata::held_by`], for a decision that this transaction makes. Does not see memberships that this
    /// transaction itself changed.
    ///
    /// # Errors
    /// Those of the store.
    pub fn held_by(
        &self,
        namespace: &Namespace,
        kind: &MemberKind,
        resource: &str,
        now: SystemTime,
    ) -> Result<Option<LeaseId>> {
        let page = |prefix: &[u8], after: Option<&[u8]>| self.txn.page(Column::Leased, prefix, after, LEASES_AT_ONCE);
        first_unexpired(namespace, kind, resource, now, page, |id| self.live_lease(namespace, id))
    }

    /// Has the lease of a request name a snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a lease that does not exist, [`Error::Invalid`] for a key that no lease can name; on the
    /// plugin socket neither is an error, because the lease is containerd's.
    pub(super) fn lease_snapshot(&mut self, key: &SnapshotKey, lease: Option<&SnapshotLease>) -> Result<()> {
        let Some((namespace, lease)) = key.namespace().zip(lease) else { return Ok(()) };
        let added = lease.member(key).and_then(|member| self.add_member(&namespace, &lease.id, &member));
        match (added, key.scope()) {
            (Err(Error::NotFound(_) | Error::Invalid { .. }), Scope::Plugin) => Ok(()),
            (result, _) => result,
        }
    }

    /// Has the lease of a request no longer name a snapshot that is gone.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unlease_snapshot(&mut self, key: &SnapshotKey, lease: Option<&SnapshotLease>) -> Result<()> {
        let Some((namespace, lease)) = key.namespace().zip(lease) else { return Ok(()) };
        match lease.member(key).and_then(|member| self.remove_member(&namespace, &lease.id, &member)) {
            Err(Error::NotFound(_) | Error::Invalid { .. }) => Ok(()),
            result => result,
        }
    }

    /// Adds a snapshot that exists to the lease of a request that wanted to make it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the snapshot, and as for [`add_member`](Self::add_member).
    pub fn lease_existing(&mut self, key: &SnapshotKey, lease: &SnapshotLease) -> Result<()> {
        self.snapshot(key)?;
        self.lease_snapshot(key, Some(lease))
    }

    pub(super) fn put_member(&mut self, namespace: &Namespace, id: &LeaseId, member: &Member, is_flat: bool) {
        // Before the commit, because nobody looks for leases who does not know that there may be some.
        self.metadata.has_members.store(true, Ordering::Relaxed);
        self.metadata.content_leases.note(namespace, member, is_flat);
        self.txn.put(Column::Members, schema::leases::member(namespace, id, member), Vec::new());
        self.txn.put(Column::Leased, schema::leases::leased(namespace, id, member), Vec::new());
        self.note_member(namespace, member);
    }

    pub(super) fn delete_member(&mut self, namespace: &Namespace, id: &LeaseId, member: &Member) {
        self.txn.delete(Column::Members, schema::leases::member(namespace, id, member));
        self.txn.delete(Column::Leased, schema::leases::leased(namespace, id, member));
    }
}

/// Looks for the first lease on a resource that has not ended.
fn first_unexpired(
    namespace: &Namespace,
    kind: &MemberKind,
    resource: &str,
    now: SystemTime,
    page: impl Fn(&[u8], Option<&[u8]>) -> Result<Vec<Entry>>,
    lease: impl Fn(&LeaseId) -> Result<Lease>,
) -> Result<Option<LeaseId>> {
    let mut found = None;
    each_lease_on(&schema::leases::leases_on(namespace, kind, resource), page, lease, |id, lease| {
        if lease.is_expired(now) {
            return ControlFlow::Continue(());
        }
        found = Some(id);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Looks through the leases on a resource, whose keys begin with `prefix`, a page at a time, until `visit` breaks off.
/// Those that are being deleted are passed over. One that cannot be read is passed as a client's without an end: nobody
/// knows when it ends, so it has not.
pub(super) fn each_lease_on(
    prefix: &[u8],
    page: impl Fn(&[u8], Option<&[u8]>) -> Result<Vec<Entry>>,
    lease: impl Fn(&LeaseId) -> Result<Lease>,
    mut visit: impl FnMut(LeaseId, Lease) -> ControlFlow<()>,
) -> Result<()> {
    let mut after: Option<Box<[u8]>> = None;
    loop {
        let entries = page(prefix, after.as_deref())?;
        for (key, _) in &entries {
            let Some(id) = schema::leases::parse_leased(prefix, key) else { continue };
            match lease(&id) {
                Ok(lease) => {
                    if visit(id, lease).is_break() {
                        return Ok(());
                    }
                }
                // Deleted while its members are still being removed.
                Err(Error::NotFound(_)) => {}
                Err(err @ Error::Corrupt(_)) => {
                    tracing::error!(error = %err, "a lease that cannot be read holds what it names; see leasehold fsck");
                    if visit(id, Lease::new(SystemTime::UNIX_EPOCH, Labels::default(), None)).is_break() {
                        return Ok(());
                    }
                }
                Err(err) => return Err(err),
            }
        }
        match entries.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}
