//! What a collection would remove now, and why nothing holds it.

use std::cell::Cell;
use std::time::SystemTime;

use super::feed::Order;
use super::intern::HashKey;
use super::mark::Marks;
use super::pool::{Collectible, advice};
use super::sweepable::{Blobs, Ingests, Place, Snapshots, Sweepable, unheld};
use super::trace::{self, Statistics};
use super::trees::Trees;
use crate::metadata::{Due, DueState, RetainedName, Unheld, UnheldBlob, UnheldIngest};
use crate::types::{Digest, MemberKind, Namespace, Scope, rfc3339_seconds};
use crate::{Error, Result};

/// The most that is listed of each kind. All are counted.
const LISTED: usize = 1_000;
/// How many records are read at a time.
const PAGE: usize = 4_096;

/// What would go.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Leases that have ended.
    pub leases: usize,
    /// Retained snapshots.
    pub retained: usize,
    /// Retained blobs.
    pub retained_blobs: usize,
    /// Snapshots of the API socket.
    pub snapshots: usize,
    /// Blobs of the API socket.
    pub blobs: usize,
    /// Uploads on the API socket.
    pub ingests: usize,
    /// All of them, but no more than a thousand of each kind.
    pub garbage: Vec<Garbage>,
    /// How much there was to read, and how long it took.
    pub statistics: Statistics,
}

/// Something that would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// What it is.
    pub kind: GarbageKind,
    /// Its namespace; a blob that containerd deleted has none.
    pub namespace: Option<Namespace>,
    /// Its id, key, name or digest.
    pub name: String,
    /// Why nothing holds it.
    pub reason: String,
}

/// What would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GarbageKind {
    /// A lease.
    Lease,
    /// A snapshot that containerd removed.
    Retained,
    /// A blob that containerd deleted.
    RetainedBlob,
    /// A snapshot of the API socket.
    Snapshot,
    /// A blob of the API socket.
    Blob,
    /// An upload on the API socket.
    Ingest,
}

impl Collectible {
    /// Tells what a collection would remove now. Changes nothing.
    ///
    /// # Errors
    /// Those of the store; [`Error::Corrupt`] with what to do about a record that keeps collections from going on.
    pub fn plan(&self, now: SystemTime) -> Result<Plan> {
        let mut plan = Plan::default();
        let planned = self
            .plan_leases(now, &mut plan)
            .and_then(|()| self.trees(now))
            .and_then(|trees| {
                self.plan_retained(now, &trees, &mut plan)?;
                self.plan_retained_blobs(now, &trees, &mut plan)
            })
            .and_then(|()| self.plan_objects(now, &mut plan));
        match planned {
            Ok(()) => Ok(plan),
            Err(Error::Corrupt(problem)) => Err(Error::Corrupt(advice(&problem))),
            Err(err) => Err(err),
        }
    }

    fn plan_leases(&self, now: SystemTime, plan: &mut Plan) -> Result<()> {
        for Due { namespace, id, state } in self.snapshotter().metadata().expired(now, usize::MAX)? {
            let reason = match state {
                DueState::Ended => "it has ended",
                DueState::Deleted => "deleted",
                DueState::Stale(_) => continue,
            };
            plan.leases += 1;
            if plan.leases <= LISTED {
                let (kind, namespace, name) = (GarbageKind::Lease, Some(namespace), id.as_str().to_owned());
                plan.garbage.push(Garbage { kind, namespace, name, reason: reason.to_owned() });
            }
        }
        Ok(())
    }

    fn plan_retained(&self, now: SystemTime, trees: &Trees, plan: &mut Plan) -> Result<()> {
        let (metadata, kind) = (self.snapshotter().metadata(), self.snapshotter().member_kind());
        let mut after: Option<RetainedName> = None;
        loop {
            let page = metadata.retained_names(after.as_ref(), PAGE)?;
            for name in &page {
                if trees.hold_snapshot(&name.0, &name.1) || metadata.retained_by(kind, name, now)?.is_some() {
                    continue;
                }
                plan.retained += 1;
                if plan.retained <= LISTED {
                    plan.garbage.push(Garbage {
                        kind: GarbageKind::Retained,
                        namespace: Some(name.0.clone()),
                        name: name.1.clone(),
                        reason: self
                            .no_lease(&name.0, kind, &name.1)?
                            .unwrap_or_else(|| "no lease names it".to_owned()),
                    });
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn plan_retained_blobs(&self, now: SystemTime, trees: &Trees, plan: &mut Plan) -> Result<()> {
        let metadata = self.snapshotter().metadata();
        let mut after = None;
        loop {
            let page = metadata.retained_blobs(after.as_ref(), PAGE)?;
            for digest in &page {
                if trees.hold_blob(digest) || metadata.blob_held_by(digest, now)?.is_some() {
                    continue;
                }
                plan.retained_blobs += 1;
                if plan.retained_blobs <= LISTED {
                    let (kind, name) = (GarbageKind::RetainedBlob, digest.to_string());
                    let reason = self.no_lease_on_blob(digest)?;
                    plan.garbage.push(Garbage { kind, namespace: None, name, reason });
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn no_lease_on_blob(&self, digest: &Digest) -> Result<String> {
        for namespace in self.snapshotter().metadata().namespaces_of_content_leases() {
            if let Some(reason) = self.no_lease(&namespace, &MemberKind::Content, digest.as_str())? {
                return Ok(reason);
            }
        }
        Ok("no lease names it".to_owned())
    }

    fn plan_objects(&self, now: SystemTime, plan: &mut Plan) -> Result<()> {
        let (key, expected) = (HashKey::random(), Cell::new(0));
        let Some((marks, orders)) = trace::marks(self.snapshotter(), now, &key, &expected, &mut plan.statistics)?
        else {
            return Ok(());
        };
        let snapshots = Snapshots(self.snapshotter().name());
        plan.snapshots = self.plan_kind(&snapshots, &orders.snapshots, &marks, plan, Self::unheld_snapshot)?;
        plan.blobs = self.plan_kind(&Blobs, &orders.blobs, &marks, plan, Self::unheld_blob)?;
        plan.ingests = self.plan_kind(&Ingests, &orders.ingests, &marks, plan, Self::unheld_ingest)?;
        Ok(())
    }

    /// Lists what would go of a kind, and returns how many these are.
    fn plan_kind<K: Sweepable>(
        &self,
        kind: &K,
        order: &Order,
        marks: &Marks,
        plan: &mut Plan,
        tell: impl Fn(&Self, K::Unheld) -> Result<Option<Garbage>>,
    ) -> Result<usize> {
        let (stretches, mut place, mut count) = (order.unmarked(marks), Place::default(), 0);
        while let Some(page) = unheld(self.snapshotter().metadata(), kind, marks, &stretches, &mut place, PAGE)? {
            let listed = LISTED.saturating_sub(count);
            count += page.len();
            for one in page.into_iter().take(listed) {
                plan.garbage.extend(tell(self, one)?);
            }
        }
        Ok(count)
    }

    fn unheld_snapshot(&self, snapshot: Unheld) -> Result<Option<Garbage>> {
        let Scope::Api(namespace) = snapshot.key.scope() else { return Ok(None) };
        let (namespace, name) = (namespace.clone(), snapshot.key.as_str().to_owned());
        let kind = self.snapshotter().member_kind();
        self.garbage(GarbageKind::Snapshot, namespace, name, kind).map(Some)
    }

    fn unheld_blob(&self, blob: UnheldBlob) -> Result<Option<Garbage>> {
        let name = blob.digest.as_str().to_owned();
        self.garbage(GarbageKind::Blob, blob.namespace, name, &MemberKind::Content).map(Some)
    }

    fn unheld_ingest(&self, ingest: UnheldIngest) -> Result<Option<Garbage>> {
        let (kind, name) = (GarbageKind::Ingest, ingest.name.as_str().to_owned());
        let garbage = self.garbage(kind, ingest.namespace, name, &MemberKind::Ingests)?;
        let record = match self.snapshotter().metadata().ingest(&ingest.name) {
            Ok(record) => record,
            // Ended meanwhile.
            Err(Error::NotFound(_)) => return Ok(None),
            Err(err) => return Err(err),
        };
        Ok(Some(match record.expires_at {
            Some(end) => {
                let reason = format!("nobody has gone on with it up to {}", rfc3339_seconds(end));
                Garbage { reason, ..garbage }
            }
            None => garbage,
        }))
    }

    fn garbage(&self, kind: GarbageKind, namespace: Namespace, name: String, member: &MemberKind) -> Result<Garbage> {
        let reason = self.no_lease(&namespace, member, &name)?;
        let reason =
            reason.unwrap_or_else(|| "no lease, no root label, and nothing that is held refers to it".to_owned());
        Ok(Garbage { kind, namespace: Some(namespace), name, reason })
    }

    /// Says which leases name something although none holds it.
    fn no_lease(&self, namespace: &Namespace, kind: &MemberKind, id: &str) -> Result<Option<String>> {
        let leases = self.snapshotter().metadata().leases_on(namespace, kind, id)?;
        Ok(leases.into_iter().find_map(|(lease, record)| {
            Some(format!("lease {lease} ended at {}", rfc3339_seconds(record.expires_at?)))
        }))
    }
}
