//! The thread that evicts: gives up what only the daemon's own leases hold, the oldest first, when space runs short.
//!
//! While there is something that could be evicted it asks about every second what is free. When that is not enough, when
//! something was retained or somebody needs space, it looks at everything that is retained, which takes a tenth of the
//! time at most unless it helps.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::give_up::give_up_unheld;
use super::pool::Collectible;
use super::stock::Stock;
use crate::metadata::{Evictable, EvictableName, TreesSeen, Usage};
use crate::snapshotter::MIN_FREE_INODES;
use crate::types::LayerId;
use crate::{Chain, Error, Result};

/// How often the free space is looked at while something could be evicted.
const LOOK: Duration = Duration::from_secs(1);
/// How often else: whatever makes something evictable is told.
const LOOK_AT_NOTHING: Duration = Duration::from_secs(3600);
/// The shortest rest between two looks at everything that nobody waits for.
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

/// How long to leave off after a look.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    time: Duration,
    /// Whether anything was evicted: then looking again may help whoever needs space.
    helped: bool,
    failed: bool,
}

struct Work<'p> {
    pool: &'p Collectible,
    limits: EvictionLimits,
}

impl Work<'_> {
    fn run(&self) {
        let mut after = Rest::default();
        while self.wait(after) {
            let began = Instant::now();
            after = match self.look() {
                Ok(evicted) => {
                    let time = REST.max(began.elapsed().saturating_mul(9));
                    Rest { time, helped: evicted > 0, failed: false }
                }
                Err(err) => {
                    // Said once: it may go on for as long as the disk is full.
                    if !after.failed {
                        tracing::warn!(error = %Chain(&err), "looking for what to evict failed; it is tried again");
                    }
                    Rest { time: RETRY, failed: true, ..Rest::default() }
                }
            };
        }
    }

    /// Waits for a rest, and then until there is a reason to look at everything; false at the stop. Whoever needs space
    /// ends the rest, unless the last look was of no help.
    fn wait(&self, after: Rest) -> bool {
        let (pressure, began) = (self.pool.snapshotter().pressure(), Instant::now());
        let mut changed = false;
        loop {
            let left = after.time.saturating_sub(began.elapsed());
            let timeout = match changed {
                true => left,
                false if pressure.is_stocked() => LOOK,
                false => LOOK_AT_NOTHING,
            };
            let wake = pressure.wait(timeout, changed);
            if wake.changed && !changed {
                // A removal may have made a lease, which is to be deleted when it ends.
                self.pool.leases().changes().expiry();
                changed = true;
            }
            let rested = began.elapsed() >= after.time;
            if wake.detached {
                return false;
            } else if wake.short && !rested && !after.helped {
                pressure.pause(after.time.saturating_sub(began.elapsed()));
            } else if wake.short || (rested && (changed || self.is_short())) {
                return true;
            }
        }
    }

    /// Whether there is a reason to evict, as far as is known without reading what is retained.
    fn is_short(&self) -> bool {
        self.pool.snapshotter().pressure().is_stocked() && self.shortage().is_ok_and(|short| short.is_some())
    }

    /// Evicts what has to go, and says what is left. Returns how much went.
    fn look(&self) -> Result<u64> {
        let pressure = self.pool.snapshotter().pressure();
        let look = pressure.begin();
        // Once more, and only now: while a change was known already, a removal that made a lease told nobody.
        self.pool.leases().changes().expiry();
        let evicted = self.make_room()?;
        let (more, stock, kept) = self.keep_below_maximum()?;
        look.end(!stock.is_empty(), kept);
        Ok(evicted + more)
    }

    /// Evicts until enough is free, or will be when what is in trash is deleted.
    fn make_room(&self) -> Result<u64> {
        if self.shortage()?.is_none() {
            return Ok(0);
        }
        // What goes anyway comes first: what nothing holds, and deletions under way.
        let snapshotter = self.pool.snapshotter();
        give_up_unheld(self.pool, SystemTime::now(), || self.goes_on())?;
        if snapshotter.on_its_way()?.uncounted {
            snapshotter.wait_for_deletions(DELETIONS);
        }
        let mut evicted = 0;
        while let Some((reason, need)) = self.shortage()? {
            let (stock, trees) = self.stock()?;
            match self.evict(&stock.choose(need, |layer| self.size(layer)), trees, reason)? {
                0 => break,
                more => evicted += more,
            }
        }
        Ok(evicted)
    }

    /// Evicts until no more is retained than may be. Returns how much went, and what is left.
    fn keep_below_maximum(&self) -> Result<(u64, Stock, Usage)> {
        let mut evicted = 0;
        loop {
            let (stock, trees) = self.stock()?;
            let kept = stock.total(|layer| self.size(layer));
            let over = match self.limits.max_bytes {
                0 => 0,
                max_bytes => kept.size.saturating_sub(max_bytes),
            };
            let need = Usage { size: over, inodes: 0 };
            match self.evict(&stock.choose(need, |layer| self.size(layer)), trees, Reason::MaxBytes)? {
                0 => return Ok((evicted, stock, kept)),
                more => evicted += more,
            }
        }
    }

    /// Returns what could be evicted: what no client's lease names, nor holds with a tree as of what was looked at.
    fn stock(&self) -> Result<(Stock, TreesSeen)> {
        let mut evictables = self.pool.snapshotter().evictable()?;
        // Afterwards: of what is removed from now on, nobody looked whether a tree holds it.
        let trees = self.pool.trees(SystemTime::now())?;
        evictables.all.retain(|one| match &one.name {
            EvictableName::Snapshot((namespace, name)) => !trees.hold_snapshot(namespace, name),
            EvictableName::Blob(digest) => !trees.hold_blob(digest),
        });
        Ok((Stock::new(evictables), trees.as_of()))
    }

    fn evict(&self, chosen: &[Evictable], trees: TreesSeen, reason: Reason) -> Result<u64> {
        if chosen.is_empty() {
            return Ok(0);
        }
        let (snapshotter, content) = (self.pool.snapshotter(), self.pool.content());
        let evicted = snapshotter.evict(chosen, trees, reason.as_str(), || self.goes_on())?
            + content.evict(chosen, trees, reason.as_str(), || self.goes_on())?;
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
