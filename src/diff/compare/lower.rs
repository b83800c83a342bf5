//! What is below an upperdir: the tree that its lower layers show together.
//!
//! Nothing of it is walked. A name is looked up where the upperdir has it too, and a directory is listed where the upperdir has
//! one in its place. Lookups follow overlayfs: the nearest layer that has a name decides, directories are merged.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{Attributes, Dialect};
use super::entry::Entry;
use crate::{Error, FsOp, Result};

/// The lower layers, nearest first.
pub(super) struct Lowers {
    roots: Vec<OwnedFd>,
    dialect: Dialect,
}

/// The layers whose directories of one path are merged, nearest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Merged(Vec<Level>);

#[derive(Clone, Copy, Debug)]
struct Level {
    /// Index of its root.
    layer: usize,
    has_whiteouts: bool,
}

/// What the lower layers show under a name.
pub(super) struct Found {
    pub entry: Entry,
    /// Which directories are merged there; none for all else.
    pub merged: Merged,
}

impl Lowers {
    /// Opens the roots of the layers.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn open(paths: &[PathBuf], dialect: Dialect) -> Result<Lowers> {
        let roots = paths.iter().map(|path| open_root(path)).collect::<Result<_>>()?;
        Ok(Lowers { roots, dialect })
    }

    /// Returns the roots of the layers.
    pub fn roots(&self) -> impl Iterator<Item = &OwnedFd> {
        self.roots.iter()
    }

    /// Returns what is merged at the top.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn top(&self) -> Result<Merged> {
        let mut merged = Merged::default();
        for (layer, root) in self.roots.iter().enumerate() {
            let entry = Entry::find(root.as_fd(), c".").map_err(failed(FsOp::Stat, b""))?;
            // Overlayfs looks at nothing else there.
            let attributes = Attributes::of(&entry, Some(self.dialect)).map_err(failed(FsOp::Read, b""))?;
            merged.0.push(Level { layer, has_whiteouts: attributes.has_whiteouts });
        }
        Ok(merged)
    }

    /// Looks `path` up, whose directory is `dir`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what only a mount could show; [`Error::Fs`].
    pub fn find(&self, dir: &Merged, path: &[u8]) -> Result<Option<Found>> {
        let mut found: Option<Found> = None;
        if dir.0.is_empty() {
            return Ok(None);
        }
        let name = c_string(path)?;
        for level in &dir.0 {
            let Some(root) = self.roots.get(level.layer) else { continue };
            let entry = match Entry::find(root.as_fd(), &name) {
                Ok(entry) => entry,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(err) => return Err(failed(FsOp::Open, path)(err)),
            };
            let is_dir = entry.stat.is_dir();
            let maybe_whiteout = level.has_whiteouts && entry.stat.kind == FileType::RegularFile;
            let attributes = if is_dir || maybe_whiteout {
                Attributes::of(&entry, Some(self.dialect)).map_err(failed(FsOp::Read, path))?
            } else {
                Attributes::default()
            };
            if entry.stat.is_whiteout() || (maybe_whiteout && attributes.whiteout) {
                break;
            }
            if !is_dir {
                // Below a directory it is hidden.
                return Ok(Some(found.unwrap_or(Found { entry, merged: Merged::default() })));
            }
            if attributes.redirected {
                return Err(redirected(path));
            }
            let found = found.get_or_insert_with(|| Found { entry, merged: Merged::default() });
            found.merged.0.push(Level { layer: level.layer, has_whiteouts: attributes.has_whiteouts });
            if attributes.opaque {
                break;
            }
        }
        Ok(found)
    }

    /// Returns the names in the directories that are merged at `path`, those of whiteouts included.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn names(&self, dir: &Merged, path: &[u8]) -> Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        let found = if path.is_empty() { c".".to_owned() } else { c_string(path)? };
        for level in &dir.0 {
            let Some(root) = self.roots.get(level.layer) else { continue };
            let entry = Entry::find(root.as_fd(), &found).map_err(failed(FsOp::Open, path))?;
            let dir = entry.open_dir().map_err(failed(FsOp::Open, path))?;
            names.extend(list(dir.as_fd()).map_err(failed(FsOp::List, path))?);
        }
        Ok(names)
    }

    /// Returns what belongs into a layer of an entry's extended attributes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what only a mount could show; [`Error::Fs`].
    pub fn attributes(&self, entry: &Entry, path: &[u8]) -> Result<Attributes> {
        let attributes = Attributes::of(entry, Some(self.dialect)).map_err(failed(FsOp::Read, path))?;
        if attributes.redirected { Err(redirected(path)) } else { Ok(attributes) }
    }
}

/// Opens the top of a layer.
///
/// # Errors
/// [`Error::Fs`].
pub(super) fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(Error::fs(FsOp::Open, path))
}

/// Returns the names in a directory, in no order.
pub(super) fn list(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        match entry {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Ok(entry) => names.push(entry.file_name().to_bytes().to_vec()),
            // It was removed while it was read.
            Err(Errno::NOENT) => break,
            Err(err) => return Err(err),
        }
    }
    Ok(names)
}

/// Adds operation and path to the kernel's answer. What it cannot do here, a mount can.
pub(super) fn failed(op: FsOp, path: &[u8]) -> impl FnOnce(Errno) -> Error + use<'_> {
    move |err| match err {
        Errno::XDEV => Error::Unsupported(format!("comparing a layer with something mounted at {:?}", shown(path))),
        Errno::NOSYS | Errno::NAMETOOLONG => {
            Error::Unsupported(format!("comparing a layer with {:?} ({err})", shown(path)))
        }
        _ => Error::fs(op, &shown(path))(err),
    }
}

pub(super) fn redirected(path: &[u8]) -> Error {
    Error::Unsupported(format!("comparing a layer with a redirect or metacopy at {:?}", shown(path)))
}

fn shown(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

pub(super) fn c_string(path: &[u8]) -> Result<CString> {
    CString::new(path).map_err(|err| Error::invalid("path", err.to_string()))
}
