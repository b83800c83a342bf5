//! Looking at single layers, for checks and repairs, and making one durable.

use std::path::Path;

use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use super::dir::Dir;
use super::layers::LayerDirs;
use crate::types::LayerId;
use crate::{Error, FsOp, Result};

impl LayerDirs {
    /// Whether `l` has a directory of that number.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn exists(&self, id: LayerId) -> Result<bool> {
        is_dir(&self.layers, &id.to_string())
    }

    /// Whether `staging` has a directory of that number.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn is_staged(&self, id: LayerId) -> Result<bool> {
        is_dir(&self.staging, &id.to_string())
    }

    /// Whether `trash` has a directory of that number.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn is_trashed(&self, id: LayerId) -> Result<bool> {
        is_dir(&self.trash, &id.to_string())
    }

    /// Whether a layer has its `fs`, and its `work` when it is active.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn is_whole(&self, id: LayerId, active: bool) -> Result<bool> {
        Ok(is_dir(&self.layers, &format!("{id}/fs"))? && (!active || is_dir(&self.layers, &format!("{id}/work"))?))
    }

    /// Whether an overlay was ever mounted with this layer as its upper one. The kernel makes a directory then, and leaves it.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn was_mounted(&self, id: LayerId) -> Result<bool> {
        is_dir(&self.layers, &format!("{id}/work/work"))
    }

    /// Moves a layer from the trash back to `l`. `false` when `l` has one of that number, and both stay.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn bring_back(&self, id: LayerId) -> Result<bool> {
        let name = id.to_string();
        match self.rename(&self.trash, &name, &self.layers, &name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(err) => Err(Error::fs(FsOp::Rename, &self.trash.path().join(&name))(err)),
        }
    }

    /// Whether something was written into a layer. Lists one directory.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn has_content(&self, id: LayerId) -> Result<bool> {
        let name = format!("{id}/fs");
        Ok(is_dir(&self.layers, &name)? && !Dir::open(self.layers.path().join(name))?.names()?.is_empty())
    }
}

/// Makes everything durable that was written to the file system of `path`.
///
/// # Errors
/// [`Error::Fs`] and [`Error::NoSpace`].
pub fn sync_file_system(path: &Path) -> Result<()> {
    let dir = Dir::open(path)?;
    rustix::fs::syncfs(&dir).map_err(Error::fs(FsOp::Sync, path))
}

fn is_dir(parent: &Dir, name: &str) -> Result<bool> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(err) => Err(Error::fs(FsOp::Stat, &parent.path().join(name))(err)),
    }
}
