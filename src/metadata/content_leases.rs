//! In which namespaces leases name blobs.
//!
//! A blob of containerd's is in no namespace, so that leases of all of them may hold it. Containerd waits for every
//! deletion, and there may be many namespaces: only those are looked at in which a lease ever named a blob.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::schema;
use crate::Result;
use crate::store::{Column, Store};
use crate::types::{Member, MemberKind, Namespace};

/// What is known in memory of leases on blobs. Only ever grows: what was rolled back or lost meanwhile costs a look.
#[derive(Debug, Default)]
pub(super) struct ContentLeases {
    namespaces: Mutex<BTreeSet<Namespace>>,
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
        Ok(ContentLeases { namespaces: Mutex::new(namespaces) })
    }

    /// Takes note of something that a lease is to name.
    pub fn note(&self, namespace: &Namespace, member: &Member) {
        if *member.kind() == MemberKind::Content {
            let mut namespaces = self.lock();
            if !namespaces.contains(namespace) {
                namespaces.insert(namespace.clone());
            }
        }
    }

    /// Returns the namespaces in which leases may name blobs.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Namespace>> {
        // Each change is one insertion, so it is whole even after a panic.
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
