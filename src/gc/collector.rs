//! The thread that collects, and when it does.

use std::cell::Cell;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::collect::{self, Collected};
use super::pool::Collectible;
use super::schedule::Schedule;
use crate::{Chain, Error, Result};

/// The longest wait for the end of a lease. A clock that was set meanwhile is noticed after it.
const LOOK: Duration = Duration::from_secs(1);
/// After a failed collection.
const RETRY: Duration = Duration::from_secs(1);
/// The most resources that room is made for before they were counted once.
const FIRST_EXPECTED: u64 = 1 << 20;

/// The collector of a pool. Ends with [`stop`](Self::stop).
pub struct Collector {
    pool: Arc<Collectible>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Starts collecting: what ended while no daemon ran goes first.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads.
    pub fn start(pool: Arc<Collectible>, schedule: Schedule) -> Result<Collector> {
        let changes = pool.leases().changes();
        changes.set_mutation_threshold(schedule.mutation_threshold);
        // Before the thread runs, so that a request which comes first waits for it.
        changes.attach();
        let run = {
            let pool = pool.clone();
            move || run(&pool, &schedule)
        };
        let thread = std::thread::Builder::new().name("collect".into()).spawn(run).map_err(|err| {
            tracing::error!(error = %err, "cannot start the collector");
            Error::Lost("the collector")
        })?;
        Ok(Collector { pool, thread })
    }

    /// Ends the collector, in the middle of a collection if need be; the rest is found by the next one.
    pub fn stop(self) {
        self.pool.leases().changes().detach();
        if self.thread.join().is_err() {
            tracing::error!("the collector panicked");
        }
    }
}

fn run(pool: &Collectible, schedule: &Schedule) {
    let changes = pool.leases().changes();
    let totals = pool.snapshotter().metadata().totals();
    let expected = Cell::new(totals.map_or(0, |totals| totals.snapshots.min(FIRST_EXPECTED) as usize));
    if changes.pause(schedule.startup_delay).detached {
        return;
    }
    loop {
        // Before the first wait, because of what ended while no daemon ran.
        let began = Instant::now();
        let failed = {
            let _run = changes.begin();
            let result = collect::collect(pool, SystemTime::now(), &expected);
            if let Ok(collected) = &result {
                report(collected, began.elapsed());
            }
            // Before the run ends, because whoever waits for it asks then.
            pool.remember(result)
        };
        // Leases that ended may have been all that kept something from being evicted.
        pool.snapshotter().pressure().holds_changed();
        let mut rest = schedule.rest(began.elapsed());
        if let Err(err) = failed {
            tracing::error!(error = %Chain(&err), "a collection failed; it is tried again");
            metrics::counter!("leasehold_collections_failed_total").increment(1);
            rest = rest.max(RETRY);
        }
        let deletions = if schedule.deletion_threshold == 0 { u64::MAX } else { schedule.deletion_threshold };
        if changes.pause_until(rest, deletions).detached
            || wait_for_work(pool)
            || changes.pause(schedule.schedule_delay).detached
        {
            return;
        }
    }
}

/// Waits until there may be something to collect; true at the stop.
fn wait_for_work(pool: &Collectible) -> bool {
    let leases = pool.leases();
    loop {
        let timeout = match leases.next_expiry() {
            Ok(None) => Duration::MAX,
            // One that cannot be read now may be read later.
            Err(_) => LOOK,
            Ok(Some(end)) => match end.duration_since(SystemTime::now()) {
                // A lease holds up to its end and including it.
                Ok(left) => left.saturating_add(Duration::from_millis(1)).min(LOOK),
                Err(_) => return false,
            },
        };
        let wake = leases.changes().wait(timeout);
        if wake.detached {
            return true;
        }
        if wake.dirty > 0 || wake.requested || wake.mutated {
            return false;
        }
    }
}

fn report(collected: &Collected, took: Duration) {
    let statistics = &collected.statistics;
    metrics::histogram!("leasehold_collection_seconds").record(took.as_secs_f64());
    for (phase, took) in [("read", statistics.read), ("mark", statistics.mark), ("sweep", statistics.sweep)] {
        metrics::histogram!("leasehold_collection_phase_seconds", "phase" => phase).record(took.as_secs_f64());
    }
    metrics::gauge!("leasehold_collection_objects").set(statistics.objects as f64);
    metrics::counter!("leasehold_collected_leases_total").increment(collected.leases as u64);
    metrics::counter!("leasehold_collected_snapshots_total").increment(collected.snapshots() as u64);
    let blobs = collected.blobs + collected.retained_blobs.len();
    metrics::counter!("leasehold_collected_blobs_total").increment(blobs as u64);
    metrics::counter!("leasehold_collected_ingests_total").increment(collected.ingests as u64);
    if collected.is_empty() {
        tracing::debug!(?took, ?statistics, "nothing to collect");
    } else {
        tracing::info!(
            leases = collected.leases,
            retained = collected.retained.len(),
            retained_blobs = collected.retained_blobs.len(),
            snapshots = collected.api_snapshots,
            blobs = collected.blobs,
            ingests = collected.ingests,
            objects = statistics.objects,
            read = ?statistics.read,
            mark = ?statistics.mark,
            sweep = ?statistics.sweep,
            ?took,
            "collected"
        );
    }
}
