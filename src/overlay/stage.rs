//! Making a layer's directories.
//!
//! Owns the way from nothing to `l/<id>`. A layer is made in `staging` and appears in `l` by one rename, so whatever is
//! in `l` is complete. It is made before its record is: a [`PendingLayer`] that is dropped takes the directories away
//! again, one that is [kept](PendingLayer::keep) has a record. A crash between the two leaves a directory without a
//! record, which start-up removes.
//!
//! This is on the path of every container start: four system calls for a usual layer.

use rustix::fs::{AtFlags, Gid, Mode, Uid, chmodat, chownat, mkdirat};
use rustix::io::Errno;
use tracing::warn;

use super::dir::Dir;
use super::layers::LayerDirs;
use super::remove::remove_tree;
use crate::types::LayerId;
use crate::{Chain, Error, FsOp, Resource, Result};

/// What a layer is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Is written to: has `fs` and `work`.
    Active,
    /// Is only read: has `fs`.
    View,
}

/// Owner and mode of a layer's `fs`, which a container sees as its root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
}

impl Default for Attributes {
    /// Root's, `rwxr-xr-x`.
    fn default() -> Attributes {
        Attributes { uid: 0, gid: 0, mode: 0o755 }
    }
}

/// A layer whose directories exist and whose record does not, yet.
#[must_use = "dropping a pending layer deletes its directories"]
#[derive(Debug)]
pub struct PendingLayer<'d> {
    dirs: &'d LayerDirs,
    id: LayerId,
    kept: bool,
}

impl LayerDirs {
    /// Makes the directories of a layer. `fs` gets exactly the mode and the owner asked for, whatever the umask is;
    /// the directories around it are for root only.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when there is a layer of that number, which is left as it is; [`Error::NoSpace`] and
    /// [`Error::Fs`]. Nothing is left behind.
    pub fn create(&self, id: LayerId, kind: LayerKind, attributes: Attributes) -> Result<PendingLayer<'_>> {
        let name = id.to_string();
        let mut made = private_dir(&self.staging, &name);
        if made == Err(Errno::EXIST) {
            // Left by a crash. No record can name it, and numbers are not reused.
            remove_tree(&self.staging, &name)?;
            made = private_dir(&self.staging, &name);
        }
        made.map_err(|err| Error::fs(FsOp::CreateDir, &self.staging.path().join(&name))(err))?;
        crate::failpoint::hit("stage: directory made");

        let published = self.fill(&self.staging, &name, kind, attributes).and_then(|_| {
            crate::failpoint::hit("stage: filled");
            self.rename(&self.staging, &name, &self.layers, &name).map_err(|err| match err {
                Errno::EXIST => Error::AlreadyExists(Resource::Layer(id.get())),
                err => Error::fs(FsOp::Rename, &self.staging.path().join(&name))(err),
            })
        });
        match published {
            Ok(()) => Ok(PendingLayer { dirs: self, id, kept: false }),
            Err(err) => {
                discard(&self.staging, id);
                Err(err)
            }
        }
    }

    /// Makes what is missing of the directories of a layer that has a record, and tells whether anything was. What is
    /// there is left as it is.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub fn recreate(&self, id: LayerId, kind: LayerKind, attributes: Attributes) -> Result<bool> {
        // Through staging: start-up looks at the names in `l` only, so a crash must leave no unfinished one there.
        match self.create(id, kind, attributes) {
            Ok(made) => {
                made.keep();
                Ok(true)
            }
            Err(Error::AlreadyExists(_)) => self.fill(&self.layers, &id.to_string(), kind, attributes),
            Err(err) => Err(err),
        }
    }

    /// Makes `fs` and `work` in `parent/name`, and tells whether one of them was missing.
    fn fill(&self, parent: &Dir, name: &str, kind: LayerKind, attributes: Attributes) -> Result<bool> {
        let Attributes { uid, gid, mode } = attributes;
        let mode = mode & 0o7777;
        let fs = format!("{name}/fs");
        let failed = |op, name: &str, err| Error::fs(op, &parent.path().join(name))(err);
        let mut missing = false;
        match mkdirat(parent, &*fs, Mode::from_raw_mode(mode & 0o1777)) {
            Ok(()) => {
                missing = true;
                // The owner first: changing it may clear bits of the mode.
                if !self.makes_owner(uid, gid) {
                    let (owner, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
                    chownat(parent, &*fs, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|err| failed(FsOp::Chown, &fs, err))?;
                }
                if !self.makes_mode(mode) {
                    chmodat(parent, &*fs, Mode::from_raw_mode(mode), AtFlags::empty())
                        .map_err(|err| failed(FsOp::Chmod, &fs, err))?;
                }
            }
            Err(Errno::EXIST) => {}
            Err(err) => return Err(failed(FsOp::CreateDir, &fs, err)),
        }
        crate::failpoint::hit("stage: fs made");
        if kind == LayerKind::Active {
            let work = format!("{name}/work");
            // Overlayfs makes its own directory in it; the mode is what containerd gives, less the umask.
            match mkdirat(parent, &*work, Mode::from_raw_mode(0o711)) {
                Ok(()) => missing = true,
                Err(Errno::EXIST) => {}
                Err(err) => return Err(failed(FsOp::CreateDir, &work, err)),
            }
        }
        Ok(missing)
    }
}

impl PendingLayer<'_> {
    /// Returns the layer's number.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// Keeps the directories: the layer's record has been committed.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for PendingLayer<'_> {
    fn drop(&mut self) {
        if !self.kept {
            discard(&self.dirs.layers, self.id);
        }
    }
}

/// Makes the directory around `fs` and `work`.
fn private_dir(parent: &Dir, name: &str) -> Result<(), Errno> {
    mkdirat(parent, name, Mode::RWXU)
}

/// Deletes directories that no record names. What stays is found and removed at the next start.
fn discard(parent: &Dir, id: LayerId) {
    if let Err(err) = remove_tree(parent, id.to_string()) {
        warn!(layer = %id, error = %Chain(&err), "cannot remove the directories of a layer that was not made");
    }
}

#[cfg(test)]
mod tests;
