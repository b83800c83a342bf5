//! The directories of a pool, held open, and what can be done with a whole layer.
//!
//! Owns the moves of a layer between `l`, `staging`, `trash` and `lost+found`. Each is one rename, so a crash leaves a
//! layer in one place or the other, never half in both. A rename never replaces anything.
//!
//! [`LayerDirs::open`] sends one directory the way that every layer goes, so that a pool on which a rename cannot work
//! is refused at start, and so that what `mkdir` makes of a mode here (umask, set-group-ID bit, inherited ACL) is
//! known and [`create`](LayerDirs::create) needs no call to find out.

use std::ffi::OsString;

use rustix::fs::{AtFlags, Mode, RenameFlags, mkdirat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::dir::Dir;
use super::layout::Layout;
use super::remove::{RemoveStats, mounted, remove_tree, remove_tree_while};
use super::stage::Attributes;
use super::usage::{FreeSpace, free_bytes, free_space};
use crate::types::LayerId;
use crate::{Error, FsOp, Result};

/// Name of the directory that [`LayerDirs::open`] sends the way of a layer. Not a [`LayerId`].
const SCOUT: &str = ".scout";

/// The mode that the scout asks for: all that `mkdir` can grant.
const SCOUT_MODE: u32 = 0o1777;

/// The open directories of one pool. Open it once; all its functions may be called from many threads at once.
#[derive(Debug)]
pub struct LayerDirs {
    pub(super) layers: Dir,
    pub(super) staging: Dir,
    pub(super) trash: Dir,
    pub(super) lost_found: Dir,
    /// What `mkdir` makes when it is asked for [`SCOUT_MODE`].
    made: Attributes,
    renames: Renames,
}

/// What names [`LayerDirs`] found in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Layers, in order.
    pub ids: Vec<LayerId>,
    /// Names that are no layer's. Log them, and never touch them: somebody else put them there.
    pub unknown: Vec<OsString>,
}

/// How a rename is kept from replacing what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renames {
    /// The kernel refuses.
    Exclusive,
    /// The file system cannot refuse: look first. Enough, because one daemon owns the pool and numbers are not reused.
    Checked,
}

impl LayerDirs {
    /// Opens the directories of a pool that [`Layout::create`] made.
    ///
    /// # Errors
    /// [`Error::Pool`] when they are on different file systems; [`Error::Fs`] and [`Error::NoSpace`] for the rest.
    pub fn open(layout: &Layout) -> Result<LayerDirs> {
        let mut dirs = LayerDirs {
            layers: Dir::open(layout.layers())?,
            staging: Dir::open(layout.staging())?,
            trash: Dir::open(layout.trash())?,
            lost_found: Dir::open(layout.lost_found())?,
            made: Attributes::default(),
            renames: Renames::Exclusive,
        };
        dirs.scout(layout)?;
        Ok(dirs)
    }

    /// Returns owner and mode of a layer's `fs`, which a child inherits as those of its root directory.
    ///
    /// # Errors
    /// [`Error::Fs`], also when the directory is missing: its record promised it.
    pub fn attributes_of(&self, id: LayerId) -> Result<Attributes> {
        let name = format!("{id}/fs");
        let stat = statat(&self.layers, &*name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|err| Error::fs(FsOp::Stat, &self.layers.path().join(&name))(err))?;
        Ok(Attributes { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 })
    }

    /// Moves a layer to the trash. `false` when there is no such directory.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn move_to_trash(&self, id: LayerId) -> Result<bool> {
        let name = id.to_string();
        let mut result = self.rename(&self.layers, &name, &self.trash, &name);
        if result == Err(Errno::EXIST) {
            // Only after a repair made a directory again whose predecessor still waits in the trash.
            remove_tree(&self.trash, &name)?;
            result = self.rename(&self.layers, &name, &self.trash, &name);
        }
        match result {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            // On the directory itself; one below it goes along.
            Err(Errno::BUSY) => Err(Error::fs(FsOp::Rename, &self.layers.path().join(&name))(mounted())),
            Err(err) => Err(Error::fs(FsOp::Rename, &self.layers.path().join(&name))(err)),
        }
    }

    /// Makes durable what was moved out of `l`.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn sync_moves(&self) -> Result<()> {
        rustix::fs::fsync(&self.layers).map_err(Error::fs(FsOp::Sync, self.layers.path()))
    }

    /// Deletes a layer that is in the trash. Walks its tree. A missing one is no error. `go_on` is asked before each
    /// entry, and may wait.
    ///
    /// # Errors
    /// As [`remove_tree_while`].
    pub fn reclaim(&self, id: LayerId, go_on: &mut dyn FnMut() -> bool) -> Result<RemoveStats> {
        remove_tree_while(&self.trash, id.to_string(), go_on)
    }

    /// Deletes what a crash left in `staging`. Walks its tree. A missing one is no error.
    ///
    /// # Errors
    /// As [`remove_tree`].
    pub fn discard_staged(&self, id: LayerId) -> Result<RemoveStats> {
        remove_tree(&self.staging, id.to_string())
    }

    /// Lists the layers in `l`. Reads the whole directory.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn list_layers(&self) -> Result<Listing> {
        Listing::of(&self.layers)
    }

    /// Lists the layers that a crash left in `staging`, or that are being made. Reads the whole directory.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn list_staging(&self) -> Result<Listing> {
        Listing::of(&self.staging)
    }

    /// Lists the layers that wait to be deleted. Reads the whole directory.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn list_trash(&self) -> Result<Listing> {
        Listing::of(&self.trash)
    }

    /// Returns the bytes that could still be written to the pool's file system. One system call.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn free_bytes(&self) -> Result<u64> {
        free_bytes(&self.layers)
    }

    /// Returns what is free on the pool's file system. One system call.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn free_space(&self) -> Result<FreeSpace> {
        free_space(&self.layers)
    }

    /// Tells whether `mkdir` here yields exactly this mode.
    pub(super) fn makes_mode(&self, mode: u32) -> bool {
        let lost = SCOUT_MODE & !self.made.mode;
        let added = self.made.mode & !SCOUT_MODE;
        added == 0 && mode & (lost | !SCOUT_MODE) == 0
    }

    /// Tells whether `mkdir` here yields this owner.
    pub(super) fn makes_owner(&self, uid: u32, gid: u32) -> bool {
        (self.made.uid, self.made.gid) == (uid, gid)
    }

    /// Renames an entry, never replacing another.
    ///
    /// # Errors
    /// `EXIST` when the new name is taken.
    pub(super) fn rename(&self, from: &Dir, name: &str, to: &Dir, new_name: &str) -> Result<(), Errno> {
        match self.renames {
            Renames::Exclusive => renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE),
            Renames::Checked => match statat(to, new_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => renameat(from, name, to, new_name),
                Err(err) => Err(err),
            },
        }
    }

    /// Sends a directory from `staging` through `l` and `trash` to `lost+found`, and notes what became of it.
    fn scout(&mut self, layout: &Layout) -> Result<()> {
        let clear = |dirs: &LayerDirs| {
            for dir in [&dirs.staging, &dirs.layers, &dirs.trash, &dirs.lost_found] {
                // Left by a crash; if it cannot be removed, the next step says why.
                let _ = unlinkat(dir, SCOUT, AtFlags::REMOVEDIR);
            }
        };
        clear(self);
        let path = self.staging.path().join(SCOUT);
        mkdirat(&self.staging, SCOUT, Mode::from_raw_mode(SCOUT_MODE)).map_err(Error::fs(FsOp::CreateDir, &path))?;
        let stat = statat(&self.staging, SCOUT, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::fs(FsOp::Stat, &path))?;
        self.made = Attributes { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 };

        if self.rename(&self.staging, SCOUT, &self.layers, SCOUT) == Err(Errno::INVAL) {
            self.renames = Renames::Checked;
        } else {
            // Back, so that both ways of renaming take the same path below.
            let _ = self.rename(&self.layers, SCOUT, &self.staging, SCOUT);
        }
        crate::failpoint::hit("scout: made");
        let way = [&self.staging, &self.layers, &self.trash, &self.lost_found];
        let result = way.iter().zip(way.iter().skip(1)).try_for_each(|(from, to)| {
            self.rename(from, SCOUT, to, SCOUT).map_err(|err| match err {
                Errno::XDEV => Error::Pool(format!(
                    "{} and {} are on different file systems or mounts, so layers cannot be moved between them. Make \
                     all of {} one mount",
                    from.path().display(),
                    to.path().display(),
                    layout.root().display()
                )),
                err => Error::fs(FsOp::Rename, &from.path().join(SCOUT))(err),
            })
        });
        clear(self);
        result
    }
}

impl Listing {
    fn of(dir: &Dir) -> Result<Listing> {
        let mut listing = Listing::default();
        for name in dir.names()? {
            match name.to_str().and_then(LayerId::from_dir_name) {
                Some(id) => listing.ids.push(id),
                None => listing.unknown.push(name),
            }
        }
        listing.ids.sort_unstable();
        Ok(listing)
    }
}

#[cfg(test)]
mod tests;
