//! Reading for the collector: everything, in one go, without a copy.

use std::ops::ControlFlow;

use super::damaged::named;
use super::record::{Borrowed, BorrowedBlob, BorrowedIngest};
use super::{Consistent, Lease, Metadata, schema};
use crate::store::Column;
use crate::types::{LeaseId, MemberKind, Namespace};
use crate::{Error, Result};

/// Before every key of a snapshot, blob or ingest of the API socket, and after those of the plugin socket, which begin with 0.
const FIRST_OF_API: &[u8] = &[1];
/// The most leases on one resource that are told.
const LEASES_TOLD: usize = 64;

/// An object of the API socket: where it is, and its record.
#[derive(Clone, Copy, Debug)]
pub struct ApiObject<'r, R> {
    /// Its namespace; empty for one of the plugin socket.
    pub namespace: &'r str,
    /// What names it there: key or name, digest, or ref.
    pub key: &'r str,
    /// Its record.
    pub record: R,
}

/// A snapshot of the API socket.
pub type ApiSnapshot<'r> = ApiObject<'r, Borrowed<'r>>;
/// A blob of the API socket.
pub type ApiBlob<'r> = ApiObject<'r, BorrowedBlob<'r>>;
/// An ingest of the API socket.
pub type ApiIngest<'r> = ApiObject<'r, BorrowedIngest<'r>>;

/// Where to begin: namespace and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt<'k> {
    /// With the first.
    First,
    /// With this one, or the next where it is gone.
    This(&'k str, &'k str),
    /// With the one after this.
    After(&'k str, &'k str),
}

impl StartAt<'_> {
    /// Returns the smallest key that comes into question. Those of snapshots, blobs and ingests are alike.
    fn key(&self) -> Vec<u8> {
        match self {
            StartAt::First => FIRST_OF_API.to_vec(),
            StartAt::This(namespace, key) => [namespace.as_bytes(), &[0], key.as_bytes()].concat(),
            StartAt::After(namespace, key) => [namespace.as_bytes(), &[0], key.as_bytes(), &[0]].concat(),
        }
    }
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
        from: StartAt<'_>,
        mut visit: impl FnMut(ApiSnapshot<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let column = Column::Snapshots;
        self.txn.scan_from(column, &from.key(), |key, value| visit(object(column, key, Borrowed::snapshot(value))?))
    }

    /// Like [`each_api_snapshot`](Self::each_api_snapshot), for blobs.
    ///
    /// # Errors
    /// As for [`each_api_snapshot`](Self::each_api_snapshot).
    pub fn each_api_blob(
        &self,
        from: StartAt<'_>,
        mut visit: impl FnMut(ApiBlob<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let column = Column::Blobs;
        self.txn.scan_from(column, &from.key(), |key, value| visit(object(column, key, BorrowedBlob::read(value))?))
    }

    /// Like [`each_api_snapshot`](Self::each_api_snapshot), for ingests.
    ///
    /// # Errors
    /// As for [`each_api_snapshot`](Self::each_api_snapshot).
    pub fn each_api_ingest(
        &self,
        from: StartAt<'_>,
        mut visit: impl FnMut(ApiIngest<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let column = Column::Ingests;
        self.txn.scan_from(column, &from.key(), |key, value| visit(object(column, key, BorrowedIngest::read(value))?))
    }

    /// Like [`each_api_snapshot`](Self::each_api_snapshot), for those of both sockets.
    ///
    /// # Errors
    /// As for [`each_api_snapshot`](Self::each_api_snapshot).
    pub fn each_borrowed_snapshot(
        &self,
        mut visit: impl FnMut(ApiSnapshot<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let column = Column::Snapshots;
        self.txn.scan_from(column, &[], |key, value| visit(object(column, key, Borrowed::snapshot(value))?))
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

/// Joins an object's name and its record, and names it where that is damaged.
fn object<'r, R>(column: Column, key: &'r [u8], record: Result<R>) -> Result<ApiObject<'r, R>> {
    let read = schema::split(key).and_then(|[namespace, key]| Ok(ApiObject { namespace, key, record: record? }));
    named(column, key, read)
}
