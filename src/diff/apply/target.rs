//! The directory that a layer is applied to, while it is.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, fstat, statat};

use crate::overlay::{Dir, Mount};
use crate::{Error, FsOp, Resource, Result};

use super::super::extract::Whiteouts;
use super::fresh::Fresh;
use super::place::Place;
use super::sync::{Member, Syncs};

/// Device and inode: what tells a directory from all others, whatever path it has.
type Inode = (u64, u64);

/// The directories that are applied to at the moment: each is one caller's.
#[derive(Debug, Default)]
pub(in crate::diff) struct Taken(Mutex<HashSet<Inode>>);

impl Taken {
    fn take(self: &Arc<Self>, inode: Inode) -> Option<TakenGuard> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(inode);
        is_new.then(|| TakenGuard { taken: self.clone(), inode })
    }
}

#[derive(Debug)]
struct TakenGuard {
    taken: Arc<Taken>,
    inode: Inode,
}

impl Drop for TakenGuard {
    fn drop(&mut self) {
        self.taken.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.inode);
    }
}

/// An open directory that nobody else applies to.
pub(super) struct Target {
    pub dir: Dir,
    pub parents: Vec<PathBuf>,
    pub whiteouts: Whiteouts,
    /// What it was like, if it was empty.
    fresh: Option<Fresh>,
    sync: Member,
    taken: TakenGuard,
}

impl Target {
    /// Opens the directory of mounts.
    ///
    /// # Errors
    /// As for [`Place::of`]; [`Error::Locked`] when somebody else applies to it; [`Error::Fs`].
    pub fn open(mounts: &[Mount], userxattr: bool, taken: &Arc<Taken>, syncs: &Syncs) -> Result<Target> {
        let Place { dir, parents, whiteouts } = Place::of(mounts, userxattr)?;
        let dir = Dir::open(dir)?;
        let stat = fstat(&dir).map_err(Error::fs(FsOp::Stat, dir.path()))?;
        let in_use = || Error::Locked(Resource::Directory(dir.path().to_string_lossy().into_owned()));
        let taken = taken.take((stat.st_dev, stat.st_ino)).ok_or_else(in_use)?;
        let (fresh, sync) = (Fresh::look(&dir)?, syncs.join(&dir)?);
        Ok(Target { dir, parents, whiteouts, fresh, sync, taken })
    }

    /// Returns the path, as containerd names it.
    pub fn path(&self) -> &str {
        self.dir.path().to_str().unwrap_or_default()
    }

    /// What is there now is to stay when what follows fails.
    pub fn keep(&mut self) {
        self.fresh = None;
    }

    /// Whether the directory is no longer where it was, because what it belongs to was removed.
    pub fn is_gone(&self) -> bool {
        let found = statat(CWD, self.dir.path(), AtFlags::SYMLINK_NOFOLLOW);
        !found.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.taken.inode)
    }

    /// Makes what was applied durable.
    ///
    /// # Errors
    /// [`Error::NotDurable`].
    pub fn sync(&self) -> Result<()> {
        self.sync.sync(&self.dir)
    }

    /// Takes away what was applied, where there was nothing before.
    pub fn undo(&self) {
        if let Some(fresh) = &self.fresh {
            fresh.restore(&self.dir);
        }
    }
}
