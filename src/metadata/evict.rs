//! What is retained and only the daemon's own leases hold, and giving it up before its time.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::SystemTime;

use super::membership::{LEASES_AT_ONCE, each_lease_on};
use super::record::{Layer, Lease, Usage, decode_trash};
use super::{Consistent, RetainedName, Transaction, TreesSeen, schema};
use crate::store::{Column, Entry};
use crate::types::{Digest, FileId, LayerId, LeaseId, Member, MemberKind, Namespace};
use crate::{Error, Result};

/// Something retained that policy leases hold and no other lease names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evictable {
    /// Where it is found.
    pub name: EvictableName,
    /// When containerd removed it.
    pub removed_at: SystemTime,
    /// Of a snapshot its own layer and those of all parents, nearest first; of a blob the number of its file.
    pub layers: Vec<LayerId>,
}

/// What could be evicted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictableName {
    /// A retained snapshot.
    Snapshot(RetainedName),
    /// A retained blob.
    Blob(Digest),
}

impl EvictableName {
    /// Returns its name, or its digest.
    pub fn as_str(&self) -> &str {
        match self {
            EvictableName::Snapshot((_, name)) => name,
            EvictableName::Blob(digest) => digest.as_str(),
        }
    }
}

/// All of them, with what there is to know about their layers.
#[derive(Clone, Debug, Default)]
pub struct Evictables {
    /// Snapshots in the order of their names, and then blobs.
    pub all: Vec<Evictable>,
    /// The layers and files that they name, without those whose records are missing or damaged.
    pub layers: HashMap<LayerId, Layer>,
}

/// Who names something retained.
#[derive(Default)]
struct Holders {
    /// Leases of the daemon's own, those included that have ended.
    policies: Vec<(Namespace, LeaseId, Lease)>,
    /// Whether one of those has not ended.
    by_policy: bool,
    /// Whether a client's lease does that has not ended.
    otherwise: bool,
}

impl Consistent<'_> {
    /// Returns everything that could be evicted. `kind` is how leases name our snapshots; `namespaces` are those in which
    /// leases may name blobs.
    ///
    /// # Errors
    /// Those of the store. A record that cannot be read is passed over: fsck reports it.
    pub fn evictable(&self, kind: &MemberKind, namespaces: &[Namespace], now: SystemTime) -> Result<Evictables> {
        let mut found = Evictables::default();
        let page = |prefix: &[u8], after: Option<&[u8]>| self.txn.page(Column::Leased, prefix, after, LEASES_AT_ONCE);
        self.each_retained(|entry| {
            let Ok((name, retained)) = entry else { return Ok(()) };
            let mut holders = Holders::default();
            holders.add(&name.0, kind, &name.1, now, page, |id| self.lease(&name.0, id))?;
            if holders.are_policies() {
                let (removed_at, layers) = (retained.removed_at, retained.layers());
                found.all.push(Evictable { name: EvictableName::Snapshot(name), removed_at, layers });
            }
            Ok(())
        })?;
        for layer in found.all.iter().flat_map(|snapshot| &snapshot.layers) {
            if found.layers.contains_key(layer) {
                continue;
            }
            match self.layer(*layer) {
                Ok(record) => drop(record.and_then(|record| found.layers.insert(*layer, record))),
                Err(Error::Corrupt(_)) => {}
                Err(err) => return Err(err),
            }
        }
        self.each_retained_blob(|entry| {
            let Ok((digest, retained)) = entry else { return Ok(()) };
            let mut holders = Holders::default();
            for namespace in namespaces {
                let lease = |id: &LeaseId| self.lease(namespace, id);
                holders.add(namespace, &MemberKind::Content, digest.as_str(), now, page, lease)?;
            }
            if !holders.are_policies() {
                return Ok(());
            }
            let Some(Ok(file)) = self.blob_file(&digest).transpose() else { return Ok(()) };
            let number = file.id.in_trash();
            let usage = Some(Usage { size: file.size, inodes: 1 });
            found.layers.insert(number, Layer { references: file.references, usage, ..Layer::default() });
            let (name, removed_at) = (EvictableName::Blob(digest), retained.removed_at);
            found.all.push(Evictable { name, removed_at, layers: vec![number] });
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `visit` with every layer that waits to be reclaimed, and what that gives back where it was counted.
    ///
    /// # Errors
    /// Those of `visit`, and of the store. Of a record that cannot be read nothing was counted.
    pub fn each_trash_usage(&self, mut visit: impl FnMut(LayerId, Option<Usage>) -> Result<()>) -> Result<()> {
        self.txn
            .scan(Column::Trash, &[], |key, value| visit(schema::parse_layer(key)?, decode_trash(value).ok().flatten()))
    }
}

impl Transaction<'_> {
    /// Gives up a retained snapshot that only policy leases hold, if it still is what was seen: these no longer name it,
    /// and those that name nothing any more go. One in a transaction. Layers that nothing names any more go to `trash`
    /// and are returned; `None`, with nothing changed, when it is not there, was removed anew, or somebody's lease holds
    /// it by now or may do so with a tree.
    ///
    /// # Errors
    /// Those of the store.
    pub fn evict(
        &mut self,
        kind: &MemberKind,
        (namespace, name): &RetainedName,
        removed_at: SystemTime,
        trees: TreesSeen,
    ) -> Result<Option<Vec<LayerId>>> {
        let same = self.metadata.retained(namespace, name)?.is_some_and(|now| now.removed_at == removed_at);
        if !same || self.trees_seen() != trees {
            return Ok(None);
        }
        let mut holders = Holders::default();
        self.add_holders(&mut holders, namespace, kind, name)?;
        if holders.otherwise {
            return Ok(None);
        }
        self.remove_policies(&holders, &Member::new(kind.clone(), name.as_str())?)?;
        self.drop_retained(&(namespace.clone(), name.clone()))
    }

    /// Gives up a retained blob like [`evict`](Self::evict). Its file goes to `trash` where nothing names it any more.
    ///
    /// # Errors
    /// Those of the store.
    pub fn evict_blob(
        &mut self,
        digest: &Digest,
        removed_at: SystemTime,
        trees: TreesSeen,
    ) -> Result<Option<Option<FileId>>> {
        let same = self.metadata.retained_blob(digest)?.is_some_and(|now| now.removed_at == removed_at);
        if !same || self.trees_seen() != trees {
            return Ok(None);
        }
        let mut holders = Holders::default();
        for namespace in self.metadata.namespaces_of_content_leases() {
            self.add_holders(&mut holders, &namespace, &MemberKind::Content, digest.as_str())?;
        }
        if holders.otherwise {
            return Ok(None);
        }
        self.remove_policies(&holders, &Member::new(MemberKind::Content, digest.as_str())?)?;
        self.drop_retained_blob(digest)
    }

    fn add_holders(
        &self,
        holders: &mut Holders,
        namespace: &Namespace,
        kind: &MemberKind,
        resource: &str,
    ) -> Result<()> {
        let page = |prefix: &[u8], after: Option<&[u8]>| self.txn.page(Column::Leased, prefix, after, LEASES_AT_ONCE);
        holders.add(namespace, kind, resource, self.now, page, |id| self.live_lease(namespace, id))
    }

    fn remove_policies(&mut self, holders: &Holders, member: &Member) -> Result<()> {
        holders
            .policies
            .iter()
            .try_for_each(|(namespace, id, lease)| self.remove_policy_member(namespace, id, lease, member))
    }
}

impl Holders {
    /// Adds the leases of a namespace that name a resource.
    fn add(
        &mut self,
        namespace: &Namespace,
        kind: &MemberKind,
        resource: &str,
        now: SystemTime,
        page: impl Fn(&[u8], Option<&[u8]>) -> Result<Vec<Entry>>,
        lease: impl Fn(&LeaseId) -> Result<Lease>,
    ) -> Result<()> {
        let prefix = schema::leases::leases_on(namespace, kind, resource);
        each_lease_on(&prefix, page, lease, |id, lease| {
            match lease.policy {
                Some(_) => {
                    self.by_policy |= !lease.is_expired(now);
                    self.policies.push((namespace.clone(), id, lease));
                }
                None => self.otherwise |= !lease.is_expired(now),
            }
            ControlFlow::Continue(())
        })
    }

    /// Whether policy leases are all that hold it.
    fn are_policies(&self) -> bool {
        self.by_policy && !self.otherwise
    }
}
