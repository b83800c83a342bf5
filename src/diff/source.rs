//! Where the blob of a layer is read from.
//!
//! From a file, always: a blob that comes through somebody's API comes in pieces, each with a question and an answer. Ours
//! were checked when they were made. Those in containerd's directory are checked while they are read.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, CWD, FileType, Mode, OFlags, fadvise, fstat, openat};
use rustix::io::Errno;

use crate::content::Content;
use crate::types::{Digest, Scope};
use crate::{Error, FsOp, Resource, Result};

use super::stream::{Source, Verified};

/// The stores that blobs may be in.
pub(super) struct Sources {
    content: Arc<Content>,
    /// The directory of containerd's own content store.
    content_root: Option<PathBuf>,
}

/// A blob that can be read.
#[derive(Debug)]
pub(super) struct Blob {
    file: File,
    size: u64,
    /// What has to come out, where nobody has looked yet.
    unchecked: Option<Digest>,
}

impl Blob {
    /// Returns its size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Begins to read.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads.
    pub fn read(self) -> Result<Source> {
        // Nothing but a hint.
        let _ = fadvise(&self.file, 0, None, Advice::Sequential);
        Ok(match self.unchecked {
            None => Box::new(self.file),
            Some(digest) => Box::new(Verified::start(Box::new(self.file), digest)?),
        })
    }
}

impl Sources {
    pub fn new(content: Arc<Content>, content_root: Option<PathBuf>) -> Sources {
        Sources { content, content_root }
    }

    /// Opens a blob that is said to have `size` bytes, where that is not 0.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when containerd may know where it is, [`Error::NotFound`] for other clients;
    /// [`Error::Mismatch`] for another size.
    pub fn open(&self, scope: &Scope, digest: &Digest, size: u64) -> Result<Blob> {
        if let Some((file, size)) = self.content.open_file(scope, digest)? {
            return Ok(Blob { file, size, unchecked: None });
        }
        if *scope != Scope::Plugin {
            return Err(Error::NotFound(named(digest)));
        }
        let Some(root) = &self.content_root else {
            return Err(Error::Unsupported(format!("a layer whose blob {digest} is not in leasehold's content store")));
        };
        let path = root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex());
        let Some((file, found)) = open_foreign(&path)? else {
            return Err(Error::Unsupported(format!(
                "a layer whose blob {digest} is neither in leasehold's content store nor in diff.content_root ({})",
                root.display()
            )));
        };
        if size != 0 && size != found {
            let problem = format!("{} has {found} bytes instead of {size}", path.display());
            return Err(Error::Mismatch { resource: named(digest), problem });
        }
        Ok(Blob { file, size: found, unchecked: Some(digest.clone()) })
    }
}

/// Opens a file that others own, with its size; `None` when there is none.
fn open_foreign(path: &Path) -> Result<Option<(File, u64)>> {
    // What is no file must not keep the open waiting.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        opened => opened.map_err(Error::fs(FsOp::Open, path))?,
    };
    let stat = fstat(&file).map_err(Error::fs(FsOp::Stat, path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::fs(FsOp::Open, path)(Errno::INVAL));
    }
    Ok(Some((file.into(), u64::try_from(stat.st_size).unwrap_or(0))))
}

fn named(digest: &Digest) -> Resource {
    Resource::Blob(digest.as_str().to_owned())
}
