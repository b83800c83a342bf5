//! The directories of a layer: found, made where no entry did it, and kept open.
//!
//! Every file is made by its name in a directory that is open, so that no path is walked for it, and nothing that takes the
//! place of a directory meanwhile leads elsewhere. A directory that is removed or replaced is forgotten at once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, Stat, fchmod, fstat, mkdirat, statat, unlinkat};
use rustix::io::Errno;

use super::beneath::{open_dir, open_path, root_path};
use super::budget::Budget;
use super::lower::Lowers;
use super::path::{clean, join, push_clean, shown, split};
use crate::overlay::{self, remove_tree_while};
use crate::{Error, FsOp, Result};

/// Most directories that are kept open.
const OPEN_LIMIT: usize = 192;

/// Mode of a directory that no entry and no lower layer tells of.
pub(super) const DEFAULT_MODE: u32 = 0o755;

/// An open directory of the layer.
pub(super) struct OpenDir {
    /// Its descriptor.
    pub fd: OwnedFd,
    /// Its clean path, which is free of links.
    pub path: Box<[u8]>,
}

/// What was made beside the entries, by clean path.
#[derive(Default)]
pub(super) struct Notes {
    /// Directories without an entry.
    pub implicit: BTreeSet<Box<[u8]>>,
    /// Those of them that got extended attributes, from the layers below or from a directory that did.
    pub foreign: BTreeSet<Box<[u8]>>,
    /// Directories that have an entry, after they were made without one and got extended attributes.
    pub inherited: BTreeSet<Box<[u8]>>,
    /// Whiteouts.
    pub whiteouts: BTreeSet<Box<[u8]>>,
    /// Opaque directories.
    pub opaque: BTreeSet<Box<[u8]>>,
}

/// The directories of a layer.
pub(super) struct Tree<'t> {
    root: Rc<OpenDir>,
    open: HashMap<Box<[u8]>, Rc<OpenDir>>,
    /// The keys of `open`, oldest first.
    order: VecDeque<Box<[u8]>>,
    /// The path that was asked for last, perhaps with links in it: most entries follow others of their directory.
    last: Option<(Vec<u8>, bool, Rc<OpenDir>)>,
    lowers: Lowers<'t>,
    stop: &'t dyn Fn() -> bool,
    /// What was made beside the entries.
    pub notes: Notes,
    /// What may be kept, here and by others.
    pub budget: Budget,
    /// Whether anything was removed or replaced.
    pub removed: bool,
}

impl<'t> Tree<'t> {
    /// Starts with the root.
    pub fn new(
        root: BorrowedFd<'_>,
        lowers: Lowers<'t>,
        budget: Budget,
        stop: &'t dyn Fn() -> bool,
    ) -> Result<Tree<'t>> {
        let fd = open_dir(root, b".").map_err(Error::fs(FsOp::Open, shown(b".")))?;
        let root = Rc::new(OpenDir { fd, path: Box::default() });
        let (open, order, notes) = (HashMap::new(), VecDeque::new(), Notes::default());
        Ok(Tree { root, open, order, last: None, lowers, stop, notes, budget, removed: false })
    }

    /// Returns the root.
    pub fn root(&self) -> &Rc<OpenDir> {
        &self.root
    }

    /// Returns the directory with a clean path, in which there may be links. What is missing is made. `from_root` is as in
    /// [`root_path`].
    pub fn parent(&mut self, path: &[u8], from_root: bool) -> Result<Rc<OpenDir>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        match &self.last {
            Some((last, last_from_root, dir)) if last == path && *last_from_root == from_root => return Ok(dir.clone()),
            _ => {}
        }
        let dir = match self.find(path) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                let resolved = root_path(self.root.fd.as_fd(), path, from_root)?;
                self.make_missing(&resolved)?
            }
            Err(err) => return Err(Error::fs(FsOp::Open, shown(path))(err)),
        };
        self.last = Some((path.to_vec(), from_root, dir.clone()));
        Ok(dir)
    }

    /// Returns the directory with a clean path, in which there may be links; `None` when it is not there.
    pub fn existing(&mut self, path: &[u8], from_root: bool) -> Result<Option<Rc<OpenDir>>> {
        let failed = |err| Error::fs(FsOp::Open, shown(path))(err);
        match self.find(path) {
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => {
                let resolved = root_path(self.root.fd.as_fd(), path, from_root)?;
                match self.find(&resolved) {
                    Err(Errno::NOENT) => Ok(None),
                    found => found.map(Some).map_err(failed),
                }
            }
            found => found.map(Some).map_err(failed),
        }
    }

    /// Returns what a hard link is to, as the name in a directory. Makes nothing.
    pub fn link_target(&mut self, link: &[u8]) -> Result<(Rc<OpenDir>, Vec<u8>)> {
        let (parent, name) = link.split_at(link.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1));
        let failed = |err| Error::fs(FsOp::Link, shown(link))(err);
        let is_plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
        // Text can be cleaned only where no `..` may follow a link.
        if is_plain(name) && !parent.split(|byte| *byte == b'/').any(|component| component == b"..") {
            match self.find(&clean(parent)) {
                Ok(dir) => return Ok((dir, name.to_vec())),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(err) => return Err(failed(err)),
            }
        }
        let mut target = root_path(self.root.fd.as_fd(), parent, false)?;
        push_clean(&mut target, name);
        if target.is_empty() {
            return Err(failed(Errno::PERM));
        }
        let (parent, name) = split(&target);
        Ok((self.find(parent).map_err(failed)?, name.to_vec()))
    }

    /// Returns the directory with a clean path, in which no link is followed.
    pub fn find(&mut self, path: &[u8]) -> Result<Rc<OpenDir>, Errno> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some(dir) = self.open.get(path) {
            return Ok(dir.clone());
        }
        let (parent, name) = split(path);
        let fd = match self.open.get(parent) {
            Some(parent) => open_dir(parent.fd.as_fd(), name)?,
            None => open_path(self.root.fd.as_fd(), path)?,
        };
        Ok(self.keep(path.into(), fd))
    }

    /// Keeps a directory open.
    pub fn keep(&mut self, path: Box<[u8]>, fd: OwnedFd) -> Rc<OpenDir> {
        while self.open.len() >= OPEN_LIMIT {
            let Some(oldest) = self.order.pop_front() else { break };
            self.open.remove(&oldest);
        }
        let dir = Rc::new(OpenDir { fd, path });
        if self.open.insert(dir.path.clone(), dir.clone()).is_none() {
            self.order.push_back(dir.path.clone());
        }
        dir
    }

    /// Makes what is missing of a path that was resolved.
    fn make_missing(&mut self, path: &[u8]) -> Result<Rc<OpenDir>> {
        let mut dir = self.root.clone();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let path = join(&dir.path, name);
            dir = match self.open.get(&*path) {
                Some(dir) => dir.clone(),
                None => {
                    let fd = match open_dir(dir.fd.as_fd(), name) {
                        Err(Errno::NOENT) => self.make_implicit(&dir, name, &path)?,
                        // A file, or a link that came meanwhile.
                        Err(Errno::LOOP) => return Err(Error::fs(FsOp::CreateDir, shown(&path))(Errno::NOTDIR)),
                        result => result.map_err(Error::fs(FsOp::CreateDir, shown(&path)))?,
                    };
                    self.keep(path.into(), fd)
                }
            };
        }
        Ok(dir)
    }

    /// Makes a directory that has no entry, with what the nearest layer below says of it.
    fn make_implicit(&mut self, dir: &OpenDir, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
        let failed = |op, err| Error::fs(op, shown(path))(err);
        let is_new = match mkdirat(&dir.fd, name, Mode::from_raw_mode(DEFAULT_MODE)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(err) => return Err(failed(FsOp::CreateDir, err)),
        };
        let fd = open_dir(dir.fd.as_fd(), name).map_err(|err| failed(FsOp::Open, err))?;
        if is_new {
            let stat = fstat(&fd).map_err(|err| failed(FsOp::Stat, err))?;
            if stat.st_mode & 0o7777 != DEFAULT_MODE {
                fchmod(&fd, Mode::from_raw_mode(DEFAULT_MODE)).map_err(|err| failed(FsOp::Chmod, err))?;
            }
            let copied = self.lowers.copy_to(path, fd.as_fd())?;
            note(&mut self.notes.implicit, path, &mut self.budget)?;
            if copied.xattrs {
                note(&mut self.notes.foreign, path, &mut self.budget)?;
            }
        }
        Ok(fd)
    }

    /// Looks at `name` in a directory without following it.
    pub fn look(&self, dir: &OpenDir, name: &[u8]) -> Result<Option<Stat>> {
        match statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(err) => Err(Error::fs(FsOp::Stat, shown(&join(&dir.path, name)))(err)),
        }
    }

    /// Removes `name` in a directory with everything below it, if it is there.
    pub fn remove(&mut self, dir: &OpenDir, name: &[u8]) -> Result<()> {
        let Some(stat) = self.look(dir, name)? else { return Ok(()) };
        let path = join(&dir.path, name);
        self.forget(&path);
        if is_dir(&stat) {
            let fd = dir.fd.try_clone().map_err(Error::fs(FsOp::Open, shown(&dir.path)))?;
            let parent = overlay::Dir::from_fd(fd, PathBuf::from(shown(&dir.path)));
            remove_tree_while(&parent, shown(name), &mut || !(self.stop)())?;
            return Ok(());
        }
        match unlinkat(&dir.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(err) => Err(Error::fs(FsOp::Remove, shown(&path))(err)),
        }
    }

    /// Forgets what is known of a path and of everything below it.
    fn forget(&mut self, path: &[u8]) {
        self.removed = true;
        self.last = None;
        let below = [path, b"/"].concat();
        self.open.retain(|open, _| &**open != path && !open.starts_with(&below));
        self.order.retain(|open| self.open.contains_key(open));
        self.notes.forget(path, &below, &mut self.budget);
    }
}

impl Notes {
    fn forget(&mut self, path: &[u8], below: &[u8], budget: &mut Budget) {
        for set in [&mut self.implicit, &mut self.foreign, &mut self.inherited, &mut self.whiteouts, &mut self.opaque] {
            if set.remove(path) {
                budget.give_back(path);
            }
            // What is below lies together, because all of it begins with the path and a slash.
            while let Some(first) = set
                .range::<[u8], _>((Bound::Included(below), Bound::Unbounded))
                .next()
                .filter(|first| first.starts_with(below))
            {
                let first = first.clone();
                set.remove(&first);
                budget.give_back(&first);
            }
        }
    }
}

/// Notes a path.
pub(super) fn note(set: &mut BTreeSet<Box<[u8]>>, path: &[u8], budget: &mut Budget) -> Result<()> {
    if !set.contains(path) {
        budget.take(path)?;
        set.insert(path.into());
    }
    Ok(())
}

/// Whether it is a directory.
pub(super) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
