//! An open directory.
//!
//! Paths are walked once, when a [`Dir`] is opened; every later call is relative to its descriptor. The path is kept
//! for messages only, so renaming the directory makes messages stale and nothing else.

use std::ffi::{CStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::{Error, FsOp, Result};

/// Bytes per `getdents` call. A longer buffer saves nothing measurable.
const LISTING_BUFFER: usize = 32 * 1024;

/// A directory that is held open, with the path that it was opened by.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory. A symbolic link as last component is refused.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Dir> {
        let path = path.into();
        match rustix::fs::openat(CWD, &path, OPEN_DIR, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path }),
            Err(err) => Err(Error::fs(FsOp::Open, &path)(err)),
        }
    }

    /// Takes a directory that was opened otherwise. `path` is for messages.
    pub fn from_fd(fd: OwnedFd, path: PathBuf) -> Dir {
        Dir { fd, path }
    }

    /// Returns the path that the directory was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names in the directory, without `.` and `..`, in no order.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn names(&self) -> Result<Vec<OsString>> {
        // A descriptor of its own, because the position in a listing belongs to the open file.
        let fd = rustix::fs::openat(self, c".", OPEN_DIR, Mode::empty()).map_err(Error::fs(FsOp::Open, &self.path))?;
        let mut names = Vec::new();
        for_each_entry(fd.as_fd(), &mut Vec::new(), |name, _| {
            names.push(OsString::from_vec(name.to_bytes().to_vec()));
            Ok(())
        })
        .map_err(Error::fs(FsOp::List, &self.path))?;
        Ok(names)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How every directory is opened.
pub(super) const OPEN_DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Calls `visit` with the name and type of every entry but `.` and `..`, until it fails. `buffer` is scratch space that
/// callers keep between directories. The type is [`FileType::Unknown`] where the file system does not tell.
pub(super) fn for_each_entry(
    fd: BorrowedFd<'_>,
    buffer: &mut Vec<MaybeUninit<u8>>,
    mut visit: impl FnMut(&CStr, FileType) -> Result<(), Errno>,
) -> Result<(), Errno> {
    buffer.resize(LISTING_BUFFER, MaybeUninit::uninit());
    let mut entries = RawDir::new(fd, buffer);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Ok(entry) => visit(entry.file_name(), entry.file_type())?,
            // The directory was removed while it was read.
            Err(Errno::NOENT) => return Ok(()),
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Opens the directory `name` in `parent`, neither following a symbolic link nor entering a mount.
///
/// # Errors
/// `XDEV` when something is mounted there, `LOOP` or `NOTDIR` when it is no directory.
pub(super) fn open_below(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat2(parent, name, OPEN_DIR, Mode::empty(), WITHIN) {
        // Older container runtimes forbid the call, some with the wrong error.
        Err(Errno::NOSYS | Errno::PERM) => open_below_without_openat2(parent, name),
        result => result,
    }
}

const WITHIN: ResolveFlags = ResolveFlags::NO_XDEV
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::BENEATH);

fn open_below_without_openat2(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let fd = rustix::fs::openat(parent, name, OPEN_DIR, Mode::empty())?;
    let stat = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) { Err(Errno::XDEV) } else { Ok(fd) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::io::Errno;

    use super::{Dir, open_below, open_below_without_openat2};
    use crate::overlay::testing::{self, TestFs};

    #[test]
    fn names_are_complete_and_can_be_read_again() {
        let root = tempfile::tempdir().unwrap();
        let mut expected: Vec<_> = (0..3000).map(|n| format!("a-rather-long-name-{n:05}")).collect();
        for name in &expected {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let dir = Dir::open(root.path()).unwrap();
        for _ in 0..2 {
            let mut names: Vec<_> = dir.names().unwrap().into_iter().map(|n| n.into_string().unwrap()).collect();
            names.sort();
            expected.sort();
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn links_and_files_are_not_entered() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("real")).unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("real", root.path().join("link")).unwrap();
        assert!(Dir::open(root.path().join("link")).is_err());
        let dir = Dir::open(root.path()).unwrap();
        for open in [open_below, open_below_without_openat2] {
            assert!(open(dir.as_fd(), c"real").is_ok());
            assert!(matches!(open(dir.as_fd(), c"link"), Err(Errno::LOOP | Errno::NOTDIR)));
            assert!(matches!(open(dir.as_fd(), c"file"), Err(Errno::NOTDIR)));
            assert!(matches!(open(dir.as_fd(), c"none"), Err(Errno::NOENT)));
        }
    }

    #[test]
    fn privileged_mounts_are_not_entered() {
        testing::privileged("mounts are not entered", || {
            let fs = TestFs::tmpfs();
            std::fs::create_dir_all(fs.path().join("a/mnt")).unwrap();
            std::fs::create_dir(fs.path().join("b")).unwrap();
            // The same file system, so that only the mount tells the two apart.
            rustix::mount::mount_bind(fs.path().join("b"), fs.path().join("a/mnt")).unwrap();
            let dir = Dir::open(fs.path().join("a")).unwrap();
            for open in [open_below, open_below_without_openat2] {
                assert_eq!(open(dir.as_fd(), c"mnt").unwrap_err(), Errno::XDEV);
            }
        });
    }
}
