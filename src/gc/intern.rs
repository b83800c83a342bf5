//! Numbers for resources, by a keyed hash of what names them.
//!
//! Names are not kept: a hash of 64 bits stands for a resource. Two resources with the same hash would be taken for one
//! that is a root if either is, and refers to all that either refers to. So the worst that a collision can do is to
//! let garbage live until the next collection, which draws another key; nothing that is held is ever lost to it.
//! Among a million resources there is one with a probability of 3 in 100 million, and because the key is random and
//! secret, no client can look for one.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;

use super::resource::Resource;

/// The key of the hashes of one collection.
#[derive(Clone, Debug)]
pub struct HashKey(RandomState);

impl HashKey {
    /// Draws a key.
    pub fn random() -> HashKey {
        HashKey(RandomState::new())
    }

    pub(super) fn hash(&self, resource: &Resource<'_>) -> u64 {
        let mut hasher = self.0.build_hasher();
        // No other namespace, type and key give the same bytes: no text has the byte 255. A snapshot's key is joined with
        // its snapshotter here, so that both ways to name it are one.
        hasher.write_u8(resource.ty.number());
        hasher.write(resource.namespace.as_bytes());
        hasher.write_u8(255);
        if let Some(snapshotter) = resource.snapshotter {
            hasher.write(snapshotter.as_bytes());
            hasher.write_u8(b'/');
        }
        hasher.write(resource.key.as_bytes());
        hasher.finish()
    }
}

/// A resource's hash and number. In halves, so that a slot has 12 bytes and not 16.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: [u32; 2],
    number: u32,
}

const fn halves(hash: u64) -> [u32; 2] {
    [(hash >> 32) as u32, (hash & 0xffff_ffff) as u32]
}

fn whole(slot: &Slot) -> u64 {
    let [high, low] = slot.hash;
    u64::from(high) << 32 | u64::from(low)
}

/// The numbers of the resources that were seen so far: from 0, without gaps.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    slots: HashTable<Slot>,
    limit: u32,
}

impl Numbers {
    /// Begins without any. There will never be more than `limit`.
    pub(super) fn new(limit: u32) -> Numbers {
        Numbers { slots: HashTable::new(), limit }
    }

    /// Makes room for so many.
    pub(super) fn reserve(&mut self, resources: usize) {
        self.slots.reserve(resources, whole);
    }

    /// Returns the resource's number, and whether it is new; nothing where there is no number left.
    pub(super) fn intern(&mut self, hash: u64) -> Option<(u32, bool)> {
        let next = u32::try_from(self.slots.len()).ok().filter(|next| *next < self.limit);
        let parts = halves(hash);
        if next.is_none() {
            return self.find(hash).map(|number| (number, false));
        }
        let next = next?;
        let slot = self.slots.entry(hash, |slot| slot.hash == parts, whole);
        let number = slot.or_insert(Slot { hash: parts, number: next }).get().number;
        Some((number, number == next))
    }

    /// Returns the number of a resource that was seen.
    pub(super) fn find(&self, hash: u64) -> Option<u32> {
        let parts = halves(hash);
        self.slots.find(hash, |slot| slot.hash == parts).map(|slot| slot.number)
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{HashKey, Numbers};
    use crate::gc::resource::{Resource, ResourceType};

    #[test]
    fn resources_differ_in_each_of_their_parts() {
        let key = HashKey::random();
        let ty = ResourceType::SNAPSHOT;
        let hash = |ns, ty, name| key.hash(&Resource::new(ns, ty, name));
        assert_eq!(hash("ns", ty, "a/b"), key.hash(&Resource::snapshot("ns", "a", "b")));
        let all = [
            hash("ns", ty, "a/b"),
            hash("ns", ty, "a"),
            hash("ns", ty, ""),
            hash("n", ty, "sa/b"),
            hash("nsa", ty, "/b"),
            hash("ns", ResourceType::IMAGE, "a/b"),
        ];
        let mut different = all.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), all.len());
        assert_ne!(hash("ns", ty, "a"), HashKey::random().hash(&Resource::new("ns", ty, "a")), "another key");
    }

    #[test]
    fn numbers_have_no_gaps_and_an_end() {
        let mut numbers = Numbers::new(3);
        for (hash, number) in
            [(7, Some((0, true))), (8, Some((1, true))), (7, Some((0, false))), (1 << 63, Some((2, true))), (9, None)]
        {
            assert_eq!(numbers.intern(hash), number, "{hash}");
        }
        assert_eq!((numbers.intern(8), numbers.find(1 << 63), numbers.find(9)), (Some((1, false)), Some(2), None));
        assert_eq!(numbers.len(), 3);
    }
}
