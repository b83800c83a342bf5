//! What the layers below say of a directory.
//!
//! A directory that no entry describes would hide what the nearest layer below says of it, because overlayfs shows the
//! attributes of the uppermost one. So they are copied, but for what is overlayfs' own.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{
    CWD, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat,
    futimens, openat,
};
use rustix::io::Errno;

use super::attributes::{Owner, is_private};
use super::beneath::{open_path, root_path};
use super::path::shown;
use crate::{Error, FsOp, Result};

/// Most bytes that the kernel takes or returns for attributes of one file.
const MAX_XATTR: usize = 64 << 10;

/// The layers below, nearest first.
pub(super) struct Lowers<'t> {
    paths: &'t [PathBuf],
    /// Those of `paths` that were needed, in the same order; `None` for what does not exist.
    roots: Vec<Option<OwnedFd>>,
    user_xattrs: bool,
}

impl<'t> Lowers<'t> {
    /// Opens nothing until it is needed. With `user_xattrs` overlayfs has its attributes where users have theirs.
    pub fn new(paths: &'t [PathBuf], user_xattrs: bool) -> Lowers<'t> {
        Lowers { paths, roots: Vec::new(), user_xattrs }
    }

    /// Gives a directory with a clean path what the nearest layer that has it says of it. Where the nearest layer has
    /// something else in its place, it stays as it is.
    pub fn copy_attributes(&mut self, path: &[u8], to: BorrowedFd<'_>) -> Result<()> {
        for index in 0..self.paths.len() {
            let Some(root) = self.root(index)? else { continue };
            let found = match open_path(root, path) {
                Err(Errno::LOOP | Errno::NOTDIR) => match root_path(root, path, true) {
                    Ok(resolved) => open_path(root, &resolved),
                    // Something below a file: containerd fails here, for layers that are as good as any.
                    Err(Error::Fs { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => return Ok(()),
                    Err(err) => return Err(err),
                },
                found => found,
            };
            match found {
                Ok(from) => return self.copy(path, from.as_fd(), to),
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                Err(err) => return Err(Error::fs(FsOp::Open, shown(path))(err)),
            }
        }
        Ok(())
    }

    fn root(&mut self, index: usize) -> Result<Option<BorrowedFd<'_>>> {
        while self.roots.len() <= index
            && let Some(path) = self.paths.get(self.roots.len())
        {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.roots.push(match openat(CWD, path, flags, Mode::empty()) {
                Ok(fd) => Some(fd),
                Err(Errno::NOENT) => None,
                Err(err) => return Err(Error::fs(FsOp::Open, path)(err)),
            });
        }
        Ok(self.roots.get(index).and_then(|root| root.as_ref().map(|root| root.as_fd())))
    }

    fn copy(&self, path: &[u8], from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let failed = |op, err: Errno| Error::fs(op, shown(path))(err);
        let stat = fstat(from).map_err(|err| failed(FsOp::Stat, err))?;
        let own = fstat(to).map_err(|err| failed(FsOp::Stat, err))?;
        let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
        if owner.differs(&own) {
            fchown(to, owner.uid(), owner.gid()).map_err(|err| failed(FsOp::Chown, err))?;
        }
        if stat.st_mode != own.st_mode {
            fchmod(to, Mode::from_raw_mode(stat.st_mode)).map_err(|err| failed(FsOp::Chmod, err))?;
        }
        futimens(to, &times(&stat)).map_err(|err| failed(FsOp::SetTimes, err))?;
        self.copy_xattrs(path, from, to)
    }

    fn copy_xattrs(&self, path: &[u8], from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let failed = |err: Errno| Error::fs(FsOp::Xattr, shown(path))(err);
        let mut names = vec![0; MAX_XATTR];
        let len = match flistxattr(from, &mut names[..]) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP | Errno::NODATA) => return Ok(()),
            Err(err) => return Err(failed(err)),
        };
        let mut value = vec![0; MAX_XATTR];
        let names = names.get(..len).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty());
        for name in names.filter(|name| !is_private(name, self.user_xattrs)) {
            let len = match fgetxattr(from, name, &mut value[..]) {
                Ok(len) => len,
                Err(Errno::OPNOTSUPP | Errno::NODATA) => continue,
                Err(err) => return Err(failed(err)),
            };
            match fsetxattr(to, name, value.get(..len).unwrap_or_default(), XattrFlags::CREATE) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NODATA | Errno::EXIST) => {}
                Err(err) => return Err(failed(err)),
            }
        }
        Ok(())
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.cast_signed() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
