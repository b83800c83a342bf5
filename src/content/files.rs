//! The files of blobs and ingests, and their moves between directories.
//!
//! Owns `blobs` and `ingests` below the pool's root, and knows no record. A blob's name comes from a [`Digest`], an
//! ingest's from a [`FileId`], never from what a client sent. What is to go moves to `trash` under its number, where the
//! reclaimer of layers deletes it: a large file takes as long as a tree.

mod foreign;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::metadata::DamagedRecord;
use crate::overlay::{Dir, Layout};
use crate::types::{Algorithm, Digest, FileId};
use crate::{Error, FsOp, Result};

/// Blobs are for reading, and an ingest is a blob to be: whoever makes the file may write to it all the same.
const READ_ONLY: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// The open directories of one pool.
#[derive(Debug)]
pub struct Files {
    sha256: Dir,
    sha384: Dir,
    sha512: Dir,
    ingests: Dir,
    trash: Dir,
    lost_found: Dir,
}

/// What a directory holds.
#[derive(Debug)]
pub struct Listing<T> {
    /// What was put there by us.
    pub known: Vec<T>,
    /// Other names, with their directory. Log them, and never touch them: somebody else put them there.
    pub unknown: Vec<OsString>,
}

/// A file as it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Bytes in it.
    pub size: u64,
    /// When it was last written to, as the kernel counts: up to some milliseconds early.
    pub written_at: SystemTime,
}

impl Files {
    /// Opens the directories that [`Layout::create`] made.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn open(layout: &Layout) -> Result<Files> {
        let blobs = |algorithm| Dir::open(layout.blobs_of(algorithm));
        Ok(Files {
            sha256: blobs(Algorithm::Sha256)?,
            sha384: blobs(Algorithm::Sha384)?,
            sha512: blobs(Algorithm::Sha512)?,
            ingests: Dir::open(layout.ingests())?,
            trash: Dir::open(layout.trash())?,
            lost_found: Dir::open(layout.lost_found())?,
        })
    }

    fn blobs(&self, algorithm: Algorithm) -> &Dir {
        match algorithm {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha384 => &self.sha384,
            Algorithm::Sha512 => &self.sha512,
        }
    }

    /// Makes the file of an ingest.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn create_ingest(&self, id: FileId) -> Result<File> {
        let (dir, name) = (&self.ingests, id.to_string());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(dir, &*name, flags, READ_ONLY).map_err(failed(FsOp::Open, dir, &name))?;
        // The umask may have taken some of it.
        fchmod(&file, READ_ONLY).map_err(failed(FsOp::Chmod, dir, &name))?;
        Ok(file.into())
    }

    /// Opens the file of an ingest to write on; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(super) fn open_ingest(&self, id: FileId) -> Result<Option<File>> {
        let (dir, name) = (&self.ingests, id.to_string());
        let open = || openat(dir, &*name, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let opened = match open() {
            // Only root may write to what is read-only.
            Err(Errno::ACCESS) => {
                let writable = READ_ONLY | Mode::WUSR;
                rustix::fs::chmodat(dir, &*name, writable, AtFlags::empty()).map_err(failed(
                    FsOp::Chmod,
                    dir,
                    &name,
                ))?;
                let file = open();
                rustix::fs::chmodat(dir, &*name, READ_ONLY, AtFlags::empty()).map_err(failed(
                    FsOp::Chmod,
                    dir,
                    &name,
                ))?;
                file
            }
            opened => opened,
        };
        unless_missing(opened).map(|file| file.map(File::from)).map_err(failed(FsOp::Open, dir, &name))
    }

    /// Opens a blob to read; `None` when there is no such file.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<Option<File>> {
        let dir = self.blobs(digest.algorithm());
        let opened = openat(dir, digest.hex(), OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        unless_missing(opened).map(|file| file.map(File::from)).map_err(failed(FsOp::Open, dir, digest.hex()))
    }

    /// Looks at the file of a blob; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(super) fn find_blob(&self, digest: &Digest) -> Result<Option<Found>> {
        Found::look(self.blobs(digest.algorithm()), digest.hex())
    }

    /// Looks at the file of an ingest; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(super) fn find_ingest(&self, id: FileId) -> Result<Option<Found>> {
        Found::look(&self.ingests, &id.to_string())
    }

    /// Gives the file of an ingest the name of a blob as well; false when there is one of that name, which stays.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn link(&self, id: FileId, digest: &Digest) -> Result<bool> {
        let (dir, name) = (self.blobs(digest.algorithm()), id.to_string());
        match linkat(&self.ingests, &*name, dir, digest.hex(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(err) => Err(failed(FsOp::Link, &self.ingests, &name)(err)),
        }
    }

    /// Gives the file of a blob the name of an ingest as well, and opens it to read; `None` when there is no such blob, or it
    /// has as many names as there can be.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn share(&self, digest: &Digest, id: FileId) -> Result<Option<File>> {
        let (dir, name) = (self.blobs(digest.algorithm()), id.to_string());
        match linkat(dir, digest.hex(), &self.ingests, &*name, AtFlags::empty()) {
            Ok(()) => self.open_blob(digest),
            Err(Errno::NOENT | Errno::MLINK) => Ok(None),
            Err(err) => Err(failed(FsOp::Link, dir, digest.hex())(err)),
        }
    }

    /// Takes the name of an ingest from a file that has the name of a blob as well.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(super) fn unlink_ingest(&self, id: FileId) -> Result<()> {
        let name = id.to_string();
        unless_missing(unlinkat(&self.ingests, &*name, AtFlags::empty())).map(drop).map_err(failed(
            FsOp::Remove,
            &self.ingests,
            &name,
        ))
    }

    /// Takes the name of a blob from a file that has the name of an ingest as well.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(super) fn unlink_blob(&self, digest: &Digest) -> Result<()> {
        let dir = self.blobs(digest.algorithm());
        unless_missing(unlinkat(dir, digest.hex(), AtFlags::empty())).map(drop).map_err(failed(
            FsOp::Remove,
            dir,
            digest.hex(),
        ))
    }

    /// Takes away what of an ingest is beyond `size`; false when there was nothing.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub(super) fn shorten_ingest(&self, id: FileId, size: u64) -> Result<bool> {
        let Some(file) = self.open_ingest(id)? else { return Ok(false) };
        let path = self.ingests.path();
        if file.metadata().map_err(Error::fs(FsOp::Stat, path))?.len() <= size {
            return Ok(false);
        }
        file.set_len(size).map_err(Error::fs(FsOp::Truncate, path))?;
        Ok(true)
    }

    /// Moves the file of an ingest to the trash; false when there is none.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn trash_ingest(&self, id: FileId) -> Result<bool> {
        let name = id.to_string();
        move_file(&self.ingests, &name, &self.trash, &name)
    }

    /// Moves the file of a blob to the trash, under the number `id`; false when there is none.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn trash_blob(&self, digest: &Digest, id: FileId) -> Result<bool> {
        move_file(self.blobs(digest.algorithm()), digest.hex(), &self.trash, &id.to_string())
    }

    /// Moves the file of a blob to `lost+found`, for a human to look at, under its number; false when there is none.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn set_aside(&self, digest: &Digest, id: FileId) -> Result<bool> {
        let aside = self.lost_found.take_aside(self.blobs(digest.algorithm()), digest.hex(), &id.to_string())?;
        Ok(aside.is_some())
    }

    /// Writes what a damaged record was to a new file of `lost+found`, durably, and returns where it is.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn keep_record(&self, record: &DamagedRecord) -> Result<PathBuf> {
        self.lost_found.keep_record(record.column(), &record.to_text())
    }

    /// Gives the file of an ingest the name of a blob; false when there is none.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn finish(&self, id: FileId, digest: &Digest) -> Result<bool> {
        move_file(&self.ingests, &id.to_string(), self.blobs(digest.algorithm()), digest.hex())
    }

    /// Takes the file of a blob out of the trash again; false when it is not there.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn bring_back(&self, id: FileId, digest: &Digest) -> Result<bool> {
        move_file(&self.trash, &id.to_string(), self.blobs(digest.algorithm()), digest.hex())
    }

    /// Makes the names of blobs durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub(super) fn sync_names(&self) -> Result<()> {
        [&self.sha256, &self.sha384, &self.sha512]
            .into_iter()
            .try_for_each(|dir| rustix::fs::fsync(dir).map_err(Error::fs(FsOp::Sync, dir.path())))
    }

    /// Lists all blobs. Reads whole directories.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn list_blobs(&self) -> Result<Listing<Digest>> {
        let mut all = Listing { known: Vec::new(), unknown: Vec::new() };
        for algorithm in Algorithm::ALL {
            let algorithm_name = algorithm.as_str();
            let parse = |name: &str| Digest::parse(format!("{algorithm_name}:{name}")).ok();
            all.extend(self.blobs(algorithm), &format!("blobs/{algorithm_name}"), parse)?;
        }
        Ok(all)
    }

    /// Lists all ingests. Reads a whole directory.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn list_ingests(&self) -> Result<Listing<FileId>> {
        let mut all = Listing { known: Vec::new(), unknown: Vec::new() };
        all.extend(&self.ingests, "ingests", FileId::from_name)?;
        Ok(all)
    }
}

impl<T> Listing<T> {
    fn extend(&mut self, dir: &Dir, shown: &str, parse: impl Fn(&str) -> Option<T>) -> Result<()> {
        for name in dir.names()? {
            match name.to_str().and_then(&parse) {
                Some(known) => self.known.push(known),
                None => self.unknown.push([shown.as_ref(), name.as_os_str()].join("/".as_ref())),
            }
        }
        Ok(())
    }
}

impl Found {
    fn look(dir: &Dir, name: &str) -> Result<Option<Found>> {
        let found = unless_missing(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW));
        let stat = found.map_err(failed(FsOp::Stat, dir, name))?;
        Ok(stat.map(|stat| {
            let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
            let since = std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            Found { size: u64::try_from(stat.st_size).unwrap_or(0), written_at: SystemTime::UNIX_EPOCH + since }
        }))
    }
}

/// Moves a file; false when there is none of that name. One that has the new name is replaced.
fn move_file(from: &Dir, name: &str, to: &Dir, new_name: &str) -> Result<bool> {
    let moved = unless_missing(renameat(from, name, to, new_name));
    moved.map(|moved| moved.is_some()).map_err(failed(FsOp::Rename, from, name))
}

fn unless_missing<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Err(Errno::NOENT) => Ok(None),
        result => result.map(Some),
    }
}

fn failed(op: FsOp, dir: &Dir, name: &str) -> impl FnOnce(Errno) -> Error {
    let path = dir.path().join(name);
    move |err| Error::fs(op, &path)(err)
}
