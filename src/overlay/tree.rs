//! The way down a directory tree of any depth.
//!
//! Owns the stack of directories between the top of a walk and where it stands. Depth costs memory, neither machine
//! stack nor descriptors: only the lowest [`OPEN_LIMIT`] directories are open. A higher one is opened again through
//! `..` on the way up, and then must be the directory that it was before.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fstat, openat};
use rustix::io::Errno;

use super::dir::OPEN_DIR;

/// Most descriptors that one walk holds open, plus one while it moves.
const OPEN_LIMIT: usize = 32;

/// The stack of directories from the top of a walk down to the current one.
pub(super) struct Descent {
    above: Vec<Level>,
    current: Level,
    fd: OwnedFd,
    /// Levels in `above` whose descriptor has been closed. They are the highest ones.
    closed: usize,
}

struct Level {
    name: CString,
    /// Names of directories in this one that are still to be visited.
    pending: Vec<CString>,
    state: State,
}

enum State {
    /// The descriptor is in `Descent::fd`.
    Current,
    Open(OwnedFd),
    /// Device and inode.
    Closed(u64, u64),
}

impl Descent {
    /// Starts at a directory that has been opened.
    pub(super) fn new(name: CString, fd: OwnedFd) -> Descent {
        Descent { above: Vec::new(), current: Level::new(name), fd, closed: 0 }
    }

    /// Returns the current directory.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Returns the descriptor of the current directory, and the list of directories that are to be visited in it.
    pub(super) fn current(&mut self) -> (BorrowedFd<'_>, &mut Vec<CString>) {
        (self.fd.as_fd(), &mut self.current.pending)
    }

    /// Goes down into a directory of the current one, which the caller has opened.
    pub(super) fn enter(&mut self, name: CString, fd: OwnedFd) -> Result<(), Errno> {
        if self.above.len() - self.closed >= OPEN_LIMIT
            && let Some(level) = self.above.get_mut(self.closed)
            && let State::Open(fd) = &level.state
        {
            let stat = fstat(fd)?;
            level.state = State::Closed(stat.st_dev, stat.st_ino);
            self.closed += 1;
        }
        let mut level = std::mem::replace(&mut self.current, Level::new(name));
        level.state = State::Open(std::mem::replace(&mut self.fd, fd));
        self.above.push(level);
        Ok(())
    }

    /// Goes up, and returns the name of the directory that was left, as seen from the one that is current now.
    /// `None` at the top, where nothing changes.
    ///
    /// # Errors
    /// `STALE` when the directory was moved meanwhile, so that the way up leads elsewhere.
    pub(super) fn leave(&mut self) -> Result<Option<CString>, Errno> {
        let Some(mut level) = self.above.pop() else {
            return Ok(None);
        };
        self.fd = match std::mem::replace(&mut level.state, State::Current) {
            State::Open(fd) => fd,
            State::Closed(dev, ino) => {
                self.closed -= 1;
                let fd = openat(&self.fd, c"..", OPEN_DIR, Mode::empty())?;
                let stat = fstat(&fd)?;
                if (stat.st_dev, stat.st_ino) != (dev, ino) {
                    return Err(Errno::STALE);
                }
                fd
            }
            State::Current => return Err(Errno::STALE),
        };
        Ok(Some(std::mem::replace(&mut self.current, level).name))
    }

    /// Returns the path of `entry` in the current directory, or of the directory itself when `entry` is empty.
    pub(super) fn path(&self, top: &Path, entry: &CStr) -> PathBuf {
        let levels = self.above.iter().chain([&self.current]).map(|level| level.name.as_c_str());
        let mut path = top.to_owned();
        for name in levels.chain([entry]).filter(|name| !name.is_empty()) {
            path.push(OsStr::from_bytes(name.to_bytes()));
        }
        path
    }
}

impl Level {
    fn new(name: CString) -> Level {
        Level { name, pending: Vec::new(), state: State::Current }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::path::Path;

    use rustix::fs::fstat;
    use rustix::io::Errno;

    use super::{Descent, OPEN_LIMIT};
    use crate::overlay::dir::{Dir, open_below};

    fn descend(root: &Path, depth: usize) -> (Descent, Vec<u64>) {
        let mut path = root.to_owned();
        path.extend((0..depth).map(|_| "d"));
        std::fs::create_dir_all(path).unwrap();
        let top = Dir::open(root).unwrap();
        let fd = rustix::io::dup(top.as_fd()).unwrap();
        let mut descent = Descent::new(c"top".into(), fd);
        let mut inodes = Vec::new();
        for _ in 0..depth {
            inodes.push(fstat(descent.fd()).unwrap().st_ino);
            let fd = open_below(descent.fd(), c"d").unwrap();
            descent.enter(c"d".into(), fd).unwrap();
        }
        (descent, inodes)
    }

    #[test]
    fn the_way_up_is_the_way_down() {
        let root = tempfile::tempdir().unwrap();
        let (mut descent, mut inodes) = descend(root.path(), 5 * OPEN_LIMIT);
        assert_eq!(descent.closed, 4 * OPEN_LIMIT);
        while let Some(ino) = inodes.pop() {
            assert_eq!(descent.leave().unwrap().unwrap().as_c_str(), c"d");
            assert_eq!(fstat(descent.fd()).unwrap().st_ino, ino);
        }
        assert_eq!(descent.path(Path::new("/x"), c"y"), Path::new("/x/top/y"));
        assert_eq!(descent.leave().unwrap(), None);
    }

    #[test]
    fn a_directory_moved_elsewhere_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let (mut descent, _) = descend(root.path(), OPEN_LIMIT + 1);
        // Level 1 is closed by now; its child moves out of it.
        std::fs::rename(root.path().join("d"), root.path().join("elsewhere")).unwrap();
        std::fs::create_dir(root.path().join("new")).unwrap();
        std::fs::rename(root.path().join("elsewhere"), root.path().join("new/d")).unwrap();
        let result = (0..=OPEN_LIMIT).try_for_each(|_| descent.leave().map(drop));
        assert_eq!(result, Err(Errno::STALE));
    }
}
