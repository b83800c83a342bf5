//! Making an extracted layer fit what turns out to be below it.
//!
//! A layer that was extracted before anybody knew its parents has directories of which its archive says nothing: they are to
//! be as they are further down. And one that turns out to have nothing below it has nothing to hide. The extraction listed
//! both, so that nothing here walks a tree: the work is bounded by the length of the lists. Doing it twice does no harm.
//!
//! Paths come from archives. They are resolved within the layer, as if it were the root.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown,
    fgetxattr, flistxattr, fremovexattr, fsetxattr, fstat, futimens, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::dir::OPEN_DIR;
use super::layers::LayerDirs;
use super::stage::Attributes;
use crate::types::LayerId;
use crate::{Error, FsOp, Result};

/// What overlayfs and we keep in attributes of our own.
const OPAQUE: [&CStr; 2] = [c"trusted.overlay.opaque", c"user.overlay.opaque"];
/// Attributes that belong to a layer, and not to what it shows.
const OF_LAYERS: [&[u8]; 2] = [b"trusted.", b"user.overlay."];
/// How many changed directories are made durable one by one; more are with their whole file system.
const SYNC_EACH: usize = 64;

impl LayerDirs {
    /// Gives directories of a layer the attributes that they have in the nearest layer below that has them, as they would
    /// have got them if they had been extracted on top of it; the empty path is the root. Durable when it returns, if `sync`.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn fit_implicit(&self, id: LayerId, implicit: &[PathBuf], below: &[LayerId], sync: bool) -> Result<()> {
        let root = self.open_fs(id)?;
        let mut lower: Vec<Option<OwnedFd>> = below.iter().map(|_| None).collect();
        let mut changed = Vec::new();
        for path in implicit {
            let full = || self.layers.path().join(format!("{id}/fs")).join(path);
            if path.as_os_str().is_empty() {
                if let Some(nearest) = below.first() {
                    let Attributes { uid, gid, mode } = self.attributes_of(*nearest)?;
                    set_owner_and_mode(&root, uid, gid, mode).map_err(Error::fs(FsOp::Chmod, &full()))?;
                    changed.push(self.open_fs(id)?);
                }
                continue;
            }
            // Replaced by something else since, which has attributes of its own.
            let Some(dir) = open_within(&root, path).map_err(Error::fs(FsOp::Open, &full()))? else { continue };
            for (layer, opened) in below.iter().zip(&mut lower) {
                let fs = match opened {
                    Some(fs) => &*fs,
                    None => opened.insert(self.open_fs(*layer)?),
                };
                let source = || self.layers.path().join(format!("{layer}/fs")).join(path);
                match find_below(fs, path).map_err(Error::fs(FsOp::Open, &source()))? {
                    Below::Directory(from) => {
                        copy_attributes(&from, &dir).map_err(Error::fs(FsOp::Write, &full()))?;
                        changed.push(dir);
                        break;
                    }
                    Below::Other => break,
                    Below::Nothing => {}
                }
            }
        }
        if sync { self.sync_dirs(&root, id, &changed) } else { Ok(()) }
    }

    /// Removes whiteouts of a layer, and what makes directories opaque. Durable when it returns, if `sync`.
    ///
    /// # Errors
    /// [`Error::Fs`] and [`Error::NoSpace`].
    pub fn unhide(&self, id: LayerId, whiteouts: &[PathBuf], opaque: &[PathBuf], sync: bool) -> Result<()> {
        let root = self.open_fs(id)?;
        let mut changed = Vec::new();
        let full = |path: &Path| self.layers.path().join(format!("{id}/fs")).join(path);
        for path in whiteouts {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let dir = open_within(&root, parent).map_err(Error::fs(FsOp::Open, &full(parent)))?;
            if let Some(dir) = dir
                && remove_whiteout(&dir, name).map_err(Error::fs(FsOp::Remove, &full(path)))?
            {
                changed.push(dir);
            }
        }
        for path in opaque {
            let dir = open_within(&root, path).map_err(Error::fs(FsOp::Open, &full(path)))?;
            let Some(dir) = dir else { continue };
            for name in OPAQUE {
                match fremovexattr(&dir, name) {
                    Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => {}
                    Err(err) => return Err(Error::fs(FsOp::Write, &full(path))(err)),
                }
            }
            changed.push(dir);
        }
        if sync { self.sync_dirs(&root, id, &changed) } else { Ok(()) }
    }

    fn open_fs(&self, id: LayerId) -> Result<OwnedFd> {
        let name = format!("{id}/fs");
        rustix::fs::openat(&self.layers, &*name, OPEN_DIR, Mode::empty())
            .map_err(|err| Error::fs(FsOp::Open, &self.layers.path().join(&name))(err))
    }

    fn sync_dirs(&self, root: &OwnedFd, id: LayerId, changed: &[OwnedFd]) -> Result<()> {
        let result = if changed.len() > SYNC_EACH {
            rustix::fs::syncfs(root)
        } else {
            changed.iter().try_for_each(rustix::fs::fsync)
        };
        result.map_err(|err| Error::fs(FsOp::Sync, &self.layers.path().join(format!("{id}/fs")))(err))
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
    match openat2(root, path, open, Mode::empty(), within) {
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

/// Gives one directory the attributes of another: those of its inode, and extended ones.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let stat = fstat(from)?;
    set_owner_and_mode(to, stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)?;
    for name in xattrs(to)? {
        match fremovexattr(to, &*name) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => {}
            Err(err) => return Err(err),
        }
    }
    for name in xattrs(from)? {
        let mut value = vec![0_u8; 64 << 10];
        let length = match fgetxattr(from, &*name, &mut value) {
            Ok(length) => length,
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            Err(err) => return Err(err),
        };
        fsetxattr(to, &*name, value.get(..length).unwrap_or_default(), XattrFlags::empty())?;
    }
    futimens(to, &times(&stat))
}

fn set_owner_and_mode(dir: &OwnedFd, uid: u32, gid: u32, mode: u32) -> Result<(), Errno> {
    let stat = fstat(dir)?;
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        fchown(dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    // After the owner, whose change may clear bits of it.
    fchmod(dir, Mode::from_raw_mode(mode))
}

/// Lists the extended attributes of a directory that are not the layer's own.
fn xattrs(dir: &OwnedFd) -> Result<Vec<Box<OsStr>>, Errno> {
    let mut list = vec![0_u8; 64 << 10];
    let length = match flistxattr(dir, &mut list) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    let shown = names.filter(|name| !name.is_empty() && !OF_LAYERS.iter().any(|prefix| name.starts_with(prefix)));
    Ok(shown.map(|name| OsStr::from_bytes(name).into()).collect())
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

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos.cast_signed() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
