//! The entries of a tar stream, made beneath one directory.
//!
//! What comes out is what containerd's applier makes of the same stream, attribute for attribute, and what that refuses is
//! refused. The exceptions are few: old sparse files are taken, and holes stay holes; a directory that is made again below one that
//! the lower layers lack gets no attributes, instead of failing; `user.overlay.` attributes are not taken where
//! overlayfs would follow them.
//!
//! Nothing leads outside. Each system call has an open directory and one name in it, and follows no symbolic
//! link; links are resolved here, as text, beneath the root ([`beneath`]). So whoever swaps directories meanwhile gains
//! nothing.
//!
//! What costs time is creating files, so for most of them there are six calls: open, write, fstat, utimensat, close,
//! and nothing on the way to them ([`tree`] keeps directories open).

mod attributes;
mod beneath;
mod budget;
mod entry;
mod lower;
mod path;
mod tar;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod usage;
mod whiteout;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::BufRead;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

pub use whiteout::Whiteouts;

use crate::overlay::Usage;
use crate::{Error, Result};
use attributes::Setter;
use budget::Budget;
use entry::Extraction;
use lower::Lowers;
use tar::Reader;
use tree::Tree;
use usage::Count;

/// Where a layer goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The directory. All paths are resolved beneath it.
    pub root: BorrowedFd<'a>,
    /// Directories of the layers below, nearest first: what directories without an entry copy.
    pub parents: &'a [PathBuf],
    /// What is made of whiteouts.
    pub whiteouts: Whiteouts,
}

/// What happens to device nodes of an archive. Whiteouts are not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// They are made.
    Make,
    /// They are left out, as in a user namespace, where nobody may make them.
    Skip,
    /// They end the extraction.
    Refuse,
}

/// What an archive may ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of a path.
    pub path: usize,
    /// Components of a path.
    pub depth: usize,
    /// Bytes of all paths that are kept to the end: those of directories and whiteouts.
    pub kept: usize,
    /// Bytes of the extended attributes of one entry, names and values.
    pub xattrs: usize,
    /// Device nodes.
    pub devices: Devices,
    /// Of files of at least so many bytes writing to the disk is begun at once.
    pub write_back: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 10_000_000,
            path: 4095,
            depth: 1024,
            kept: 64 << 20,
            xattrs: 1 << 20,
            devices: Devices::Make,
            write_back: Some(256 << 10),
        }
    }
}

/// What was extracted. Paths are relative to the root, sorted.
#[derive(Debug, Default)]
pub struct Extracted {
    /// What [`disk_usage`](crate::overlay::disk_usage) counts now, where that is known without a walk.
    pub usage: Option<Usage>,
    /// Directories made without an entry of their own, which copy what is below them. The root always is one: its
    /// entry has no effect, as with containerd. It is the empty path.
    pub implicit: Vec<PathBuf>,
    /// Directories that were made without an entry, got extended attributes of the layers below, and then an entry, which
    /// took none of them away. Like those without an entry they depend on what is below. Empty where nothing is.
    pub inherited: Vec<PathBuf>,
    /// Whiteouts made for overlayfs.
    pub whiteouts: Vec<PathBuf>,
    /// Directories made opaque for overlayfs.
    pub opaque: Vec<PathBuf>,
    /// Entries read, with those that made nothing.
    pub entries: u64,
}

/// Extracts an archive. Reads to its end marker, and leaves what follows to the caller. `stop` is asked before each
/// entry and each chunk of data; true ends the extraction. Nothing is durable after it.
///
/// # Errors
/// [`Error::Invalid`] for what is no archive, or too much of one; [`Error::ShuttingDown`] when it is stopped;
/// [`Error::Fs`] and [`Error::NoSpace`]; an [`Error`] inside of an error of the input as it is. What was made so far stays.
pub fn extract(
    input: &mut dyn BufRead,
    target: &Target<'_>,
    limits: &Limits,
    stop: &dyn Fn() -> bool,
) -> Result<Extracted> {
    let user_xattrs = target.whiteouts == Whiteouts::OverlayUser;
    let lowers = Lowers::new(target.parents, user_xattrs);
    let mut extraction = Extraction {
        tree: Tree::new(target.root, lowers, Budget::new(limits.kept), stop)?,
        limits,
        whiteouts: target.whiteouts,
        setter: Setter { user_xattrs },
        count: Count::begin(target.root)?,
        unpacked: whiteout::Unpacked::default(),
        directories: HashMap::new(),
        next_order: 0,
        path: Vec::new(),
    };
    let mut reader = Reader::new(input, stop);
    let mut entries = 0;
    while reader.advance()? {
        if stop() {
            return Err(Error::ShuttingDown);
        }
        entries += 1;
        if entries > limits.entries {
            return Err(Error::invalid("layer", format!("more than {} entries", limits.entries)));
        }
        extraction.make(&reader.entry, &mut reader.data)?;
    }
    extraction.finish()?;
    let notes = std::mem::take(&mut extraction.tree.notes);
    let mut implicit = paths(notes.implicit);
    implicit.insert(0, PathBuf::new());
    Ok(Extracted {
        usage: extraction.count.usage().filter(|_| !extraction.tree.removed),
        implicit,
        inherited: paths(notes.inherited),
        whiteouts: paths(notes.whiteouts),
        opaque: paths(notes.opaque),
        entries,
    })
}

fn paths(set: BTreeSet<Box<[u8]>>) -> Vec<PathBuf> {
    let mut paths: Vec<_> = set.into_iter().map(|path| PathBuf::from(OsString::from_vec(path.into_vec()))).collect();
    paths.sort();
    paths
}
