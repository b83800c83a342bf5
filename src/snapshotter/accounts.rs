//! What namespaces and leases have in layers, and what each has alone.

mod images;
mod tally;

use std::collections::HashMap;
use std::time::SystemTime;

use crate::metadata::{Kind, Lease, Usage};
use crate::types::{LayerId, LeaseId, Namespace, SnapshotKey};
use crate::{Chain, Result};

use super::Snapshotter;
use tally::Tally;

pub use images::{ImageAccount, ImageTops};

/// What somebody has in layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Layers.
    pub layers: u64,
    /// Bytes of all of them.
    pub size: u64,
    /// Bytes of those that nobody else has.
    pub unique: u64,
}

/// What a namespace has. Others are other namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceAccount {
    /// Its name; `None` for snapshots whose keys are not of containerd's form.
    pub namespace: Option<Namespace>,
    /// Snapshots.
    pub snapshots: u64,
    /// Retained ones.
    pub retained: u64,
    /// Their layers.
    pub share: Share,
}

/// What a lease holds. Others are the snapshots that are there, and other leases.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseAccount {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its id.
    pub id: LeaseId,
    /// Its record.
    pub lease: Lease,
    /// Snapshots that it names and that are there, retained ones included.
    pub snapshots: u64,
    /// Snapshots that it names and that are not.
    pub missing: u64,
    /// Their layers, with those of all parents.
    pub share: Share,
}

/// What there is in a pool and whose it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    /// By the names of namespaces.
    pub namespaces: Vec<NamespaceAccount>,
    /// By namespace and id, without those that have ended.
    pub leases: Vec<LeaseAccount>,
    /// In the order in which they were asked about.
    pub images: Vec<ImageAccount>,
    /// Of the whole pool, each layer once.
    pub total: Share,
    /// Layers that could not be measured.
    pub unknown: u64,
}

/// How the usage of a layer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Counted(Usage),
    /// Of a committed snapshot, to be counted once.
    Uncounted,
    /// Of an active snapshot, which changes.
    Active,
}

impl Snapshotter {
    /// Adds up what namespaces, leases and these images have. Counts what was not counted yet, which walks trees.
    ///
    /// # Errors
    /// Those of the store.
    pub fn accounts(&self, images: &[ImageTops]) -> Result<Accounts> {
        let (tally, sizes) = self.tally(images, self.now())?;
        // Only now: no tree is walked while records are read.
        let mut unknown = 0;
        let mut bytes = HashMap::with_capacity(sizes.len());
        for (layer, size) in sizes {
            let usage = match size {
                Size::Counted(usage) => Ok(usage),
                Size::Uncounted => self.counting.count(layer),
                Size::Active => self.measure(layer),
            };
            match usage {
                Ok(usage) => drop(bytes.insert(layer, usage.size)),
                // Removed while it was measured, or damaged, which must not hide all others.
                Err(err) => {
                    tracing::debug!(%layer, error = %Chain(&err), "a layer cannot be measured");
                    unknown += u64::from(self.metadata.layer(layer)?.is_some());
                }
            }
        }
        Ok(Accounts { unknown, ..tally.into_accounts(|layer| bytes.get(&layer).copied().unwrap_or_default()) })
    }

    fn tally(&self, images: &[ImageTops], now: SystemTime) -> Result<(Tally, HashMap<LayerId, Size>)> {
        self.metadata.read(|records| {
            let mut tally = Tally::new(images);
            records.each_lease(|namespace, id, lease| {
                if lease.is_expired(now) {
                    return Ok(());
                }
                let mut names = Vec::new();
                records.each_member_of(&namespace, &id, |member| {
                    if *member.kind() == self.member_kind {
                        names.push(member.id().to_owned());
                    }
                    Ok(())
                })?;
                tally.lease(namespace, id, lease, names);
                Ok(())
            })?;
            let mut staged = HashMap::new();
            records.each_applied(|layer, applied| {
                staged.extend(applied.ok().and_then(|applied| applied.staged).map(|staged| (layer, staged)));
                Ok(())
            })?;
            let mut sizes = HashMap::new();
            records.each_snapshot(|entry| {
                // fsck reports what cannot be read.
                let Ok((key, snapshot)) = entry else { return Ok(()) };
                let staged = snapshot.layer.and_then(|layer| staged.get(&layer)).copied();
                tally.snapshot(&key, &snapshot, staged);
                if let Some(staged) = staged {
                    sizes.entry(staged).or_insert(Size::Uncounted);
                }
                if let Some(layer) = snapshot.layer {
                    sizes.insert(layer, if snapshot.kind == Kind::Active { Size::Active } else { Size::Uncounted });
                }
                Ok(())
            })?;
            records.each_retained(|entry| {
                let Ok(((namespace, name), retained)) = entry else { return Ok(()) };
                for layer in retained.layers() {
                    sizes.entry(layer).or_insert(Size::Uncounted);
                }
                tally.retained(&namespace, &name, &retained);
                Ok(())
            })?;
            records.each_layer(|id, layer| {
                if let (Some(size), Ok(layer)) = (sizes.get_mut(&id), layer)
                    && let Some(usage) = layer.usage
                {
                    *size = Size::Counted(usage);
                }
                Ok(())
            })?;
            Ok((tally, sizes))
        })
    }
}

/// Returns the name by which leases know a snapshot.
fn leased_name(key: &SnapshotKey) -> Option<(Namespace, String)> {
    Some((key.namespace()?, key.client_key().to_owned()))
}
