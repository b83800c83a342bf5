//! What a lease names.

use std::time::SystemTime;

use super::Leases;
use crate::Result;
use crate::types::{LeaseId, Member, Namespace};

impl Leases {
    /// Has a lease name a resource, of a type in containerd's notation. It need not exist, and may be named already.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for the lease; [`Error::Invalid`](crate::Error::Invalid) and
    /// [`Error::Unsupported`](crate::Error::Unsupported) for the resource.
    pub fn add(&self, namespace: &Namespace, id: &LeaseId, kind: &str, resource: &str) -> Result<()> {
        // First, as in containerd: without the lease nothing about the resource is right.
        self.metadata.lease(namespace, id)?;
        let member = Member::parse(kind, resource)?;
        let mut txn = self.metadata.write(SystemTime::now())?;
        txn.add_member(namespace, id, &member)?;
        txn.commit()?;
        self.changes.mutated();
        Ok(())
    }

    /// Has a lease no longer name a resource, whether it did or not.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn remove(&self, namespace: &Namespace, id: &LeaseId, kind: &str, resource: &str) -> Result<()> {
        self.metadata.lease(namespace, id)?;
        let member = Member::parse(kind, resource)?;
        let mut txn = self.metadata.write(SystemTime::now())?;
        txn.remove_member(namespace, id, &member)?;
        txn.commit()?;
        self.changes.dirty();
        Ok(())
    }

    /// Returns what a lease names, type by type.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub fn members(&self, namespace: &Namespace, id: &LeaseId) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        self.metadata.read(|records| {
            records.lease(namespace, id)?;
            records.each_member_of(namespace, id, |member| {
                members.push(member);
                Ok(())
            })
        })?;
        Ok(members)
    }
}
