//! What there is, and which leases hold it: for people, page by page.
//!
//! Live snapshots come first, retained ones after them. So what is removed while the pages are read may come twice, and
//! is never left out, unless nothing holds it.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::metadata::{RetainedName, Snapshot, Usage};
use crate::types::{LeaseId, Namespace, Scope, SnapshotKey};
use crate::{Error, Result};

use super::Snapshotter;

/// How many records one page reads.
const PAGE: usize = 100;
/// Of how many leases on one snapshot the ids are told.
const LEASES: usize = 16;

/// A snapshot, or what is left of one that containerd removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The namespace whose leases can name it; `None` for a key that is not of containerd's form.
    pub namespace: Option<Namespace>,
    /// Its key or name.
    pub key: SnapshotKey,
    /// Its record.
    pub snapshot: Snapshot,
    /// When containerd removed it; `None` for one that is there.
    pub removed_at: Option<SystemTime>,
    /// What its own layer takes, once it was counted.
    pub usage: Option<Usage>,
    /// Unexpired leases that name it, the first of them where there are many.
    pub leases: Vec<LeaseId>,
    /// Whether there are more.
    pub more_leases: bool,
}

/// A listing under way. Between pages it holds nothing but its position.
pub struct Inventory {
    /// Only what is in this namespace.
    namespace: Option<Namespace>,
    position: Position,
}

enum Position {
    Start,
    /// In the first scope, after a key; the other scopes follow.
    Live(VecDeque<Scope>, Option<SnapshotKey>),
    Retained(Option<RetainedName>),
    End,
}

impl Inventory {
    /// Begins a listing of one namespace, or of all.
    pub fn new(namespace: Option<Namespace>) -> Inventory {
        Inventory { namespace, position: Position::Start }
    }

    /// Whether a key on the plugin socket is one of the namespace that is asked for.
    fn wants(&self, key: &SnapshotKey) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| key.namespace().as_ref() == Some(wanted))
    }

    /// Returns where to begin on the plugin socket: just before the keys of the namespace.
    fn plugin_start(&self) -> Result<Option<SnapshotKey>> {
        let Some(namespace) = &self.namespace else { return Ok(None) };
        SnapshotKey::parse(format!("{namespace}/")).map(Some)
    }
}

impl Snapshotter {
    /// Returns the next page of a listing; `None` after the last.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_entries(&self, inventory: &mut Inventory) -> Result<Option<Vec<Entry>>> {
        loop {
            let position = std::mem::replace(&mut inventory.position, Position::End);
            let (entries, next) = match position {
                Position::Start => (Vec::new(), Position::Live(self.scopes(inventory)?, inventory.plugin_start()?)),
                Position::Live(scopes, after) => self.live_entries(inventory, scopes, after)?,
                Position::Retained(after) => self.retained_entries(inventory, after)?,
                Position::End => return Ok(None),
            };
            inventory.position = next;
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
    }

    fn scopes(&self, inventory: &Inventory) -> Result<VecDeque<Scope>> {
        let namespaces = match &inventory.namespace {
            Some(one) => vec![one.clone()],
            None => self.metadata.namespaces()?.into_iter().map(|(name, _)| name).collect(),
        };
        Ok(std::iter::once(Scope::Plugin).chain(namespaces.into_iter().map(Scope::Api)).collect())
    }

    fn live_entries(
        &self,
        inventory: &Inventory,
        mut scopes: VecDeque<Scope>,
        after: Option<SnapshotKey>,
    ) -> Result<(Vec<Entry>, Position)> {
        let Some(scope) = scopes.front() else { return Ok((Vec::new(), Position::Retained(None))) };
        let page = self.metadata.snapshots(scope, after.as_ref(), PAGE)?;
        let mut entries = Vec::with_capacity(page.snapshots.len());
        let mut next = page.next;
        for (key, snapshot) in page.snapshots {
            if !inventory.wants(&key) {
                // Keys are in order, and those of a namespace follow each other.
                next = None;
                break;
            }
            entries.push(self.entry(key.namespace(), key, snapshot, None)?);
        }
        if next.is_none() {
            scopes.pop_front();
        }
        Ok((entries, Position::Live(scopes, next)))
    }

    fn retained_entries(&self, inventory: &Inventory, after: Option<RetainedName>) -> Result<(Vec<Entry>, Position)> {
        let names = self.metadata.retained_names(after.as_ref(), PAGE)?;
        let mut entries = Vec::new();
        for (namespace, name) in &names {
            if inventory.namespace.as_ref().is_some_and(|wanted| wanted != namespace) {
                continue;
            }
            match self.metadata.retained(namespace, name) {
                Ok(Some(retained)) => {
                    let removed_at = Some(retained.removed_at);
                    entries.push(self.entry(Some(namespace.clone()), retained.key, retained.snapshot, removed_at)?);
                }
                // Given up meanwhile.
                Ok(None) => {}
                // One damaged record must not hide all others.
                Err(err @ Error::Corrupt(_)) => tracing::error!(error = %err, snapshot = name, "cannot be listed"),
                Err(err) => return Err(err),
            }
        }
        let next = names.into_iter().next_back().map_or(Position::End, |last| Position::Retained(Some(last)));
        Ok((entries, next))
    }

    fn entry(
        &self,
        namespace: Option<Namespace>,
        key: SnapshotKey,
        snapshot: Snapshot,
        removed_at: Option<SystemTime>,
    ) -> Result<Entry> {
        let mut leases = match &namespace {
            Some(namespace) => {
                self.metadata.holders(namespace, &self.member_kind, key.client_key(), self.now(), LEASES + 1)?
            }
            None => Vec::new(),
        };
        let more_leases = leases.len() > LEASES;
        leases.truncate(LEASES);
        let layer = snapshot.layer.map(|layer| self.metadata.layer(layer)).transpose()?.flatten();
        let usage = layer.and_then(|layer| layer.usage);
        Ok(Entry { namespace, key, snapshot, removed_at, usage, leases, more_leases })
    }
}
