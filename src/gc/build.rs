//! From objects to the graph.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::SystemTime;

use super::bits::Packed;
use super::condition::UsedAt;
use super::graph::{EdgeKind, Graph, RootKind};
use super::intern::{HashKey, Numbers};
use super::labels::{self, Meaning};
use super::names::Names;
use super::object::{Heeds, Object};
use super::report::Report;
use super::resource::{Resource, ResourceType, Types};
use crate::types::{label, parse_rfc3339};
use crate::{Error, Result};

/// One edge, until all are grouped by where they begin.
#[derive(Clone, Copy, Debug)]
struct Edge {
    from: u32,
    to: Packed,
}

/// Collects objects, one after the other and in any order, and makes a [`Graph`] of them.
///
/// An object that nothing refers to, that refers to nothing and is no root costs nothing. What is referred to and does not
/// exist is in the graph as well: it is normal, and is marked like all others.
#[derive(Debug)]
pub struct Builder {
    types: Types,
    key: HashKey,
    now: SystemTime,
    numbers: Numbers,
    names: Option<Names>,
    edges: Vec<Edge>,
    roots: Vec<Packed>,
    flat_leases: HashSet<u32>,
    /// Snapshot, who refers to it, and on which condition.
    conditions: Vec<(u32, u32, UsedAt)>,
    /// When snapshots were used, first and last. A client can make as many labels as it likes, and what is between these
    /// two decides nothing.
    used: HashMap<u32, RangeInclusive<SystemTime>>,
    /// There were more resources than can be numbered.
    full: bool,
    report: Report,
}

impl Builder {
    /// Begins a graph as of `now`. `key` is that of the [`Barrier`](super::Barrier) that stands meanwhile.
    pub fn new(types: Types, key: HashKey, now: SystemTime) -> Builder {
        Builder {
            types,
            key,
            now,
            numbers: Numbers::new(Packed::LIMIT),
            names: None,
            edges: Vec::new(),
            roots: Vec::new(),
            flat_leases: HashSet::new(),
            conditions: Vec::new(),
            used: HashMap::new(),
            full: false,
            report: Report::default(),
        }
    }

    /// Keeps names, which [`Graph::why`] needs: a hundred bytes or more for each resource. To be called first.
    #[must_use]
    pub fn with_names(mut self) -> Builder {
        self.names = Some(Names::default());
        self
    }

    /// Makes room for so many resources.
    #[must_use]
    pub fn with_capacity(mut self, resources: usize) -> Builder {
        self.numbers.reserve(resources);
        self.edges.reserve(resources);
        self
    }

    /// Adds an object with its labels.
    pub fn add<'a>(
        &mut self,
        namespace: &'a str,
        object: &Object<'a>,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) {
        self.add_this(namespace, object, labels);
    }

    /// Like [`add`](Self::add), and returns the object's number, which it gets whatever it has to do with others. `None`
    /// once there were too many.
    pub(super) fn add_numbered<'a>(
        &mut self,
        namespace: &'a str,
        object: &Object<'a>,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Option<u32> {
        let mut this = self.add_this(namespace, object, labels);
        self.number_of(&mut this)
    }

    fn add_this<'a>(
        &mut self,
        namespace: &'a str,
        object: &Object<'a>,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> This<'a> {
        self.report.objects += 1;
        let mut this = This { resource: object.resource(namespace), number: None };
        if let Some((kind, to)) = object.refers_to(namespace) {
            self.edge_from(&mut this, kind, &to);
        }
        let mut heeds = object.heeds();
        if let Some(kind) = self.root_kind(object, &this.resource, labels.clone()) {
            self.root_at(&mut this, kind);
        } else if matches!(object, Object::Image { .. }) {
            heeds.back_references = true;
        }
        if matches!(object, Object::Lease { .. }) {
            let is_flat = labels.clone().any(|(key, _)| key == label::GC_FLAT);
            if let Some(number) = is_flat.then(|| self.number_of(&mut this)).flatten() {
                self.flat_leases.insert(number);
            }
            return this;
        }
        // Taken out, because what a label means changes everything else.
        let types = std::mem::take(&mut self.types);
        for (key, value) in labels {
            labels::read(&types, namespace, key, value, |meaning| self.heed(&mut this, heeds, meaning));
        }
        self.types = types;
        this
    }

    /// Adds a member of a lease, which may be added itself before, later, or never.
    pub fn member(&mut self, namespace: &str, lease: &str, member: &Resource<'_>) {
        // Whether the lease is flat may not be known yet.
        let kind = if member.ty.is_held_flat() { EdgeKind::Member } else { EdgeKind::WholeMember };
        let lease = Resource::new(namespace, ResourceType::LEASE, lease);
        self.edge_from(&mut This { resource: lease, number: None }, kind, member);
    }

    /// States that a resource is in use. For resources of further types, and for all that is kept without a label.
    pub fn root(&mut self, resource: &Resource<'_>) {
        self.root_at(&mut This { resource: *resource, number: None }, RootKind::Stated);
    }

    /// States that a resource refers to another. For resources of further types; they may refer, and be referred to, as
    /// they like.
    pub fn refer(&mut self, from: &Resource<'_>, to: &Resource<'_>) {
        self.edge_from(&mut This { resource: *from, number: None }, EdgeKind::Stated, to);
    }

    /// Adds something that a document of an image names.
    pub(super) fn document(&mut self, document: &Resource<'_>, names: &Resource<'_>) {
        self.edge_from(&mut This { resource: *document, number: None }, EdgeKind::Document, names);
    }

    /// Makes the graph.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more resources or edges than can be numbered: 2^28 and 2^32.
    pub fn finish(mut self) -> Result<Graph> {
        self.decide_conditions();
        let edges = u32::try_from(self.edges.len()).ok().filter(|_| !self.full);
        let edges = edges.ok_or_else(|| Error::invalid("collection", "more resources than can be numbered"))?;
        if !self.flat_leases.is_empty() {
            let member = EdgeKind::Member as u8;
            for edge in self.edges.iter_mut().filter(|edge| edge.to.tag() == member) {
                if self.flat_leases.contains(&edge.from) {
                    edge.to = Packed::new(edge.to.number(), EdgeKind::FlatMember as u8);
                }
            }
        }
        let (starts, targets) = group(&self.edges, edges, self.numbers.len());
        Ok(Graph {
            key: self.key,
            types: self.types,
            numbers: self.numbers,
            starts,
            targets,
            roots: self.roots,
            names: self.names,
            report: self.report,
        })
    }

    /// Returns why the object is a root, if it is; labels that are no expiry aside.
    fn root_kind<'a>(
        &mut self,
        object: &Object<'a>,
        resource: &Resource<'a>,
        mut labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Option<RootKind> {
        let (kind, expires) = match object {
            Object::Container { .. } => return Some(RootKind::Container),
            Object::Sandbox { .. } => return Some(RootKind::Sandbox),
            Object::Snapshot { .. } | Object::Content { .. } => return None,
            Object::Ingest { expires, .. } => (RootKind::Ingest, Some((*expires)?)),
            Object::Lease { .. } | Object::Image { .. } => {
                let value = labels.find(|(key, _)| *key == label::GC_EXPIRE).map(|(_, value)| value);
                let expires = value.and_then(|value| {
                    let time = parse_rfc3339(value);
                    if time.is_none() {
                        self.report.bad_expiry(resource, value);
                    }
                    time
                });
                let is_lease = matches!(object, Object::Lease { .. });
                (if is_lease { RootKind::Lease } else { RootKind::Image }, expires)
            }
        };
        match expires {
            Some(expires) if self.now > expires => {
                self.report.expired += 1;
                None
            }
            Some(expires) => {
                self.report.ends_at(expires);
                Some(kind)
            }
            None => Some(kind),
        }
    }

    fn heed(&mut self, this: &mut This<'_>, heeds: Heeds, meaning: Meaning<'_>) {
        match meaning {
            Meaning::Reference(to) if heeds.references => self.edge_from(this, EdgeKind::Label, &to),
            Meaning::BackReference(by) if heeds.back_references => {
                let mut by = This { resource: by, number: None };
                if let (Some(from), Some(to)) = (self.number_of(&mut by), self.number_of(this)) {
                    self.edges.push(Edge { from, to: Packed::new(to, EdgeKind::BackReference as u8) });
                }
            }
            Meaning::Root if heeds.root => self.root_at(this, RootKind::Label),
            Meaning::Condition(snapshot, condition) if heeds.conditions => {
                let mut snapshot = This { resource: snapshot, number: None };
                if let (Some(snapshot), Some(from)) = (self.number_of(&mut snapshot), self.number_of(this)) {
                    self.conditions.push((snapshot, from, condition));
                }
            }
            Meaning::Used(time) if heeds.used => {
                if let Some(number) = self.number_of(this) {
                    let uses = self.used.entry(number).or_insert(time..=time);
                    *uses = time.min(*uses.start())..=time.max(*uses.end());
                }
            }
            _ => {}
        }
    }

    /// Makes edges of the conditions that hold. A snapshot may have been used several times; any of them will do.
    fn decide_conditions(&mut self) {
        for (snapshot, from, condition) in std::mem::take(&mut self.conditions) {
            let Some(used) = self.used.get(&snapshot).map(|uses| condition.best_of(uses)) else { continue };
            if condition.holds(used, self.now) {
                self.edges.push(Edge { from, to: Packed::new(snapshot, EdgeKind::Condition as u8) });
                condition.ends(used).into_iter().for_each(|end| self.report.ends_at(end));
            }
        }
    }

    fn edge_from(&mut self, from: &mut This<'_>, kind: EdgeKind, to: &Resource<'_>) {
        let mut to = This { resource: *to, number: None };
        if let (Some(from), Some(to)) = (self.number_of(from), self.number_of(&mut to)) {
            self.edges.push(Edge { from, to: Packed::new(to, kind as u8) });
        }
    }

    fn root_at(&mut self, this: &mut This<'_>, kind: RootKind) {
        if let Some(number) = self.number_of(this) {
            self.roots.push(Packed::new(number, kind as u8));
        }
    }

    /// Returns the number of a resource, hashing it no more than once. Nothing once there were too many.
    fn number_of(&mut self, this: &mut This<'_>) -> Option<u32> {
        if this.number.is_none() {
            let Some((number, is_new)) = self.numbers.intern(self.key.hash(&this.resource)) else {
                self.full = true;
                return None;
            };
            if let Some(names) = self.names.as_mut().filter(|_| is_new) {
                names.push(&this.resource);
            }
            this.number = Some(number);
        }
        this.number
    }
}

/// A resource, and its number once it was needed.
struct This<'a> {
    resource: Resource<'a>,
    number: Option<u32>,
}

/// Groups edges by where they begin: a counting sort.
fn group(edges: &[Edge], count: u32, resources: usize) -> (Vec<u32>, Vec<Packed>) {
    // First how many begin at each resource, then where those of the next one begin. Filling them in from the end counts
    // each back to where its own begin.
    let mut starts = vec![0_u32; resources + 1];
    for edge in edges {
        if let Some(start) = starts.get_mut(edge.from as usize) {
            *start += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut targets = vec![Packed::new(0, 0); count as usize];
    for edge in edges.iter().rev() {
        let Some(start) = starts.get_mut(edge.from as usize) else { continue };
        *start -= 1;
        if let Some(target) = targets.get_mut(*start as usize) {
            *target = edge.to;
        }
    }
    (starts, targets)
}
