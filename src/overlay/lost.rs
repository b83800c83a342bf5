//! What repairs set aside in `lost+found`, for a human to look at. Nothing there is ever replaced or deleted.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, linkat, openat, unlinkat};
use rustix::io::Errno;

use super::dir::Dir;
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
        self.lost_found.keep_record(column, text)
    }
}

/// Of the directory `lost+found`.
impl Dir {
    /// Moves the file `name` of `from` here, under the name `aside` or one that begins with it, and returns where it is
    /// now. `None` when there is no such file.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn take_aside(&self, from: &Dir, name: &str, aside: &str) -> Result<Option<PathBuf>> {
        let failed = |err| Error::fs(FsOp::Link, &from.path().join(name))(err);
        for n in 0..SET_ASIDE_LIMIT {
            let aside = if n == 0 { aside.to_owned() } else { format!("{aside}.{n}") };
            // Renaming a file replaces what has the name, with file systems that know no other way; linking does not.
            match linkat(from, name, self, &*aside, AtFlags::empty()) {
                Ok(()) => {
                    unlinkat(from, name, AtFlags::empty()).map_err(failed)?;
                    return Ok(Some(self.path().join(aside)));
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::EXIST) => {}
                Err(err) => return Err(failed(err)),
            }
        }
        Err(failed(Errno::EXIST))
    }

    /// Writes what a damaged record of a column was to a new file of this directory, durably, and returns where it is.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn keep_record(&self, column: &str, text: &str) -> Result<PathBuf> {
        for n in 0..SET_ASIDE_LIMIT {
            // No layer has a name with a hyphen.
            let name = format!("record-{column}-{n}");
            let path = self.path().join(&name);
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match openat(self, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(err) => return Err(Error::fs(FsOp::Open, &path)(err)),
            };
            let mut file = File::from(file);
            file.write_all(text.as_bytes()).map_err(Error::fs(FsOp::Write, &path))?;
            file.sync_all().map_err(Error::fs(FsOp::Sync, &path))?;
            fsync(self).map_err(Error::fs(FsOp::Sync, self.path()))?;
            return Ok(path);
        }
        Err(Error::fs(FsOp::Open, &self.path().join(column))(Errno::EXIST))
    }
}

#[cfg(test)]
mod tests {
    use crate::overlay::{Dir, LayerDirs, Layout};

    #[test]
    fn files_that_are_set_aside_replace_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            Dir::open(dir.path().join(name)).unwrap()
        });
        assert_eq!(to.take_aside(&from, "file", "7").unwrap(), None);
        for (text, name) in [("one", "7"), ("two", "7.1")] {
            std::fs::write(from.path().join("file"), text).unwrap();
            let aside = to.take_aside(&from, "file", "7").unwrap().unwrap();
            assert_eq!(aside, to.path().join(name));
            assert_eq!(std::fs::read_to_string(aside).unwrap(), text);
            assert_eq!(from.names().unwrap().len(), 0);
        }
    }

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
