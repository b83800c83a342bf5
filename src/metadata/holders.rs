//! Which leases hold a resource, for people.

use std::ops::ControlFlow;
use std::time::SystemTime;

use super::membership::each_lease_on;
use super::{Metadata, schema};
use crate::Result;
use crate::store::Column;
use crate::types::{LeaseId, MemberKind, Namespace};

/// How many leases on one resource are read at a time.
const PAGE: usize = 64;

impl Metadata {
    /// Returns the unexpired leases of a namespace that name a resource, up to `limit` of them, in the order of their
    /// ids.
    ///
    /// # Errors
    /// Those of the store.
    pub fn holders(
        &self,
        namespace: &Namespace,
        kind: &MemberKind,
        resource: &str,
        now: SystemTime,
        limit: usize,
    ) -> Result<Vec<LeaseId>> {
        let prefix = schema::leases::leases_on(namespace, kind, resource);
        let mut holders = Vec::new();
        let page = |prefix: &[u8], after: Option<&[u8]>| self.store.page(Column::Leased, prefix, after, PAGE);
        each_lease_on(
            &prefix,
            page,
            |id| self.lease(namespace, id),
            |id, lease| {
                if holders.len() == limit {
                    return ControlFlow::Break(());
                }
                if !lease.is_expired(now) {
                    holders.push(id);
                }
                ControlFlow::Continue(())
            },
        )?;
        Ok(holders)
    }
}
