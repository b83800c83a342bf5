//! The comparison of the records of blobs and ingests with each other and with files.
//!
//! It runs beside requests: a finding that another thread's unfinished operation explains is looked at again before it is
//! reported, with the digest to itself where a file changes its name, see [`Check::confirm`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::Result;
use crate::metadata::{Blob, BlobFile, DamagedRecord, Ingest, Metadata, RetainedBlob};
use crate::types::{Digest, FileId, IngestRef, Scope};

use super::files::Files;
use super::turns::Turns;

/// What a check found.
#[derive(Debug, Default)]
pub struct FsckReport {
    /// Files of blobs that were checked.
    pub blobs: u64,
    /// Ingests that were checked.
    pub ingests: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// What was done about it; `None` when nothing was.
    pub repair: Option<String>,
}

/// The disagreements there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A file in `blobs/` that no record names.
    OrphanBlob(Digest),
    /// A file in `ingests/` that no record names.
    OrphanIngest(FileId),
    /// A file of a blob that still has the name of its ingest as well.
    SecondName(Digest, FileId),
    /// A name that leasehold did not give; it is never touched.
    UnknownName(String),
    /// A blob without its file.
    MissingBlob(Digest),
    /// A file that is not as long as its record says.
    WrongSize(Digest),
    /// A blob without a record of its file.
    BlobWithoutFile(Scope, Digest),
    /// A blob whose record has another size than that of its file.
    SizesDiffer(Scope, Digest),
    /// A retained blob without a record of its file, or with one of another size.
    DamagedRetainedBlob(Digest),
    /// A file whose record counts wrongly the blobs that name it.
    WrongBlobReferences {
        /// The file.
        digest: Digest,
        /// What its record says.
        recorded: BlobFile,
        /// What was counted.
        counted: u32,
    },
    /// An ingest without its file.
    MissingIngest(IngestRef, FileId),
    /// A record that cannot be decoded.
    UnreadableRecord(DamagedRecord),
    /// The record of a file that cannot be read.
    UnreadableFile(Digest, DamagedRecord),
}

impl ProblemKind {
    /// Returns a fixed word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            ProblemKind::OrphanBlob(_) => "orphan-blob",
            ProblemKind::OrphanIngest(_) => "orphan-ingest",
            ProblemKind::SecondName(..) => "second-name",
            ProblemKind::UnknownName(_) => "unknown-name",
            ProblemKind::MissingBlob(_) => "missing-blob",
            ProblemKind::WrongSize(_) => "wrong-size",
            ProblemKind::BlobWithoutFile(..) => "blob-without-file",
            ProblemKind::SizesDiffer(..) => "sizes-differ",
            ProblemKind::DamagedRetainedBlob(_) => "damaged-retained-blob",
            ProblemKind::WrongBlobReferences { .. } => "wrong-blob-references",
            ProblemKind::MissingIngest(..) => "missing-ingest",
            ProblemKind::UnreadableRecord(_) | ProblemKind::UnreadableFile(..) => "unreadable-record",
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProblemKind::OrphanBlob(digest) => write!(f, "no record names the file of blob {digest}"),
            ProblemKind::OrphanIngest(id) => write!(f, "no record names the file ingests/{id}"),
            ProblemKind::SecondName(digest, id) => write!(f, "the file of blob {digest} is ingests/{id} as well"),
            ProblemKind::UnknownName(name) => {
                write!(f, "{name:?} is not a name that leasehold gave; it stays until you move it away")
            }
            ProblemKind::MissingBlob(digest) => write!(f, "the file of blob {digest} is missing"),
            ProblemKind::WrongSize(digest) => write!(f, "the file of blob {digest} is not as long as its record says"),
            ProblemKind::BlobWithoutFile(scope, digest) => {
                write!(f, "there is no record of the file of blob {digest}{}", In(scope))
            }
            ProblemKind::SizesDiffer(scope, digest) => {
                write!(f, "the records of blob {digest}{} and of its file say different sizes", In(scope))
            }
            ProblemKind::DamagedRetainedBlob(digest) => {
                write!(f, "the record of the file of retained blob {digest} is missing, or says another size")
            }
            ProblemKind::WrongBlobReferences { digest, recorded, counted } => {
                write!(f, "the file of blob {digest} is named {counted} times, its record says {}", recorded.references)
            }
            ProblemKind::MissingIngest(name, id) => {
                write!(f, "the file ingests/{id} of upload {:?} is missing", name.as_str())
            }
            ProblemKind::UnreadableRecord(record) | ProblemKind::UnreadableFile(_, record) => write!(f, "{record}"),
        }
    }
}

/// Says in which namespace something is.
struct In<'a>(&'a Scope);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Scope::Plugin => Ok(()),
            Scope::Api(namespace) => write!(f, " in namespace {namespace}"),
        }
    }
}

/// One check, with what it has read.
pub(super) struct Check<'a> {
    pub metadata: &'a Metadata,
    pub files: &'a Files,
    pub digests: &'a Arc<Turns<Digest>>,
    being_made: &'a Arc<Turns<FileId>>,
    /// Which scopes have a blob of each digest.
    pub blobs: BTreeMap<Digest, Vec<(Scope, Blob)>>,
    pub retained: BTreeMap<Digest, RetainedBlob>,
    recorded: BTreeMap<Digest, BlobFile>,
    /// Files whose records are there and cannot be decoded.
    unreadable: HashSet<Digest>,
    ingests: Vec<(IngestRef, Ingest)>,
    trash: HashSet<FileId>,
    found: Vec<ProblemKind>,
}

impl<'a> Check<'a> {
    /// Reads everything and compares.
    pub fn run(
        metadata: &'a Metadata,
        files: &'a Files,
        digests: &'a Arc<Turns<Digest>>,
        being_made: &'a Arc<Turns<FileId>>,
    ) -> Result<(Check<'a>, FsckReport)> {
        let mut check = Check {
            metadata,
            files,
            digests,
            being_made,
            blobs: BTreeMap::new(),
            retained: BTreeMap::new(),
            recorded: BTreeMap::new(),
            unreadable: HashSet::new(),
            ingests: Vec::new(),
            trash: HashSet::new(),
            found: Vec::new(),
        };
        // Files before records: what is made in between has a record, and what goes is looked at again.
        let (on_disk, uploads) = (files.list_blobs()?, files.list_ingests()?);
        check.read_records()?;
        check.compare_records();
        let unknown = on_disk.unknown.iter().chain(&uploads.unknown);
        check.found.extend(unknown.map(|name| ProblemKind::UnknownName(name.to_string_lossy().into_owned())));
        check.compare_files(&on_disk.known, &uploads.known)?;
        let mut problems = Vec::new();
        for kind in std::mem::take(&mut check.found) {
            if check.confirm(&kind)? {
                problems.push(Problem { kind, repair: None });
            }
        }
        let (blobs, ingests) = (check.recorded.len() as u64, check.ingests.len() as u64);
        Ok((check, FsckReport { blobs, ingests, problems }))
    }

    fn read_records(&mut self) -> Result<()> {
        let Check { metadata, blobs, retained, recorded, unreadable, ingests, trash, found, .. } = self;
        metadata.read(|records| {
            records.each_blob(|entry| {
                match entry {
                    Ok((scope, digest, blob)) => blobs.entry(digest).or_default().push((scope, blob)),
                    Err(damaged) => found.push(ProblemKind::UnreadableRecord(damaged)),
                }
                Ok(())
            })?;
            records.each_retained_blob(|entry| {
                match entry {
                    Ok((digest, record)) => drop(retained.insert(digest, record)),
                    Err(damaged) => found.push(ProblemKind::UnreadableRecord(damaged)),
                }
                Ok(())
            })?;
            records.each_blob_file(|digest, file| {
                match file {
                    Ok(file) => drop(recorded.insert(digest, file)),
                    Err(damaged) => {
                        unreadable.insert(digest.clone());
                        found.push(ProblemKind::UnreadableFile(digest, damaged));
                    }
                }
                Ok(())
            })?;
            records.each_ingest(|entry| {
                match entry {
                    Ok(entry) => ingests.push(entry),
                    Err(damaged) => found.push(ProblemKind::UnreadableRecord(damaged)),
                }
                Ok(())
            })?;
            records.each_trash(|id| {
                trash.insert(FileId::new(id));
                Ok(())
            })
        })
    }

    fn compare_records(&mut self) {
        for (digest, named) in &self.blobs {
            let Some(file) = self.recorded.get(digest) else {
                if !self.unreadable.contains(digest) {
                    let without =
                        |(scope, _): &(Scope, Blob)| ProblemKind::BlobWithoutFile(scope.clone(), digest.clone());
                    self.found.extend(named.iter().map(without));
                }
                continue;
            };
            let differing = named.iter().filter(|(_, blob)| blob.size != file.size);
            self.found.extend(differing.map(|(scope, _)| ProblemKind::SizesDiffer(scope.clone(), digest.clone())));
        }
        for (digest, retained) in &self.retained {
            let agrees = self.recorded.get(digest).is_some_and(|file| file.size == retained.blob.size);
            if !agrees && !self.unreadable.contains(digest) {
                self.found.push(ProblemKind::DamagedRetainedBlob(digest.clone()));
            }
        }
        for (digest, file) in &self.recorded {
            let retained = usize::from(self.retained.contains_key(digest));
            let counted = self.blobs.get(digest).map_or(0, Vec::len) + retained;
            let counted = u32::try_from(counted).unwrap_or(u32::MAX);
            if counted != file.references {
                let (digest, recorded) = (digest.clone(), file.clone());
                self.found.push(ProblemKind::WrongBlobReferences { digest, recorded, counted });
            }
        }
    }

    fn compare_files(&mut self, on_disk: &[Digest], uploads: &[FileId]) -> Result<()> {
        let has_record = |digest: &&Digest| {
            self.recorded.contains_key(digest) || self.unreadable.contains(digest) || self.blobs.contains_key(digest)
        };
        let orphans = on_disk.iter().filter(|digest| !has_record(digest));
        self.found.extend(orphans.cloned().map(ProblemKind::OrphanBlob));
        for (digest, file) in &self.recorded {
            match self.files.find_blob(digest)? {
                None => self.found.push(ProblemKind::MissingBlob(digest.clone())),
                Some(found) if found.size != file.size => self.found.push(ProblemKind::WrongSize(digest.clone())),
                Some(_) => {}
            }
        }
        let blobs: HashMap<FileId, &Digest> = self.recorded.iter().map(|(digest, file)| (file.id, digest)).collect();
        let named: HashSet<FileId> = self.ingests.iter().map(|(_, ingest)| ingest.id).collect();
        for id in uploads {
            match blobs.get(id) {
                Some(digest) => self.found.push(ProblemKind::SecondName((*digest).clone(), *id)),
                None if named.contains(id) || self.trash.contains(id) => {}
                None => self.found.push(ProblemKind::OrphanIngest(*id)),
            }
        }
        let on_disk: HashSet<&FileId> = uploads.iter().collect();
        let missing = self.ingests.iter().filter(|(_, ingest)| !on_disk.contains(&ingest.id));
        self.found.extend(missing.map(|(name, ingest)| ProblemKind::MissingIngest(name.clone(), ingest.id)));
        Ok(())
    }

    /// Whether a finding still holds, given what requests do meanwhile.
    ///
    /// A file gets or loses the name of a blob while its digest is somebody's: with the digest to ourselves, names and
    /// records agree. An ingest's file is there before its record is, and noted as being made until then; and its record
    /// is gone before its file is.
    fn confirm(&self, problem: &ProblemKind) -> Result<bool> {
        Ok(match problem {
            ProblemKind::OrphanBlob(digest) => {
                let _turn = self.digests.take(digest);
                self.metadata.blob_file(digest)?.is_none() && self.files.find_blob(digest)?.is_some()
            }
            ProblemKind::MissingBlob(digest) => {
                let _turn = self.digests.take(digest);
                self.metadata.blob_file(digest)?.is_some() && self.files.find_blob(digest)?.is_none()
            }
            ProblemKind::WrongSize(digest) => {
                let _turn = self.digests.take(digest);
                let sizes = (self.metadata.blob_file(digest)?, self.files.find_blob(digest)?);
                matches!(sizes, (Some(recorded), Some(found)) if recorded.size != found.size)
            }
            ProblemKind::SecondName(digest, id) => {
                let _turn = self.digests.take(digest);
                self.is_second_name(digest, *id)?
            }
            ProblemKind::OrphanIngest(id) => {
                // Whoever made it has committed its record by now.
                drop(self.being_made.take(id));
                !self.metadata.is_trash(id.in_trash())?
                    && !self.is_named(*id)?
                    && self.files.find_ingest(*id)?.is_some()
            }
            // The file was looked at before, unless it is still being listed: now the record decides.
            ProblemKind::MissingIngest(name, id) => {
                self.files.find_ingest(*id)?.is_none() && self.metadata.ingest(name).is_ok_and(|one| one.id == *id)
            }
            // Records were read at one moment and changes are whole, so these are never in between.
            ProblemKind::UnknownName(_)
            | ProblemKind::BlobWithoutFile(..)
            | ProblemKind::SizesDiffer(..)
            | ProblemKind::DamagedRetainedBlob(_)
            | ProblemKind::WrongBlobReferences { .. }
            | ProblemKind::UnreadableRecord(_)
            | ProblemKind::UnreadableFile(..) => true,
        })
    }

    /// Whether a blob's file has the name of that ingest as well, and not only that one. The caller has the digest.
    pub(super) fn is_second_name(&self, digest: &Digest, id: FileId) -> Result<bool> {
        let (recorded, first) = (self.metadata.blob_file(digest)?, self.files.find_blob(digest)?);
        let whole = matches!((recorded, first), (Some(file), Some(first)) if file.id == id && file.size == first.size);
        Ok(whole && self.files.find_ingest(id)?.is_some())
    }

    /// Whether an ingest or a blob has the file of that number now.
    fn is_named(&self, id: FileId) -> Result<bool> {
        let mut named = false;
        self.metadata.read(|records| {
            records.each_ingest(|entry| {
                named |= entry.is_ok_and(|(_, ingest)| ingest.id == id);
                Ok(())
            })?;
            records.each_blob_file(|_, file| {
                named |= file.is_ok_and(|file| file.id == id);
                Ok(())
            })
        })?;
        Ok(named)
    }
}
