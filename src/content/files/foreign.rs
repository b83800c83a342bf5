//! Files of another content store, next to ours.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use rustix::fs::{AtFlags, CWD, Stat, fstat, linkat};
use rustix::io::Errno;

use super::{Files, failed};
use crate::overlay::Dir;
use crate::types::{Algorithm, FileId};
use crate::{Error, FsOp, Result};

impl Files {
    /// Gives an open file the name of an ingest; false where that is not possible, and only a copy is.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(in crate::content) fn link_foreign(&self, file: &File, id: FileId) -> Result<bool> {
        let name = id.to_string();
        // The file that was opened, and not what has its name by now.
        let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
        match linkat(CWD, opened, &self.ingests, &*name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            // On another file system or mount; too many names; forbidden; deleted; no /proc.
            Err(
                Errno::XDEV
                | Errno::MLINK
                | Errno::PERM
                | Errno::ACCESS
                | Errno::NOENT
                | Errno::OPNOTSUPP
                | Errno::NOSYS,
            ) => Ok(false),
            Err(err) => Err(failed(FsOp::Link, &self.ingests, &name)(err)),
        }
    }

    /// Returns the number of the file system that holds the pool.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(in crate::content) fn device(&self) -> Result<u64> {
        Ok(stat(&self.ingests)?.st_dev)
    }

    /// Whether a directory is that of our own blobs.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(in crate::content) fn is_own(&self, algorithm: Algorithm, dir: &Dir) -> Result<bool> {
        let (own, other) = (stat(self.blobs(algorithm))?, stat(dir)?);
        Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }
}

fn stat(dir: &Dir) -> Result<Stat> {
    fstat(dir).map_err(Error::fs(FsOp::Stat, dir.path()))
}
