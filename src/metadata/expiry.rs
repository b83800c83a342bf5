//! Leases in the order of their ends.

use std::time::{SystemTime, UNIX_EPOCH};

use super::record::Lease;
use super::{Deletion, Metadata, Transaction, schema};
use crate::Result;
use crate::store::Column;
use crate::types::{LeaseId, Namespace};

/// How many entries are read at a time.
const PAGE: usize = 256;

/// An entry in `expiry` whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its id.
    pub id: LeaseId,
    /// What became of the lease.
    pub state: DueState,
}

/// What became of a lease whose time seems to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueState {
    /// It has ended.
    Ended,
    /// It was deleted, and still has members.
    Deleted,
    /// Damage: it is not there, or ends another time. The entry is that of this time.
    Stale(SystemTime),
}

impl Metadata {
    /// Returns when the next lease ends; in the past where one was not collected yet. One that cannot be read does not
    /// end.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_expiry(&self) -> Result<Option<SystemTime>> {
        let mut next = None;
        self.each_expiry(1, |at, _| {
            next = Some(at);
            false
        })?;
        Ok(next)
    }

    /// Returns up to `limit` leases that ended before `now`, earliest first, those whose deletion was interrupted, and
    /// what `expiry` wrongly says to have ended. A lease that cannot be read is passed over: nobody knows when it ends.
    ///
    /// # Errors
    /// Those of the store.
    pub fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<Due>> {
        let mut due = Vec::new();
        self.each_expiry(PAGE.min(limit), |at, found| {
            if at < now {
                due.push(found);
            }
            at < now && due.len() < limit
        })?;
        Ok(due)
    }

    /// Calls `visit` with every entry of `expiry` whose lease can be read, or is not there, until it says to stop.
    fn each_expiry(&self, at_once: usize, mut visit: impl FnMut(SystemTime, Due) -> bool) -> Result<()> {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let entries = self.store.page(Column::Expiry, &[], after.as_deref(), at_once)?;
            for (key, _) in &entries {
                let Ok((at, namespace, id)) = schema::leases::parse_expiry(key) else { continue };
                let record = self.store.get(Column::Leases, &schema::leases::lease(&namespace, &id))?;
                let state = match record.as_deref().map(Lease::decode) {
                    Some(Err(_)) => continue,
                    Some(Ok(lease)) if !is_due_at(&lease, &namespace, &id, key) => DueState::Stale(at),
                    Some(Ok(lease)) if lease.deleted => DueState::Deleted,
                    Some(Ok(_)) => DueState::Ended,
                    None => DueState::Stale(at),
                };
                if !visit(at, Due { namespace, id, state }) {
                    return Ok(());
                }
            }
            match entries.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(()),
            }
        }
    }
}

impl Transaction<'_> {
    /// Deletes a lease if it has ended, like [`delete_lease`](Self::delete_lease); `None` when it has not: its owner may
    /// have deleted it and made another one of its id.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub fn delete_ended(&mut self, namespace: &Namespace, id: &LeaseId) -> Result<Option<Deletion>> {
        if !self.live_lease(namespace, id)?.is_expired(self.now) {
            return Ok(None);
        }
        self.delete_lease(namespace, id).map(Some)
    }
}

/// When the collector has to do with a lease.
pub(super) fn due(lease: &Lease) -> Option<SystemTime> {
    if lease.deleted { Some(UNIX_EPOCH) } else { lease.expires_at }
}

/// Whether `key` is that of the entry that a lease has to have.
pub(super) fn is_due_at(lease: &Lease, namespace: &Namespace, id: &LeaseId, key: &[u8]) -> bool {
    due(lease).is_some_and(|at| schema::leases::expiry(at, namespace, id) == key)
}
