//! Two sides and what to make of them, checked; and the writing of it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::archive::{Archive, Upper};
use super::attributes::Dialect;
use super::compress::{self, Compression, Sink, Written};
use super::lower::{Lowers, list, open_root};
use super::sides::{Sides, Tree};
use super::walk::Walk;
use crate::overlay::{Layout, Mount};
use crate::types::LayerId;
use crate::{Error, FsOp, Resource, Result};

/// Media types of layers as this differ makes them. The first one is what nobody has to ask for.
const MEDIA_TYPES: [(&str, Compression); 3] = [
    ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
    ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
    ("application/vnd.oci.image.layer.v1.tar", Compression::None),
];

/// A layer that can be made of what one side has and the other has not.
#[derive(Debug)]
pub struct Comparison {
    layout: Layout,
    sides: Sides,
    media_type: &'static str,
    compression: Compression,
    /// No time is later, in seconds since 1970.
    latest: Option<i64>,
}

impl Comparison {
    /// Checks what is to be compared: `right` must be a layer of ours, and `left` exactly what is below it. An empty media type
    /// stands for gzip. Touches no file.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn new(
        layout: &Layout,
        left: &[Mount],
        right: &[Mount],
        media_type: &str,
        source_date_epoch: Option<i64>,
    ) -> Result<Comparison> {
        let known = MEDIA_TYPES.into_iter().find(|(known, _)| media_type.is_empty() || media_type == *known);
        let Some((media_type, compression)) = known else {
            return Err(Error::Unsupported(format!("comparing into the media type {media_type:?}")));
        };
        let sides = Sides::of(layout, left, right)?;
        Ok(Comparison { layout: layout.clone(), sides, media_type, compression, latest: source_date_epoch })
    }

    /// Returns what the blob will be.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// Walks the upperdir and writes the layer. `stop` is asked now and then, and ends it with an error.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what only a mount can show, [`Error::WrongState`] when files became shorter meanwhile,
    /// [`Error::Fs`], and those of `sink`, which may have been given a part in any case.
    pub fn write(&self, sink: &mut dyn Sink, stop: &dyn Fn() -> bool) -> Result<Written> {
        let lowerdirs: Vec<PathBuf> = self.sides.lowers.iter().map(|id| self.layout.upperdir(*id).into()).collect();
        let (dialect, lowers) = match self.sides.tree {
            Tree::Overlay(dialect) => (Some(dialect), Lowers::open(&lowerdirs, dialect)?),
            Tree::Plain => {
                lowerdirs.iter().try_for_each(|path| require_empty(path))?;
                (None, Lowers::open(&[], Dialect::Trusted)?)
            }
        };
        let upperdir = self.layout.upperdir(self.sides.upper);
        let top = open_root(upperdir.as_ref())?;
        compress::pack(self.compression, sink, |output| {
            let layer = self.sides.upper;
            let mut archive = Archive::new(output, Upper { layer, root: open_root(upperdir.as_ref())? }, self.latest);
            Walk { lowers: &lowers, dialect, stop }.run(&top, &mut archive)?;
            // Names that vanish are no changes; but a layer that is removed loses all of them.
            self.require_still_there(layer, &top)?;
            lowers.roots().zip(&self.sides.lowers).try_for_each(|(root, id)| self.require_still_there(*id, root))?;
            archive.finish()
        })
    }

    /// Fails when a layer has been removed. It is out of sight before the first file of it is deleted.
    fn require_still_there(&self, id: LayerId, root: &OwnedFd) -> Result<()> {
        let path = self.layout.upperdir(id);
        let held = rustix::fs::fstat(root).map_err(Error::fs(FsOp::Stat, path.as_ref()))?;
        match rustix::fs::lstat(&path) {
            Ok(found) if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => {
                let problem = "was removed while it was compared";
                Err(Error::WrongState { resource: Resource::Layer(id.get()), problem })
            }
            Err(err) => Err(Error::fs(FsOp::Stat, path.as_ref())(err)),
        }
    }
}

fn require_empty(path: &Path) -> Result<()> {
    let names = list(open_root(path)?.as_fd()).map_err(Error::fs(FsOp::List, path))?;
    if names.is_empty() { Ok(()) } else { Err(Error::Unsupported("comparing two trees that share nothing".into())) }
}
