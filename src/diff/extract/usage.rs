//! How much space an extraction takes, counted on the way.
//!
//! The result is what [`disk_usage`](crate::overlay::disk_usage) would count, for which a tree would have to be walked. It
//! is known only where a file's blocks are told as soon as it was written, the directory was empty, and nothing was removed.

use std::os::fd::BorrowedFd;

use rustix::fs::{RawDir, Stat, fstatfs};

use super::beneath::open_dir;
use crate::overlay::Usage;
use crate::{Error, FsOp, Result};

/// Unit of `st_blocks`, whatever the file system's own block size is.
const BLOCK: u64 = 512;

/// File systems that reserve what they will allocate exactly: ext4 and tmpfs.
const EXACT: [i64; 2] = [0xef53, 0x0102_1994];

/// What was made so far.
pub(super) struct Count {
    usage: Option<Usage>,
}

impl Count {
    /// Begins to count, if that can be done for the directory.
    pub fn begin(root: BorrowedFd<'_>) -> Result<Count> {
        let failed = |op| Error::fs::<rustix::io::Errno>(op, ".".as_ref());
        let stat = fstatfs(root).map_err(failed(FsOp::StatFs))?;
        let is_exact = EXACT.contains(&stat.f_type);
        let usage = if is_exact && is_empty(root).map_err(failed(FsOp::List))? { Some(Usage::default()) } else { None };
        Ok(Count { usage })
    }

    /// Whether something is counted.
    pub fn is_wanted(&self) -> bool {
        self.usage.is_some()
    }

    /// Counts what was made.
    pub fn add(&mut self, stat: &Stat) {
        self.add_bytes(bytes(stat));
    }

    /// Counts something that needs no block.
    pub fn add_empty(&mut self) {
        self.add_bytes(0);
    }

    /// Counts what a file that was counted takes more, or less, since then.
    pub fn change(&mut self, before: &Stat, after: &Stat) {
        if let Some(usage) = &mut self.usage {
            usage.size = usage.size.saturating_sub(bytes(before)).saturating_add(bytes(after));
        }
    }

    /// Returns the sum.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn add_bytes(&mut self, bytes: u64) {
        if let Some(usage) = &mut self.usage {
            usage.inodes += 1;
            usage.size = usage.size.saturating_add(bytes);
        }
    }
}

fn bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK)
}

fn is_empty(root: BorrowedFd<'_>) -> Result<bool, rustix::io::Errno> {
    let fd = open_dir(root, b".")?;
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
