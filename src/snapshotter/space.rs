//! Whether the pool's file system has room for something new.

use crate::Result;
use crate::overlay::LayerDirs;

/// Below this many free inodes nothing new is made: a database that cannot make files can neither remove nor start.
const MIN_FREE_INODES: u64 = 512;

/// Says what there is too little of for anything new to be made; `None` when there is enough, or nothing is to be kept
/// free. One system call.
///
/// # Errors
/// [`Error::Fs`](crate::Error::Fs).
pub(super) fn shortage(dirs: &LayerDirs, min_free: u64) -> Result<Option<String>> {
    if min_free == 0 {
        return Ok(None);
    }
    let free = dirs.free_space()?;
    Ok(match free.inodes {
        _ if free.bytes < min_free => Some(format!("{} bytes are free, and limits.min_free is {min_free}", free.bytes)),
        Some(inodes) if inodes < MIN_FREE_INODES => {
            Some(format!("{inodes} inodes are free, and {MIN_FREE_INODES} are kept for removals and restarts"))
        }
        _ => None,
    })
}
