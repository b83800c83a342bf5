//! Why something is kept: the chain of holds from a root.

use super::bits::BitSet;
use super::graph::{EdgeKind, Graph, Hold, RootKind};
use super::resource::{Name, Resource};

/// A chain of holds: a root, and how one gets from it to the resource that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What the chain begins at.
    pub root: Name,
    /// Why that is a root.
    pub kind: RootKind,
    /// What follows, nearest to the root first. Empty for a root.
    pub links: Vec<Link>,
}

/// One step away from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Why the resource before this one refers to it.
    pub kind: EdgeKind,
    /// What is held.
    pub resource: Name,
}

/// How the search came to a resource.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Root(RootKind),
    /// From that place in the order of the search.
    Edge(usize, EdgeKind),
}

/// A resource that the search came to.
#[derive(Clone, Copy, Debug)]
struct Found {
    number: u32,
    hold: Hold,
    origin: Origin,
}

impl Graph {
    /// Returns a shortest chain of holds that keeps a resource, or nothing for one that nothing keeps.
    ///
    /// Searches the graph anew each time. Needs [`Builder::with_names`](super::Builder::with_names); there is no chain
    /// without.
    pub fn why(&self, resource: &Resource<'_>) -> Option<Chain> {
        let target = self.find(resource)?;
        let (mut full, mut flat) = (BitSet::new(self.len()), BitSet::new(self.len()));
        let mut order: Vec<Found> = Vec::new();
        for (number, kind) in self.roots() {
            if full.insert(number) {
                order.push(Found { number, hold: Hold::Full, origin: Origin::Root(kind) });
            }
        }
        let mut at = 0;
        while let Some(found) = order.get(at).copied() {
            if found.number == target {
                return self.chain(&order, found);
            }
            for edge in self.edges_of(found.number) {
                let (number, kind) = (edge.number(), EdgeKind::from_tag(edge.tag()));
                let Some(hold) = kind.carries(found.hold) else { continue };
                let is_new = match hold {
                    Hold::Full => full.insert(number),
                    Hold::Flat => !full.contains(number) && flat.insert(number),
                };
                if is_new {
                    order.push(Found { number, hold, origin: Origin::Edge(at, kind) });
                }
            }
            at += 1;
        }
        None
    }

    /// Goes back to the root.
    fn chain(&self, order: &[Found], last: Found) -> Option<Chain> {
        let names = self.names.as_ref()?;
        let mut links = Vec::new();
        let mut found = last;
        loop {
            let resource = names.get(found.number)?;
            match found.origin {
                Origin::Edge(before, kind) => {
                    links.push(Link { kind, resource });
                    found = *order.get(before)?;
                }
                Origin::Root(kind) => {
                    links.reverse();
                    return Some(Chain { root: resource, kind, links });
                }
            }
        }
    }
}
