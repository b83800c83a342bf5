//! Reading, marking and sweeping what lives by the collector alone.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use super::barrier::Barrier;
use super::build::Builder;
use super::feed::{Orders, Stretch, feed, resource_of_member};
use super::intern::HashKey;
use super::mark::Marks;
use super::object::Object;
use super::pool::Collectible;
use super::report::Report;
use super::resource::{Resource, ResourceType, Types};
use super::sweepable::{self, Blobs, Ingests, Place, Snapshots, Sweepable};
use crate::Result;
use crate::metadata::{Consistent, StartAt, Touched, Transaction, UnheldBlob, UnheldIngest, Watch};
use crate::snapshotter::Snapshotter;
use crate::types::{Digest, SnapshotKey};

/// How many objects are swept between two reads of what there is. Bounds memory when nearly everything goes.
const UNHELD_AT_ONCE: usize = 65_536;

/// How much there was in one collection, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Leases, and snapshots, blobs and uploads of the API socket that were read.
    pub objects: u64,
    /// Resources that are marked, names that nothing has included.
    pub marked: u64,
    /// How long reading took.
    pub read: Duration,
    /// How long marking took.
    pub mark: Duration,
    /// How long looking for what is not marked, and removing it, took.
    pub sweep: Duration,
}

/// How many objects of each kind were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) snapshots: usize,
    pub(super) blobs: usize,
    pub(super) ingests: usize,
}

/// Reads a state of all records, as of `now`, and marks what is held in it. `Ok(None)` where there is nothing to collect.
///
/// # Errors
/// Those of the store.
pub(super) fn marks(
    snapshotter: &Snapshotter,
    now: SystemTime,
    key: &HashKey,
    expected: &Cell<usize>,
    statistics: &mut Statistics,
) -> Result<Option<(Marks, Orders)>> {
    let began = Instant::now();
    let read = snapshotter.metadata().read(|records| {
        if !has_api_objects(records)? {
            return Ok(None);
        }
        let mut builder = Builder::new(Types::default(), key.clone(), now).with_capacity(expected.get());
        let orders = feed(records, snapshotter.name(), &mut builder)?;
        Ok(Some((builder.finish()?, orders)))
    })?;
    statistics.read = began.elapsed();
    let Some((graph, orders)) = read else { return Ok(None) };
    // An eighth more than this time is enough for most next times.
    expected.set(graph.len() + graph.len() / 8);
    warn(graph.report());
    statistics.objects = graph.report().objects;
    let began = Instant::now();
    let marks = graph.mark();
    statistics.mark = began.elapsed();
    statistics.marked = marks.count() as u64;
    Ok(Some((marks, orders)))
}

/// Removes what nothing holds. Writers go on meanwhile.
///
/// # Errors
/// Those of the store; what was removed before stays so.
pub(super) fn collect(
    pool: &Collectible,
    now: SystemTime,
    expected: &Cell<usize>,
    go_on: impl Fn() -> bool,
) -> Result<(Removed, Statistics)> {
    let (key, mut statistics) = (HashKey::random(), Statistics::default());
    let metadata = pool.snapshotter().metadata();
    let watch = metadata.watch()?;
    let barrier = Barrier::new(key.clone());
    let Some((marks, orders)) = marks(pool.snapshotter(), now, &key, expected, &mut statistics)? else {
        return Ok((Removed::default(), statistics));
    };
    let began = Instant::now();
    // Decided before anything is shaded, which only makes it less.
    let [snapshots, blobs, ingests] =
        [&orders.snapshots, &orders.blobs, &orders.ingests].map(|order| order.unmarked(&marks));
    let mut state = State { pool, marks, barrier, watch };
    let removed = Removed {
        snapshots: state.sweep_snapshots(&snapshots, &go_on)?,
        ingests: state.sweep_ingests(&ingests, &go_on)?,
        blobs: state.sweep_blobs(&blobs, &go_on)?,
    };
    statistics.sweep = began.elapsed();
    Ok((removed, statistics))
}

/// What is known to be held while it is swept.
struct State<'p> {
    pool: &'p Collectible,
    marks: Marks,
    barrier: Barrier,
    watch: Watch<'p>,
}

impl State<'_> {
    /// Tells whether nothing holds a resource, also nothing that writers did before this transaction.
    fn is_unheld(&mut self, txn: &Transaction<'_>, resource: &Resource<'_>) -> bool {
        for touched in self.watch.take(txn) {
            shade(&mut self.barrier, self.pool.snapshotter().name(), &touched);
        }
        self.marks.absorb(self.barrier.take());
        !self.marks.is_marked(resource)
    }

    fn next<K: Sweepable>(
        &self,
        kind: &K,
        stretches: &[Stretch<'_>],
        place: &mut Place,
    ) -> Result<Option<Vec<K::Unheld>>> {
        let metadata = self.pool.snapshotter().metadata();
        sweepable::unheld(metadata, kind, &self.marks, stretches, place, UNHELD_AT_ONCE)
    }

    fn sweep_snapshots(&mut self, stretches: &[Stretch<'_>], go_on: &impl Fn() -> bool) -> Result<usize> {
        let snapshotter = self.pool.snapshotter();
        let mut removed = 0;
        while go_on() {
            let (mut in_pass, mut parents) = (0, 0);
            let mut place = Place::default();
            while let Some(unheld) = self.next(&Snapshots(snapshotter.name()), stretches, &mut place)? {
                let still_unheld = |txn: &Transaction<'_>, key: &SnapshotKey| {
                    let (namespace, name) = (key.scope().as_str(), key.as_str());
                    self.is_unheld(txn, &Resource::snapshot(namespace, snapshotter.name(), name))
                };
                let swept = snapshotter.sweep(unheld, still_unheld, go_on)?;
                in_pass += swept.removed;
                parents += swept.parents;
                if !go_on() {
                    break;
                }
            }
            removed += in_pass;
            // Parents whose children came later in the order of keys are without them now.
            if in_pass == 0 || parents == 0 {
                break;
            }
        }
        Ok(removed)
    }

    fn sweep_blobs(&mut self, stretches: &[Stretch<'_>], go_on: &impl Fn() -> bool) -> Result<usize> {
        let (mut removed, mut place, pool) = (0, Place::default(), self.pool);
        while go_on()
            && let Some(unheld) = self.next(&Blobs, stretches, &mut place)?
        {
            let still_unheld = |txn: &Transaction<'_>, blob: &UnheldBlob| {
                self.is_unheld(txn, &Resource::content(blob.namespace.as_str(), blob.digest.as_str()))
            };
            removed += pool.content().sweep(&unheld, still_unheld, go_on)?;
        }
        Ok(removed)
    }

    fn sweep_ingests(&mut self, stretches: &[Stretch<'_>], go_on: &impl Fn() -> bool) -> Result<usize> {
        let (mut removed, mut place, pool) = (0, Place::default(), self.pool);
        while go_on()
            && let Some(unheld) = self.next(&Ingests, stretches, &mut place)?
        {
            let still_unheld = |txn: &Transaction<'_>, ingest: &UnheldIngest| {
                let (namespace, name) = (ingest.namespace.as_str(), ingest.name.as_str());
                self.is_unheld(txn, &Resource::new(namespace, ResourceType::INGEST, name))
            };
            removed += pool.content().sweep_ingests(&unheld, still_unheld, go_on)?;
        }
        Ok(removed)
    }
}

/// Has the barrier take down what a writer used.
fn shade(barrier: &mut Barrier, snapshotter: &str, touched: &Touched) {
    match touched {
        Touched::Snapshot { namespace, key, parent, labels } => {
            let parent = parent.as_ref().map(SnapshotKey::as_str);
            let object = Object::Snapshot { snapshotter, key: key.as_str(), parent };
            barrier.shade_object(&Types::default(), namespace.as_str(), &object, labels.iter());
        }
        Touched::Blob { namespace, digest, labels } => {
            let object = Object::Content { digest: digest.as_str() };
            barrier.shade_object(&Types::default(), namespace.as_str(), &object, labels.iter());
        }
        Touched::Ingest { namespace, name, expected } => {
            let expected = expected.as_ref().map(Digest::as_str);
            let object = Object::Ingest { reference: name.as_str(), expected, expires: None };
            barrier.shade_object(&Types::default(), namespace.as_str(), &object, std::iter::empty());
        }
        Touched::Lease(namespace, id) => {
            barrier.shade(&Resource::new(namespace.as_str(), ResourceType::LEASE, id.as_str()));
        }
        Touched::Member(namespace, member) => {
            barrier.shade(&resource_of_member(namespace.as_str(), member.kind(), member.id()));
        }
    }
}

fn has_api_objects(records: &Consistent<'_>) -> Result<bool> {
    let mut found = false;
    records.each_api_snapshot(StartAt::First, |_| {
        found = true;
        Ok(ControlFlow::Break(()))
    })?;
    records.each_api_blob(StartAt::First, |_| {
        found = true;
        Ok(ControlFlow::Break(()))
    })?;
    records.each_api_ingest(StartAt::First, |_| {
        found = true;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Bad ends of leases were said when these were created; this is for whoever debugs.
fn warn(report: &Report) {
    if report.bad_expiry_count > 0 {
        tracing::debug!(count = report.bad_expiry_count, first = ?report.bad_expiries.first(), "ends that are no time");
    }
}
