//! Deleting a directory tree.
//!
//! Owns the one way in which trees are deleted. It never follows a symbolic link and never enters a mount: deleting
//! what a container's mount shows would delete somebody else's files. Entries that vanish meanwhile are no error.
//!
//! What cannot be deleted (something is mounted on it, it is immutable) does not keep the rest: the walk goes on, so
//! that the space comes back, and the first such entry is reported at the end. Any other error ends the walk at once.
//!
//! Files are unlinked without asking for their type first; the listing has it. Time and number of system calls are
//! linear in the number of entries, and depth costs neither stack nor descriptors. Whoever deletes may be asked before
//! each entry, so that a tree of a million files can be slowed down, and its deletion ended in the middle.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags, statx, unlinkat};
use rustix::io::Errno;

use super::dir::{Dir, for_each_entry, open_below};
use super::tree::Descent;
use crate::{Error, FsOp, Result};

/// How often a tree is walked when directories are found not empty after their entries were deleted. File systems may
/// skip entries in a directory that changes while it is listed; somebody may also still be writing into it.
const PASSES: u32 = 4;

/// What [`remove_tree`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveStats {
    /// Directories, with the top.
    pub directories: u64,
    /// Everything else: files, links, devices.
    pub files: u64,
}

/// Deletes `name` in `parent` with everything below it. A missing entry is no error. Walks the tree.
///
/// # Errors
/// [`Error::Fs`] with the path of the first entry that could not be deleted, and in its source why: a mount, or an
/// immutable file. [`Error::Invalid`] for a name that is no name of an entry.
pub fn remove_tree(parent: &Dir, name: impl AsRef<OsStr>) -> Result<RemoveStats> {
    remove_tree_while(parent, name, &mut || true)
}

/// Like [`remove_tree`], and asks `go_on` before each entry; it may wait.
///
/// # Errors
/// As for [`remove_tree`]; [`Error::ShuttingDown`] when it is not to go on. What is left can be deleted later.
pub fn remove_tree_while(
    parent: &Dir,
    name: impl AsRef<OsStr>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<RemoveStats> {
    let name = name.as_ref();
    let invalid = || Error::invalid("name", format!("{name:?} names no directory entry"));
    let top = match name.as_bytes() {
        b"" | b"." | b".." => return Err(invalid()),
        bytes if bytes.contains(&b'/') => return Err(invalid()),
        bytes => CString::new(bytes).map_err(|_| invalid())?,
    };
    let mut removal = Removal { parent, stats: RemoveStats::default(), buffer: Vec::new(), kept: None, go_on };
    for _ in 0..PASSES {
        let gone = removal.pass(&top)?;
        if let Some(err) = removal.kept.take() {
            return Err(err);
        }
        if gone {
            return Ok(removal.stats);
        }
    }
    Err(Error::fs(FsOp::Remove, &parent.path().join(name))(Errno::NOTEMPTY))
}

struct Removal<'d, 'g> {
    parent: &'d Dir,
    stats: RemoveStats,
    buffer: Vec<MaybeUninit<u8>>,
    /// The first entry that had to be left.
    kept: Option<Error>,
    go_on: &'g mut dyn FnMut() -> bool,
}

impl Removal<'_, '_> {
    fn ask(&mut self) -> Result<()> {
        if (self.go_on)() { Ok(()) } else { Err(Error::ShuttingDown) }
    }

    /// Walks the tree once; tells whether its top is gone.
    fn pass(&mut self, top: &CString) -> Result<bool> {
        let dir = self.parent;
        let parent = dir.as_fd();
        let path = |name: &CStr| dir.path().join(OsStr::from_bytes(name.to_bytes()));
        let mut descent = match open_below(parent, top) {
            Ok(fd) => Descent::new(top.clone(), fd),
            Err(Errno::NOENT) => return Ok(true),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.ask()?;
                return match unlinkat(parent, top, AtFlags::empty()) {
                    Ok(()) => {
                        self.stats.files += 1;
                        Ok(true)
                    }
                    Err(Errno::NOENT) => Ok(true),
                    Err(err) => Err(failure(path(top), parent, top, err)),
                };
            }
            Err(err) => return Err(failure(path(top), parent, top, err)),
        };
        self.empty(&mut descent)?;
        loop {
            if let Some(name) = descent.current().1.pop() {
                match open_below(descent.fd(), &name) {
                    Ok(fd) => {
                        descent.enter(name, fd).map_err(|err| lost(dir, &descent, err))?;
                        self.empty(&mut descent)?;
                    }
                    Err(Errno::NOENT) => {}
                    // Replaced since it was listed.
                    Err(Errno::NOTDIR | Errno::LOOP) => {
                        self.ask()?;
                        let result = unlinkat(descent.fd(), &name, AtFlags::empty());
                        self.settle(&descent, &name, result, false)?;
                    }
                    Err(err) => self.settle(&descent, &name, Err(err), false)?,
                }
                continue;
            }
            let left = descent.leave().map_err(|err| lost(dir, &descent, err))?;
            let Some(name) = left else { break };
            self.ask()?;
            let result = unlinkat(descent.fd(), &name, AtFlags::REMOVEDIR);
            self.settle(&descent, &name, result, true)?;
        }
        self.ask()?;
        match unlinkat(parent, top, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.stats.directories += 1;
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(err) => Err(failure(path(top), parent, top, err)),
        }
    }

    /// Unlinks everything in the current directory but directories, which it leaves in the list of those to visit.
    fn empty(&mut self, descent: &mut Descent) -> Result<()> {
        let mut files = 0;
        // Only the first of each is reported, and paths cost, so the errors are looked at after the listing.
        let mut left = None;
        let mut fatal = None;
        let mut stopped = false;
        let (fd, pending) = descent.current();
        let listed = for_each_entry(fd, &mut self.buffer, |name, kind| {
            if kind == FileType::Directory {
                pending.push(name.to_owned());
                return Ok(());
            }
            if !(self.go_on)() {
                stopped = true;
                return Err(Errno::CANCELED);
            }
            match unlinkat(fd, name, AtFlags::empty()) {
                Ok(()) => files += 1,
                Err(Errno::NOENT) => {}
                // Only where the listing does not tell types, or when a directory took the place of a file.
                Err(Errno::ISDIR) => pending.push(name.to_owned()),
                Err(err) if can_be_left(err) => {
                    left.get_or_insert_with(|| (name.to_owned(), err));
                }
                Err(err) => {
                    fatal = Some(name.to_owned());
                    return Err(err);
                }
            }
            Ok(())
        });
        self.stats.files += files;
        crate::failpoint::hit("remove tree: files of a directory deleted");
        if stopped {
            return Err(Error::ShuttingDown);
        }
        if let Some((name, err)) = left {
            self.settle(descent, &name, Err(err), false)?;
        }
        match (listed, fatal) {
            (Ok(()), _) => Ok(()),
            (Err(err), Some(name)) => self.settle(descent, &name, Err(err), false),
            (Err(err), None) => {
                let path = descent.path(self.parent.path(), c"");
                Err(Error::fs(FsOp::List, &path)(err))
            }
        }
    }

    /// Books the outcome of deleting `name` in the current directory. Fails when the walk cannot go on.
    fn settle(&mut self, descent: &Descent, name: &CStr, result: Result<(), Errno>, directory: bool) -> Result<()> {
        match result {
            Ok(()) if directory => self.stats.directories += 1,
            Ok(()) => self.stats.files += 1,
            Err(Errno::NOENT) => {}
            // Something in it was left, or it was written to; the top will not be empty either.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(err) => {
                let failure = failure(descent.path(self.parent.path(), name), descent.fd(), name, err);
                if !can_be_left(err) {
                    return Err(failure);
                }
                self.kept.get_or_insert(failure);
            }
        }
        Ok(())
    }
}

/// Says where the walk lost its way.
fn lost(parent: &Dir, descent: &Descent, err: Errno) -> Error {
    Error::fs(FsOp::Open, &descent.path(parent.path(), c""))(err)
}

/// Tells whether an error concerns one entry only, so that the others can still be deleted.
fn can_be_left(err: Errno) -> bool {
    matches!(err, Errno::BUSY | Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::ROFS)
}

/// Says that a mount is in the way.
pub(super) fn mounted() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "something is mounted on it; unmount it first")
}

/// Says why `name` in `dir` could not be deleted.
fn failure(path: PathBuf, dir: BorrowedFd<'_>, name: &CStr, err: Errno) -> Error {
    let source = match err {
        Errno::BUSY | Errno::XDEV => mounted(),
        // Root is refused only by a flag, on the entry or on the directory that it is in.
        Errno::PERM if is_pinned(dir, name) => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is immutable or append-only; clear the flag with `chattr -i -a`",
        ),
        Errno::PERM if is_pinned(dir, c"") => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "its directory is immutable or append-only; clear the flag with `chattr -i -a`",
        ),
        err => err.into(),
    };
    Error::Fs { op: FsOp::Remove, path, source }
}

fn is_pinned(dir: BorrowedFd<'_>, name: &CStr) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    statx(dir, name, flags, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND))
}

#[cfg(test)]
mod tests;
