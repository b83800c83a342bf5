//! Who owns a pool: one process at a time, by a file lock and a record of the holder.
//!
//! ```text
//! <root>/lock    locked with flock(2) while owned; holds the ownership record
//! ```

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::{Error, FsOp, Result};

/// The ownership record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Host name and process of the last owner.
    pub holder: String,
    /// How many times the pool got an owner.
    pub transitions: u64,
}

/// The lock on a pool. Closing the file, in whatever way the process ends, gives it back.
#[derive(Debug)]
pub struct PoolLock {
    _file: File,
    ownership: Ownership,
}

impl PoolLock {
    /// Takes the lock of the pool in `root`, making the directory when it does not exist.
    ///
    /// # Errors
    /// [`Error::Pool`] naming the holder when the pool is owned, or what to do on a read-only file system.
    pub fn acquire(root: &Path) -> Result<PoolLock> {
        create_root(root)?;
        let path = root.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|err| read_only(root, err).unwrap_or_else(|err| Error::fs(FsOp::Open, &path)(err)))?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let before = read(&mut file, &path)?;
        match locked {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Pool(format!(
                    "the pool {} is owned by {}. Stop that daemon, or use another root",
                    root.display(),
                    if before.holder.is_empty() { "another process" } else { &before.holder },
                )));
            }
            Err(err) => return Err(Error::fs(FsOp::Lock, &path)(err)),
        }
        let ownership = Ownership { holder: holder(), transitions: before.transitions.saturating_add(1) };
        write(&mut file, &ownership).map_err(Error::fs(FsOp::Write, &path))?;
        Ok(PoolLock { _file: file, ownership })
    }

    /// Returns the record that this process wrote.
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }
}

fn create_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let result = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    result.map_err(|err| read_only(root, err).unwrap_or_else(|err| Error::fs(FsOp::CreateDir, root)(err)))
}

fn read_only(root: &Path, err: std::io::Error) -> Result<Error, std::io::Error> {
    if err.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
        let root = root.display();
        return Ok(Error::Pool(format!(
            "{root}: the file system is read-only. Mount it read-write, or use another root"
        )));
    }
    Err(err)
}

/// Reads the record; one that a crash left half-written is no record.
fn read(file: &mut File, path: &Path) -> Result<Ownership> {
    let mut text = String::new();
    // A lock file that somebody replaced with something large is not read whole.
    file.take(4096).read_to_string(&mut text).map_err(Error::fs(FsOp::Read, path))?;
    Ok(toml::from_str(&text).unwrap_or_default())
}

fn write(file: &mut File, ownership: &Ownership) -> std::io::Result<()> {
    let text = toml::to_string(ownership).map_err(std::io::Error::other)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("process {} on {host}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::PoolLock;
    use crate::Error;

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = PoolLock::acquire(dir.path()).unwrap();
        let Err(Error::Pool(text)) = PoolLock::acquire(dir.path()) else { panic!("owned twice") };
        assert!(text.contains(&first.ownership().holder), "{text}");
    }

    #[test]
    fn transitions_are_counted_and_garbage_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(PoolLock::acquire(dir.path()).unwrap().ownership().transitions, 1);
        assert_eq!(PoolLock::acquire(dir.path()).unwrap().ownership().transitions, 2);
        std::fs::write(dir.path().join("lock"), "holder = \"tor").unwrap();
        assert_eq!(PoolLock::acquire(dir.path()).unwrap().ownership().transitions, 1);
    }
}
