//! Giving up what containerd removed and nothing holds any more.

use std::time::SystemTime;

use super::pool::Collectible;
use crate::Result;
use crate::metadata::RetainedName;
use crate::types::Digest;

/// How many times trees are looked at again when leases came to hold more of them. What is left then is for the next
/// collection.
const ATTEMPTS: usize = 4;

/// What was given up.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// Retained snapshots.
    pub snapshots: Vec<RetainedName>,
    /// Retained blobs.
    pub blobs: Vec<Digest>,
}

/// Gives up what is retained that no unexpired lease names or holds with a tree.
///
/// # Errors
/// Those of the store; what was given up before stays so.
pub(super) fn give_up_unheld(pool: &Collectible, now: SystemTime, go_on: impl Fn() -> bool) -> Result<GivenUp> {
    let mut given_up = GivenUp::default();
    for _ in 0..ATTEMPTS {
        // Before the trees: of what is removed from now on, nobody looked whether one holds it.
        let snapshots = pool.snapshotter().retained_unnamed(&go_on)?;
        let blobs = pool.content().retained_unnamed(&go_on)?;
        let trees = pool.trees(now)?;
        let in_tree = |name: &RetainedName| trees.hold_snapshot(&name.0, &name.1);
        let snapshots = pool.snapshotter().give_up_unheld(&snapshots, trees.as_of(), in_tree, &go_on)?;
        given_up.snapshots.extend(snapshots.names);
        let in_tree = |digest: &Digest| trees.hold_blob(digest);
        let blobs = pool.content().give_up_unheld(&blobs, trees.as_of(), in_tree, &go_on)?;
        given_up.blobs.extend(blobs.digests);
        if !(snapshots.trees_changed || blobs.trees_changed) {
            return Ok(given_up);
        }
    }
    pool.wake();
    Ok(given_up)
}
