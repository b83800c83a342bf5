//! What would keep a snapshot of containerd after containerd removed it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::explain::Reason;
use super::pool::Collectible;
use crate::Result;
use crate::metadata::{Consistent, Kind};
use crate::types::{Scope, SnapshotKey};

/// The most leases that are told.
const TOLD: usize = 32;

/// Returns the names of snapshots of the same namespace, retained ones included, that have the layer of `key` below
/// them, as leases call them.
pub(super) fn above(records: &Consistent<'_>, key: &SnapshotKey) -> Result<BTreeSet<String>> {
    // From the same state: reading another one inside would wait for who waits for this one.
    let (snapshot, mut names) = (records.snapshot(key)?, BTreeSet::new());
    let (Some(layer), Some(namespace)) = (snapshot.layer, key.namespace()) else { return Ok(names) };
    if snapshot.kind != Kind::Committed {
        return Ok(names);
    }
    records.each_snapshot(|entry| {
        if let Ok((found, snapshot)) = entry
            && *found.scope() == Scope::Plugin
            && snapshot.parent_layers.contains(&layer)
            && found.namespace().as_ref() == Some(&namespace)
        {
            names.insert(found.client_key().to_owned());
        }
        Ok(())
    })?;
    records.each_retained(|entry| {
        if let Ok(((space, name), retained)) = entry
            && space == namespace
            && retained.snapshot.parent_layers.contains(&layer)
        {
            names.insert(name);
        }
        Ok(())
    })?;
    Ok(names)
}

impl Collectible {
    /// Tells which unexpired leases name a snapshot, or one `above` it, which keeps its directory.
    pub(super) fn after_removal(
        &self,
        key: &SnapshotKey,
        above: &BTreeSet<String>,
        now: SystemTime,
    ) -> Result<Vec<Reason>> {
        let Some(namespace) = key.namespace() else { return Ok(Vec::new()) };
        let (metadata, kind) = (self.snapshotter().metadata(), self.snapshotter().member_kind());
        let (mut told, mut reasons) = (BTreeSet::new(), Vec::new());
        let own = key.client_key();
        for name in std::iter::once(own).chain(above.iter().map(String::as_str)) {
            if reasons.len() >= TOLD {
                break;
            }
            for lease in metadata.holders(&namespace, kind, name, now, TOLD)? {
                if told.insert(lease.clone()) {
                    let mut reason = self.lease(&namespace, &lease);
                    if name != own {
                        reason.reason = reason.reason.replacen("names it", &format!("names {name}, which is on it"), 1);
                    }
                    reasons.push(reason);
                }
            }
        }
        // Of the trees one is enough: all of an image are held by it.
        if reasons.is_empty() {
            let chain = self.tree_of_snapshot(&namespace, own, now)?;
            reasons.extend(chain.and_then(|chain| self.lease_of_tree(&chain)));
        }
        Ok(reasons)
    }
}
