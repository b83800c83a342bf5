//! Ingests of blobs that another namespace has.
//!
//! Where namespaces share, an ingest whose digest is announced begins with all of its data: its file is one more name of the
//! blob's, so that it is there to be committed even if everybody else removes the blob meanwhile. Nothing is ever
//! written to such a file: who writes on gets a copy first.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::metadata::Ingest;
use crate::types::{Digest, FileId, Scope, label};
use crate::{Error, FsOp, Result, failpoint};

use super::hasher::Hasher;
use super::write_back::WriteBack;
use super::writer::{BUFFER, Writer};
use super::{Content, Sharing};

impl Content {
    /// Gives the file of a blob the name of an ingest as well, where the scope may have the blob from others. Returns the
    /// file with its size; `None` where there is nothing to share, or `total` says that something else is meant.
    pub(super) fn share(&self, scope: &Scope, digest: &Digest, total: u64, id: FileId) -> Result<Option<(File, u64)>> {
        if !self.may_share(scope, digest)? {
            return Ok(None);
        }
        // A name without a record may be that of an ingest which is written to again.
        let _turn = self.digests.take(digest);
        let Some(known) = self.metadata.blob_file(digest)? else { return Ok(None) };
        if total > 0 && total != known.size {
            return Ok(None);
        }
        let Some(file) = self.files.share(digest, id)? else { return Ok(None) };
        let size = file.metadata().map_err(Error::fs(FsOp::Stat, "ingests".as_ref()))?.len();
        if size != known.size {
            self.files.unlink_ingest(id)?;
            return Ok(None);
        }
        failpoint::hit("ingest: shared");
        Ok(Some((file, size)))
    }

    fn may_share(&self, scope: &Scope, digest: &Digest) -> Result<bool> {
        match (scope, self.settings.sharing) {
            (Scope::Plugin, _) => Ok(false),
            (Scope::Api(_), Sharing::Shared) => Ok(true),
            (Scope::Api(_), Sharing::Isolated) => {
                for (namespace, labels) in self.metadata.namespaces()? {
                    if labels.get(label::SHAREABLE) == Some("true")
                        && self.metadata.blob(&Scope::Api(namespace), digest).is_ok()
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Gives an ingest that shares its file one of its own, with a copy of the data or, where it begins anew, without. May
    /// take long.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::NotDurable`] and [`Error::Fs`]; [`Error::NotFound`] when the ingest was given up.
    pub(super) fn unshare(&self, writer: &mut Writer, keep_data: bool, change: impl FnOnce(&mut Ingest)) -> Result<()> {
        let former = writer.id;
        let id = self.metadata.allocate_file();
        let _being_made = self.being_made.take(&id);
        let file = self.files.create_ingest(id)?;
        let result = self.move_to(writer, id, file, keep_data).and_then(|()| {
            failpoint::hit("ingest: copied");
            let mut txn = self.metadata.write(self.now())?;
            txn.replace_ingest_file(writer.entered.name(), former, |ingest| {
                (ingest.id, ingest.shared, ingest.synced, ingest.hash) = (id, false, 0, None);
                change(ingest);
            })?;
            // Lost in a power cut, the ingest is lost with it, because its former name is gone: then it is begun again.
            txn.commit_unsynced()
        });
        if let Err(err) = result {
            return Err(self.take_back(id, err));
        }
        failpoint::hit("ingest: copy recorded");
        self.discard_ingest(former);
        Ok(())
    }

    /// Has a writer go on in another file.
    fn move_to(&self, writer: &mut Writer, id: FileId, file: File, keep_data: bool) -> Result<()> {
        let (source, size) = (std::mem::replace(&mut writer.file, file), writer.offset);
        (writer.id, writer.shared) = (id, None);
        writer.hasher = Hasher::new(writer.hasher.algorithm());
        writer.write_back = WriteBack::default();
        (writer.offset, writer.hashed, writer.synced, writer.checkpoint) = (0, 0, None, 0);
        if !keep_data {
            return Ok(());
        }
        let mut buffer = vec![0; BUFFER];
        while writer.offset < size {
            let wanted = usize::try_from(size - writer.offset).unwrap_or(BUFFER).min(BUFFER);
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            source.read_exact_at(part, writer.offset).map_err(Error::fs(FsOp::Read, "ingests".as_ref()))?;
            self.neighbour.require_space()?;
            writer.append(part, self.now())?;
        }
        Ok(())
    }
}

impl Writer {
    /// Reads what is shared, before it stands for a blob that is gone: whoever had that may have dropped it because it is
    /// damaged. May take long, and is seldom needed.
    ///
    /// # Errors
    /// [`Error::Mismatch`] and [`Error::Fs`].
    pub fn verify_shared(&mut self) -> Result<()> {
        let Some(digest) = self.shared.clone() else { return Ok(()) };
        self.hash_again(digest.algorithm())?;
        let found = self.hasher.digest()?;
        if found == digest {
            return Ok(());
        }
        let problem = format!("what was shared has digest {found}, and not {digest}");
        Err(Error::Mismatch { resource: self.resource(), problem })
    }
}
