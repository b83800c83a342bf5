//! Data of files.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::libc;
use rustix::fs::ftruncate;
use rustix::io::pwrite;

use super::path::shown;
use super::tar::{Data, Header};
use crate::{Error, FsOp, Result};

/// How much of a large file is written before the disk begins with it.
const STEP: u64 = 8 << 20;

/// Writes what the archive has of an entry into its file, which is empty. Holes are left where there are any. Of a file
/// of at least `write_back` bytes writing to the disk is begun at once.
pub(super) fn write_data(
    fd: BorrowedFd<'_>,
    path: &[u8],
    header: &Header,
    data: &mut Data<'_>,
    write_back: Option<u64>,
) -> Result<()> {
    let size = u64::try_from(header.size).unwrap_or_default();
    let write_back = write_back.is_some_and(|limit| size >= limit);
    let is_sparse = data.is_sparse();
    let mut begun = 0;
    data.copy(&mut |offset, chunk| {
        write_all(fd, offset, chunk).map_err(Error::fs(FsOp::Write, shown(path)))?;
        let end = offset + chunk.len() as u64;
        if write_back && (end >= begun + STEP || end == size) {
            begin_write_back(fd, begun, end);
            begun = end;
        }
        Ok(())
    })?;
    if is_sparse {
        ftruncate(fd, size).map_err(Error::fs(FsOp::Truncate, shown(path)))?;
    }
    Ok(())
}

fn write_all(fd: BorrowedFd<'_>, mut offset: u64, mut chunk: &[u8]) -> std::io::Result<()> {
    while !chunk.is_empty() {
        match pwrite(fd, chunk, offset) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                chunk = chunk.get(written..).unwrap_or_default();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

/// Has the kernel begin to write out a part of a file. A hint: whoever wants it on the disk syncs, and learns of errors then.
#[expect(unsafe_code, reason = "no crate in use here wraps the call")]
fn begin_write_back(fd: BorrowedFd<'_>, start: u64, end: u64) {
    let (Ok(offset), Ok(len)) = (i64::try_from(start), i64::try_from(end - start)) else { return };
    // SAFETY: takes numbers only, and the descriptor is open.
    let _ = unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}
