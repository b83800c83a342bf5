//! Reading for the collector: everything, in one go, without a copy.

use std::ops::ControlFlow;

use super::damaged::named;
use super::record::Borrowed;
use super::{Consistent, Lease, Metadata, schema};
use crate::store::Column;
use crate::types::{LeaseId, MemberKind, Namespace, SnapshotKey};
use crate::{Error, Result};

/// Before every key of a snapshot of the API socket, and after those of the plugin socket, which begin with 0.
const FIRST_OF_API: &[u8] = &[1];
/// The most leases on one resource that are told.
const LEASES_TOLD: usize = 64;

/// A snapshot of the API socket: where it is, and its record.
#[derive(Clone, Copy, Debug)]
pub struct ApiSnapshot<'r> {
    /// Its namespace; empty for one of the plugin socket.
    pub namespace: &'r str,
    /// Its key or name.
    pub key: &'r str,
    /// Its record.
    pub record: Borrowed<'r>,
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the first.
    First,
    /// With this one, or the next where it is gone.
    This(SnapshotKey),
    /// With the one after this.
    After(SnapshotKey),
}

/// What a lease names.
#[derive(Clone, Copy, Debug)]
pub struct NamedResource<'r> {
    /// The lease's namespace.
    pub namespace: &'r str,
    /// The lease.
    pub lease: &'r str,
    /// The type in containerd's notation.
    pub kind: &'r str,
    /// The resource.
    pub id: &'r str,
}

impl Metadata {
    /// Returns the leases that name a resource, expired ones included, and without those that cannot be read; of very
    /// many only some.
    ///
    /// # Errors
    /// Those of the store.
    pub fn leases_on(&self, namespace: &Namespace, kind: &MemberKind, id: &str) -> Result<Vec<(LeaseId, Lease)>> {
        let prefix = schema::leases::leases_on(namespace, kind, id);
        let mut found = Vec::new();
        for (key, _) in self.store.page(Column::Leased, &prefix, None, LEASES_TOLD)? {
            let Some(id) = schema::leases::parse_leased(&prefix, &key) else { continue };
            match self.lease(namespace, &id) {
                Ok(lease) => found.push((id, lease)),
                Err(Error::NotFound(_) | Error::Corrupt(_)) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(found)
    }
}

impl Consistent<'_> {
    /// Calls `visit` with every snapshot of the API socket from one on, in key order, until it breaks off.
    ///
    /// # Errors
    /// Those of `visit`, and of the store; [`Error::Corrupt`] for a record that cannot be read.
    pub fn each_api_snapshot(
        &self,
        from: StartAt,
        visit: impl FnMut(ApiSnapshot<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let first = match from {
            StartAt::First => FIRST_OF_API.to_vec(),
            StartAt::This(key) => schema::snapshot(&key),
            // The smallest key that is greater.
            StartAt::After(key) => [schema::snapshot(&key).as_slice(), &[0]].concat(),
        };
        self.walk_snapshots(&first, visit)
    }

    /// Like [`each_api_snapshot`](Self::each_api_snapshot), for those of both sockets.
    ///
    /// # Errors
    /// As for [`each_api_snapshot`](Self::each_api_snapshot).
    pub fn each_borrowed_snapshot(&self, visit: impl FnMut(ApiSnapshot<'_>) -> Result<ControlFlow<()>>) -> Result<()> {
        self.walk_snapshots(&[], visit)
    }

    fn walk_snapshots(
        &self,
        first: &[u8],
        mut visit: impl FnMut(ApiSnapshot<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.txn.scan_from(Column::Snapshots, first, |key, value| {
            let read = schema::split(key).and_then(|parts| Ok((parts, Borrowed::snapshot(value)?)));
            let ([namespace, name], record) = named(Column::Snapshots, key, read)?;
            visit(ApiSnapshot { namespace, key: name, record })
        })
    }

    /// Calls `visit` with namespace, id and record of every lease that was not deleted, expired or not.
    ///
    /// # Errors
    /// As for [`each_api_snapshot`](Self::each_api_snapshot).
    pub fn each_borrowed_lease(&self, mut visit: impl FnMut(&str, &str, Borrowed<'_>) -> Result<()>) -> Result<()> {
        self.txn.scan_from(Column::Leases, &[], |key, value| {
            let read = schema::split(key).and_then(|parts| Ok((parts, Borrowed::lease(value)?)));
            let ([namespace, id], lease) = named(Column::Leases, key, read)?;
            if !lease.deleted {
                visit(namespace, id, lease)?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Calls `visit` with everything that leases name, those included that were deleted and still have members.
    ///
    /// # Errors
    /// As for [`each_api_snapshot`](Self::each_api_snapshot).
    pub fn each_named_resource(&self, mut visit: impl FnMut(NamedResource<'_>) -> Result<()>) -> Result<()> {
        self.txn.scan_from(Column::Members, &[], |key, _| {
            let [namespace, lease, kind, id] = named(Column::Members, key, schema::split(key))?;
            visit(NamedResource { namespace, lease, kind, id })?;
            Ok(ControlFlow::Continue(()))
        })
    }
}
