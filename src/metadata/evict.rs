//! Retained snapshots that only the daemon's own leases hold, and giving one up before its time.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::SystemTime;

use super::membership::{LEASES_AT_ONCE, each_lease_on};
use super::record::{Layer, Lease, Usage, decode_trash};
use super::{Consistent, RetainedName, Transaction, TreesSeen, schema};
use crate::store::{Column, Entry};
use crate::types::{LayerId, LeaseId, Member, MemberKind};
use crate::{Error, Result};

/// A retained snapshot that policy leases hold and no other lease does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evictable {
    /// Where it is found.
    pub name: RetainedName,
    /// When containerd removed it.
    pub removed_at: SystemTime,
    /// Its own layer and those of all parents, nearest first.
    pub layers: Vec<LayerId>,
}

/// All of them, with what there is to know about their layers.
#[derive(Clone, Debug, Default)]
pub struct Evictables {
    /// In the order of their names.
    pub snapshots: Vec<Evictable>,
    /// The layers that they name, without those whose records are missing or damaged.
    pub layers: HashMap<LayerId, Layer>,
}

/// Who names a retained snapshot.
#[derive(Default)]
struct Holders {
    /// Leases of the daemon's own, those included that have ended.
    policies: Vec<(LeaseId, Lease)>,
    /// Whether one of those has not ended.
    by_policy: bool,
    /// Whether a client's lease does that has not ended.
    otherwise: bool,
}

impl Consistent<'_> {
    /// Returns everything that could be evicted. `kind` is how leases name our snapshots.
    ///
    /// # Errors
    /// Those of the store. A record that cannot be read is passed over: fsck reports it.
    pub fn evictable(&self, kind: &MemberKind, now: SystemTime) -> Result<Evictables> {
        let mut found = Evictables::default();
        self.each_retained(|entry| {
            let Ok((name, retained)) = entry else { return Ok(()) };
            let page =
                |prefix: &[u8], after: Option<&[u8]>| self.txn.page(Column::Leased, prefix, after, LEASES_AT_ONCE);
            let holders = holders(kind, &name, now, page, |id| self.lease(&name.0, id))?;
            if holders.by_policy && !holders.otherwise {
                let (removed_at, layers) = (retained.removed_at, retained.layers());
                found.snapshots.push(Evictable { name, removed_at, layers });
            }
            Ok(())
        })?;
        for layer in found.snapshots.iter().flat_map(|snapshot| &snapshot.layers) {
            if found.layers.contains_key(layer) {
                continue;
            }
            match self.layer(*layer) {
                Ok(record) => drop(record.and_then(|record| found.layers.insert(*layer, record))),
                Err(Error::Corrupt(_)) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(found)
    }

    /// Calls `visit` with every layer that waits to be reclaimed, and what that gives back where it was counted.
    ///
    /// # Errors
    /// Those of `visit`, and of the store. Of a record that cannot be read nothing was counted.
    pub fn each_trash_usage(&self, mut visit: impl FnMut(LayerId, Option<Usage>) -> Result<()>) -> Result<()> {
        self.txn
            .scan(Column::Trash, &[], |key, value| visit(schema::parse_layer(key)?, decode_trash(value).ok().flatten()))
    }
}

impl Transaction<'_> {
    /// Gives up a retained snapshot that only policy leases hold, if it still is what was seen: these no longer name it,
    /// and those that name nothing any more go. One in a transaction. Layers that nothing names any more go to `trash`
    /// and are returned; `None`, with nothing changed, when it is not there, was removed anew, or somebody's lease holds
    /// it by now or may do so with a tree.
    ///
    /// # Errors
    /// Those of the store.
    pub fn evict(&mut self, kind: &MemberKind, seen: &Evictable, trees: TreesSeen) -> Result<Option<Vec<LayerId>>> {
        let (namespace, name) = &seen.name;
        if self.trees_seen() != trees {
            return Ok(None);
        }
        let same = self.metadata.retained(namespace, name)?.is_some_and(|now| now.removed_at == seen.removed_at);
        if !same {
            return Ok(None);
        }
        let page = |prefix: &[u8], after: Option<&[u8]>| self.txn.page(Column::Leased, prefix, after, LEASES_AT_ONCE);
        let holders = holders(kind, &seen.name, self.now, page, |id| self.live_lease(namespace, id))?;
        if holders.otherwise {
            return Ok(None);
        }
        let member = Member::new(kind.clone(), name.as_str())?;
        for (id, lease) in &holders.policies {
            self.remove_policy_member(namespace, id, lease, &member)?;
        }
        self.drop_retained(&seen.name)
    }
}

fn holders(
    kind: &MemberKind,
    (namespace, name): &RetainedName,
    now: SystemTime,
    page: impl Fn(&[u8], Option<&[u8]>) -> Result<Vec<Entry>>,
    lease: impl Fn(&LeaseId) -> Result<Lease>,
) -> Result<Holders> {
    let mut holders = Holders::default();
    let prefix = schema::leases::leases_on(namespace, kind, name);
    each_lease_on(&prefix, page, lease, |id, lease| {
        match lease.policy {
            Some(_) => {
                holders.by_policy |= !lease.is_expired(now);
                holders.policies.push((id, lease));
            }
            None => holders.otherwise |= !lease.is_expired(now),
        }
        ControlFlow::Continue(())
    })?;
    Ok(holders)
}
