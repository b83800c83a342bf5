//! What the layers below say of a directory.
//!
//! A directory that no entry describes would hide what the nearest layer below says of it, because overlayfs shows the
//! attributes of the uppermost one. So they are copied, but for what is overlayfs' own.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::beneath::{open_path, root_path};
use super::path::shown;
use crate::overlay::{Copied, copy_attributes};
use crate::{Error, FsOp, Result};

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
    pub fn copy_to(&mut self, path: &[u8], to: BorrowedFd<'_>) -> Result<Copied> {
        let user_xattrs = self.user_xattrs;
        for index in 0..self.paths.len() {
            let Some(root) = self.root(index)? else { continue };
            let found = match open_path(root, path) {
                Err(Errno::LOOP | Errno::NOTDIR) => match root_path(root, path, true) {
                    Ok(resolved) => open_path(root, &resolved),
                    // Something below a file: containerd fails here, for layers that are as good as any.
                    Err(Error::Fs { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
                        return Ok(Copied::default());
                    }
                    Err(err) => return Err(err),
                },
                found => found,
            };
            match found {
                Ok(from) => return copy_attributes(from.as_fd(), to, user_xattrs, shown(path)),
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Copied::default()),
                Err(err) => return Err(Error::fs(FsOp::Open, shown(path))(err)),
            }
        }
        Ok(Copied::default())
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
}
