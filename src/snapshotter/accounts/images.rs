//! What images have: which layers, and which of them would go with the image.
//!
//! Only containerd knows images. Who asks says which snapshots are the tops of their chains; everything else follows from
//! the records. A layer goes with an image when no snapshot stays that needs it, and no lease holds it.

use std::collections::{HashMap, HashSet};

use crate::metadata::Snapshot;
use crate::types::{LayerId, Namespace, Scope, SnapshotKey};

use super::tally::{Owners, share};
use super::{Share, leased_name};

/// An image, as it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTops {
    /// The namespace of containerd's that has it.
    pub namespace: Namespace,
    /// The names of its topmost snapshots, one for each platform.
    pub tops: Vec<String>,
}

/// What an image has. Others are other images, containers, all other snapshots, and leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageAccount {
    /// Snapshots of it that are there, and topmost ones that are not.
    pub snapshots: u64,
    /// Topmost snapshots that are not there.
    pub missing: u64,
    /// Its layers.
    pub share: Share,
}

/// What was seen so far of the images that are asked about.
#[derive(Default)]
pub(super) struct Images {
    /// How many topmost snapshots each has.
    asked: Vec<usize>,
    /// Which images have a snapshot as their topmost one.
    tops: HashMap<(Namespace, String), Vec<usize>>,
    /// All snapshots, if there is an image to look for in them.
    seen: HashMap<SnapshotKey, Seen>,
    found: Vec<Vec<SnapshotKey>>,
}

struct Seen {
    layer: Option<LayerId>,
    /// What is staged for it.
    staged: Option<LayerId>,
    parent: Option<SnapshotKey>,
}

impl Images {
    pub fn new(asked: &[ImageTops]) -> Images {
        let mut images = Images::default();
        for (number, image) in asked.iter().enumerate() {
            let tops: HashSet<&String> = image.tops.iter().collect();
            images.asked.push(tops.len());
            images.found.push(Vec::new());
            for top in tops {
                images.tops.entry((image.namespace.clone(), top.clone())).or_default().push(number);
            }
        }
        images
    }

    /// Takes in a snapshot that is there.
    pub fn snapshot(&mut self, key: &SnapshotKey, snapshot: &Snapshot, staged: Option<LayerId>) {
        if self.tops.is_empty() {
            return;
        }
        self.seen.insert(key.clone(), Seen { layer: snapshot.layer, staged, parent: snapshot.parent.clone() });
        // What clients of the API socket have is not containerd's, whatever its name.
        let name = if *key.scope() == Scope::Plugin { leased_name(key) } else { None };
        for image in name.and_then(|name| self.tops.get(&name)).into_iter().flatten() {
            if let Some(found) = self.found.get_mut(*image) {
                found.push(key.clone());
            }
        }
    }

    /// Adds up, in the order in which images were asked about.
    pub fn into_accounts(
        self,
        bytes: impl Fn(LayerId) -> u64,
        is_leased: impl Fn(LayerId) -> bool,
    ) -> Vec<ImageAccount> {
        let chains: Vec<HashSet<&SnapshotKey>> = self.found.iter().map(|tops| self.with_parents(tops)).collect();
        let of_images: HashSet<&SnapshotKey> = chains.iter().flatten().copied().collect();
        // The parents of what is in a chain are in it, too.
        let others = self.with_parents(self.seen.keys().filter(|key| !of_images.contains(key)));
        let others = self.layers(&others);
        let layers: Vec<HashSet<LayerId>> = chains.iter().map(|chain| self.layers(chain)).collect();
        let owners = Owners::count(layers.iter());
        let is_unique = |layer| owners.has_one(layer) && !others.contains(&layer) && !is_leased(layer);
        let parts = self.asked.iter().zip(&self.found).zip(chains.iter().zip(&layers));
        parts
            .map(|((asked, found), (chain, layers))| ImageAccount {
                snapshots: chain.len() as u64,
                missing: asked.saturating_sub(found.len()) as u64,
                share: share(layers, &bytes, is_unique),
            })
            .collect()
    }

    fn with_parents<'k>(&'k self, keys: impl IntoIterator<Item = &'k SnapshotKey>) -> HashSet<&'k SnapshotKey> {
        let mut all = HashSet::new();
        for key in keys {
            let mut next = Some(key);
            // What was seen before has its parents there as well.
            while let Some(key) = next.filter(|key| all.insert(*key)) {
                next = self.seen.get(key).and_then(|seen| seen.parent.as_ref());
            }
        }
        all
    }

    fn layers(&self, keys: &HashSet<&SnapshotKey>) -> HashSet<LayerId> {
        let seen = keys.iter().filter_map(|key| self.seen.get(*key));
        seen.flat_map(|seen| seen.layer.into_iter().chain(seen.staged)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::tests::{share_of, snapshot};
    use super::*;

    fn key(text: &str) -> SnapshotKey {
        SnapshotKey::parse(text).unwrap()
    }

    fn on(parent: &str, snapshot: Snapshot) -> Snapshot {
        Snapshot { parent: Some(key(parent)), ..snapshot }
    }

    fn asked(namespace: &str, tops: &[&str]) -> ImageTops {
        ImageTops {
            namespace: Namespace::parse(namespace).unwrap(),
            tops: tops.iter().map(|top| (*top).to_owned()).collect(),
        }
    }

    /// Layer 1 is the base of two branches, 2 and 4; 8 is on top of 4, and 16 a container on top of 2.
    fn tree(images: &mut Images) {
        images.snapshot(&key("a/1/base"), &snapshot(1, &[]), None);
        images.snapshot(&key("a/2/left"), &on("a/1/base", snapshot(2, &[1])), None);
        images.snapshot(&key("a/3/right"), &on("a/1/base", snapshot(4, &[1])), None);
        images.snapshot(&key("a/4/top"), &on("a/3/right", snapshot(8, &[4, 1])), None);
        images.snapshot(&key("a/5/till"), &on("a/2/left", snapshot(16, &[2, 1])), None);
    }

    fn accounts(asked: &[ImageTops], leased: &[u64]) -> Vec<(u64, u64, Share)> {
        let mut images = Images::new(asked);
        tree(&mut images);
        let accounts = images.into_accounts(LayerId::get, |layer| leased.contains(&layer.get()));
        accounts.into_iter().map(|of| (of.snapshots, of.missing, of.share)).collect()
    }

    #[test]
    fn unique_is_what_goes_with_the_image() {
        let both = [asked("a", &["left"]), asked("a", &["top"])];
        // A container stands on the left one.
        assert_eq!(accounts(&both, &[]), [(2, 0, share_of(2, 3, 0)), (3, 0, share_of(3, 13, 12))]);
        assert_eq!(accounts(&both, &[8, 1])[1].2, share_of(3, 13, 4));
        // What no image has is somebody's all the same.
        assert_eq!(accounts(&both[1..], &[])[0].2, share_of(3, 13, 12));
        // The lower part of another image is all that one's, too.
        let inside = [asked("a", &["right"]), asked("a", &["top"])];
        assert_eq!(accounts(&inside, &[]), [(2, 0, share_of(2, 5, 0)), (3, 0, share_of(3, 13, 8))]);
        let twice = [asked("a", &["top"]), asked("a", &["top"])];
        assert_eq!(accounts(&twice, &[])[0].2.unique, 0);
    }

    #[test]
    fn platforms_of_one_image_are_counted_together() {
        let all = [asked("a", &["left", "top", "top", "gone"])];
        assert_eq!(accounts(&all, &[]), [(4, 1, share_of(4, 15, 12))]);
        assert_eq!(
            accounts(&[asked("b", &["top"]), asked("a", &[])], &[]),
            [(0, 1, share_of(0, 0, 0)), (0, 0, share_of(0, 0, 0)),]
        );
    }

    #[test]
    fn a_layer_that_others_have_as_well_stays() {
        let mut images = Images::new(&[asked("a", &["top"])]);
        tree(&mut images);
        // Another namespace has the same layer, and a client of the API socket a snapshot of the same name.
        images.snapshot(&key("b/6/top"), &snapshot(8, &[]), None);
        let api = Scope::Api(Namespace::parse("a").unwrap());
        images.snapshot(&SnapshotKey::parse_in(api, "top").unwrap(), &snapshot(32, &[]), None);
        let accounts = images.into_accounts(LayerId::get, |_| false);
        assert_eq!(accounts[0].share, share_of(3, 13, 4));
    }
}
