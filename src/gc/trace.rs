//! Reading, marking and sweeping what lives by the collector alone.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use super::barrier::Barrier;
use super::build::Builder;
use super::feed::{Order, Stretch, feed, resource_of_member};
use super::intern::HashKey;
use super::mark::Marks;
use super::object::Object;
use super::report::Report;
use super::resource::{Resource, ResourceType, Types};
use crate::Result;
use crate::metadata::{ApiSnapshot, Consistent, StartAt, Touched, Transaction, Unheld};
use crate::snapshotter::Snapshotter;
use crate::types::{Namespace, Scope, SnapshotKey};

/// How many snapshots are swept between two reads of what there is. Bounds memory when nearly everything goes.
const UNHELD_AT_ONCE: usize = 65_536;

/// How much there was in one collection, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Leases and snapshots of the API socket that were read.
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
) -> Result<Option<(Marks, Order)>> {
    let began = Instant::now();
    let read = snapshotter.metadata().read(|records| {
        if !has_api_snapshots(records)? {
            return Ok(None);
        }
        let mut builder = Builder::new(Types::default(), key.clone(), now).with_capacity(expected.get());
        let order = feed(records, snapshotter.name(), &mut builder)?;
        Ok(Some((builder.finish()?, order)))
    })?;
    statistics.read = began.elapsed();
    let Some((graph, order)) = read else { return Ok(None) };
    // An eighth more than this time is enough for most next times.
    expected.set(graph.len() + graph.len() / 8);
    warn(graph.report());
    statistics.objects = graph.report().objects;
    let began = Instant::now();
    let marks = graph.mark();
    statistics.mark = began.elapsed();
    statistics.marked = marks.count() as u64;
    Ok(Some((marks, order)))
}

/// Removes what nothing holds. Writers go on meanwhile.
///
/// # Errors
/// Those of the store; what was removed before stays so.
pub(super) fn collect(
    snapshotter: &Snapshotter,
    now: SystemTime,
    expected: &Cell<usize>,
    go_on: impl Fn() -> bool,
) -> Result<(usize, Statistics)> {
    let (key, mut statistics) = (HashKey::random(), Statistics::default());
    let watch = snapshotter.metadata().watch()?;
    let mut barrier = Barrier::new(key.clone());
    let Some((mut marks, order)) = marks(snapshotter, now, &key, expected, &mut statistics)? else {
        return Ok((0, statistics));
    };
    let began = Instant::now();
    let stretches = order.unmarked(&marks);
    let mut removed = 0;
    while go_on() {
        let (mut in_pass, mut parents) = (0, 0);
        let mut place = Place::default();
        while let Some(unheld) = unheld(snapshotter, &marks, &stretches, &mut place, UNHELD_AT_ONCE)? {
            let still_unheld = |txn: &Transaction<'_>, snapshot: &SnapshotKey| {
                for touched in watch.take(txn) {
                    shade(&mut barrier, snapshotter.name(), &touched);
                }
                marks.absorb(barrier.take());
                !is_marked(&marks, snapshotter.name(), snapshot)
            };
            let swept = snapshotter.sweep(unheld, still_unheld, &go_on)?;
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
    statistics.sweep = began.elapsed();
    Ok((removed, statistics))
}

/// How far a pass over the unmarked ones has come.
#[derive(Debug, Default)]
pub(super) struct Place {
    stretch: usize,
    after: Option<SnapshotKey>,
}

/// Returns the next unmarked snapshots, about `limit` of them; `None` after the last.
///
/// They are read from the newest state: what came to be after the marked one is shaded, which is found out in the
/// transaction that would remove it.
pub(super) fn unheld(
    snapshotter: &Snapshotter,
    marks: &Marks,
    stretches: &[Stretch<'_>],
    place: &mut Place,
    limit: usize,
) -> Result<Option<Vec<Unheld>>> {
    if place.stretch >= stretches.len() {
        return Ok(None);
    }
    let mut found = Vec::new();
    snapshotter.metadata().read(|records| {
        while let Some(stretch) = stretches.get(place.stretch).filter(|_| found.len() < limit) {
            let from = match place.after.take() {
                Some(after) => StartAt::After(after),
                None => StartAt::This(snapshot_key(stretch.from)?),
            };
            records.each_api_snapshot(from, |ApiSnapshot { namespace, key, record }| {
                if stretch.to.is_some_and(|to| (namespace, key) >= to) {
                    return Ok(ControlFlow::Break(()));
                }
                if marks.is_marked(&Resource::snapshot(namespace, snapshotter.name(), key)) {
                    return Ok(ControlFlow::Continue(()));
                }
                let key = snapshot_key((namespace, key))?;
                if found.len() + 1 >= limit {
                    place.after = Some(key.clone());
                }
                found.push(Unheld { key, id: record.id, updated_at: record.updated_at, depth: record.depth });
                Ok(if place.after.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            if place.after.is_none() {
                place.stretch += 1;
            }
        }
        Ok(())
    })?;
    Ok(Some(found))
}

fn snapshot_key((namespace, key): (&str, &str)) -> Result<SnapshotKey> {
    SnapshotKey::parse_in(Scope::Api(Namespace::parse(namespace)?), key)
}

/// Has the barrier take down what a writer used.
fn shade(barrier: &mut Barrier, snapshotter: &str, touched: &Touched) {
    match touched {
        Touched::Snapshot { namespace, key, parent, labels } => {
            let parent = parent.as_ref().map(SnapshotKey::as_str);
            let object = Object::Snapshot { snapshotter, key: key.as_str(), parent };
            barrier.shade_object(&Types::default(), namespace.as_str(), &object, labels.iter());
        }
        Touched::Lease(namespace, id) => {
            barrier.shade(&Resource::new(namespace.as_str(), ResourceType::LEASE, id.as_str()));
        }
        Touched::Member(namespace, member) => {
            barrier.shade(&resource_of_member(namespace.as_str(), member.kind(), member.id()));
        }
    }
}

fn is_marked(marks: &Marks, snapshotter: &str, key: &SnapshotKey) -> bool {
    marks.is_marked(&Resource::snapshot(key.scope().as_str(), snapshotter, key.as_str()))
}

fn has_api_snapshots(records: &Consistent<'_>) -> Result<bool> {
    let mut found = false;
    records.each_api_snapshot(StartAt::First, |_| {
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
