//! One ingest, open to be written to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use crate::metadata::Ingest;
use crate::types::{Algorithm, Digest, FileId, LeaseId};
use crate::{Chain, Error, FsOp, Resource, Result};

use super::Content;
use super::expire::expiry;
use super::hasher::Hasher;
use super::write_back::WriteBack;
use super::writers::Entered;

/// After so many bytes, what there is is made durable: no more has to be sent again after a power cut.
const CHECKPOINT: u64 = 64 << 20;
/// How much is read at a time.
pub(super) const BUFFER: usize = 1 << 20;

/// An ingest with its file. Dropping it lets others write; [`Content::close`] stores how far it is as well.
pub(super) struct Writer {
    pub entered: Entered,
    /// The lease of the request, which names the ingest and is to name the blob.
    pub lease: Option<LeaseId>,
    pub id: FileId,
    /// The blob whose file this is, which must not be written to.
    pub shared: Option<Digest>,
    pub file: File,
    /// Bytes in the file.
    pub offset: u64,
    pub hasher: Hasher,
    /// Bytes of the file that the hasher knows. All of them, once it has [caught up](Writer::catch_up).
    pub hashed: u64,
    pub write_back: WriteBack,
    /// Bytes that outlive a power cut; `None` when it is not even sure that the file does.
    pub synced: Option<u64>,
    pub checkpoint: u64,
    pub started_at: SystemTime,
    pub updated_at: SystemTime,
}

impl Writer {
    /// Names the ingest in an error.
    pub fn resource(&self) -> Resource {
        Resource::Ingest(self.entered.name().as_str().to_owned())
    }

    /// Returns the digest of what is there, once the writer has [caught up](Self::catch_up).
    ///
    /// # Errors
    /// None in practice.
    pub fn digest(&self) -> Result<Digest> {
        match &self.shared {
            Some(digest) => Ok(digest.clone()),
            None => self.hasher.digest(),
        }
    }

    /// Reads what the hasher does not know yet. May take long.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn catch_up(&mut self) -> Result<()> {
        hash_range(&self.file, &mut self.hasher, self.hashed, self.offset).map_err(self.failed(FsOp::Read))?;
        self.hashed = self.offset;
        Ok(())
    }

    /// Computes another digest of all that is there. Reads the whole file.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn hash_again(&mut self, algorithm: Algorithm) -> Result<()> {
        let mut hasher = Hasher::new(algorithm);
        hash_range(&self.file, &mut hasher, 0, self.offset).map_err(self.failed(FsOp::Read))?;
        self.hasher = hasher;
        Ok(())
    }

    /// Takes what was written away again.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn truncate(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(self.failed(FsOp::Truncate))?;
        self.hasher = Hasher::new(self.hasher.algorithm());
        self.write_back = WriteBack::default();
        (self.offset, self.hashed, self.synced, self.checkpoint) = (0, 0, None, 0);
        Ok(())
    }

    /// Appends. May wait for the disk.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::NotDurable`] and [`Error::Fs`]; nothing of `data` is in the ingest then.
    pub fn append(&mut self, data: &[u8], now: SystemTime) -> Result<()> {
        if let Err(err) = self.file.write_all_at(data, self.offset) {
            // A part of it may be there.
            if let Err(err) = self.file.set_len(self.offset) {
                tracing::warn!(error = %err, "what was written in part cannot be taken back");
            }
            return Err(self.failed(FsOp::Write)(err));
        }
        self.hasher.update(data);
        self.offset += data.len() as u64;
        self.hashed = self.offset;
        self.updated_at = now;
        self.entered.progress().set(self.offset, now);
        crate::failpoint::hit("ingest: written");
        self.write_back.advance(&self.file, self.offset).map_err(|err| self.lost(err.into()))
    }

    /// Makes everything durable that was written. May wait for the disk.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::NotDurable`]; what was not durable before is taken back then.
    pub fn sync(&mut self) -> Result<()> {
        if self.synced == Some(self.offset) {
            return Ok(());
        }
        // With what was made before it: the name that the file has in its directory.
        self.file.sync_all().map_err(|err| self.lost(err))?;
        crate::failpoint::hit("ingest: synced");
        self.synced = Some(self.offset);
        Ok(())
    }

    /// Whether it is time for a [checkpoint](Content::checkpoint).
    pub fn is_checkpoint_due(&self) -> bool {
        self.offset - self.checkpoint >= CHECKPOINT
    }

    /// Takes back what the kernel could not write: it says so once, and afterwards shows what never got to the disk.
    fn lost(&mut self, err: io::Error) -> Error {
        let synced = self.synced.unwrap_or(0);
        let what = format!("what was written to ingest {:?}", self.entered.name().as_str());
        if let Err(err) = self.file.set_len(synced) {
            tracing::error!(error = %err, "{what} is lost, and cannot be taken back");
        }
        self.hasher = Hasher::new(self.hasher.algorithm());
        (self.offset, self.hashed) = (synced, 0);
        match err.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::NoSpace { what, source: Some(Box::new(err)) }
            }
            _ => Error::NotDurable { what, source: err },
        }
    }

    fn failed(&self, op: FsOp) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = std::path::PathBuf::from(format!("ingests/{}", self.id));
        move |err| Error::fs(op, &path)(err)
    }

    /// Puts into the record how far the ingest is.
    fn note_in(&self, ingest: &mut Ingest, boot: &str) {
        ingest.updated_at = self.updated_at;
        ingest.expires_at = ingest.expires_at.map(|_| expiry(self.updated_at));
        ingest.synced = self.synced.unwrap_or(0);
        ingest.boot = boot.into();
        // What is shared was not read.
        let read = self.hashed > 0 && self.shared.is_none();
        ingest.hash = read.then(|| self.hasher.state(self.hashed));
    }
}

impl Content {
    /// Makes durable what there is of an ingest, and stores how far it is.
    ///
    /// # Errors
    /// As for [`Writer::sync`]; [`Error::NotFound`] when the ingest was given up.
    pub(super) fn checkpoint(&self, writer: &mut Writer) -> Result<()> {
        writer.sync()?;
        self.store_progress(writer)?;
        writer.checkpoint = writer.offset;
        Ok(())
    }

    /// Stores how far an ingest is. Lost in a power cut, more of it is sent again.
    pub(super) fn store_progress(&self, writer: &Writer) -> Result<()> {
        let mut txn = self.metadata.write(self.now())?;
        txn.update_ingest(writer.entered.name(), writer.id, |ingest| writer.note_in(ingest, &self.boot))?;
        txn.commit_unsynced()
    }

    /// Ends a writer whose ingest goes on another time.
    pub(super) fn close(&self, writer: Writer) {
        match self.store_progress(&writer) {
            // Given up meanwhile.
            Ok(()) | Err(Error::NotFound(_)) => {}
            // Then more of its file has to be read when it is opened again.
            Err(err) => tracing::debug!(error = %Chain(&err), "how far an ingest is cannot be stored"),
        }
    }
}

fn hash_range(file: &File, hasher: &mut Hasher, from: u64, to: u64) -> io::Result<()> {
    if from == to {
        // With every message; the buffer is not.
        return Ok(());
    }
    let mut buffer = vec![0; BUFFER];
    let mut position = from;
    while position < to {
        let wanted = usize::try_from(to - position).unwrap_or(BUFFER).min(BUFFER);
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(part, position)?;
        hasher.update(part);
        position += wanted as u64;
    }
    Ok(())
}
