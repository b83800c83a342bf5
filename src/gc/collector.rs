//! The thread that collects, and when it does.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::collect::{self, Collected};
use crate::leases::{Changes, Leases};
use crate::snapshotter::Snapshotter;
use crate::{Chain, Error, Result};

/// The longest wait for the end of a lease. A clock that was set meanwhile is noticed after it.
const LOOK: Duration = Duration::from_secs(1);
/// After a failed collection.
const RETRY: Duration = Duration::from_secs(1);
/// How many times as long as it worked the collector rests before the next collection that nobody waits for.
const REST: u32 = 9;
/// It rests no longer than this.
const MAX_REST: Duration = Duration::from_secs(1);

/// The collector of a pool. Ends with [`stop`](Self::stop).
pub struct Collector {
    changes: Arc<Changes>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Starts collecting: what ended while no daemon ran goes first.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads.
    pub fn start(snapshotter: Arc<Snapshotter>, leases: Arc<Leases>) -> Result<Collector> {
        let changes = leases.changes().clone();
        // Before the thread runs, so that a request which comes first waits for it.
        changes.attach();
        let run = move || run(&snapshotter, &leases);
        let thread = std::thread::Builder::new().name("collect".into()).spawn(run).map_err(|err| {
            tracing::error!(error = %err, "cannot start the collector");
            Error::Lost("the collector")
        })?;
        Ok(Collector { changes, thread })
    }

    /// Ends the collector, in the middle of a collection if need be; the rest is found by the next one.
    pub fn stop(self) {
        self.changes.detach();
        if self.thread.join().is_err() {
            tracing::error!("the collector panicked");
        }
    }
}

fn run(snapshotter: &Snapshotter, leases: &Leases) {
    let changes = leases.changes();
    let mut rest = Duration::ZERO;
    loop {
        // Before the first wait, because of what ended while no daemon ran.
        let began = Instant::now();
        let result = {
            let _run = changes.begin();
            collect::collect(snapshotter, leases, SystemTime::now())
        };
        match result {
            Ok(collected) => {
                report(&collected, began.elapsed());
                rest = (began.elapsed() * REST).min(MAX_REST);
            }
            Err(err) => {
                tracing::error!(error = %Chain(&err), "a collection failed; it is tried again");
                rest = rest.max(RETRY);
            }
        }
        if changes.pause(rest).detached || wait_for_work(leases) {
            return;
        }
    }
}

/// Waits until there may be something to collect; true at the stop.
fn wait_for_work(leases: &Leases) -> bool {
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
        if wake.dirty > 0 || wake.requested {
            return false;
        }
    }
}

fn report(collected: &Collected, took: Duration) {
    metrics::histogram!("leasehold_collection_seconds").record(took.as_secs_f64());
    metrics::counter!("leasehold_collected_leases_total").increment(collected.leases as u64);
    metrics::counter!("leasehold_collected_snapshots_total").increment(collected.snapshots() as u64);
    if collected.is_empty() {
        tracing::debug!(?took, "nothing to collect");
    } else {
        tracing::info!(leases = collected.leases, snapshots = collected.snapshots(), ?took, "collected");
    }
}
