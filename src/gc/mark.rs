//! Marking: which resources something holds.

use std::collections::HashSet;

use super::barrier::Shaded;
use super::bits::{BitSet, Packed};
use super::graph::{EdgeKind, Graph, Hold};
use super::resource::Resource;

/// The marked resources of a graph. Marks are only ever added.
#[derive(Debug)]
pub struct Marks {
    graph: Graph,
    full: BitSet,
    /// Held flat. Of those that are held in full as well, only some are in here.
    flat: BitSet,
    /// Shaded resources that are not in the graph, by their hashes.
    beyond: HashSet<u64>,
    /// Marked, but what they refer to is not, yet.
    gray: Vec<u32>,
    gray_flat: Vec<u32>,
}

impl Graph {
    /// Marks all that the roots hold.
    pub fn mark(self) -> Marks {
        let mut marks = Marks {
            full: BitSet::new(self.len()),
            flat: BitSet::new(self.len()),
            graph: self,
            beyond: HashSet::new(),
            gray: Vec::new(),
            gray_flat: Vec::new(),
        };
        let Marks { graph, full, gray, .. } = &mut marks;
        gray.extend(graph.roots().map(|(number, _)| number).filter(|number| full.insert(*number)));
        marks.settle();
        marks
    }
}

impl Marks {
    /// Tells whether something holds the resource. One that the graph does not know is held only if it was shaded.
    pub fn is_marked(&self, resource: &Resource<'_>) -> bool {
        let hash = self.graph.key.hash(resource);
        match self.graph.numbers.find(hash) {
            Some(number) => self.full.contains(number) || self.flat.contains(number),
            None => self.beyond.contains(&hash),
        }
    }

    /// Tells whether something holds the resource of a number.
    pub(super) fn is_number_marked(&self, number: u32) -> bool {
        self.full.contains(number) || self.flat.contains(number)
    }

    /// Marks a resource, and all that it refers to as far as the graph knows it.
    pub fn shade(&mut self, resource: &Resource<'_>) {
        self.shade_hash(self.graph.key.hash(resource));
        self.settle();
    }

    /// Marks what a [`Barrier`](super::Barrier) with the same key has taken down, and all that it refers to as far as the
    /// graph knows it.
    pub fn absorb(&mut self, shaded: Shaded) {
        shaded.hashes.into_iter().for_each(|hash| self.shade_hash(hash));
        self.settle();
    }

    /// Returns how many resources of the graph are marked. Some of them may be names that nothing has.
    pub fn count(&self) -> usize {
        self.full.count_union(&self.flat)
    }

    /// Returns the graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    fn shade_hash(&mut self, hash: u64) {
        match self.graph.numbers.find(hash) {
            Some(number) if self.full.insert(number) => self.gray.push(number),
            Some(_) => {}
            None => drop(self.beyond.insert(hash)),
        }
    }

    /// Marks what the gray ones refer to, until there are none.
    ///
    /// Full holds go first: what is held in full needs no second visit when it is held flat as well.
    fn settle(&mut self) {
        while let Some(number) = self.gray.pop() {
            for edge in self.graph.edges_of(number) {
                let to = edge.number();
                match EdgeKind::from_tag(edge.tag()).carries(Hold::Full) {
                    Some(Hold::Full) if self.full.insert(to) => self.gray.push(to),
                    Some(Hold::Flat) => self.gray_flat.push(to),
                    _ => {}
                }
            }
        }
        while let Some(number) = self.gray_flat.pop() {
            if self.full.contains(number) || !self.flat.insert(number) {
                continue;
            }
            let held = |edge: &&Packed| EdgeKind::from_tag(edge.tag()).carries(Hold::Flat).is_some();
            self.gray_flat.extend(self.graph.edges_of(number).iter().filter(held).map(|edge| edge.number()));
        }
    }
}
