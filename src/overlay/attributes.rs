//! Attributes that one directory gets from another.
//!
//! A directory of which its archive says nothing is to be as it is in the nearest layer below. An extraction on top of
//! that layer copies it, and so does a commit that finds out later what is below. Both do it here, so that it is the same.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{
    Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat,
    futimens,
};
use rustix::io::Errno;

use crate::{Error, FsOp, Result};

/// Most bytes that the kernel takes or returns for attributes of one file.
const MAX_XATTR: usize = 64 << 10;

/// Given by the host's policy to where a file is. It is always there, and cannot be removed.
const LABEL: &[u8] = b"security.selinux";

/// What was done to a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Whether anything is different now.
    pub changed: bool,
    /// Whether it has extended attributes: from the other directory, or from the one that it is in.
    pub xattrs: bool,
}

/// Gives the directory `to` the attributes of another: those of its inode, and extended ones, but for those that belong to
/// a layer and not to what it shows. With `user_xattrs` overlayfs has its own where users have theirs. `path` is for messages.
/// What the directory got from a default ACL it keeps, as with containerd.
///
/// # Errors
/// [`Error::Fs`] and [`Error::NoSpace`].
pub fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, user_xattrs: bool, path: &Path) -> Result<Copied> {
    let stat = fstat(from).map_err(Error::fs(FsOp::Stat, path))?;
    let before = fstat(to).map_err(Error::fs(FsOp::Stat, path))?;
    // In containerd's order: a change of the owner may clear bits of the mode, and a mode changes the mask of an ACL.
    let owner = set_owner(to, &before, stat.st_uid, stat.st_gid).map_err(Error::fs(FsOp::Chown, path))?;
    let mode = set_mode(to, stat.st_mode & 0o7777).map_err(Error::fs(FsOp::Chmod, path))?;
    let (xattrs, set) = copy_xattrs(from, to, user_xattrs).map_err(Error::fs(FsOp::Xattr, path))?;
    let modified = (stat.st_mtime, stat.st_mtime_nsec) != (before.st_mtime, before.st_mtime_nsec);
    if modified || (stat.st_atime, stat.st_atime_nsec) != (before.st_atime, before.st_atime_nsec) {
        futimens(to, &times(&stat)).map_err(Error::fs(FsOp::SetTimes, path))?;
    }
    // When it was read last is not worth waiting for the disk.
    Ok(Copied { changed: owner || set || mode || modified, xattrs })
}

/// Sets owner and mode of a directory, and tells whether they were others.
pub(super) fn set_owner_and_mode(dir: BorrowedFd<'_>, uid: u32, gid: u32, mode: u32) -> Result<bool, Errno> {
    let owner = set_owner(dir, &fstat(dir)?, uid, gid)?;
    // After the owner, whose change may clear bits of it.
    Ok(set_mode(dir, mode)? || owner)
}

/// Gives a directory the group of the one that it is in, if that does so, and tells whether it was another.
pub(super) fn inherit_group(around: BorrowedFd<'_>, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (around, own) = (fstat(around)?, fstat(dir)?);
    let differs = around.st_mode & 0o2000 != 0 && around.st_gid != own.st_gid;
    if differs {
        fchown(dir, None, Some(Gid::from_raw(around.st_gid)))?;
    }
    Ok(differs)
}

fn set_owner(dir: BorrowedFd<'_>, before: &Stat, uid: u32, gid: u32) -> Result<bool, Errno> {
    let differs = (before.st_uid, before.st_gid) != (uid, gid);
    if differs {
        fchown(dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(differs)
}

fn set_mode(dir: BorrowedFd<'_>, mode: u32) -> Result<bool, Errno> {
    let differs = fstat(dir)?.st_mode & 0o7777 != mode;
    if differs {
        fchmod(dir, Mode::from_raw_mode(mode))?;
    }
    Ok(differs)
}

/// Tells whether either has any, and whether something was changed.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>, user_xattrs: bool) -> Result<(bool, bool), Errno> {
    let (wanted, there) = (shown(from, user_xattrs)?, shown(to, user_xattrs)?);
    let mut changed = false;
    for name in &wanted {
        let Some(value) = value(from, name)? else { continue };
        if there.contains(name) && self::value(to, name)?.as_ref() == Some(&value) {
            continue;
        }
        match fsetxattr(to, &**name, &value, XattrFlags::CREATE) {
            Ok(()) => changed = true,
            Err(Errno::EXIST | Errno::NOTSUP | Errno::PERM | Errno::NODATA) => {}
            Err(err) => return Err(err),
        }
    }
    Ok((!wanted.is_empty() || !there.is_empty(), changed))
}

/// Lists the extended attributes of a directory that are not the layer's own.
fn shown(dir: BorrowedFd<'_>, user_xattrs: bool) -> Result<Vec<Box<[u8]>>, Errno> {
    let mut list = vec![0_u8; MAX_XATTR];
    let length = match flistxattr(dir, &mut list) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NODATA) => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    let shown = names.filter(|name| !name.is_empty() && *name != LABEL && !is_of_layer(name, user_xattrs));
    Ok(shown.map(Into::into).collect())
}

fn is_of_layer(name: &[u8], user_xattrs: bool) -> bool {
    name.starts_with(b"trusted.") || user_xattrs && name.starts_with(b"user.overlay.")
}

fn value(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0_u8; MAX_XATTR];
    match fgetxattr(dir, name, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Returns the times of a file as they are set.
pub(super) fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos.cast_signed() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
