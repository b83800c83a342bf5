//! Repairs of blobs and ingests.
//!
//! Garbage is reclaimed, counts are corrected. A blob whose file is missing or not as long as it should be is dropped,
//! because nobody can use it, and what is left of the file is set aside in `lost+found/`, never deleted.

use std::sync::Arc;
use std::time::SystemTime;

use crate::metadata::{BlobFile, DamagedRecord, Metadata};
use crate::types::{Digest, LayerId, Scope};
use crate::{Chain, Result, failpoint};

use super::files::Files;
use super::fsck::Check;
use super::{Content, FsckReport, ProblemKind};

impl Content {
    /// Compares records and files while requests are served; repairs what it can when `repair` is set.
    ///
    /// # Errors
    /// Those of reading. A repair that fails is reported with its problem.
    pub fn fsck(&self, repair: bool) -> Result<FsckReport> {
        let (check, mut report) = Check::run(&self.metadata, &self.files, &self.digests, &self.being_made)?;
        if repair {
            for number in check.repair_all(&mut report) {
                self.neighbour.reclaim(number);
            }
            self.count_ingests_again()?;
        }
        Ok(report)
    }
}

/// Compares the records and files of a pool that no daemon serves; the caller holds the pool's lock.
///
/// # Errors
/// Those of reading. A repair that fails is reported with its problem.
pub fn fsck_offline(metadata: &Metadata, files: &Files, repair: bool) -> Result<FsckReport> {
    let (digests, being_made) = (Arc::default(), Arc::default());
    let (check, mut report) = Check::run(metadata, files, &digests, &being_made)?;
    if repair {
        // What goes to trash is deleted by the next daemon.
        check.repair_all(&mut report);
        metadata.sync()?;
    }
    Ok(report)
}

impl Check<'_> {
    /// Repairs in place and notes in the report what was done. Returns what is to be reclaimed.
    fn repair_all(&self, report: &mut FsckReport) -> Vec<LayerId> {
        let mut trash = Vec::new();
        // What cannot be read may name anything, so nothing that looks unnamed is given up.
        let unreadable =
            |kind: &ProblemKind| matches!(kind, ProblemKind::UnreadableRecord(_) | ProblemKind::UnreadableFile(..));
        let unreadable = report.problems.iter().any(|one| unreadable(&one.kind));
        for problem in &mut report.problems {
            let given_up =
                matches!(problem.kind, ProblemKind::WrongBlobReferences { .. } | ProblemKind::OrphanIngest(_));
            if unreadable && given_up {
                continue;
            }
            problem.repair = match self.repair(&problem.kind, &mut trash) {
                Ok(done) => done,
                Err(err) => Some(format!("failed: {}", Chain(&err))),
            };
        }
        trash
    }

    fn repair(&self, problem: &ProblemKind, trash: &mut Vec<LayerId>) -> Result<Option<String>> {
        let done = match problem {
            ProblemKind::OrphanBlob(digest) => return self.reclaim_orphan(digest, trash),
            ProblemKind::OrphanIngest(id) => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                txn.trash_file(*id);
                txn.commit()?;
                failpoint::hit("repair: upload recorded as trash");
                self.files.trash_ingest(*id)?;
                trash.push(id.in_trash());
                "moved to trash".into()
            }
            ProblemKind::SecondName(digest, id) => {
                let _turn = self.digests.take(digest);
                if !self.is_second_name(digest, *id)? {
                    return Ok(Some("changed meanwhile; run fsck again".into()));
                }
                self.files.unlink_ingest(*id)?;
                "removed".into()
            }
            ProblemKind::MissingBlob(digest) | ProblemKind::WrongSize(digest) => self.repair_file(digest)?,
            ProblemKind::BlobWithoutFile(_, digest) => return self.repair_record(digest, None),
            ProblemKind::UnreadableFile(digest, damaged) => return self.repair_record(digest, Some(damaged)),
            ProblemKind::UnreadableRecord(damaged) => return self.set_record_aside(damaged),
            ProblemKind::SizesDiffer(scope, digest) => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                let Some(file) = txn.blob_file(digest)? else { return Ok(None) };
                txn.repair_blob_size(scope, digest, file.size)?;
                txn.commit()?;
                "set to that of the file".into()
            }
            ProblemKind::DamagedRetainedBlob(digest) if self.metadata.blob_file(digest)?.is_none() => {
                return self.repair_record(digest, None);
            }
            ProblemKind::DamagedRetainedBlob(digest) => self.drop_retained(digest, trash)?,
            ProblemKind::WrongBlobReferences { digest, recorded, counted } => {
                return self.repair_references(digest, recorded, *counted, trash).map(Some);
            }
            ProblemKind::MissingIngest(name, id) => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                if txn.ingest(name).is_ok_and(|ingest| ingest.id == *id) {
                    txn.drop_ingest(name)?;
                    txn.commit()?;
                    trash.push(id.in_trash());
                }
                "given up".into()
            }
            ProblemKind::UnknownName(_) => return Ok(None),
        };
        Ok(Some(done))
    }

    fn reclaim_orphan(&self, digest: &Digest, trash: &mut Vec<LayerId>) -> Result<Option<String>> {
        let _turn = self.digests.take(digest);
        let mut txn = self.metadata.write(SystemTime::now())?;
        if txn.blob_file(digest)?.is_some() || txn.is_blob_named(digest)? {
            return Ok(None);
        }
        let id = self.metadata.allocate_file();
        txn.trash_file(id);
        txn.commit()?;
        failpoint::hit("repair: orphan blob recorded");
        self.files.trash_blob(digest, id)?;
        trash.push(id.in_trash());
        Ok(Some("moved to trash".into()))
    }

    /// Puts a blob right whose file is missing or not as long as it should be.
    fn repair_file(&self, digest: &Digest) -> Result<String> {
        let _turn = self.digests.take(digest);
        let Some(file) = self.metadata.blob_file(digest)? else { return Ok("removed meanwhile".into()) };
        match self.files.find_blob(digest)? {
            // A commit may have had its turn since it was found missing.
            Some(found) if found.size == file.size => return Ok("put right meanwhile".into()),
            None if self.files.finish(file.id, digest)? || self.files.bring_back(file.id, digest)? => {
                return Ok("found under its number".into());
            }
            _ => {}
        }
        let mut txn = self.metadata.write(SystemTime::now())?;
        let scopes = self.drop_blobs(&mut txn, digest)?;
        txn.repair_blob_file(digest, None);
        txn.commit()?;
        failpoint::hit("repair: damaged blob dropped");
        // Start-up takes it for garbage after a crash here: what it holds is not the blob.
        let rest = if self.files.set_aside(digest, file.id)? { "; the file is set aside" } else { "" };
        Ok(format!("dropped {scopes}: it can be pulled again when the images that need it were removed{rest}"))
    }

    /// Makes the record of a file again that is missing or damaged, or drops the blobs that have none.
    fn repair_record(&self, digest: &Digest, damaged: Option<&DamagedRecord>) -> Result<Option<String>> {
        let _turn = self.digests.take(digest);
        let kept = damaged.map(|damaged| self.files.keep_record(damaged)).transpose()?;
        let found = self.files.find_blob(digest)?.map(|found| found.size);
        let mut txn = self.metadata.write(SystemTime::now())?;
        if let Some(damaged) = damaged {
            if txn.set_aside(damaged)?.is_none() {
                return Ok(Some("changed meanwhile; run fsck again".into()));
            }
        } else if txn.blob_file(digest)?.is_some() {
            // With the first of several namespaces.
            return Ok(Some("as for the others".into()));
        }
        let blobs = self.blobs.get(digest).into_iter().flatten().map(|(_, blob)| blob.size);
        let named: Vec<u64> = blobs.chain(self.retained.get(digest).map(|retained| retained.blob.size)).collect();
        let done = match found {
            Some(size) if named.contains(&size) => {
                let references = u32::try_from(named.len()).unwrap_or(u32::MAX);
                let file = BlobFile { size, references, id: self.metadata.allocate_file() };
                txn.repair_blob_file(digest, Some(&file));
                "record made again".into()
            }
            // Its file, if there is one, is an orphan now.
            _ if named.is_empty() => "deleted, because nothing names it".into(),
            _ => format!("dropped {}", self.drop_blobs(&mut txn, digest)?),
        };
        txn.commit()?;
        Ok(Some(match kept {
            Some(path) => format!("{done}; its bytes are in {}", path.display()),
            None => done,
        }))
    }

    /// Keeps the bytes of a record that cannot be read in a file, and takes it out of the way.
    fn set_record_aside(&self, damaged: &DamagedRecord) -> Result<Option<String>> {
        if !damaged.can_be_set_aside() {
            return Ok(None);
        }
        // The file first: a crash in between leaves one more, and loses nothing.
        let path = self.files.keep_record(damaged)?;
        let mut txn = self.metadata.write(SystemTime::now())?;
        let done = txn.set_aside(damaged)?;
        txn.commit()?;
        Ok(Some(match done {
            Some(done) => format!("{done}; its bytes are in {}", path.display()),
            None => "changed meanwhile; run fsck again".to_owned(),
        }))
    }

    /// Gives up a retained blob that nobody can use.
    fn drop_retained(&self, digest: &Digest, trash: &mut Vec<LayerId>) -> Result<String> {
        let _turn = self.digests.take(digest);
        let mut txn = self.metadata.write(SystemTime::now())?;
        let unnamed = txn.drop_retained_blob(digest)?.flatten();
        txn.commit()?;
        failpoint::hit("repair: retained blob given up");
        if let Some(id) = unnamed {
            self.files.trash_blob(digest, id)?;
            trash.push(id.in_trash());
        }
        Ok("given up".into())
    }

    fn repair_references(
        &self,
        digest: &Digest,
        recorded: &BlobFile,
        counted: u32,
        trash: &mut Vec<LayerId>,
    ) -> Result<String> {
        let _turn = self.digests.take(digest);
        let mut txn = self.metadata.write(SystemTime::now())?;
        if txn.blob_file(digest)?.as_ref() != Some(recorded) {
            return Ok("changed meanwhile; run fsck again".into());
        }
        if counted > 0 {
            txn.repair_blob_file(digest, Some(&BlobFile { references: counted, ..recorded.clone() }));
            txn.commit()?;
            return Ok("counted again".into());
        }
        txn.repair_blob_file(digest, None);
        txn.trash_file(recorded.id);
        txn.commit()?;
        failpoint::hit("repair: unnamed blob recorded as trash");
        self.files.trash_blob(digest, recorded.id)?;
        trash.push(recorded.id.in_trash());
        Ok("moved to trash, because nothing names it".into())
    }

    /// Drops the records of a blob in all namespaces, and says which those are.
    fn drop_blobs(&self, txn: &mut crate::metadata::Transaction<'_>, digest: &Digest) -> Result<String> {
        let named = self.blobs.get(digest).map(Vec::as_slice).unwrap_or_default();
        let mut scopes = Vec::new();
        for (scope, _) in named {
            txn.drop_damaged_blob(scope, digest);
            scopes.push(match scope {
                Scope::Plugin => "what containerd has".to_owned(),
                Scope::Api(namespace) => format!("that of namespace {namespace}"),
            });
        }
        if txn.forget_retained_blob(digest)? {
            scopes.push("what a lease held".to_owned());
        }
        Ok(scopes.join(", "))
    }
}
