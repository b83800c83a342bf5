//! The way through an upperdir: what it changes of what is below it.
//!
//! In the order of names, a directory before what is in it, as containerd's differ goes. What was only copied up is no change:
//! an entry counts as changed by the same attributes as there, and by the extended ones that are part of a layer.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::archive::Archive;
use super::attributes::{Attributes, Dialect};
use super::entry::Entry;
use super::lower::{Found, Lowers, Merged, c_string, failed, list, redirected};
use crate::{Error, FsOp, Result};

/// Deepest directory. Each one on the way is open.
const DEPTH: usize = 512;
/// How much of two files is compared at a time.
const BUFFER: usize = 64 << 10;

/// A walk, and what it needs to know.
pub(super) struct Walk<'w> {
    pub lowers: &'w Lowers,
    /// That of the overlay whose upperdir is walked; `None` for a directory without anything below.
    pub dialect: Option<Dialect>,
    /// Whether nobody waits for the result any more.
    pub stop: &'w dyn Fn() -> bool,
}

/// A directory that is walked.
struct Frame {
    /// Relative to the top, which is empty.
    path: Vec<u8>,
    dir: OwnedFd,
    /// What is still to be looked at.
    names: std::vec::IntoIter<Vec<u8>>,
    /// What is below it, or would be if it did not hide that.
    merged: Merged,
    /// It hides what is below it.
    opaque: bool,
    has_whiteouts: bool,
}

impl Walk<'_> {
    /// Walks the directory `top`, and writes what it changes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what only a mount could show; [`Error::Lost`] when nobody waits any more; [`Error::Fs`], and
    /// those of the archive.
    pub fn run(&self, top: &OwnedFd, archive: &mut Archive<'_>) -> Result<()> {
        let entry = Entry::find(top.as_fd(), c".").map_err(failed(FsOp::Stat, b""))?;
        let attributes = Attributes::of(&entry, self.dialect).map_err(failed(FsOp::Read, b""))?;
        let mut stack = Vec::from_iter(self.enter(Vec::new(), &entry, &attributes, self.lowers.top()?, false)?);
        while let Some(frame) = stack.last_mut() {
            if (self.stop)() {
                return Err(Error::Lost("the client of a comparison"));
            }
            let Some(name) = frame.names.next() else {
                stack.pop();
                continue;
            };
            if let Some(below) = self.visit(frame, &name, archive)? {
                stack.push(below);
            }
            if stack.len() > DEPTH {
                return Err(Error::Unsupported(format!("comparing a layer with more than {DEPTH} nested directories")));
            }
        }
        Ok(())
    }

    /// Looks at one name. Returns its directory, if it is one.
    fn visit(&self, frame: &Frame, name: &[u8], archive: &mut Archive<'_>) -> Result<Option<Frame>> {
        let slash: &[u8] = if frame.path.is_empty() { b"" } else { b"/" };
        let path = [&frame.path, slash, name].concat();
        let upper = match Entry::find(frame.dir.as_fd(), &c_string(name)?) {
            Ok(entry) => Some(entry),
            Err(Errno::NOENT) => None,
            Err(err) => return Err(failed(FsOp::Open, &path)(err)),
        };
        let attributes = match &upper {
            Some(entry) => Attributes::of(entry, self.dialect).map_err(failed(FsOp::Read, &path))?,
            None => Attributes::default(),
        };
        if attributes.redirected {
            return Err(redirected(&path));
        }
        let below = self.lowers.find(&frame.merged, &path)?;
        match (upper, below) {
            (Some(upper), below) if !self.is_whiteout(frame, &upper, &attributes) => {
                let unchanged = match &below {
                    Some(below) => self.is_same(&path, &upper, &attributes, &below.entry)?,
                    None => false,
                };
                archive.put(&path, &upper, &attributes, unchanged)?;
                if !upper.stat.is_dir() {
                    return Ok(None);
                }
                let merged = below.map(|below| below.merged).unwrap_or_default();
                self.enter(path, &upper, &attributes, merged, frame.opaque)
            }
            // Where nothing hides what is below, that something has vanished since it was listed says nothing.
            (whiteout, Some(Found { .. })) if whiteout.is_some() || frame.opaque => {
                archive.delete(&path)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn is_whiteout(&self, frame: &Frame, entry: &Entry, attributes: &Attributes) -> bool {
        let by_attribute = || frame.has_whiteouts && entry.stat.kind == FileType::RegularFile && attributes.whiteout;
        self.dialect.is_some() && (entry.stat.is_whiteout() || by_attribute())
    }

    /// Lists a directory, with the names in those that it hides. `None` when it was removed since it was looked up.
    fn enter(
        &self,
        path: Vec<u8>,
        entry: &Entry,
        attributes: &Attributes,
        merged: Merged,
        opaque: bool,
    ) -> Result<Option<Frame>> {
        let opaque = opaque || attributes.opaque;
        let dir = match entry.open_dir() {
            Err(Errno::NOENT) => return Ok(None),
            dir => dir.map_err(failed(FsOp::Open, &path))?,
        };
        let mut names = list(dir.as_fd()).map_err(failed(FsOp::List, &path))?;
        if opaque {
            names.extend(self.lowers.names(&merged, &path)?);
        }
        names.sort_unstable();
        names.dedup();
        let (names, has_whiteouts) = (names.into_iter(), attributes.has_whiteouts);
        Ok(Some(Frame { path, dir, names, merged, opaque, has_whiteouts }))
    }

    /// Whether an entry is what it was. Times that may have lost their fractions prove nothing: then the data is compared.
    fn is_same(&self, path: &[u8], upper: &Entry, attributes: &Attributes, lower: &Entry) -> Result<bool> {
        let (ours, theirs) = (upper.stat, lower.stat);
        let kind = |stat: &super::entry::Stat| (stat.kind, stat.mode, stat.uid, stat.gid, stat.device);
        if kind(&ours) != kind(&theirs) {
            return Ok(false);
        }
        if !ours.is_dir() && (ours.size != theirs.size || ours.mtime != theirs.mtime) {
            return Ok(false);
        }
        if self.lowers.attributes(lower, path)?.kept != attributes.kept {
            return Ok(false);
        }
        let exact = ours.mtime.1 != 0;
        match ours.kind {
            FileType::Symlink if !exact => {
                let target = |entry: &Entry| entry.target().map_err(failed(FsOp::Read, path));
                Ok(target(upper)? == target(lower)?)
            }
            FileType::RegularFile if !exact && ours.size > 0 => {
                have_same_data(upper, lower).map_err(failed(FsOp::Read, path))
            }
            _ => Ok(true),
        }
    }
}

fn have_same_data(one: &Entry, other: &Entry) -> Result<bool, Errno> {
    let (one, other) = (one.open()?, other.open()?);
    let (mut buffer, mut other_buffer) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut position = 0;
    loop {
        let len = read_full(&one, &mut buffer, position)?;
        let other_len = read_full(&other, &mut other_buffer, position)?;
        if len != other_len || buffer.get(..len) != other_buffer.get(..len) {
            return Ok(false);
        }
        if len < BUFFER {
            return Ok(true);
        }
        position += len as u64;
    }
}

fn read_full(file: &std::fs::File, buffer: &mut [u8], position: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(room) = buffer.get_mut(done..).filter(|room| !room.is_empty()) {
        match rustix::io::pread(file, room, position + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(done)
}
