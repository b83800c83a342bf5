//! What could be evicted, and what of it is to go. Knows no clock, no records and no files.
//!
//! A layer comes back when everything that names it is gone. So one that a lease of a client, or containerd itself, needs
//! as well counts for nothing, and a layer that several retained snapshots have in common counts when the last of them
//! goes.

use std::collections::{HashMap, HashSet};

use crate::metadata::{Evictable, Evictables, Usage};
use crate::types::LayerId;

/// What is retained and only policy leases hold, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Stock {
    all: Vec<Evictable>,
    /// Layers and files that nothing else names, and by how many of these they are named.
    layers: HashMap<LayerId, u32>,
    /// What those take that were counted.
    counted: HashMap<LayerId, Usage>,
}

impl Stock {
    pub(super) fn new(evictables: Evictables) -> Stock {
        let Evictables { mut all, layers: records } = evictables;
        // Containerd removes children before their parents; where the clock saw no difference, so does this.
        all.sort_by(|one, other| {
            let depth = other.layers.len().cmp(&one.layers.len());
            one.removed_at.cmp(&other.removed_at).then(depth).then_with(|| one.name.cmp(&other.name))
        });
        let mut layers = HashMap::new();
        for layer in all.iter().flat_map(|one| &one.layers) {
            *layers.entry(*layer).or_insert(0) += 1;
        }
        layers.retain(|layer, named| records.get(layer).is_some_and(|record| record.references <= *named));
        let usage = |layer: &LayerId| Some((*layer, records.get(layer)?.usage?));
        let counted = layers.keys().filter_map(usage).collect();
        Stock { all, layers, counted }
    }

    /// Whether evicting could give anything back.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Adds up what would come back if everything went; `size` tells what a layer takes
    /// that was not counted.
    pub(super) fn total(&self, mut size: impl FnMut(LayerId) -> Usage) -> Usage {
        self.layers.keys().fold(Usage::default(), |sum, layer| sum.plus(self.size(*layer, &mut size)))
    }

    /// Chooses what is to go so that at least `need` comes back, or all that can: the oldest, without those whose going
    /// gives nothing back.
    pub(super) fn choose(&self, need: Usage, mut size: impl FnMut(LayerId) -> Usage) -> Vec<Evictable> {
        let (mut left, mut freed) = (need, HashSet::new());
        let mut named = self.layers.clone();
        let mut oldest = Vec::new();
        for snapshot in &self.all {
            if left == Usage::default() {
                break;
            }
            for layer in &snapshot.layers {
                let Some(others) = named.get_mut(layer) else { continue };
                *others = others.saturating_sub(1);
                if *others == 0 && freed.insert(*layer) {
                    left = left.minus(self.size(*layer, &mut size));
                }
            }
            oldest.push(snapshot);
        }
        let helps = |snapshot: &&&Evictable| snapshot.layers.iter().any(|layer| freed.contains(layer));
        oldest.iter().filter(helps).map(|snapshot| (*snapshot).clone()).collect()
    }

    fn size(&self, layer: LayerId, size: &mut impl FnMut(LayerId) -> Usage) -> Usage {
        self.counted.get(&layer).copied().unwrap_or_else(|| size(layer))
    }
}

#[cfg(test)]
mod tests;
