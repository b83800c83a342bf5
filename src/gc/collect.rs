//! One collection: what has ended, what nothing holds any more.

use std::cell::Cell;
use std::time::SystemTime;

use super::give_up::give_up_unheld;
use super::pool::Collectible;
use super::trace::{self, Removed, Statistics};
use crate::Result;
use crate::metadata::RetainedName;
use crate::types::Digest;

/// How many ended leases are deleted between two looks at whether to stop.
const LEASES_AT_ONCE: usize = 64;

/// What one collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Leases that had ended.
    pub leases: usize,
    /// Retained snapshots that no lease holds any more.
    pub retained: Vec<RetainedName>,
    /// Retained blobs that no lease holds any more.
    pub retained_blobs: Vec<Digest>,
    /// Snapshots of the API socket that nothing holds.
    pub api_snapshots: usize,
    /// Blobs of the API socket that nothing holds.
    pub blobs: usize,
    /// Uploads on the API socket that nothing holds.
    pub ingests: usize,
    /// How much there was, and how long it took.
    pub statistics: Statistics,
}

impl Collected {
    /// Returns how many snapshots were removed.
    pub fn snapshots(&self) -> usize {
        self.retained.len() + self.api_snapshots
    }

    /// Whether nothing was removed.
    pub fn is_empty(&self) -> bool {
        let blobs = self.blobs + self.retained_blobs.len();
        self.leases == 0 && self.snapshots() == 0 && blobs == 0 && self.ingests == 0
    }
}

/// Removes what nothing holds as of `now`. Running it again changes nothing more. `expected` is how many resources there
/// may be, and is brought up to date.
///
/// # Errors
/// Those of the store; what was removed before stays so.
pub(super) fn collect(pool: &Collectible, now: SystemTime, expected: &Cell<usize>) -> Result<Collected> {
    let leases = pool.leases();
    let mut collected = Collected::default();
    let go_on = || leases.changes().is_attached();
    while go_on() {
        let deleted = leases.delete_expired(now, LEASES_AT_ONCE)?;
        collected.leases += deleted;
        if deleted == 0 {
            break;
        }
    }
    let given_up = give_up_unheld(pool, now, go_on)?;
    (collected.retained, collected.retained_blobs) = (given_up.snapshots, given_up.blobs);
    if go_on() {
        let (Removed { snapshots, blobs, ingests }, statistics) = trace::collect(pool, now, expected, go_on)?;
        collected = Collected { api_snapshots: snapshots, blobs, ingests, statistics, ..collected };
    }
    Ok(collected)
}
