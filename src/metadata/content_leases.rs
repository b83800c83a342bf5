//! In which namespaces leases name blobs, and in which such a lease holds the tree below them.
//!
//! A blob of containerd's is in no namespace, so that leases of all of them may hold it. Containerd waits for every
//! deletion, and there may be many namespaces: only those are looked at in which a lease ever named a blob.
//!
//! What a tree holds takes a walk through documents. So what may be in one is retained when containerd removes it, and a
//! collection decides. It says here how many leases it knew of ([`TreesSeen`]); what it found counts as long as there are
//! no more.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::record::Lease;
use super::{Consistent, Metadata, Transaction, schema};
use crate::store::{Column, Store};
use crate::types::{Digest, LeaseId, Member, MemberKind, Namespace};
use crate::{Error, Result};

/// How many times leases were told to hold trees when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreesSeen(u64);

/// What is known in memory of leases on blobs. What was rolled back or lost meanwhile costs a look.
#[derive(Debug, Default)]
pub(super) struct ContentLeases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Only ever grow.
    namespaces: BTreeSet<Namespace>,
    /// Those in which a lease may hold a tree.
    trees: BTreeSet<Namespace>,
    /// How many times a lease was told to.
    added: u64,
}

impl ContentLeases {
    /// Looks for the namespaces in which leases name blobs: two seeks for each namespace that has leases. What `leased` has
    /// counts, whatever other records say: nobody else knows these holds.
    pub fn load(store: &Store) -> Result<ContentLeases> {
        let mut namespaces = BTreeSet::new();
        let mut after = Vec::new();
        while let Some((key, _)) = store.page(Column::Leased, &[], Some(&after), 1)?.pop() {
            let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
            // Behind all keys that begin like this.
            after = [name, &[1]].concat();
            let Ok(namespace) = schema::leases::parse_namespace(name) else { continue };
            let prefix = schema::leases::leased_of(&namespace, &MemberKind::Content);
            if !store.page(Column::Leased, &prefix, None, 1)?.is_empty() {
                namespaces.insert(namespace);
            }
        }
        // Whether these leases are flat the first collection finds out.
        let state = State { trees: namespaces.clone(), namespaces, added: 0 };
        Ok(ContentLeases { state: Mutex::new(state) })
    }

    /// Takes note of something that a lease is to name, with the tree below it unless the lease is flat. Within the
    /// transaction.
    pub fn note(&self, namespace: &Namespace, member: &Member, is_flat: bool) {
        if *member.kind() != MemberKind::Content {
            return;
        }
        let mut state = self.lock();
        if !state.namespaces.contains(namespace) {
            state.namespaces.insert(namespace.clone());
        }
        if !is_flat {
            state.added += 1;
            if !state.trees.contains(namespace) {
                state.trees.insert(namespace.clone());
            }
        }
    }

    /// Takes note of a lease that holds trees from now on. Within the transaction.
    pub fn note_lease(&self, namespace: &Namespace) {
        let mut state = self.lock();
        if state.namespaces.contains(namespace) {
            state.added += 1;
            state.trees.insert(namespace.clone());
        }
    }

    /// Returns the namespaces in which leases may name blobs.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.lock().namespaces.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change keeps too much rather than too little when a panic ends it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metadata {
    /// Returns the namespaces in which leases may hold trees.
    pub fn namespaces_of_trees(&self) -> Vec<Namespace> {
        self.content_leases.lock().trees.iter().cloned().collect()
    }

    /// Forgets trees in all other namespaces: who looked at that time found none there.
    pub fn forget_trees(&self, seen: TreesSeen, found: &BTreeSet<Namespace>) {
        let mut state = self.content_leases.lock();
        if state.added == seen.0 {
            state.trees.retain(|namespace| found.contains(namespace));
        }
    }
}

impl Consistent<'_> {
    /// Calls `visit` with every blob of which an unexpired lease of a namespace holds the tree. A lease that cannot be read
    /// has not ended and is not flat.
    ///
    /// # Errors
    /// Those of the store.
    pub fn each_tree(
        &self,
        namespace: &Namespace,
        now: SystemTime,
        mut visit: impl FnMut(&LeaseId, Digest),
    ) -> Result<()> {
        let prefix = schema::leases::leased_of(namespace, &MemberKind::Content);
        let mut holding: HashMap<LeaseId, bool> = HashMap::new();
        self.txn.scan(Column::Leased, &prefix, |key, _| {
            // What cannot be read is no digest, and so no blob.
            let Ok((_, lease, member)) = schema::leases::parse_reverse(key) else { return Ok(()) };
            let Ok(digest) = Digest::parse(member.id()) else { return Ok(()) };
            let holds = match holding.get(&lease) {
                Some(holds) => *holds,
                None => {
                    let holds = match self.lease(namespace, &lease) {
                        Ok(lease) => !lease.is_flat() && !lease.is_expired(now),
                        Err(Error::NotFound(_)) => false,
                        Err(Error::Corrupt(_)) => true,
                        Err(err) => return Err(err),
                    };
                    holding.insert(lease.clone(), holds);
                    holds
                }
            };
            if holds {
                visit(&lease, digest);
            }
            Ok(())
        })
    }
}

impl Transaction<'_> {
    /// Returns how many times leases were told to hold trees, those of this transaction included.
    pub fn trees_seen(&self) -> TreesSeen {
        TreesSeen(self.metadata.content_leases.lock().added)
    }

    /// Whether a lease may hold a tree, of one namespace or of any.
    pub(super) fn has_trees(&self, namespace: Option<&Namespace>) -> bool {
        let state = self.metadata.content_leases.lock();
        namespace.map_or(!state.trees.is_empty(), |namespace| state.trees.contains(namespace))
    }
}

impl Lease {
    /// Whether it keeps only what it names. The label counts by its presence, whatever its value is.
    pub fn is_flat(&self) -> bool {
        self.labels.get(crate::types::label::GC_FLAT).is_some()
    }
}
