//! The thread that evicts: gives up what only the daemon's own leases hold, the oldest first, when space runs short.
//!
//! It looks when something was retained, when somebody needs space, and about every second at what is free. Reading
//! everything that is retained is for when that is not enough, and takes a tenth of the time at most.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::pool::Collectible;
use super::stock::Stock;
use crate::metadata::{Evictable, Usage};
use crate::snapshotter::MIN_FREE_INODES;
use crate::types::LayerId;
use crate::{Chain, Error, Result};

/// How often the free space is looked at while something could be evicted.
const LOOK: Duration = Duration::from_secs(1);
/// How often everything is looked at when nothing tells to.
const LOOK_AT_ALL: Duration = Duration::from_secs(30);
/// The shortest rest between two such looks that nobody waits for.
const REST: Duration = Duration::from_millis(200);
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long deletions whose size nobody knows are waited for before anything is evicted.
const DELETIONS: Duration = Duration::from_secs(1);
/// So much is kept free beyond what Prepare needs as long as there is something to evict: a pull meets that limit later.
const MARGIN: u64 = 64 << 20;
/// As many inodes are kept free.
const VITAL_INODES: u64 = 2 * MIN_FREE_INODES;

/// How much may be retained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictionLimits {
    /// Bytes that policy leases alone may keep. 0: any number.
    pub max_bytes: u64,
    /// Bytes that are to be free as long as there is something to evict. 0: no more than everybody needs.
    pub min_free: u64,
}

/// Why something is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// More is retained than may be.
    MaxBytes,
    /// Less is free than should be.
    MinFree,
    /// So little is free that requests are refused, or soon will be.
    Pressure,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Reason::MaxBytes => "max_bytes",
            Reason::MinFree => "min_free",
            Reason::Pressure => "pressure",
        }
    }
}

/// The evictor of a pool. Ends with [`stop`](Self::stop).
pub struct Evictor {
    pool: Arc<Collectible>,
    thread: JoinHandle<()>,
}

impl Evictor {
    /// Starts evicting, also where nothing is to be retained any more: what was retained before may have to go.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads.
    pub fn start(pool: Arc<Collectible>, limits: EvictionLimits) -> Result<Evictor> {
        // Before the thread runs, so that a request which comes first waits for it.
        pool.snapshotter().pressure().attach();
        let run = {
            let pool = pool.clone();
            move || Work { pool: &pool, limits }.run()
        };
        let thread = std::thread::Builder::new().name("evict".into()).spawn(run).map_err(|err| {
            tracing::error!(error = %err, "cannot start the evictor");
            Error::Lost("the evictor")
        })?;
        Ok(Evictor { pool, thread })
    }

    /// Ends the evictor.
    pub fn stop(self) {
        self.pool.snapshotter().pressure().detach();
        if self.thread.join().is_err() {
            tracing::error!("the evictor panicked");
        }
    }
}

struct Work<'p> {
    pool: &'p Collectible,
    limits: EvictionLimits,
}

impl Work<'_> {
    fn run(&self) {
        let mut rest = Duration::ZERO;
        while self.wait(rest) {
            let began = Instant::now();
            rest = match self.look() {
                Ok(()) => REST.max(began.elapsed().saturating_mul(9)),
                Err(err) => {
                    tracing::warn!(error = %Chain(&err), "looking for what to evict failed; it is tried again");
                    // Whoever asks meanwhile: the answer would be the same.
                    self.pool.snapshotter().pressure().pause(RETRY);
                    Duration::ZERO
                }
            };
        }
    }

    /// Waits until there is a reason to look at everything, but for `rest` unless somebody needs space; false at the stop.
    fn wait(&self, rest: Duration) -> bool {
        let (pressure, began) = (self.pool.snapshotter().pressure(), Instant::now());
        let mut changed = false;
        loop {
            let left = match changed {
                true => rest.saturating_sub(began.elapsed()),
                false if pressure.is_stocked() => LOOK,
                false => LOOK_AT_ALL,
            };
            let wake = pressure.wait(left, changed);
            if wake.detached {
                return false;
            }
            if wake.changed && !changed {
                // A removal may have made a lease, which is to be deleted when it ends.
                self.pool.leases().changes().expiry();
                changed = true;
            }
            let rested = began.elapsed() >= rest;
            let due = changed
                || began.elapsed() >= LOOK_AT_ALL
                || (pressure.is_stocked() && self.shortage().is_ok_and(|short| short.is_some()));
            if wake.short || (rested && due) {
                return true;
            }
        }
    }

    fn look(&self) -> Result<()> {
        let pressure = self.pool.snapshotter().pressure();
        let look = pressure.begin();
        self.make_room()?;
        let (stock, kept) = self.keep_below_maximum()?;
        metrics::gauge!("leasehold_retained_by_policy_bytes").set(kept.size as f64);
        look.end(!stock.is_empty(), kept);
        Ok(())
    }

    /// Evicts until enough is free, or will be when what is in trash is deleted.
    fn make_room(&self) -> Result<()> {
        if self.shortage()?.is_none() {
            return Ok(());
        }
        // What goes anyway comes first: what nothing holds, and deletions under way.
        let snapshotter = self.pool.snapshotter();
        snapshotter.give_up_unheld(|| self.goes_on())?;
        if snapshotter.on_its_way()?.uncounted {
            snapshotter.wait_for_deletions(DELETIONS);
        }
        while let Some((reason, need)) = self.shortage()? {
            let stock = Stock::new(snapshotter.evictable()?);
            if self.evict(&stock.choose(need, |layer| self.size(layer)), reason)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Evicts until no more is retained than may be. Returns what is left.
    fn keep_below_maximum(&self) -> Result<(Stock, Usage)> {
        loop {
            let stock = Stock::new(self.pool.snapshotter().evictable()?);
            let kept = stock.total(|layer| self.size(layer));
            let over = match self.limits.max_bytes {
                0 => 0,
                max_bytes => kept.size.saturating_sub(max_bytes),
            };
            let need = Usage { size: over, inodes: 0 };
            if over == 0 || self.evict(&stock.choose(need, |layer| self.size(layer)), Reason::MaxBytes)? == 0 {
                return Ok((stock, kept));
            }
        }
    }

    fn evict(&self, chosen: &[Evictable], reason: Reason) -> Result<u64> {
        let evicted = self.pool.snapshotter().evict(chosen, reason.as_str(), || self.goes_on())?;
        metrics::counter!("leasehold_evictions_total", "reason" => reason.as_str()).increment(evicted);
        if evicted > 0 {
            // A lease names no longer what it named: the API socket may have something of that name, too.
            self.pool.leases().changes().dirty();
        }
        Ok(evicted)
    }

    /// Returns what is missing, when what is in trash is taken for deleted.
    fn shortage(&self) -> Result<Option<(Reason, Usage)>> {
        let snapshotter = self.pool.snapshotter();
        let free = snapshotter.free_space()?;
        let vital = snapshotter.min_free().saturating_add(MARGIN);
        let need_with = |coming: Usage| Usage {
            size: vital.max(self.limits.min_free).saturating_sub(free.bytes.saturating_add(coming.size)),
            inodes: free.inodes.map_or(0, |inodes| VITAL_INODES.saturating_sub(inodes.saturating_add(coming.inodes))),
        };
        // Nearly always this system call is all.
        if need_with(Usage::default()) == Usage::default() {
            return Ok(None);
        }
        let coming = snapshotter.on_its_way()?.usage;
        let need = need_with(coming);
        let is_vital = need.inodes > 0 || free.bytes.saturating_add(coming.size) < vital;
        let reason = if is_vital { Reason::Pressure } else { Reason::MinFree };
        Ok((need != Usage::default()).then_some((reason, need)))
    }

    /// Returns what a layer takes. One that cannot be counted counts as nothing, and keeps no other from being evicted.
    fn size(&self, layer: LayerId) -> Usage {
        if !self.goes_on() {
            return Usage::default();
        }
        self.pool.snapshotter().layer_usage(layer).unwrap_or_else(|err| {
            tracing::debug!(%layer, error = %Chain(&err), "a layer cannot be measured");
            Usage::default()
        })
    }

    fn goes_on(&self) -> bool {
        self.pool.snapshotter().pressure().is_attached()
    }
}
