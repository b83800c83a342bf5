//! The graph: which resource refers to which, and which are roots. Never changes once it is built.

use super::bits::Packed;
use super::intern::{HashKey, Numbers};
use super::names::Names;
use super::report::Report;
use super::resource::{Resource, Types};

/// Why one resource refers to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EdgeKind {
    /// A lease holds a member, and all that it refers to.
    Member,
    /// A flat lease holds a member.
    FlatMember,
    /// A lease, flat or not, holds a member, and all that it refers to: one of a type that is never held flat.
    WholeMember,
    /// A snapshot and its parent.
    Parent,
    /// An image and its target.
    Target,
    /// An upload and the blob that it will become.
    Expected,
    /// A container and its snapshot.
    Rootfs,
    /// `gc.ref` of the first one.
    Label,
    /// `gc.bref` of the second one.
    BackReference,
    /// A condition of the first one that the second one fulfils.
    Condition,
    /// Stated by who fed the graph.
    Stated,
    /// The first one is a document of an image, which names the second one.
    Document,
}

impl EdgeKind {
    const ALL: [EdgeKind; 12] = [
        EdgeKind::Member,
        EdgeKind::FlatMember,
        EdgeKind::WholeMember,
        EdgeKind::Parent,
        EdgeKind::Target,
        EdgeKind::Expected,
        EdgeKind::Rootfs,
        EdgeKind::Label,
        EdgeKind::BackReference,
        EdgeKind::Condition,
        EdgeKind::Stated,
        EdgeKind::Document,
    ];

    pub(super) fn from_tag(tag: u8) -> EdgeKind {
        EdgeKind::ALL.get(usize::from(tag)).copied().unwrap_or(EdgeKind::Stated)
    }

    /// How the target of such an edge is held by a resource that is held in that way, if it is.
    ///
    /// What is held flat holds only what it cannot exist without: a snapshot its parents, an image its target.
    pub(super) fn carries(self, hold: Hold) -> Option<Hold> {
        match (self, hold) {
            (EdgeKind::FlatMember, Hold::Full) => Some(Hold::Flat),
            (_, Hold::Full) => Some(Hold::Full),
            (EdgeKind::Parent | EdgeKind::Target, Hold::Flat) => Some(Hold::Flat),
            (_, Hold::Flat) => None,
        }
    }
}

/// Why a resource is a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RootKind {
    /// A lease that has not expired.
    Lease,
    /// An image that has not expired.
    Image,
    /// An upload that has not expired.
    Ingest,
    /// A container.
    Container,
    /// A sandbox.
    Sandbox,
    /// `gc.root`.
    Label,
    /// Stated by who fed the graph: in use.
    Stated,
}

impl RootKind {
    const ALL: [RootKind; 7] = [
        RootKind::Lease,
        RootKind::Image,
        RootKind::Ingest,
        RootKind::Container,
        RootKind::Sandbox,
        RootKind::Label,
        RootKind::Stated,
    ];

    pub(super) fn from_tag(tag: u8) -> RootKind {
        RootKind::ALL.get(usize::from(tag)).copied().unwrap_or(RootKind::Stated)
    }
}

/// How a resource is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// With all that it refers to.
    Full,
    /// By a flat lease: with what it cannot exist without.
    Flat,
}

/// Resources, the edges between them, and the roots.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(super) key: HashKey,
    pub(super) types: Types,
    pub(super) numbers: Numbers,
    /// Where the edges of each resource begin in `targets`, and where those of the last one end.
    pub(super) starts: Vec<u32>,
    /// Targets and kinds of edges, grouped by the resource that they begin at.
    pub(super) targets: Vec<Packed>,
    pub(super) roots: Vec<Packed>,
    pub(super) names: Option<Names>,
    pub(super) report: Report,
}

impl Graph {
    /// Returns what was noticed while the graph was built.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns the types that the graph knows.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// Returns how many resources refer to something, are referred to, or are roots. Others are not in the graph.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Tells whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of edges.
    pub fn edges(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn find(&self, resource: &Resource<'_>) -> Option<u32> {
        self.numbers.find(self.key.hash(resource))
    }

    /// Returns the edges that begin at a resource.
    pub(super) fn edges_of(&self, number: u32) -> &[Packed] {
        let at = |index: usize| self.starts.get(index).map(|start| *start as usize);
        let index = number as usize;
        at(index).zip(at(index + 1)).and_then(|(start, end)| self.targets.get(start..end)).unwrap_or_default()
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = (u32, RootKind)> {
        self.roots.iter().map(|root| (root.number(), RootKind::from_tag(root.tag())))
    }
}
