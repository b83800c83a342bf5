//! Read: a blob, or a part of it, in chunks.

use std::fs::File;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, pread};

use crate::types::{Digest, Scope};
use crate::{Error, FsOp, Resource, Result};

use super::Content;

/// How much is read at a time: what containerd's own service sends in one message.
pub const CHUNK: usize = 1 << 20;
/// How far ahead the kernel is to read.
const AHEAD: u64 = 4 * CHUNK as u64;

/// A part of a blob that is being read. It holds one open file and no data.
#[derive(Debug)]
pub struct Reader {
    file: File,
    digest: Digest,
    position: u64,
    end: u64,
    /// The kernel was told to read up to here.
    advised: u64,
}

impl Content {
    /// Opens a blob, to be read from `offset` on, and not beyond `size` bytes. Less than nothing as offset is 0, and
    /// nothing or less as size is all that there is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::OutOfRange`] for an offset behind the end; [`Error::Corrupt`] when the file is
    /// missing.
    pub fn read(&self, scope: &Scope, digest: Digest, offset: i64, size: i64) -> Result<Reader> {
        let blob_size = self.size(scope, &digest)?;
        let position = u64::try_from(offset).unwrap_or(0);
        if position > blob_size {
            let problem = format!("a read at {position} is behind its end at {blob_size}");
            return Err(Error::OutOfRange { resource: named(&digest), problem });
        }
        let rest = blob_size - position;
        let wanted = u64::try_from(size).ok().filter(|size| (1..rest).contains(size)).unwrap_or(rest);
        let file = match self.files.open_blob(&digest)? {
            Some(file) => file,
            // Removed between the two looks, or lost.
            None => return Err(self.missing(scope, &digest)),
        };
        let end = position + wanted;
        // One chunk is read at once: nothing is ahead of it.
        let in_parts = wanted > CHUNK as u64;
        let mut reader = Reader { file, digest, position, end, advised: if in_parts { position } else { end } };
        if in_parts {
            reader.advise(Advice::Sequential, position, wanted);
            reader.read_ahead();
        }
        Ok(reader)
    }

    /// Opens the file of a blob that can be read in a scope, with its size; `None` when there is none. It was checked when
    /// it was made.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file is missing.
    pub(crate) fn open_file(&self, scope: &Scope, digest: &Digest) -> Result<Option<(File, u64)>> {
        let size = match self.size(scope, digest) {
            Err(Error::NotFound(_)) => return Ok(None),
            size => size?,
        };
        match self.files.open_blob(digest)? {
            Some(file) => Ok(Some((file, size))),
            // Removed between the two looks, or lost.
            None => match self.missing(scope, digest) {
                Error::NotFound(_) => Ok(None),
                err => Err(err),
            },
        }
    }

    /// Returns how large a blob is that can be read in a scope: a retained one is there for who reads.
    fn size(&self, scope: &Scope, digest: &Digest) -> Result<u64> {
        match self.metadata.blob(scope, digest) {
            Err(Error::NotFound(resource)) if *scope == Scope::Plugin => {
                let retained = self.metadata.retained_blob(digest)?;
                retained.map(|retained| retained.blob.size).ok_or(Error::NotFound(resource))
            }
            found => found.map(|blob| blob.size),
        }
    }

    fn missing(&self, scope: &Scope, digest: &Digest) -> Error {
        match self.size(scope, digest) {
            Ok(_) => Error::Corrupt(format!("the file of blob {digest} is missing; see leasehold fsck")),
            Err(err) => err,
        }
    }
}

impl Reader {
    /// Returns the next chunk; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Fs`]; [`Error::Corrupt`] when the file is shorter than its record says.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        let len = usize::try_from(self.end - self.position).unwrap_or(CHUNK).min(CHUNK);
        if len == 0 {
            return Ok(None);
        }
        // Not zeroed: it is written to once only.
        let mut chunk = Vec::with_capacity(len);
        while chunk.len() < len {
            let position = self.position + chunk.len() as u64;
            match pread(&self.file, spare_capacity(&mut chunk), position) {
                Ok(0) => {
                    let problem = format!("the file of blob {} is too short; see leasehold fsck", self.digest);
                    return Err(Error::Corrupt(problem));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(err) => return Err(Error::fs(FsOp::Read, "blobs".as_ref())(err)),
            }
        }
        // There may be more room in it than was asked for.
        chunk.truncate(len);
        self.position += len as u64;
        self.read_ahead();
        Ok(Some(chunk.into()))
    }

    /// Whether there is nothing more to read.
    pub fn is_at_end(&self) -> bool {
        self.position == self.end
    }

    /// Lets the kernel read what comes next, before the last of what it was told to is asked for.
    fn read_ahead(&mut self) {
        if self.advised < self.end && self.position + CHUNK as u64 >= self.advised {
            self.advise(Advice::WillNeed, self.advised, AHEAD.min(self.end - self.advised));
            self.advised = self.advised.saturating_add(AHEAD).min(self.end);
        }
    }

    fn advise(&self, advice: Advice, offset: u64, len: u64) {
        // Nothing but a hint.
        let _ = fadvise(&self.file, offset, std::num::NonZero::new(len), advice);
    }
}

fn named(digest: &Digest) -> Resource {
    Resource::Blob(digest.as_str().to_owned())
}
