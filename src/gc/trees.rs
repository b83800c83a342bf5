//! What leases hold below the documents that they name: index, manifest, configuration and layers, snapshots.
//!
//! Containerd passes us no labels, so that for what came through the plugin socket the documents themselves are read. A
//! lease that is not flat holds the tree below each blob that it names, and in its namespace the snapshots of the chains
//! there. This is a graph of its own: on the API socket only labels refer to anything.
//!
//! Reading takes its time, and nobody is stopped meanwhile. So what is given up by it has to be given up in a transaction
//! in which no lease has come to name a blob since ([`Trees::as_of`]).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::SystemTime;

use super::build::Builder;
use super::graph::Graph;
use super::intern::HashKey;
use super::mark::Marks;
use super::pool::Collectible;
use super::resource::{Resource, ResourceType, Types};
use super::why::Chain;
use crate::metadata::TreesSeen;
use crate::types::{Digest, LeaseId, Namespace};
use crate::{Chain as Causes, Result};

/// How many blobs are looked at at most. With more, all that may be below them is held.
const MOST: usize = 1 << 20;

/// What the trees hold.
pub(super) struct Trees {
    /// Those in which there are any.
    namespaces: BTreeSet<Namespace>,
    snapshotter: Box<str>,
    /// Without it nothing is known of what they hold.
    marks: Option<Marks>,
    as_of: TreesSeen,
}

/// The graph of all trees, and where they begin.
struct Grown {
    graph: Graph,
    namespaces: BTreeSet<Namespace>,
    /// Whether everything was looked at.
    complete: bool,
    as_of: TreesSeen,
}

impl Trees {
    /// Whether a blob is in a tree.
    pub fn hold_blob(&self, digest: &Digest) -> bool {
        self.namespaces.iter().any(|namespace| self.is_marked(&Resource::content(namespace.as_str(), digest.as_str())))
    }

    /// Whether a snapshot is in a tree of a namespace.
    pub fn hold_snapshot(&self, namespace: &Namespace, name: &str) -> bool {
        self.namespaces.contains(namespace)
            && self.is_marked(&Resource::snapshot(namespace.as_str(), &self.snapshotter, name))
    }

    /// Returns what a transaction has to ask that gives something up.
    pub fn as_of(&self) -> TreesSeen {
        self.as_of
    }

    fn is_marked(&self, resource: &Resource<'_>) -> bool {
        self.marks.as_ref().is_none_or(|marks| marks.is_marked(resource))
    }
}

impl Collectible {
    /// Looks at all trees.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn trees(&self, now: SystemTime) -> Result<Trees> {
        let Grown { graph, namespaces, complete, as_of } = self.grow(now, false)?;
        self.snapshotter().metadata().forget_trees(as_of, &namespaces);
        let marks = complete.then(|| graph.mark());
        Ok(Trees { namespaces, snapshotter: self.snapshotter().name().into(), marks, as_of })
    }

    /// Returns a chain of holds, of any namespace, from a lease down to a blob.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn tree_of_blob(&self, digest: &Digest, now: SystemTime) -> Result<Option<Chain>> {
        let Grown { graph, namespaces, .. } = self.grow(now, true)?;
        let chain = |namespace: &Namespace| graph.why(&Resource::content(namespace.as_str(), digest.as_str()));
        Ok(namespaces.iter().find_map(chain))
    }

    /// Returns a chain of holds from a lease down to a snapshot.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn tree_of_snapshot(&self, namespace: &Namespace, name: &str, now: SystemTime) -> Result<Option<Chain>> {
        let snapshotter = self.snapshotter().name();
        Ok(self.grow(now, true)?.graph.why(&Resource::snapshot(namespace.as_str(), snapshotter, name)))
    }

    /// Reads which blobs leases name, and then all documents from there on down.
    fn grow(&self, now: SystemTime, named: bool) -> Result<Grown> {
        let metadata = self.snapshotter().metadata();
        // Before leases are read: what comes to be named since is seen by who gives something up.
        let as_of = metadata.write(now)?.trees_seen();
        let roots = self.roots(now)?;
        let builder = Builder::new(Types::default(), HashKey::random(), now);
        let mut builder = if named { builder.with_names() } else { builder };
        let mut walk = Walk { seen: HashSet::new(), next: VecDeque::new() };
        let mut namespaces = BTreeSet::new();
        for (namespace, lease, digest) in roots {
            let (space, blob) = (namespace.as_str(), Resource::content(namespace.as_str(), digest.as_str()));
            builder.root(&Resource::new(space, ResourceType::LEASE, lease.as_str()));
            builder.member(space, lease.as_str(), &blob);
            walk.add(&namespace, &digest);
            namespaces.insert(namespace);
        }
        let complete = self.walk(walk, &mut builder);
        Ok(Grown { graph: builder.finish()?, namespaces, complete, as_of })
    }

    fn roots(&self, now: SystemTime) -> Result<Vec<(Namespace, LeaseId, Digest)>> {
        let metadata = self.snapshotter().metadata();
        let (namespaces, mut roots) = (metadata.namespaces_of_trees(), Vec::new());
        if !namespaces.is_empty() {
            metadata.read(|records| {
                for namespace in &namespaces {
                    records.each_tree(namespace, now, |lease, digest| {
                        roots.push((namespace.clone(), lease.clone(), digest));
                    })?;
                }
                Ok(())
            })?;
        }
        Ok(roots)
    }

    /// Adds what documents refer to, from the blobs that leases name on down; false when not everything was looked at.
    fn walk(&self, mut walk: Walk, builder: &mut Builder) -> bool {
        let snapshotter = self.snapshotter().name();
        while let Some((namespace, digest)) = walk.next.pop_front() {
            if walk.seen.len() > MOST {
                tracing::error!(most = MOST, "leases name too many blobs in images; nothing below these is given up");
                return false;
            }
            let document = match self.content().document(&digest) {
                Ok(Some(document)) => document,
                Ok(None) => continue,
                Err(err) => {
                    tracing::error!(error = %Causes(&err), %digest, "cannot be read; nothing that may be below it is given up");
                    return false;
                }
            };
            let space = namespace.as_str();
            let from = Resource::content(space, digest.as_str());
            for blob in document.documents.iter().chain(&document.layers) {
                builder.document(&from, &Resource::content(space, blob.as_str()));
            }
            for name in &document.chain_ids {
                builder.document(&from, &Resource::snapshot(space, snapshotter, name));
            }
            document.documents.iter().for_each(|document| walk.add(&namespace, document));
        }
        true
    }
}

/// A walk through documents. Each is looked at once in each namespace, so that a circle ends it.
struct Walk {
    seen: HashSet<(Namespace, Digest)>,
    next: VecDeque<(Namespace, Digest)>,
}

impl Walk {
    fn add(&mut self, namespace: &Namespace, digest: &Digest) {
        let found = (namespace.clone(), digest.clone());
        if self.seen.insert(found.clone()) {
            self.next.push_back(found);
        }
    }
}
