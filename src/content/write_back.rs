//! How what is written to an ingest gets to the disk, while more of it comes in.
//!
//! The kernel would keep gigabytes in memory and write them when they are synced, with everybody waiting. So a file is
//! written out in steps, and whoever writes waits for the disk when it is further behind than [`WINDOW`].

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::libc;
use rustix::io::Errno;

/// How much is written out at a time.
const STEP: u64 = 4 << 20;
/// How much of one file may be on its way to the disk.
const WINDOW: u64 = 4 * STEP;

/// What of one file was written out.
#[derive(Debug, Default)]
pub(super) struct WriteBack {
    /// Writing out has begun up to here.
    begun: u64,
    /// It has ended up to here.
    ended: u64,
}

impl WriteBack {
    /// Begins behind what is in the file already.
    pub fn from(offset: u64) -> WriteBack {
        WriteBack { begun: offset, ended: offset }
    }

    /// Has what was written up to `offset` written out; waits when too much is on its way. Nothing of it is durable by
    /// that, but syncing it takes no longer than the last few megabytes.
    ///
    /// # Errors
    /// The kernel's, when something could not be written out. That is said only once.
    pub fn advance(&mut self, file: &File, offset: u64) -> Result<(), Errno> {
        while offset - self.begun >= STEP {
            write_out(file, self.begun, STEP, libc::SYNC_FILE_RANGE_WRITE)?;
            self.begun += STEP;
        }
        while self.begun - self.ended > WINDOW {
            let flags =
                libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
            write_out(file, self.ended, STEP, flags)?;
            self.ended += STEP;
        }
        Ok(())
    }
}

#[expect(unsafe_code, reason = "no crate in use here wraps the call")]
fn write_out(file: &File, offset: u64, len: u64, flags: libc::c_uint) -> Result<(), Errno> {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return Ok(()) };
    // SAFETY: takes numbers only, and the descriptor is open.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, flags) };
    match if result == 0 { None } else { Errno::from_io_error(&std::io::Error::last_os_error()) } {
        // Nothing but a hint where the file system has no such thing.
        None | Some(Errno::NOSYS | Errno::INVAL | Errno::SPIPE | Errno::OPNOTSUPP) => Ok(()),
        Some(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{STEP, WINDOW, WriteBack};

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let mut file = tempfile::tempfile().unwrap();
        let mut write_back = WriteBack::default();
        let chunk = vec![7; 1 << 20];
        for n in 1..=40 {
            file.write_all(&chunk).unwrap();
            let offset = n << 20;
            write_back.advance(&file, offset).unwrap();
            assert!(offset - write_back.begun < STEP);
            assert!(write_back.begun - write_back.ended <= WINDOW);
        }
    }
}
