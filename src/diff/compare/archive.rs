//! Changes of a layer as a tar stream.
//!
//! The rules are containerd's. A directory is written before what is in it, whether it was changed or not. Names of one inode
//! are links to the first of them that is written; one that was not changed waits for another one that was. Times have no
//! fractions, sockets are left out, and of a deletion only its name is known.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::attributes::Attributes;
use super::chunks::Output;
use super::entry::{Entry, Stat};
use super::header::{BLOCK, Header, Type};
use super::lower::{c_string, failed};
use crate::types::LayerId;
use crate::{Error, FsOp, Resource, Result};

/// What the name of a deleted file is given in a layer.
const WHITEOUT: &[u8] = b".wh.";

/// A tar stream that is written.
pub(super) struct Archive<'a> {
    output: Output<'a>,
    upper: Upper,
    /// No time is later.
    latest: Option<i64>,
    /// The first name of each inode that has several.
    sources: HashMap<Inode, Vec<u8>>,
    /// Names of inodes that were not changed, until another one is met that was.
    waiting: HashMap<Inode, Vec<Vec<u8>>>,
    /// Directories that are in the stream.
    added: HashSet<Vec<u8>>,
}

/// The top of the layer that the entries are of.
pub(super) struct Upper {
    pub layer: LayerId,
    pub root: OwnedFd,
}

type Inode = (u32, u32, u64);

impl<'a> Archive<'a> {
    pub fn new(output: Output<'a>, upper: Upper, latest: Option<i64>) -> Archive<'a> {
        let (sources, waiting, added) = Default::default();
        Archive { output, upper, latest, sources, waiting, added }
    }

    /// Writes that a path was deleted.
    ///
    /// # Errors
    /// [`Error::Fs`], and those of who takes the stream.
    pub fn delete(&mut self, path: &[u8]) -> Result<()> {
        self.add_parents(path)?;
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (dir, name) = path.split_at_checked(at).unwrap_or((&[], path));
        self.write_header(&Header::new(Type::Regular, [dir, WHITEOUT, name].concat()))
    }

    /// Writes an entry. One that is as it was before is written only as a link to another one that is not.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a file that became shorter meanwhile; [`Error::Fs`], and those of who takes the stream.
    pub fn put(&mut self, path: &[u8], entry: &Entry, attributes: &Attributes, unchanged: bool) -> Result<()> {
        let Some(mut header) = self.header_of(path, &entry.stat, attributes) else { return Ok(()) };
        let mut also_named = Vec::new();
        if entry.stat.is_linked() {
            match self.sources.get(&entry.stat.inode) {
                Some(source) => {
                    header.kind = Type::HardLink;
                    header.target = source.clone();
                }
                None if unchanged => {
                    self.waiting.entry(entry.stat.inode).or_default().push(path.to_vec());
                    return Ok(());
                }
                None => {
                    self.sources.insert(entry.stat.inode, path.to_vec());
                    also_named = self.waiting.remove(&entry.stat.inode).unwrap_or_default();
                }
            }
        } else if unchanged {
            return Ok(());
        }
        match header.kind {
            Type::SymbolicLink => header.target = entry.target().map_err(failed(FsOp::Read, path))?,
            Type::Regular => header.size = entry.stat.size,
            _ => {}
        }
        self.add_parents(path)?;
        self.write_header(&header)?;
        match header.kind {
            Type::Directory => drop(self.added.insert(path.to_vec())),
            Type::Regular if header.size > 0 => self.write_data(path, entry)?,
            _ => {}
        }
        for name in also_named {
            self.add_parents(&name)?;
            self.write_header(&Header {
                kind: Type::HardLink,
                name,
                target: path.to_vec(),
                size: 0,
                ..header.clone()
            })?;
        }
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> Result<Output<'a>> {
        self.output.zeros(2 * BLOCK)?;
        Ok(self.output)
    }

    /// Writes the directories that lead to a path, where they are not in the stream yet.
    fn add_parents(&mut self, path: &[u8]) -> Result<()> {
        let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.get(..slash));
        if parent.is_none_or(|parent| self.added.contains(parent)) {
            return Ok(());
        }
        for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let dir = path.get(..slash).unwrap_or_default();
            if self.added.contains(dir) {
                continue;
            }
            let entry = match Entry::find(self.upper.root.as_fd(), &c_string(dir)?) {
                Ok(entry) if entry.stat.is_dir() => entry,
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {
                    return Err(self.changed("lost a directory while it was compared; pause what writes to it"));
                }
                Err(err) => return Err(failed(FsOp::Open, dir)(err)),
            };
            let attributes = Attributes::of(&entry, None).map_err(failed(FsOp::Read, dir))?;
            if let Some(header) = self.header_of(dir, &entry.stat, &attributes) {
                self.write_header(&header)?;
            }
            self.added.insert(dir.to_vec());
        }
        Ok(())
    }

    /// Returns the header of an entry without what has to be read for it; `None` for a socket.
    fn header_of(&self, path: &[u8], stat: &Stat, attributes: &Attributes) -> Option<Header> {
        let (kind, end): (_, &[u8]) = match stat.kind {
            FileType::RegularFile => (Type::Regular, b""),
            FileType::Directory => (Type::Directory, b"/"),
            FileType::Symlink => (Type::SymbolicLink, b""),
            FileType::CharacterDevice => (Type::CharDevice, b""),
            FileType::BlockDevice => (Type::BlockDevice, b""),
            FileType::Fifo => (Type::Fifo, b""),
            FileType::Socket | FileType::Unknown => return None,
        };
        let seconds = stat.mtime.0;
        Some(Header {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: self.latest.map_or(seconds, |latest| seconds.min(latest)),
            device: stat.device,
            xattrs: attributes.kept.clone(),
            ..Header::new(kind, [path, end].concat())
        })
    }

    fn write_header(&mut self, header: &Header) -> Result<()> {
        let Some(blocks) = header.encode() else {
            return Err(Error::invalid("layer", "has an entry with more attributes than an archive can hold"));
        };
        self.output.write(&blocks)
    }

    fn write_data(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let file = entry.open().map_err(failed(FsOp::Open, path))?;
        // What was appended since it was looked up is not part of it.
        let size = entry.stat.size;
        let read = self.output.fill(size, |room, position| rustix::io::pread(&file, room, position))?;
        if read.map_err(failed(FsOp::Read, path))? < size {
            return Err(self.changed("has a file that became shorter while it was read; pause what writes to it"));
        }
        self.output.pad()
    }

    fn changed(&self, problem: &'static str) -> Error {
        Error::WrongState { resource: Resource::Layer(self.upper.layer.get()), problem }
    }
}
