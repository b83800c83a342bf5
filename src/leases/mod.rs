//! Leases: what containerd's clients know of them, over records.
//!
//! A lease belongs to a namespace, has labels, and names resources, whether they exist or not. What an unexpired lease
//! names is not collected. A lease that has ended is listed, and can be added to, until the collector deletes it.
//!
//! Rule: whoever takes a hold away tells [`Changes`], after the commit.

mod changes;
mod expiry;
mod members;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

pub use changes::{Changes, Run, Wake};

use crate::metadata::{Deletion, Due, DueState, Lease, Metadata};
use crate::types::{Adaptor, Filter, Labels, LeaseId, Member, Namespace, label};
use crate::{Error, Resource, Result, failpoint};

/// How many records one page reads.
const PAGE: usize = 256;

/// The leases of one pool.
pub struct Leases {
    metadata: Arc<Metadata>,
    changes: Arc<Changes>,
}

/// A lease as a client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its id.
    pub id: LeaseId,
    /// Its record.
    pub lease: Lease,
}

/// Whether a deletion returns before or after what the lease held is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Before.
    No,
    /// After a collection that began when the lease was gone.
    Collected,
}

impl Adaptor for Info {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path.split_first()? {
            (&"id", _) => Some(self.id.as_str().into()),
            (&"labels", label) => self.lease.labels.field(label).map(Cow::from),
            _ => None,
        }
    }
}

impl Leases {
    /// Makes the leases of a pool; `changes` is what a collector waits on.
    pub fn new(metadata: Arc<Metadata>, changes: Arc<Changes>) -> Leases {
        Leases { metadata, changes }
    }

    /// Returns what tells the collector.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// Creates a lease. Its end is read from its labels.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::Invalid`] for a label that only the daemon's own leases have.
    pub fn create(&self, namespace: &Namespace, id: LeaseId, labels: Labels) -> Result<Info> {
        if let Some((key, _)) = labels.iter().find(|(key, _)| key.starts_with(label::POLICY)) {
            return Err(Error::invalid(
                "label",
                format!("{key:?} is reserved for leases that the daemon itself makes"),
            ));
        }
        let expires_at = expiry::of(namespace, &id, &labels);
        loop {
            let mut txn = self.metadata.write(SystemTime::now())?;
            let Some(lease) = txn.create_lease(namespace, &id, labels.clone(), expires_at)? else {
                // A deletion of this id was interrupted, or another thread is at it.
                drop(txn);
                self.finish_deletion(namespace, &id, None)?;
                continue;
            };
            txn.commit()?;
            failpoint::hit("lease: created");
            if lease.expires_at.is_some() {
                self.changes.expiry();
            }
            self.changes.mutated();
            return Ok(Info { id, lease });
        }
    }

    /// Returns a lease.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, namespace: &Namespace, id: &LeaseId) -> Result<Lease> {
        self.metadata.lease(namespace, id)
    }

    /// Deletes a lease. When this returns nobody sees it any more, and all its members are forgotten.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete(&self, namespace: &Namespace, id: &LeaseId, wait: Wait) -> Result<()> {
        self.delete_quietly(namespace, id)?;
        self.changes.dirty();
        if wait == Wait::Collected {
            self.changes.collect_and_wait();
        }
        Ok(())
    }

    /// Deletes all leases of a namespace.
    ///
    /// # Errors
    /// Those of the store.
    pub fn delete_all(&self, namespace: &Namespace) -> Result<()> {
        for id in self.metadata.unfinished_deletions(namespace)? {
            self.finish_deletion(namespace, &id, None)?;
        }
        let mut after = None;
        loop {
            let page = self.metadata.leases(namespace, after.as_ref(), PAGE)?;
            for (id, _) in page.leases {
                match self.delete(namespace, &id, Wait::No) {
                    Ok(()) | Err(Error::NotFound(_)) => {}
                    Err(err) => return Err(err),
                }
            }
            match page.next {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Returns when the next lease ends; in the past where one was not collected yet.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_expiry(&self) -> Result<Option<SystemTime>> {
        self.metadata.next_expiry()
    }

    /// Deletes up to `limit` leases that ended before `now`, earliest first, and finishes interrupted deletions.
    /// Returns how many there were; for the collector, which then needs no telling.
    ///
    /// # Errors
    /// Those of the store.
    pub fn delete_expired(&self, now: SystemTime, limit: usize) -> Result<usize> {
        let due = self.metadata.expired(now, limit)?;
        for Due { namespace, id, state } in &due {
            let result = match state {
                DueState::Deleted => self.finish_deletion(namespace, id, None),
                DueState::Ended => self.delete_ended(namespace, id, now),
                DueState::Stale(at) => self.forget_stale(namespace, id, *at),
            };
            match result {
                // Deleted by its owner meanwhile.
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(due.len())
    }

    fn delete_ended(&self, namespace: &Namespace, id: &LeaseId, now: SystemTime) -> Result<()> {
        let mut txn = self.metadata.write(now)?;
        let Some(deletion) = txn.delete_ended(namespace, id)? else { return Ok(()) };
        // Lost in a power cut, it has ended still. With a sync for each, leases that end together would keep the space of
        // all of them for long.
        txn.commit_unsynced()?;
        failpoint::hit("lease: deleted");
        self.finish(namespace, id, deletion)?;
        tracing::info!(%namespace, lease = %id, "a lease has ended");
        Ok(())
    }

    /// Puts right what would be met again and again: an entry for an end that is none.
    fn forget_stale(&self, namespace: &Namespace, id: &LeaseId, at: SystemTime) -> Result<()> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        txn.repair_expiry(namespace, id, Some(at))?;
        txn.commit()?;
        tracing::error!(%namespace, lease = %id, "the records of a lease disagree about its end; put right");
        Ok(())
    }

    /// Returns the leases of a namespace that match a filter, in the order of their ids.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list(&self, namespace: &Namespace, filter: &Filter) -> Result<Vec<Info>> {
        if let Some(id) = filter.required(&["id"]) {
            return self.list_one(namespace, id, filter);
        }
        let (mut matching, mut after) = (Vec::new(), None);
        loop {
            let page = self.metadata.leases(namespace, after.as_ref(), PAGE)?;
            let infos = page.leases.into_iter().map(|(id, lease)| Info { id, lease });
            matching.extend(infos.filter(|info| filter.matches(info)));
            match page.next {
                Some(last) => after = Some(last),
                None => return Ok(matching),
            }
        }
    }

    fn list_one(&self, namespace: &Namespace, id: &str, filter: &Filter) -> Result<Vec<Info>> {
        let Ok(id) = LeaseId::parse(id) else { return Ok(Vec::new()) };
        match self.metadata.lease(namespace, &id) {
            Ok(lease) => Ok(Some(Info { id, lease }).into_iter().filter(|info| filter.matches(info)).collect()),
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            Err(err) => Err(err),
        }
    }

    fn delete_quietly(&self, namespace: &Namespace, id: &LeaseId) -> Result<()> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        let deletion = txn.delete_lease(namespace, id)?;
        txn.commit()?;
        failpoint::hit("lease: deleted");
        self.finish(namespace, id, deletion)
    }

    fn finish(&self, namespace: &Namespace, id: &LeaseId, deletion: Deletion) -> Result<()> {
        match deletion {
            Deletion::Done => Ok(()),
            Deletion::MembersAfter(last) => self.finish_deletion(namespace, id, Some(last)),
        }
    }

    /// Removes what a deleted lease still names, in many short transactions, so that nobody waits long.
    fn finish_deletion(&self, namespace: &Namespace, id: &LeaseId, after: Option<Member>) -> Result<()> {
        let mut after = after;
        loop {
            let mut txn = self.metadata.write(SystemTime::now())?;
            let deletion = txn.drop_members(namespace, id, after.as_ref())?;
            // Lost in a power cut, it is found again: the lease's record goes last.
            txn.commit_unsynced()?;
            failpoint::hit("lease: members removed");
            match deletion {
                Deletion::Done => return Ok(()),
                Deletion::MembersAfter(last) => after = Some(last),
            }
        }
    }
}

/// Makes up an id, in the form that containerd gives its own.
///
/// # Errors
/// None in practice.
pub fn random_id() -> Result<LeaseId> {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let random = uuid::Uuid::new_v4().simple().to_string();
    LeaseId::parse(format!("{nanos}-{}", random.get(..8).unwrap_or(&random)))
}

/// Reads the id of a lease that should exist. What cannot be an id is the id of no lease.
///
/// # Errors
/// [`Error::NotFound`].
pub fn existing(id: String) -> Result<LeaseId> {
    LeaseId::parse(id.clone()).map_err(|_| Error::NotFound(Resource::Lease(id)))
}
