//! How one blob of another store gets into the pool.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{Advice, fadvise, ioctl_ficlone};

use crate::metadata::ImportBlob;
use crate::types::{Digest, FileId, Labels, Scope};
use crate::{Chain, Error, FsOp, Result, failpoint};

use super::super::Content;
use super::super::crew::Meter;
use super::super::files::Files;
use super::super::hasher::Hasher;
use super::super::write_back::WriteBack;
use super::Reason;
use super::source::Found;

/// How much is read at a time.
const CHUNK: usize = 1 << 20;

/// How a blob was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is the same file.
    Linked,
    /// It shares the blocks.
    Cloned,
    /// It has blocks of its own.
    Copied,
}

/// A file in `ingests` that no record names. Dropping it removes that name.
struct Unrecorded<'c> {
    files: &'c Files,
    id: FileId,
}

impl Content {
    /// Brings a file as the blob of a digest, and returns its size. The inner error is why it is not brought.
    pub(super) fn bring(&self, found: Found, digest: &Digest, meter: &Meter<'_>) -> Result<Result<(u64, Way), Reason>> {
        self.neighbour.require_space()?;
        let id = self.metadata.allocate_file();
        // Until there is a record of it a check takes the file for an orphan, unless it finds this.
        let _being_made = self.being_made.take(&id);
        let unrecorded = Unrecorded { files: &self.files, id };
        let Found { file, metadata } = &found;
        let (way, own, read) = if found.is_final() && self.files.link_foreign(file, id)? {
            failpoint::hit("import: file linked");
            (Way::Linked, None, digest_of(file, digest, meter)?)
        } else {
            let own = self.files.create_ingest(id)?;
            failpoint::hit("import: file made");
            if ioctl_ficlone(&own, file).is_ok() {
                let read = digest_of(&own, digest, meter)?;
                (Way::Cloned, Some(own), read)
            } else {
                // Across file systems, and where the file system has no such thing.
                let read = self.copy(file, &own, id, digest, meter)?;
                (Way::Copied, Some(own), read)
            }
        };
        let (is, size) = match read {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        if is != *digest {
            return Ok(Err(Reason::Is(is)));
        }
        // With the name that it has: of a file that is linked, the data was made durable by whoever wrote it.
        own.as_ref().unwrap_or(file).sync_all().map_err(Error::fs(FsOp::Sync, "ingests".as_ref()))?;
        failpoint::hit("import: synced");
        let now = self.now();
        let made_at = metadata.modified().unwrap_or(now).min(now);
        self.make_blob(&unrecorded, digest, size, made_at)?;
        Ok(Ok((size, way)))
    }

    /// Makes a blob of a file that is complete and durable.
    fn make_blob(&self, unrecorded: &Unrecorded<'_>, digest: &Digest, size: u64, created_at: SystemTime) -> Result<()> {
        let id = unrecorded.id;
        let turn = self.digests.take(digest);
        let linked = self.link(id, digest, || Ok(()))?;
        let import = ImportBlob {
            scope: Scope::Plugin,
            file: id,
            digest: digest.clone(),
            size,
            labels: Labels::default(),
            linked: linked.own,
            created_at,
        };
        self.record(id, digest, &linked, |txn| txn.import_blob(import))?;
        failpoint::hit("import: record written");
        self.clear(id, &linked);
        drop(turn);
        Ok(())
    }

    /// Whether a file could be linked: it is on the pool's file system, and nobody writes to it.
    pub(super) fn can_link(&self, found: &Found) -> Result<bool> {
        Ok(found.is_final() && found.metadata.dev() == self.files.device()?)
    }

    /// Copies a file; otherwise like [`digest_of`].
    fn copy(
        &self,
        from: &File,
        to: &File,
        id: FileId,
        digest: &Digest,
        meter: &Meter<'_>,
    ) -> Result<Result<(Digest, u64), Reason>> {
        let path = PathBuf::from(format!("ingests/{id}"));
        let mut hasher = Hasher::new(digest.algorithm());
        let mut write_back = WriteBack::default();
        let read = each_chunk(from, |chunk, offset| {
            // What containers and removals need is theirs, however large this is.
            self.neighbour.require_space()?;
            to.write_all_at(chunk, offset).map_err(Error::fs(FsOp::Write, &path))?;
            hasher.update(chunk);
            write_back.advance(to, offset + chunk.len() as u64).map_err(Error::fs(FsOp::Write, &path))?;
            meter.advance(chunk.len() as u64)
        })?;
        let is = hasher.digest()?;
        Ok(read.map(|size| (is, size)))
    }
}

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        // Of a blob that name is gone already.
        if let Err(err) = self.files.unlink_ingest(self.id) {
            tracing::warn!(id = %self.id, error = %Chain(&err), "what is left of an import stays until the next start");
        }
    }
}

/// Calls `visit` with each part of a file and where that begins, and returns how long the file is. The inner error is
/// that of reading.
fn each_chunk(file: &File, mut visit: impl FnMut(&[u8], u64) -> Result<()>) -> Result<Result<u64, Reason>> {
    // Nothing but a hint.
    let _ = fadvise(file, 0, None, Advice::Sequential);
    let (mut buffer, mut position) = (vec![0; CHUNK], 0);
    loop {
        match file.read_at(&mut buffer, position) {
            Ok(0) => return Ok(Ok(position)),
            Ok(read) => {
                visit(buffer.get(..read).unwrap_or_default(), position)?;
                position += read as u64;
            }
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => return Ok(Err(Reason::Unreadable(err.to_string()))),
        }
    }
}

/// Computes the digest of a file, and returns how many bytes are in it. The inner error is that of reading.
fn digest_of(file: &File, digest: &Digest, meter: &Meter<'_>) -> Result<Result<(Digest, u64), Reason>> {
    let mut hasher = Hasher::new(digest.algorithm());
    let read = each_chunk(file, |chunk, _| {
        hasher.update(chunk);
        meter.advance(chunk.len() as u64)
    })?;
    let is = hasher.digest()?;
    Ok(read.map(|size| (is, size)))
}
