//! Adding up: who has which layer. Knows neither records' keys nor files.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::metadata::{Lease, Retained, Snapshot};
use crate::types::{LayerId, LeaseId, Namespace, SnapshotKey};

use super::images::{ImageTops, Images};
use super::{Accounts, LeaseAccount, NamespaceAccount, Share, leased_name};

/// What was seen so far. Leases come first.
#[derive(Default)]
pub(super) struct Tally {
    namespaces: BTreeMap<Option<Namespace>, InNamespace>,
    leases: Vec<OfLease>,
    /// Which leases name a snapshot, by their places in `leases`.
    leased: HashMap<(Namespace, String), Vec<usize>>,
    /// Layers of snapshots that are there. Whatever their leases do, these stay.
    live: HashSet<LayerId>,
    images: Images,
}

#[derive(Default)]
struct InNamespace {
    snapshots: u64,
    retained: u64,
    layers: HashSet<LayerId>,
}

struct OfLease {
    namespace: Namespace,
    id: LeaseId,
    lease: Lease,
    names: HashSet<String>,
    /// Names of `names` that were seen.
    found: HashSet<String>,
    layers: HashSet<LayerId>,
}

impl Tally {
    /// Begins, with the images that are asked about.
    pub fn new(images: &[ImageTops]) -> Tally {
        Tally { images: Images::new(images), ..Tally::default() }
    }

    /// Takes in a lease and what it calls our snapshots.
    pub fn lease(&mut self, namespace: Namespace, id: LeaseId, lease: Lease, names: Vec<String>) {
        for name in &names {
            self.leased.entry((namespace.clone(), name.clone())).or_default().push(self.leases.len());
        }
        let names = names.into_iter().collect();
        let (found, layers) = (HashSet::new(), HashSet::new());
        self.leases.push(OfLease { namespace, id, lease, names, found, layers });
    }

    /// Takes in a snapshot that is there, with the layer that is staged for it. Its parents are there, too, and come by
    /// themselves.
    pub fn snapshot(&mut self, key: &SnapshotKey, snapshot: &Snapshot, staged: Option<LayerId>) {
        let of = self.namespaces.entry(key.namespace()).or_default();
        of.snapshots += 1;
        let own = || snapshot.layer.into_iter().chain(staged);
        of.layers.extend(own());
        self.live.extend(own());
        self.images.snapshot(key, snapshot, staged);
        if let Some(name) = leased_name(key) {
            self.hold(&name, staged.into_iter().chain(snapshot.layers_for_children()).collect());
        }
    }

    /// Takes in a retained snapshot. Of its parents nothing else may be left.
    pub fn retained(&mut self, namespace: &Namespace, name: &str, retained: &Retained) {
        let layers = retained.layers();
        let of = self.namespaces.entry(Some(namespace.clone())).or_default();
        of.retained += 1;
        of.layers.extend(&layers);
        self.hold(&(namespace.clone(), name.to_owned()), layers);
    }

    fn hold(&mut self, name: &(Namespace, String), layers: Vec<LayerId>) {
        for lease in self.leased.get(name).into_iter().flatten() {
            if let Some(lease) = self.leases.get_mut(*lease) {
                lease.found.insert(name.1.clone());
                lease.layers.extend(&layers);
            }
        }
    }

    /// Adds up; `bytes` is what a layer takes.
    pub fn into_accounts(self, bytes: impl Fn(LayerId) -> u64) -> Accounts {
        let in_namespaces = Owners::count(self.namespaces.values().map(|of| &of.layers));
        let of_leases = Owners::count(self.leases.iter().map(|of| &of.layers));
        let images = self.images.into_accounts(&bytes, |layer| of_leases.has(layer));
        let all: HashSet<LayerId> = in_namespaces.0.keys().copied().collect();
        let namespaces = self.namespaces.into_iter().map(|(namespace, of)| NamespaceAccount {
            namespace,
            snapshots: of.snapshots,
            retained: of.retained,
            share: share(&of.layers, &bytes, |layer| in_namespaces.has_one(layer)),
        });
        let leases = self.leases.into_iter().map(|of| LeaseAccount {
            snapshots: of.found.len() as u64,
            missing: (of.names.len() - of.found.len()) as u64,
            share: share(&of.layers, &bytes, |layer| of_leases.has_one(layer) && !self.live.contains(&layer)),
            namespace: of.namespace,
            id: of.id,
            lease: of.lease,
        });
        Accounts {
            namespaces: namespaces.collect(),
            leases: leases.collect(),
            images,
            total: share(&all, &bytes, |_| true),
            unknown: 0,
        }
    }
}

/// How many have a layer.
pub(super) struct Owners(HashMap<LayerId, u32>);

impl Owners {
    pub fn count<'l>(sets: impl Iterator<Item = &'l HashSet<LayerId>>) -> Owners {
        let mut owners = HashMap::new();
        for layer in sets.flatten() {
            *owners.entry(*layer).or_insert(0) += 1;
        }
        Owners(owners)
    }

    pub fn has(&self, layer: LayerId) -> bool {
        self.0.contains_key(&layer)
    }

    pub fn has_one(&self, layer: LayerId) -> bool {
        self.0.get(&layer) == Some(&1)
    }
}

/// Adds up layers.
pub(super) fn share(
    layers: &HashSet<LayerId>,
    bytes: impl Fn(LayerId) -> u64,
    is_unique: impl Fn(LayerId) -> bool,
) -> Share {
    let mut share = Share::default();
    for layer in layers {
        let size = bytes(*layer);
        share.layers += 1;
        share.size = share.size.saturating_add(size);
        if is_unique(*layer) {
            share.unique = share.unique.saturating_add(size);
        }
    }
    share
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::metadata::Kind;
    use crate::types::Labels;

    pub fn snapshot(layer: u64, parents: &[u64]) -> Snapshot {
        Snapshot {
            id: layer,
            kind: Kind::Committed,
            layer: Some(LayerId::new(layer)),
            parent: None,
            parent_id: 0,
            parent_layers: parents.iter().copied().map(LayerId::new).collect(),
            labels: Labels::default(),
            created_at: UNIX_EPOCH,
            updated_at: UNIX_EPOCH,
        }
    }

    pub fn share_of(layers: u64, size: u64, unique: u64) -> Share {
        Share { layers, size, unique }
    }

    #[test]
    fn shared_and_unique_bytes_add_up() {
        let [a, b] = ["a", "b"].map(|name| Namespace::parse(name).unwrap());
        let mut tally = Tally::default();
        let lease = |tally: &mut Tally, namespace: &Namespace, id: &str, names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let record = Lease::new(UNIX_EPOCH, Labels::default(), None);
            tally.lease(namespace.clone(), LeaseId::parse(id).unwrap(), record, names);
        };
        lease(&mut tally, &a, "both", &["top", "kept"]);
        lease(&mut tally, &a, "kept", &["kept", "gone"]);
        lease(&mut tally, &b, "alone", &["kept"]);
        let key = |text: &str| SnapshotKey::parse(text).unwrap();
        tally.snapshot(&key("a/1/base"), &snapshot(1, &[]), None);
        tally.snapshot(&key("a/2/top"), &snapshot(2, &[1]), None);
        tally.snapshot(&key("other"), &snapshot(16, &[]), None);
        let retained = |id: &str, snapshot| Retained { key: key(id), snapshot, removed_at: UNIX_EPOCH };
        tally.retained(&a, "kept", &retained("a/3/kept", snapshot(4, &[1])));
        // Its base is in both namespaces, as with layers that are reused.
        tally.retained(&b, "kept", &retained("b/4/kept", snapshot(8, &[2])));

        let accounts = tally.into_accounts(|layer| layer.get());
        assert_eq!(accounts.total, share_of(5, 31, 31));
        let namespaces: Vec<_> = accounts.namespaces.iter().map(|of| (of.snapshots, of.retained, of.share)).collect();
        assert_eq!(
            namespaces,
            [(1, 0, share_of(1, 16, 16)), (2, 1, share_of(3, 7, 5)), (0, 1, share_of(2, 10, 8))],
            "without a namespace, a, b"
        );
        let leases: Vec<_> = accounts.leases.iter().map(|of| (of.snapshots, of.missing, of.share)).collect();
        assert_eq!(leases[0], (2, 0, share_of(3, 7, 0)), "what is unique to both is live");
        assert_eq!(leases[1], (1, 1, share_of(2, 5, 0)));
        assert_eq!(leases[2], (1, 0, share_of(2, 10, 8)));
    }

    #[test]
    fn a_layer_counts_once_however_many_have_it() {
        let mut tally = Tally::default();
        let key = |text: &str| SnapshotKey::parse(text).unwrap();
        for (name, layer, staged) in
            [("a/1/x", 4, None), ("a/2/y", 4, None), ("b/3/z", 4, None), ("b/4/new", 8, Some(16)), ("a/5/w", 16, None)]
        {
            tally.snapshot(&key(name), &snapshot(layer, &[]), staged.map(LayerId::new));
        }
        let accounts = tally.into_accounts(|layer| layer.get());
        assert_eq!(accounts.total, share_of(3, 28, 28));
        let namespaces: Vec<_> = accounts.namespaces.iter().map(|of| (of.snapshots, of.share)).collect();
        assert_eq!(namespaces, [(3, share_of(2, 20, 0)), (2, share_of(3, 28, 8))], "a, b");
    }
}
