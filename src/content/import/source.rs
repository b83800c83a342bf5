//! The directory of another content store with containerd's layout: `blobs/<algorithm>/<hex>`.
//!
//! Its files are somebody else's, and may change or go while they are read. No symbolic link is followed below the
//! directory itself, and nothing but regular files is opened.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::overlay::Dir;
use crate::types::{Algorithm, Digest};
use crate::{Error, Result};

use super::super::files::Files;
use super::Reason;

/// What it is opened with. Opening something that is no file must not wait for anybody.
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The open directories of a store.
pub(super) struct Source {
    dirs: Vec<(Algorithm, Dir)>,
    /// What is beside them in `blobs`.
    unknown: Vec<OsString>,
}

/// What there is of blobs.
#[derive(Default)]
pub(super) struct Contents {
    /// Blobs, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Names that are no digests.
    pub unknown: Vec<String>,
}

/// A file of it.
pub(super) struct Found {
    pub file: File,
    pub metadata: std::fs::Metadata,
}

impl Source {
    /// Opens the store in `path`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a path that is relative, for one where there is no store, and for the pool's own.
    pub fn open(path: &Path, own: &Files) -> Result<Source> {
        let invalid = |problem: &str| Error::invalid("directory", format!("{} {problem}", path.display()));
        if !path.is_absolute() {
            return Err(invalid("is not an absolute path"));
        }
        let open = |path: &Path| {
            // The dot, because the directory itself may be a symbolic link.
            Dir::open(path.join(".")).map_err(|err| match err {
                Error::Fs { source, .. } if source.kind() == io::ErrorKind::NotFound => invalid("does not exist"),
                Error::Fs { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                    invalid("is not a directory")
                }
                err => err,
            })
        };
        open(path)?;
        let blobs = match Dir::open(path.join("blobs")) {
            Ok(blobs) => blobs,
            Err(Error::Fs { source, .. }) if is_absent(&source) => {
                return Err(invalid("is no content store: it has no directory `blobs`"));
            }
            Err(err) => return Err(err),
        };
        let mut source = Source { dirs: Vec::new(), unknown: Vec::new() };
        for name in blobs.names()? {
            let algorithm = name.to_str().and_then(Algorithm::parse);
            match algorithm.map(|algorithm| (algorithm, Dir::open(blobs.path().join(&name)))) {
                Some((algorithm, Ok(dir))) => {
                    if own.is_own(algorithm, &dir)? {
                        return Err(invalid("is the pool's own"));
                    }
                    source.dirs.push((algorithm, dir));
                }
                Some((_, Err(Error::Fs { source, .. }))) if !is_absent(&source) => {
                    return Err(Error::fs(crate::FsOp::Open, &blobs.path().join(&name))(source));
                }
                _ => source.unknown.push(name),
            }
        }
        Ok(source)
    }

    /// Lists what there is. Reads whole directories, and looks at every file.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn list(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        contents.unknown.extend(self.unknown.iter().map(|name| format!("blobs/{}", name.to_string_lossy())));
        for (algorithm, dir) in &self.dirs {
            let algorithm = algorithm.as_str();
            for name in dir.names()? {
                let digest = name.to_str().and_then(|name| Digest::parse(format!("{algorithm}:{name}")).ok());
                let Some(digest) = digest else {
                    contents.unknown.push(format!("blobs/{algorithm}/{}", name.to_string_lossy()));
                    continue;
                };
                // What it is, whoever opens it tells.
                let size = statat(dir, digest.hex(), AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| stat.st_size);
                contents.blobs.push((digest, u64::try_from(size).unwrap_or(0)));
            }
        }
        // In this order the records are, too.
        contents.blobs.sort_unstable();
        Ok(contents)
    }

    /// Opens the file of a blob, or says why that is not possible.
    pub fn file(&self, digest: &Digest) -> Result<Found, Reason> {
        let dir = self.dirs.iter().find(|(algorithm, _)| *algorithm == digest.algorithm());
        let Some((_, dir)) = dir else { return Err(Reason::Vanished) };
        let unreadable = |err: Errno| Reason::Unreadable(io::Error::from(err).to_string());
        let file = openat(dir, digest.hex(), OPEN, Mode::empty()).map_err(|err| match err {
            Errno::NOENT => Reason::Vanished,
            // A symbolic link, a socket, a device that is not there.
            Errno::LOOP | Errno::NXIO | Errno::NODEV => Reason::NoFile,
            err => unreadable(err),
        })?;
        let file = File::from(file);
        let metadata = file.metadata().map_err(|err| Reason::Unreadable(err.to_string()))?;
        if metadata.is_file() { Ok(Found { file, metadata }) } else { Err(Reason::NoFile) }
    }
}

impl Found {
    /// Whether nobody can write to the file any more, so that it may become a blob as it is: it is read-only, of who the
    /// daemon is, and as blobs are made, so that nothing of it has to be changed.
    pub fn is_final(&self) -> bool {
        self.metadata.mode() & 0o7777 == 0o444 && self.metadata.uid() == rustix::process::geteuid().as_raw()
    }
}

/// Whether there is no directory of that name: nothing, or something else.
fn is_absent(err: &io::Error) -> bool {
    matches!(Errno::from_io_error(err), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
