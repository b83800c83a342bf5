//! Owner, extended attributes, mode and times of what an entry made.
//!
//! In this order: a change of the owner clears set-user-ID bits and capabilities, an ACL changes the mode. What is right
//! already is left alone, so that for most files only the times are set. The umask does not matter, because what the
//! file has is looked at.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Stat, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr,
    fstat, futimens, lsetxattr, statat, utimensat,
};
use rustix::io::Errno;

use super::beneath::open_node;
use super::path::shown;
use super::tar::{Entry, Header};
use crate::{Error, FsOp, Result};

/// Set-user-ID and set-group-ID.
const SET_ID: u32 = 0o6000;

/// Who owns a file. The highest number stands for whoever owns it already.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    /// Takes what the kernel would take of numbers that are too large.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as the kernel does with them")]
    pub fn of(header: &Header) -> Owner {
        Owner { uid: header.uid as u32, gid: header.gid as u32 }
    }

    /// Returns the user as chown takes it.
    pub fn uid(self) -> Option<Uid> {
        (self.uid != u32::MAX).then(|| Uid::from_raw(self.uid))
    }

    /// Returns the group as chown takes it.
    pub fn gid(self) -> Option<Gid> {
        (self.gid != u32::MAX).then(|| Gid::from_raw(self.gid))
    }

    /// Whether a file has another one.
    pub fn differs(self, stat: &Stat) -> bool {
        (self.uid != stat.st_uid && self.uid != u32::MAX) || (self.gid != stat.st_gid && self.gid != u32::MAX)
    }
}

/// Returns the permissions that an entry asks for.
pub(super) fn mode(header: &Header) -> u32 {
    u32::try_from(header.mode & 0o7777).unwrap_or_default()
}

/// Returns the times that an entry asks for. What was never read was read when it was written.
pub(super) fn times(header: &Header) -> Timestamps {
    Timestamps { last_access: header.atime.max(header.mtime).of_file(), last_modification: header.mtime.of_file() }
}

/// Whether an extended attribute is not for archives to set: the administrator's, and overlayfs' own.
pub(super) fn is_private(name: &[u8], user_xattrs: bool) -> bool {
    name.starts_with(b"trusted.") || user_xattrs && name.starts_with(b"user.overlay.")
}

/// Sets the attributes of entries.
#[derive(Clone, Copy)]
pub(super) struct Setter {
    /// Whether overlayfs has its attributes where users have theirs.
    pub user_xattrs: bool,
}

impl Setter {
    /// Gives an open file or directory what the entry says. A directory gets its times when all is in it. Returns what
    /// it was before, but for the blocks.
    pub fn set_open(self, fd: BorrowedFd<'_>, path: &[u8], entry: &Entry) -> Result<Stat> {
        let failed = |op, err: Errno| Error::fs(op, shown(path))(err);
        let header = &entry.header;
        let stat = fstat(fd).map_err(|err| failed(FsOp::Stat, err))?;
        let owner = Owner::of(header);
        let chown = owner.differs(&stat);
        if chown {
            fchown(fd, owner.uid(), owner.gid()).map_err(|err| failed(FsOp::Chown, err))?;
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let xattrs =
            self.set_xattrs(path, kind, entry, |name, value| fsetxattr(fd, name, value, XattrFlags::empty()))?;
        let mode = mode(header);
        if stat.st_mode & 0o7777 != mode || xattrs || chown && mode & SET_ID != 0 {
            fchmod(fd, Mode::from_raw_mode(mode)).map_err(|err| failed(FsOp::Chmod, err))?;
        }
        if kind != FileType::Directory {
            futimens(fd, &times(header)).map_err(|err| failed(FsOp::SetTimes, err))?;
        }
        // Attributes may take blocks.
        if xattrs { fstat(fd).map_err(|err| failed(FsOp::Stat, err)) } else { Ok(stat) }
    }

    /// Gives `name` in `dir`, which was just made and is no directory, what the entry says, without following it. Returns
    /// what it was before, but for the blocks.
    pub fn set_named(self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8], entry: &Entry) -> Result<Stat> {
        let (stat, xattrs) = self.set(dir, name, path, entry, false)?;
        // Attributes may take blocks.
        if xattrs { look(dir, name, path) } else { Ok(stat) }
    }

    /// Gives another name of a file what its entry says. Returns what the file was before.
    pub fn set_linked(self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8], entry: &Entry) -> Result<Stat> {
        // A change of the owner to what it is takes capabilities away, which a new file does not have.
        Ok(self.set(dir, name, path, entry, true)?.0)
    }

    /// Returns what the file was before, and whether it has got extended attributes.
    fn set(self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8], entry: &Entry, chown: bool) -> Result<(Stat, bool)> {
        let failed = |op, err: Errno| Error::fs(op, shown(path))(err);
        let header = &entry.header;
        let stat = look(dir, name, path)?;
        let owner = Owner::of(header);
        let chown = chown || owner.differs(&stat);
        if chown {
            let result = chownat(dir, name, owner.uid(), owner.gid(), AtFlags::SYMLINK_NOFOLLOW);
            result.map_err(|err| failed(FsOp::Chown, err))?;
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let xattrs = self.set_xattrs(path, kind, entry, |attribute, value| {
            // The descriptor is the directory itself, however it is called by now; the name is not followed.
            let file = [proc_path(dir).as_bytes(), b"/", name].concat();
            lsetxattr(&*file, attribute, value, XattrFlags::empty())
        })?;
        let mode = mode(header);
        let wrong = stat.st_mode & 0o7777 != mode || xattrs || chown && mode & SET_ID != 0;
        if kind != FileType::Symlink && wrong {
            set_mode(dir, name, mode).map_err(|err| failed(FsOp::Chmod, err))?;
        }
        utimensat(dir, name, &times(header), AtFlags::SYMLINK_NOFOLLOW).map_err(|err| failed(FsOp::SetTimes, err))?;
        Ok((stat, xattrs))
    }

    /// Sets the extended attributes, and tells whether there were any.
    fn set_xattrs(
        self,
        path: &[u8],
        kind: FileType,
        entry: &Entry,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> Result<bool> {
        let mut any = false;
        for (name, value) in entry.xattrs().filter(|(name, _)| !is_private(name, self.user_xattrs)) {
            any = true;
            match set(name, value) {
                // What the file system does not have is not needed.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                // Users' attributes are for files and directories only.
                Err(Errno::PERM)
                    if name.starts_with(b"user.") && !matches!(kind, FileType::RegularFile | FileType::Directory) => {}
                Err(err) => return Err(Error::fs(FsOp::Xattr, shown(path))(err)),
            }
        }
        Ok(any)
    }
}

fn look(dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Stat> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::fs(FsOp::Stat, shown(path)))
}

/// Changes the mode of a name that may have become a symbolic link, which is not followed.
fn set_mode(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<(), Errno> {
    let node: OwnedFd = open_node(dir, name)?;
    if FileType::from_raw_mode(fstat(&node)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    chmodat(CWD, proc_path(&node), Mode::from_raw_mode(mode), AtFlags::empty())
}

fn proc_path(fd: impl std::os::fd::AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
