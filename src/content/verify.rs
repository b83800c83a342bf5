//! `fsck --content`: the digests of all blobs are computed again.
//!
//! What was in memory is read from the disk, and does not stay in memory. Nothing is held while a file is read: what does
//! not fit its digest is looked at again, with the digest to itself, before it is reported.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{Advice, fadvise};

use crate::metadata::{BlobFile, BlobFilePage, Metadata, NamedBy};
use crate::types::{Digest, LeaseId, Namespace, Scope};
use crate::{Chain, Result, failpoint};

use super::Content;
use super::crew::{Crew, Meter, Progress, Report};
use super::files::Files;
use super::hasher::Hasher;
use super::turns::Turns;

/// How much is read at a time, by each thread.
const CHUNK: usize = 1 << 20;
/// How many records one page reads.
const PAGE: usize = 256;
/// Of how many leases on one blob is told.
const LEASES: usize = 16;

/// A blob that is not what its digest says.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// Which one.
    pub digest: Digest,
    /// What is wrong with it.
    pub kind: DamageKind,
    /// Who names it; of leases the first ones.
    pub named: NamedBy,
    /// What was done about it; `None` when nothing was.
    pub repair: Option<String>,
}

/// What can be wrong with a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Its digest is this one.
    Is(Digest),
    /// It cannot be read, and why.
    Unreadable(String),
}

impl Damage {
    /// Returns a fixed word for programs.
    pub fn code(&self) -> &'static str {
        match self.kind {
            DamageKind::Is(_) => "damaged-blob",
            DamageKind::Unreadable(_) => "unreadable-blob",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { digest, kind, named, .. } = self;
        match kind {
            DamageKind::Is(is) => write!(f, "the content of blob {digest} has digest {is}")?,
            DamageKind::Unreadable(why) => write!(f, "blob {digest} cannot be read ({why})")?,
        }
        let lease = |(namespace, id): &(Namespace, LeaseId)| format!("lease {:?} of {namespace}", id.as_str());
        let named: Vec<String> = named.scopes.iter().map(has).chain(named.leases.iter().map(lease)).collect();
        if named.is_empty() { f.write_str("; nothing names it") } else { write!(f, "; named by {}", named.join(", ")) }
    }
}

/// What a check works with.
struct Verification<'a> {
    metadata: &'a Metadata,
    files: &'a Files,
    digests: &'a Arc<Turns<Digest>>,
    repair: bool,
}

/// A file whose digest is to be computed.
struct Item {
    digest: Digest,
    recorded: BlobFile,
}

impl Content {
    /// Computes the digests of all blobs again while requests are served, and passes those to `report` that are damaged;
    /// sets them aside when `repair` is set. `threads` of them at a time.
    ///
    /// # Errors
    /// Those of reading records; [`Error::ShuttingDown`](crate::Error::ShuttingDown) when it was ended early. A repair
    /// that fails is reported with its damage.
    pub fn verify(&self, threads: usize, repair: bool, report: Report<'_, Damage>) -> Result<Progress> {
        let (metadata, files, digests) = (&*self.metadata, &*self.files, &self.digests);
        Verification { metadata, files, digests, repair }.run(&self.crew(threads), report)
    }
}

/// Like [`Content::verify`], of a pool that no daemon serves; the caller holds the pool's lock.
///
/// # Errors
/// As for [`Content::verify`].
pub fn verify_offline(
    metadata: &Metadata,
    files: &Files,
    crew: &Crew,
    repair: bool,
    report: Report<'_, Damage>,
) -> Result<Progress> {
    let verified = Verification { metadata, files, digests: &Arc::default(), repair }.run(crew, report)?;
    if repair {
        metadata.sync()?;
    }
    Ok(verified)
}

impl Verification<'_> {
    fn run(&self, crew: &Crew, report: Report<'_, Damage>) -> Result<Progress> {
        let mut all = (0, 0);
        self.metadata.read(|records| {
            records.each_blob_file(|_, file| {
                all = (all.0 + 1, all.1 + file.map_or(0, |file| file.size));
                Ok(())
            })
        })?;
        let mut pages = Pages::default();
        crew.run(all, || pages.next(self.metadata), |item, meter| self.check(&item, meter), report)
    }

    /// Computes the digest of one file; returns what is wrong with it.
    fn check(&self, item: &Item, meter: &Meter<'_>) -> Result<Option<Damage>> {
        let Item { digest, recorded } = item;
        // Whether it should be there, and how long, the comparison of records with files tells.
        let Some(file) = self.files.open_blob(digest)? else { return Ok(None) };
        let inode = match file.metadata() {
            Ok(found) if found.len() == recorded.size => (found.dev(), found.ino()),
            _ => return Ok(None),
        };
        let kind = match self.digest_of(&file, item, meter)? {
            Ok(is) if is == *digest => return Ok(None),
            Ok(is) => DamageKind::Is(is),
            Err(err) => DamageKind::Unreadable(err.to_string()),
        };
        let _turn = self.digests.take(digest);
        // Another one may have its place by now, and what was read is on its way to the trash.
        let same_record = self.metadata.blob_file(digest)?.is_some_and(|now| now.id == recorded.id);
        let now = self.files.open_blob(digest)?.and_then(|file| file.metadata().ok());
        if !same_record || now.map(|now| (now.dev(), now.ino())) != Some(inode) {
            return Ok(None);
        }
        let named = self.metadata.named_by(digest, SystemTime::now(), LEASES)?;
        let repair = self.repair.then(|| match self.set_aside(digest, recorded) {
            Ok(done) => done,
            Err(err) => format!("failed: {}", Chain(&err)),
        });
        Ok(Some(Damage { digest: digest.clone(), kind, named, repair }))
    }

    /// Computes the digest of a file. The inner error is that of reading it.
    fn digest_of(&self, file: &File, item: &Item, meter: &Meter<'_>) -> Result<std::io::Result<Digest>> {
        let mut hasher = Hasher::new(item.digest.algorithm());
        // What is in memory says nothing about the disk.
        advise(file, Advice::DontNeed);
        advise(file, Advice::Sequential);
        let mut buffer = vec![0; CHUNK];
        let mut position = 0;
        while position < item.recorded.size {
            let read = match file.read_at(&mut buffer, position) {
                Ok(0) => break,
                Ok(read) => read,
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(err) => return Ok(Err(err)),
            };
            hasher.update(buffer.get(..read).unwrap_or_default());
            position += read as u64;
            meter.advance(read as u64)?;
        }
        // It made room for itself among what containers use.
        advise(file, Advice::DontNeed);
        hasher.digest().map(Ok)
    }

    /// Drops a damaged blob and moves its file to `lost+found`. The caller has the digest to itself.
    fn set_aside(&self, digest: &Digest, recorded: &BlobFile) -> Result<String> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        let named = txn.drop_blob(digest)?;
        txn.commit()?;
        let mut dropped: Vec<String> = named.scopes.iter().map(has).collect();
        dropped.extend(named.retained.then(|| "what leases hold".to_owned()));
        failpoint::hit("verify: damaged blob dropped");
        // After a crash here start-up takes it for garbage: what it holds is not the blob.
        self.files.set_aside(digest, recorded.id)?;
        let from = if dropped.is_empty() { String::new() } else { format!("dropped from {}; ", dropped.join(", ")) };
        Ok(format!("{from}the file is lost+found/{}", recorded.id))
    }
}

/// The records of files, a page at a time.
#[derive(Default)]
struct Pages {
    read: std::vec::IntoIter<(Digest, BlobFile)>,
    last: Option<Digest>,
    ended: bool,
}

impl Pages {
    fn next(&mut self, metadata: &Metadata) -> Result<Option<Item>> {
        loop {
            if let Some((digest, recorded)) = self.read.next() {
                return Ok(Some(Item { digest, recorded }));
            }
            if self.ended {
                return Ok(None);
            }
            let BlobFilePage { files, next } = metadata.blob_files(self.last.as_ref(), PAGE)?;
            (self.ended, self.last, self.read) = (next.is_none(), next, files.into_iter());
        }
    }
}

/// Says who has a blob.
fn has(scope: &Scope) -> String {
    match scope {
        Scope::Plugin => "containerd".to_owned(),
        Scope::Api(namespace) => format!("namespace {namespace} of the API socket"),
    }
}

fn advise(file: &File, advice: Advice) {
    // Nothing but a hint.
    let _ = fadvise(file, 0, None, advice);
}
