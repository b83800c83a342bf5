//! Making an extracted layer fit what turns out to be below it.
//!
//! A layer that was extracted before anybody knew its parents has directories of which its archive says nothing: they are to
//! be as they are further down. And one that turns out to have nothing below it has nothing to hide. The extraction listed
//! both, so that nothing here walks a tree: the work is bounded by the length of the lists. Doing it twice does no harm.
//!
//! Paths come from archives. They are resolved within the layer, as if it were the root.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fremovexattr, fstat, futimens, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::attributes::{copy_attributes, inherit_group, set_owner_and_mode, times};
use super::dir::OPEN_DIR;
use super::layers::LayerDirs;
use super::stage::Attributes;
use crate::types::LayerId;
use crate::{Error, FsOp, Result};

#[cfg(test)]
mod tests;

/// What overlayfs and we keep in attributes of our own.
const OPAQUE: [&CStr; 2] = [c"trusted.overlay.opaque", c"user.overlay.opaque"];
/// How often the kernel is asked again when a directory is renamed while it resolves `..`.
const ATTEMPTS: usize = 16;

impl LayerDirs {
    /// Gives directories of a layer the attributes that they have in the nearest layer below that has them, as they would
    /// have got them if they had been extracted on top of it; the empty path is the root. With `user_xattrs` overlayfs has its
    /// attributes where users have theirs. Durable when it returns, if `sync`.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn fit_implicit(
        &self,
        id: LayerId,
        implicit: &[PathBuf],
        below: &[LayerId],
        user_xattrs: bool,
        sync: bool,
    ) -> Result<()> {
        let root = self.open_fs(id)?;
        let changed = self.fit(&root, id, implicit, below, user_xattrs)?;
        if sync { self.sync_dirs(&root, id, &changed) } else { Ok(()) }
    }

    /// Does it, and returns the directories that were changed.
    fn fit<'p>(
        &self,
        root: &OwnedFd,
        id: LayerId,
        implicit: &'p [PathBuf],
        below: &[LayerId],
        user_xattrs: bool,
    ) -> Result<Vec<&'p Path>> {
        let mut lower: Vec<Option<Lower>> = below.iter().map(|_| None).collect();
        let mut changed = Vec::new();
        for path in implicit {
            let full = self.layers.path().join(format!("{id}/fs")).join(path);
            if path.as_os_str().is_empty() {
                if let Some(nearest) = below.first() {
                    let Attributes { uid, gid, mode } = self.attributes_of(*nearest)?;
                    // Mostly it has them, and Commit need not wait for the disk.
                    if set_owner_and_mode(root.as_fd(), uid, gid, mode).map_err(Error::fs(FsOp::Chmod, &full))? {
                        changed.push(&**path);
                    }
                }
                continue;
            }
            // Replaced by something else since, which has attributes of its own.
            let Some(dir) = open_within(root, path).map_err(Error::fs(FsOp::Open, &full))? else { continue };
            let mut copied = false;
            for (layer, opened) in below.iter().zip(&mut lower) {
                let lower = match opened {
                    Some(lower) => lower,
                    None => opened.insert(Lower::new(self.open_fs(*layer)?)),
                };
                let source = || self.layers.path().join(format!("{layer}/fs")).join(path);
                match lower.find(path).map_err(|err| Error::fs(FsOp::Open, &source())(err))? {
                    Below::Directory(from) => {
                        if copy_attributes(from.as_fd(), dir.as_fd(), user_xattrs, &full)?.changed {
                            changed.push(&**path);
                        }
                        copied = true;
                        break;
                    }
                    Below::Other => break,
                    Below::Nothing => {}
                }
            }
            // It would have been made in a directory that may give its group on; those around it come first.
            if !copied
                && let Some(around) =
                    open_within(root, path.parent().unwrap_or(path)).map_err(Error::fs(FsOp::Open, &full))?
                && inherit_group(around.as_fd(), dir.as_fd()).map_err(Error::fs(FsOp::Chown, &full))?
            {
                changed.push(&**path);
            }
        }
        Ok(changed)
    }

    /// Removes whiteouts of a layer, and what makes directories opaque. Durable when it returns, if `sync`.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn unhide(&self, id: LayerId, whiteouts: &[PathBuf], opaque: &[PathBuf], sync: bool) -> Result<()> {
        let root = self.open_fs(id)?;
        let changed = self.show(&root, id, whiteouts, opaque)?;
        if sync { self.sync_dirs(&root, id, &changed) } else { Ok(()) }
    }

    /// Does it, and returns the directories that were changed.
    fn show<'p>(
        &self,
        root: &OwnedFd,
        id: LayerId,
        whiteouts: &'p [PathBuf],
        opaque: &'p [PathBuf],
    ) -> Result<Vec<&'p Path>> {
        let mut changed: Vec<&Path> = Vec::new();
        let full = |path: &Path| self.layers.path().join(format!("{id}/fs")).join(path);
        for path in whiteouts {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let dir = open_within(root, parent).map_err(Error::fs(FsOp::Open, &full(parent)))?;
            if let Some(dir) = dir
                && remove_whiteout(&dir, name).map_err(Error::fs(FsOp::Remove, &full(path)))?
                && changed.last() != Some(&parent)
            {
                changed.push(parent);
            }
        }
        for path in opaque {
            let dir = open_within(root, path).map_err(Error::fs(FsOp::Open, &full(path)))?;
            let Some(dir) = dir else { continue };
            let mut was_opaque = false;
            for name in OPAQUE {
                match fremovexattr(&dir, name) {
                    Ok(()) => was_opaque = true,
                    Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => {}
                    Err(err) => return Err(Error::fs(FsOp::Write, &full(path))(err)),
                }
            }
            if was_opaque {
                changed.push(path);
            }
        }
        Ok(changed)
    }

    fn open_fs(&self, id: LayerId) -> Result<OwnedFd> {
        let name = format!("{id}/fs");
        rustix::fs::openat(&self.layers, &*name, OPEN_DIR, Mode::empty())
            .map_err(|err| Error::fs(FsOp::Open, &self.layers.path().join(&name))(err))
    }

    /// Makes changed directories durable, each by itself: the first one takes along what the file system has to write, and
    /// the others find it written. They are opened again, because there may be more than may be open at once.
    fn sync_dirs(&self, root: &OwnedFd, id: LayerId, changed: &[&Path]) -> Result<()> {
        for path in changed {
            let synced = match open_within(root, path) {
                Ok(Some(dir)) => rustix::fs::fsync(dir),
                // Whoever replaced it did so after it was changed.
                Ok(None) => Ok(()),
                Err(err) => Err(err),
            };
            synced
                .map_err(|err| Error::fs(FsOp::Sync, &self.layers.path().join(format!("{id}/fs")).join(path))(err))?;
        }
        Ok(())
    }
}

/// A layer below, and what is known of it. Paths come in order, so that what is below a directory follows it.
struct Lower {
    fs: OwnedFd,
    /// A directory that it has.
    present: PathBuf,
    /// What it has no directory of, and so none below it; and whether something else is there.
    missing: Option<(PathBuf, bool)>,
}

impl Lower {
    fn new(fs: OwnedFd) -> Lower {
        Lower { fs, present: PathBuf::new(), missing: None }
    }

    /// Looks for a path. Costs nothing below a directory that was found missing.
    fn find(&mut self, path: &Path) -> Result<Below, Errno> {
        if let Some((missing, is_other)) = &self.missing
            && path.starts_with(missing)
        {
            return Ok(if *is_other { Below::Other } else { Below::Nothing });
        }
        let found = find_below(&self.fs, path)?;
        if let Below::Directory(_) = found {
            path.clone_into(&mut self.present);
            return Ok(found);
        }
        // As far up as nothing is there, for the others that are below the same.
        let (mut missing, mut is_other) = (path, matches!(found, Below::Other));
        while let Some(parent) = missing.parent()
            && !self.present.starts_with(parent)
        {
            match find_below(&self.fs, parent)? {
                Below::Directory(_) => parent.clone_into(&mut self.present),
                found => (missing, is_other) = (parent, matches!(found, Below::Other)),
            }
        }
        self.missing = Some((missing.to_owned(), is_other));
        Ok(found)
    }
}

/// What a layer has under a path.
enum Below {
    Directory(OwnedFd),
    Other,
    Nothing,
}

fn find_below(root: &OwnedFd, path: &Path) -> Result<Below, Errno> {
    match resolve(root, path) {
        Ok(dir) => Ok(Below::Directory(dir)),
        Err(Errno::NOENT) => Ok(Below::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(Below::Other),
        Err(err) => Err(err),
    }
}

/// Opens a directory of a layer; `None` when there is none of that path.
fn open_within(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    match resolve(root, path) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Opens a directory, links resolved as if `root` were `/`.
fn resolve(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let within = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);
    let open = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let mut result = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        result = openat2(root, path, open, Mode::empty(), within);
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    match result {
        // Older container runtimes forbid the call, some with the wrong error. No link is followed then.
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut dir = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
            for component in path.components() {
                match component {
                    std::path::Component::Normal(name) => {
                        dir = rustix::fs::openat(&dir, name, OPEN_DIR, Mode::empty())?;
                    }
                    std::path::Component::ParentDir => return Err(Errno::NOENT),
                    _ => {}
                }
            }
            Ok(dir)
        }
        result => result,
    }
}

/// Removes a whiteout, and leaves the times of its directory as they are. False when there is none of that name.
fn remove_whiteout(dir: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0 => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(false),
        Err(err) => return Err(err),
    }
    let before = fstat(dir)?;
    unlinkat(dir.as_fd(), name, AtFlags::empty())?;
    futimens(dir, &times(&before))?;
    Ok(true)
}
