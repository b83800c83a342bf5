//! What a collection would remove now, and why nothing holds it.

use std::cell::Cell;
use std::time::SystemTime;

use super::intern::HashKey;
use super::pool::{Collectible, advice};
use super::trace::{self, Statistics};
use super::trees::Trees;
use crate::metadata::{Due, DueState, RetainedName, Unheld};
use crate::types::{Digest, MemberKind, Namespace, Scope};
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
            .and_then(|()| self.plan_snapshots(now, &mut plan));
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
                let (kind, namespace, name) = (GarbageKind::Lease, Some(namespace), id.to_string());
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

    fn plan_snapshots(&self, now: SystemTime, plan: &mut Plan) -> Result<()> {
        let (key, expected) = (HashKey::random(), Cell::new(0));
        let Some((marks, order)) = trace::marks(self.snapshotter(), now, &key, &expected, &mut plan.statistics)? else {
            return Ok(());
        };
        let (stretches, mut place) = (order.unmarked(&marks), trace::Place::default());
        while let Some(unheld) = trace::unheld(self.snapshotter(), &marks, &stretches, &mut place, PAGE)? {
            let listed = LISTED.saturating_sub(plan.snapshots);
            plan.snapshots += unheld.len();
            for snapshot in unheld.into_iter().take(listed) {
                plan.garbage.extend(self.unheld_snapshot(snapshot)?);
            }
        }
        Ok(())
    }

    fn unheld_snapshot(&self, snapshot: Unheld) -> Result<Option<Garbage>> {
        let Scope::Api(namespace) = snapshot.key.scope() else { return Ok(None) };
        let name = snapshot.key.as_str().to_owned();
        let reason = self.no_lease(namespace, self.snapshotter().member_kind(), &name)?;
        Ok(Some(Garbage {
            kind: GarbageKind::Snapshot,
            namespace: Some(namespace.clone()),
            name,
            reason: reason
                .unwrap_or_else(|| "no lease, no root label, and nothing that is held refers to it".to_owned()),
        }))
    }

    /// Says which leases name something although none holds it.
    fn no_lease(&self, namespace: &Namespace, kind: &MemberKind, id: &str) -> Result<Option<String>> {
        let leases = self.snapshotter().metadata().leases_on(namespace, kind, id)?;
        Ok(leases.into_iter().find_map(|(lease, record)| {
            Some(format!("lease {lease} ended at {}", humantime::format_rfc3339_seconds(record.expires_at?)))
        }))
    }
}
