//! What each entry makes.
//!
//! An entry replaces whatever is at its path, but for a directory that meets a directory. That is found out by making it: most
//! paths are new.

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timestamps, linkat, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::attributes::{Setter, mode, times};
use super::beneath::{open_dir, root_path};
use super::path::{depth, join, push_clean, shown, split};
use super::tar::{Data, Entry, Header, kind};
use super::tree::{OpenDir, Tree, is_dir};
use super::usage::Count;
use super::whiteout::{Marker, Unpacked, Whiteouts, make_opaque, make_whiteout, marker};
use super::write::write_data;
use super::{Devices, Limits};
use crate::{Error, FsOp, Result};

/// How often a path is cleared that somebody else fills again.
const ATTEMPTS: usize = 8;

/// How many bytes of a path are shown when it is too long.
const SHOWN: usize = 256;

/// How files are made.
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An extraction under way.
pub(super) struct Extraction<'t> {
    pub tree: Tree<'t>,
    pub limits: &'t Limits,
    pub whiteouts: Whiteouts,
    pub setter: Setter,
    pub count: Count,
    pub unpacked: Unpacked,
    /// The directories that have an entry, by clean path, with a slash before it where the entry's is from the root.
    pub directories: HashMap<Box<[u8]>, Directory>,
    /// How many entries of directories there were.
    pub next_order: u64,
    /// The clean path of the entry under way; its memory is used again.
    pub path: Vec<u8>,
}

/// The last entry of a directory, for what is done when all is in it.
pub(super) struct Directory {
    /// How many entries of directories came before.
    order: u64,
    times: Timestamps,
    /// Whether it was made by an extraction, and is counted here.
    made: bool,
}

/// Where an entry goes.
struct Place<'p> {
    dir: Rc<OpenDir>,
    name: &'p [u8],
    /// The clean path, free of links.
    path: Cow<'p, [u8]>,
}

impl Extraction<'_> {
    /// Makes what one entry says.
    pub fn make(&mut self, entry: &Entry, data: &mut Data<'_>) -> Result<()> {
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        let from_root = push_clean(&mut path, &entry.header.name);
        let result = self.make_at(&path, from_root, entry, data);
        self.path = path;
        result
    }

    fn make_at(&mut self, clean: &[u8], from_root: bool, entry: &Entry, data: &mut Data<'_>) -> Result<()> {
        let header = &entry.header;
        self.check(clean, entry)?;
        let is_device = matches!(header.kind, kind::CHAR_DEVICE | kind::BLOCK_DEVICE);
        // The root's own attributes are not the archive's to set.
        if clean.is_empty() || is_device && self.limits.devices == Devices::Skip {
            return Ok(());
        }
        let (parent, name) = split(clean);
        let dir = self.tree.parent(parent, from_root)?;
        match (marker(name)?, self.whiteouts) {
            (Marker::None, _) => {}
            (Marker::Opaque, Whiteouts::Overlay) => {
                return make_opaque(&mut self.tree, &dir, "trusted.overlay.opaque");
            }
            (Marker::Opaque, Whiteouts::OverlayUser) => {
                return make_opaque(&mut self.tree, &dir, "user.overlay.opaque");
            }
            (Marker::Opaque, Whiteouts::Remove) => return self.unpacked.empty(&mut self.tree, &dir),
            (Marker::Whiteout(name), Whiteouts::Remove) => return self.tree.remove(&dir, name),
            (Marker::Whiteout(name), _) => {
                make_whiteout(&mut self.tree, &dir, name, header)?;
                self.count.add_empty();
                return Ok(());
            }
        }
        let path = if *dir.path == *parent { Cow::Borrowed(clean) } else { Cow::Owned(join(&dir.path, name)) };
        let at = Place { dir, name, path };
        if self.whiteouts == Whiteouts::Remove {
            self.unpacked.add(&at.path, &mut self.tree.budget)?;
        }
        match header.kind {
            kind::FILE | kind::SPARSE => self.file(&at, entry, data),
            kind::DIRECTORY => self.directory(&at, (clean, from_root), entry),
            kind::SYMLINK => self.symlink(&at, entry),
            kind::HARD_LINK => self.hard_link(&at, entry),
            kind::CHAR_DEVICE | kind::BLOCK_DEVICE | kind::FIFO => self.node(&at, entry),
            // Says nothing about files, and yet containerd clears its path.
            kind::GLOBAL_RECORDS => self.tree.remove(&at.dir, at.name),
            other => {
                Err(Error::invalid("layer", format!("{:?} is of unknown type {:?}", shown(&at.path), other as char)))
            }
        }
    }

    /// Refuses what is too much, before anything is made of it.
    fn check(&self, clean: &[u8], entry: &Entry) -> Result<()> {
        let limits = self.limits;
        let name = || String::from_utf8_lossy(clean.get(..SHOWN).unwrap_or(clean)).into_owned();
        let refuse = |problem: String| Err(Error::invalid("layer", problem));
        if clean.len() > limits.path {
            return refuse(format!("a path of {} bytes, {:?}..., more than {}", clean.len(), name(), limits.path));
        }
        if depth(clean) > limits.depth {
            return refuse(format!("{:?} is more than {} directories deep", name(), limits.depth));
        }
        if clean.contains(&0) {
            return refuse(format!("a path with a zero byte, {:?}", name()));
        }
        let xattrs: usize = entry.xattrs().map(|(name, value)| name.len() + value.len()).sum();
        if xattrs > limits.xattrs {
            return refuse(format!(
                "{:?} has {xattrs} bytes of extended attributes, more than {}",
                name(),
                limits.xattrs
            ));
        }
        let is_device = matches!(entry.header.kind, kind::CHAR_DEVICE | kind::BLOCK_DEVICE);
        if is_device && limits.devices == Devices::Refuse {
            return refuse(format!("{:?} is a device", name()));
        }
        Ok(())
    }

    fn file(&mut self, at: &Place<'_>, entry: &Entry, data: &mut Data<'_>) -> Result<()> {
        let mode = Mode::from_raw_mode(mode(&entry.header));
        let fd = self.replace(at, FsOp::Open, |_| Ok(openat(&at.dir.fd, at.name, NEW_FILE, mode)))?;
        write_data(fd.as_fd(), &at.path, &entry.header, data, self.limits.write_back)?;
        self.count.add(&self.setter.set_open(fd.as_fd(), &at.path, entry)?);
        Ok(())
    }

    fn directory(&mut self, at: &Place<'_>, (clean, from_root): (&[u8], bool), entry: &Entry) -> Result<()> {
        let mode = Mode::from_raw_mode(mode(&entry.header));
        let made = self.replace(at, FsOp::CreateDir, |tree| match mkdirat(&at.dir.fd, at.name, mode) {
            Ok(()) => Ok(Ok(true)),
            Err(Errno::EXIST) if tree.look(&at.dir, at.name)?.is_some_and(|stat| is_dir(&stat)) => Ok(Ok(false)),
            Err(err) => Ok(Err(err)),
        })?;
        let opened = if made {
            let fd = open_dir(at.dir.fd.as_fd(), at.name);
            fd.map(|fd| self.tree.keep((*at.path).into(), fd))
        } else {
            self.tree.find(&at.path)
        };
        let dir = opened.map_err(Error::fs(FsOp::Open, shown(&at.path)))?;
        self.setter.set_open(dir.fd.as_fd(), &at.path, entry)?;
        // One that was made for what is in it has an entry now.
        let was_implicit = self.tree.notes.implicit.remove(&*at.path);
        if was_implicit {
            self.tree.budget.give_back(&at.path);
        }
        // They stay, whatever the entry says: it takes none away.
        if let Some(path) = self.tree.notes.foreign.take(&*at.path) {
            self.tree.notes.inherited.insert(path);
        }
        let mut last = Directory { order: self.next_order, times: times(&entry.header), made: made || was_implicit };
        self.next_order += 1;
        let key = if from_root { [b"/", clean].concat() } else { clean.to_vec() };
        if let Some(before) = self.directories.get_mut(&*key) {
            last.made |= before.made;
            *before = last;
        } else {
            self.tree.budget.take(&key)?;
            self.directories.insert(key.into(), last);
        }
        Ok(())
    }

    fn symlink(&mut self, at: &Place<'_>, entry: &Entry) -> Result<()> {
        let target = &*entry.header.link;
        self.replace(at, FsOp::Symlink, |_| Ok(symlinkat(target, &at.dir.fd, at.name)))?;
        self.count.add(&self.setter.set_named(at.dir.fd.as_fd(), at.name, &at.path, entry)?);
        Ok(())
    }

    /// The file gets the attributes of the link's entry, too.
    fn hard_link(&mut self, at: &Place<'_>, entry: &Entry) -> Result<()> {
        self.replace(at, FsOp::Link, |tree| {
            // Again after something was removed, because that may have been on the way to it.
            let (dir, name) = tree.link_target(&entry.header.link)?;
            Ok(linkat(&dir.fd, &*name, &at.dir.fd, at.name, AtFlags::empty()))
        })?;
        let before = self.setter.set_linked(at.dir.fd.as_fd(), at.name, &at.path, entry)?;
        if self.count.is_wanted()
            && let Some(after) = self.tree.look(&at.dir, at.name)?
        {
            self.count.change(&before, &after);
        }
        Ok(())
    }

    fn node(&mut self, at: &Place<'_>, entry: &Entry) -> Result<()> {
        let header = &entry.header;
        let (kind, device) = match header.kind {
            kind::CHAR_DEVICE => (FileType::CharacterDevice, device(header)),
            kind::BLOCK_DEVICE => (FileType::BlockDevice, device(header)),
            _ => (FileType::Fifo, 0),
        };
        let mode = Mode::from_raw_mode(mode(header));
        self.replace(at, FsOp::MakeNode, |_| Ok(mknodat(&at.dir.fd, at.name, kind, mode, device)))?;
        self.count.add(&self.setter.set_named(at.dir.fd.as_fd(), at.name, &at.path, entry)?);
        Ok(())
    }

    /// Makes something where nothing is; what is there is removed.
    fn replace<T>(
        &mut self,
        at: &Place<'_>,
        op: FsOp,
        mut make: impl FnMut(&mut Tree<'_>) -> Result<Result<T, Errno>>,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            match make(&mut self.tree)? {
                Err(Errno::EXIST) => self.tree.remove(&at.dir, at.name)?,
                result => return result.map_err(Error::fs(op, shown(&at.path))),
            }
        }
        Err(Error::fs(op, shown(&at.path))(Errno::EXIST))
    }

    /// Gives the directories their times, after everything is in them, and counts those that were made.
    pub fn finish(&mut self) -> Result<()> {
        let mut directories: Vec<_> = std::mem::take(&mut self.directories).into_iter().collect();
        // Two paths may lead to one directory.
        directories.sort_unstable_by_key(|(_, directory)| directory.order);
        for (key, directory) in directories {
            let (path, from_root) = key.strip_prefix(b"/").map_or((&*key, false), |path| (path, true));
            let (dir, name) = self.place_at_end(path, from_root)?;
            utimensat(&dir.fd, &*name, &directory.times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::fs(FsOp::SetTimes, shown(path)))?;
            if directory.made {
                self.count_directory(&dir, &name)?;
            }
        }
        for path in std::mem::take(&mut self.tree.notes.implicit) {
            let (parent, name) = split(&path);
            let dir = self.tree.find(parent).map_err(Error::fs(FsOp::Open, shown(parent)))?;
            self.count_directory(&dir, name)?;
            self.tree.notes.implicit.insert(path);
        }
        let root = self.tree.root().clone();
        self.count_directory(&root, b".")
    }

    /// Counts a directory, unless nobody wants to know.
    fn count_directory(&mut self, dir: &OpenDir, name: &[u8]) -> Result<()> {
        if !self.tree.removed
            && self.count.is_wanted()
            && let Some(stat) = self.tree.look(dir, name)?
        {
            self.count.add(&stat);
        }
        Ok(())
    }

    /// Returns where the path of an entry leads at the end. If something was removed, it may lead elsewhere than before.
    fn place_at_end<'p>(&mut self, path: &'p [u8], from_root: bool) -> Result<(Rc<OpenDir>, Cow<'p, [u8]>)> {
        let (parent, name) = split(path);
        if let Some(dir) = self.tree.existing(parent, from_root)?
            && (!self.tree.removed || self.tree.look(&dir, name)?.is_some_and(|stat| !is_symlink(&stat)))
        {
            return Ok((dir, name.into()));
        }
        let resolved = root_path(self.tree.root().fd.as_fd(), path, from_root)?;
        let (parent, name) = split(&resolved);
        let dir = self.tree.find(parent).map_err(Error::fs(FsOp::SetTimes, shown(path)))?;
        let name = if name.is_empty() { b"." } else { name };
        Ok((dir, name.to_vec().into()))
    }
}

/// Returns the number of a device as the kernel takes it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as the kernel does with it")]
fn device(header: &Header) -> u64 {
    u64::from(makedev(header.major as u32, header.minor as u32) as u32)
}

fn is_symlink(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}
