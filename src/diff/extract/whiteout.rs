//! Entries that take something away from the layers below.
//!
//! `.wh.<name>` removes a name, `.wh..wh..opq` everything that lower layers have in its directory. What that becomes
//! depends on what is extracted to.

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags, chownat, fsetxattr, mknodat};
use rustix::io::Errno;

use super::attributes::Owner;
use super::beneath::open_dir;
use super::budget::Budget;
use super::path::{join, shown};
use super::tar::Header;
use super::tree::{OpenDir, Tree, is_dir, note};
use crate::overlay::Dir;
use crate::{Error, FsOp, Result};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the name of an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker<'n> {
    /// Nothing in particular.
    None,
    /// Its directory hides what is below.
    Opaque,
    /// This name is removed.
    Whiteout(&'n [u8]),
}

/// What is made of markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// What overlayfs has: a character device 0:0, `trusted.overlay.opaque`.
    Overlay,
    /// The same with `user.overlay.opaque`, for overlayfs in a user namespace.
    OverlayUser,
    /// What they name is removed from the directory, in which lower layers are as well.
    Remove,
}

/// Tells what a name says.
pub(super) fn marker(name: &[u8]) -> Result<Marker<'_>> {
    if name == OPAQUE {
        return Ok(Marker::Opaque);
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(Marker::None),
        Some(b"" | b"." | b"..") => {
            Err(Error::invalid("layer", format!("whiteout {:?} names no file", String::from_utf8_lossy(name))))
        }
        Some(name) => Ok(Marker::Whiteout(name)),
    }
}

/// Makes a whiteout for overlayfs.
pub(super) fn make_whiteout(tree: &mut Tree<'_>, dir: &OpenDir, name: &[u8], header: &Header) -> Result<()> {
    let path = join(&dir.path, name);
    match mknodat(&dir.fd, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            return Err(Error::invalid("layer", format!("{:?} is there, and then removed", shown(&path))));
        }
        Err(err) => return Err(Error::fs(FsOp::MakeNode, shown(&path))(err)),
    }
    let owner = Owner::of(header);
    if tree.look(dir, name)?.is_some_and(|stat| owner.differs(&stat)) {
        let result = chownat(&dir.fd, name, owner.uid(), owner.gid(), AtFlags::SYMLINK_NOFOLLOW);
        result.map_err(Error::fs(FsOp::Chown, shown(&path)))?;
    }
    note(&mut tree.notes.whiteouts, &path, &mut tree.budget)
}

/// Makes a directory opaque for overlayfs.
pub(super) fn make_opaque(tree: &mut Tree<'_>, dir: &OpenDir, attribute: &str) -> Result<()> {
    fsetxattr(&dir.fd, attribute, b"y", XattrFlags::empty()).map_err(Error::fs(FsOp::Xattr, shown(&dir.path)))?;
    note(&mut tree.notes.opaque, &dir.path, &mut tree.budget)
}

/// What was extracted, where markers remove what was there before: the paths of entries, and directories that have been
/// emptied already.
#[derive(Default)]
pub(super) struct Unpacked {
    entries: HashSet<Box<[u8]>>,
    emptied: HashSet<Box<[u8]>>,
}

impl Unpacked {
    /// Keeps an entry from being removed by the marker of its directory.
    pub fn add(&mut self, path: &[u8], budget: &mut Budget) -> Result<()> {
        if !self.entries.contains(path) {
            budget.take(path)?;
            self.entries.insert(path.into());
        }
        Ok(())
    }

    /// Removes everything from a directory that did not come from an entry.
    pub fn empty(&mut self, tree: &mut Tree<'_>, dir: &Rc<OpenDir>) -> Result<()> {
        if self.emptied.contains(&dir.path) {
            return Ok(());
        }
        tree.budget.take(&dir.path)?;
        self.emptied.insert(dir.path.clone());
        let mut pending = vec![dir.path.clone()];
        while let Some(path) = pending.pop() {
            let dir = tree.find(&path).map_err(Error::fs(FsOp::Open, shown(&path)))?;
            // A descriptor of its own, because the position in a listing belongs to the open file.
            let listed = open_dir(dir.fd.as_fd(), b".").map_err(Error::fs(FsOp::Open, shown(&path)))?;
            let listed = Dir::from_fd(listed, shown(&path).to_owned());
            for name in listed.names()? {
                let name = name.into_vec();
                let path = join(&path, &name);
                if !self.entries.contains(&*path) {
                    tree.remove(&dir, &name)?;
                } else if tree.look(&dir, &name)?.is_some_and(|stat| is_dir(&stat)) {
                    pending.push(path.into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Marker, marker};

    #[test]
    fn names_of_markers() {
        for (name, expected) in [
            (&b"file"[..], Marker::None),
            (b".wh", Marker::None),
            (b".wh.file", Marker::Whiteout(b"file")),
            (b".wh..wh..opq", Marker::Opaque),
            (b".wh..wh..opq2", Marker::Whiteout(b".wh..opq2")),
            (b".wh..wh.plnk", Marker::Whiteout(b".wh.plnk")),
            (b".wh....", Marker::Whiteout(b"...")),
        ] {
            assert_eq!(marker(name).unwrap(), expected, "{name:?}");
        }
        for name in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(marker(name).is_err(), "{name:?}");
        }
    }
}
