//! What repairs set aside in `lost+found`, for a human to look at. Nothing there is ever replaced or deleted.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, fsync, openat};
use rustix::io::Errno;

use super::layers::LayerDirs;
use crate::types::LayerId;
use crate::{Error, FsOp, Result};

/// How many things of one name can be set aside. Of layers, whose numbers are not reused, one is usual.
const SET_ASIDE_LIMIT: u32 = 100_000;

impl LayerDirs {
    /// Moves a layer to `lost+found`, for a human to look at, and returns where it is now. `None` when there is no such
    /// directory.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn set_aside(&self, id: LayerId) -> Result<Option<PathBuf>> {
        let name = id.to_string();
        let failed = |err| Error::fs(FsOp::Rename, &self.layers.path().join(&name))(err);
        for n in 0..SET_ASIDE_LIMIT {
            let aside = if n == 0 { name.clone() } else { format!("{name}.{n}") };
            match self.rename(&self.layers, &name, &self.lost_found, &aside) {
                Ok(()) => return Ok(Some(self.lost_found.path().join(aside))),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::EXIST) => {}
                Err(err) => return Err(failed(err)),
            }
        }
        Err(failed(Errno::EXIST))
    }

    /// Writes what a damaged record of a column was to a new file of `lost+found`, durably, and returns where it is.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn keep_record(&self, column: &str, text: &str) -> Result<PathBuf> {
        for n in 0..SET_ASIDE_LIMIT {
            // No layer has a name with a hyphen.
            let name = format!("record-{column}-{n}");
            let path = self.lost_found.path().join(&name);
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match openat(&self.lost_found, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(err) => return Err(Error::fs(FsOp::Open, &path)(err)),
            };
            let mut file = File::from(file);
            file.write_all(text.as_bytes()).map_err(Error::fs(FsOp::Write, &path))?;
            file.sync_all().map_err(Error::fs(FsOp::Sync, &path))?;
            fsync(&self.lost_found).map_err(Error::fs(FsOp::Sync, self.lost_found.path()))?;
            return Ok(path);
        }
        Err(Error::fs(FsOp::Open, &self.lost_found.path().join(column))(Errno::EXIST))
    }
}

#[cfg(test)]
mod tests {
    use crate::overlay::{LayerDirs, Layout};

    #[test]
    fn records_are_kept_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("pool")).unwrap();
        layout.create().unwrap();
        let dirs = LayerDirs::open(&layout).unwrap();
        let kept = ["one", "two"].map(|text| dirs.keep_record("leases", text).unwrap());
        assert_eq!(kept.clone().map(|path| std::fs::read_to_string(path).unwrap()), ["one", "two"]);
        assert_eq!(kept, ["record-leases-0", "record-leases-1"].map(|name| layout.lost_found().join(name)));
    }
}
