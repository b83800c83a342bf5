//! Start-up recovery: what a crash left of blobs and ingests is put right before the first request.
//!
//! Records are compared with names, and only where they disagree is anything looked at, so that a pool with very many
//! blobs starts at once. It comes before the recovery of layers, which takes everything in trash that has no record for
//! garbage: a blob may have to be taken out of there.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use crate::metadata::{Ingest, Metadata};
use crate::types::{Digest, FileId, IngestRef};
use crate::{Result, failpoint};

use super::files::{Files, Listing};

/// What recovery found and did.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// Blobs.
    pub blobs: usize,
    /// Blobs whose file had another name, and has its own again.
    pub found: usize,
    /// Blobs whose file is missing: data was lost outside of leasehold.
    pub damaged: Vec<Digest>,
    /// Files of blobs that have no record. They go once requests are served.
    pub orphans: Vec<Digest>,
    /// Files of ingests that had no record, now in trash.
    pub leftovers: usize,
    /// Ingests.
    pub ingests: usize,
    /// Ingests of which something was lost in a power cut, and is to be sent again.
    pub shortened: usize,
}

/// What the records say.
#[derive(Default)]
struct Recorded {
    /// The numbers of the files of all blobs; `None` where the record cannot be read.
    files: HashMap<Digest, Option<FileId>>,
    ingests: Vec<(IngestRef, Ingest)>,
    /// There are ingests whose records cannot be read: a file without a record may be theirs.
    unreadable: bool,
}

/// Compares records with files and puts right what differs.
///
/// # Errors
/// Those of the store and of the file system; nothing was lost.
pub fn recover(metadata: &Metadata, files: &Files) -> Result<RecoveryReport> {
    let (on_disk, uploads) = (known(files.list_blobs()?), known(files.list_ingests()?));
    let recorded = Recorded::read(metadata)?;
    // A file may have a number that no committed record ever had.
    let numbers = uploads.iter().chain(recorded.files.values().flatten());
    if let Some(highest) = numbers.chain(recorded.ingests.iter().map(|(_, ingest)| &ingest.id)).max() {
        metadata.reserve_layer(highest.in_trash());
    }
    let mut report = RecoveryReport { blobs: recorded.files.len(), ..RecoveryReport::default() };
    let mut uploads: HashSet<FileId> = uploads.into_iter().collect();
    let named: HashSet<&Digest> = on_disk.iter().collect();
    for (digest, id) in &recorded.files {
        let Some(id) = id else { continue };
        if !named.contains(digest) {
            report.find(files, digest, *id)?;
            uploads.remove(id);
        } else if uploads.remove(id) {
            // Committed, and both names are still there.
            files.unlink_ingest(*id)?;
            failpoint::hit("recover: second name removed");
        }
    }
    if report.found > 0 {
        files.sync_names()?;
    }
    report.orphans = on_disk.iter().filter(|digest| !recorded.files.contains_key(digest)).cloned().collect();
    report.recover_ingests(metadata, files, uploads, recorded)?;
    Ok(report)
}

impl Recorded {
    fn read(metadata: &Metadata) -> Result<Recorded> {
        let mut all = Recorded::default();
        metadata.read(|records| {
            // What a damaged record says is for fsck to report, and no reason not to start.
            records.each_blob_file(|digest, file| {
                all.files.insert(digest, file.ok().map(|file| file.id));
                Ok(())
            })?;
            records.each_ingest(|entry| {
                match entry {
                    Ok(entry) => all.ingests.push(entry),
                    Err(err) => {
                        tracing::error!(error = %err, "an ingest cannot be read; see leasehold fsck");
                        all.unreadable = true;
                    }
                }
                Ok(())
            })
        })?;
        Ok(all)
    }
}

impl RecoveryReport {
    /// Looks for the file of a blob where a power cut may have left it.
    fn find(&mut self, files: &Files, digest: &Digest, id: FileId) -> Result<()> {
        if files.finish(id, digest)? {
            // Its commit was kept, and the name that it got before was not.
            self.found += 1;
        } else if files.bring_back(id, digest)? {
            // Its removal was not kept, only its move.
            tracing::warn!(%digest, "a blob in the trash has a record; taken out again");
            self.found += 1;
        } else {
            tracing::error!(%digest, "the file of a blob is missing; see leasehold fsck");
            self.damaged.push(digest.clone());
        }
        failpoint::hit("recover: blob looked for");
        Ok(())
    }

    fn recover_ingests(
        &mut self,
        metadata: &Metadata,
        files: &Files,
        mut uploads: HashSet<FileId>,
        recorded: Recorded,
    ) -> Result<()> {
        // Those without a file were made just before a power cut, or were on their way to the trash. Whoever sends them
        // begins again.
        let (ingests, lost): (Vec<_>, Vec<_>) =
            recorded.ingests.into_iter().partition(|(_, ingest)| uploads.remove(&ingest.id));
        let boot = crate::overlay::boot();
        for (_, ingest) in ingests.iter().filter(|(_, ingest)| ingest.boot != boot && !ingest.shared) {
            self.shortened += usize::from(files.shorten_ingest(ingest.id, ingest.synced)?);
        }
        self.ingests = ingests.len();
        if recorded.unreadable {
            uploads.clear();
        }
        let mut txn = metadata.write(SystemTime::now())?;
        for (name, _) in &lost {
            txn.drop_ingest(name)?;
        }
        for id in &uploads {
            txn.trash_file(*id);
        }
        txn.commit()?;
        failpoint::hit("recover: uploads recorded as trash");
        for id in &uploads {
            files.trash_ingest(*id)?;
            failpoint::hit("recover: upload moved to trash");
        }
        self.leftovers = uploads.len();
        Ok(())
    }

    /// Logs what was done.
    pub fn log(&self) {
        let RecoveryReport { blobs, found, damaged, orphans, leftovers, ingests, shortened } = self;
        tracing::info!(
            blobs,
            found,
            damaged = damaged.len(),
            orphans = orphans.len(),
            leftovers,
            ingests,
            shortened,
            "content recovered"
        );
    }
}

/// Returns what is ours of a listing. Foreign names are somebody's, so they stay.
fn known<T>(listing: Listing<T>) -> Vec<T> {
    for name in &listing.unknown {
        tracing::warn!(?name, "unknown name in the pool; left alone");
    }
    listing.known
}
