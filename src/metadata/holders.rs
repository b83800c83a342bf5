//! Which leases hold a resource, for people.

use std::time::SystemTime;

use super::{Metadata, schema};
use crate::store::Column;
use crate::types::{LeaseId, MemberKind, Namespace};
use crate::{Error, Result};

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
        let mut after: Option<Box<[u8]>> = None;
        while holders.len() < limit {
            let entries = self.store.page(Column::Leased, &prefix, after.as_deref(), PAGE)?;
            for (key, _) in &entries {
                let Some(id) = schema::leases::parse_leased(&prefix, key) else { continue };
                match self.lease(namespace, &id) {
                    Ok(lease) if !lease.is_expired(now) => holders.push(id),
                    // Nobody knows when it ends, so it has not.
                    Err(Error::Corrupt(_)) => holders.push(id),
                    // Expired, or deleted while its members are still being removed.
                    Ok(_) | Err(Error::NotFound(_)) => {}
                    Err(err) => return Err(err),
                }
            }
            match entries.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        holders.truncate(limit);
        Ok(holders)
    }
}
