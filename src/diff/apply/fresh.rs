//! A directory that was empty before a layer was applied to it, and is again if that fails.

use std::ffi::CString;
use std::os::fd::AsFd as _;

use rustix::fs::{
    Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fremovexattr,
    fsetxattr, fstat, futimens,
};

use crate::overlay::{Dir, remove_tree};
use crate::{Chain, Error, FsOp, Result};

/// Extended attributes of a directory.
type Attributes = Vec<(CString, Vec<u8>)>;

/// What an empty directory was like.
#[derive(Debug)]
pub(super) struct Fresh {
    stat: Stat,
    attributes: Attributes,
}

impl Fresh {
    /// Looks at a directory; `None` when something is in it. Lists it.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn look(dir: &Dir) -> Result<Option<Fresh>> {
        if !dir.names()?.is_empty() {
            return Ok(None);
        }
        let stat = fstat(dir).map_err(Error::fs(FsOp::Stat, dir.path()))?;
        Ok(Some(Fresh { stat, attributes: attributes(dir)? }))
    }

    /// Takes away what was put into the directory. What cannot be is logged: the layer is of no use then, but its removal
    /// will try again.
    pub fn restore(&self, dir: &Dir) {
        if let Err(err) = self.try_restore(dir) {
            tracing::warn!(path = %dir.path().display(), error = %Chain(&err), "what is left of a failed layer stays");
        }
    }

    fn try_restore(&self, dir: &Dir) -> Result<()> {
        for name in dir.names()? {
            remove_tree(dir, name)?;
        }
        let path = dir.path();
        for (name, _) in attributes(dir)?.iter().filter(|found| !self.attributes.contains(found)) {
            fremovexattr(dir, name).map_err(Error::fs(FsOp::Chmod, path))?;
        }
        for (name, value) in &self.attributes {
            fsetxattr(dir, name, value, XattrFlags::empty()).map_err(Error::fs(FsOp::Chmod, path))?;
        }
        let (uid, gid) = (Uid::from_raw(self.stat.st_uid), Gid::from_raw(self.stat.st_gid));
        fchown(dir, Some(uid), Some(gid)).map_err(Error::fs(FsOp::Chown, path))?;
        let mode = Mode::from_raw_mode(self.stat.st_mode);
        fchmod(dir, mode).map_err(Error::fs(FsOp::Chmod, path))?;
        let time = |sec, nsec: u64| Timespec { tv_sec: sec, tv_nsec: i64::try_from(nsec).unwrap_or(0) };
        let times = Timestamps {
            last_access: time(self.stat.st_atime, self.stat.st_atime_nsec),
            last_modification: time(self.stat.st_mtime, self.stat.st_mtime_nsec),
        };
        futimens(dir, &times).map_err(Error::fs(FsOp::Chmod, path))
    }
}

/// Returns the extended attributes that a directory has; none where the file system has none.
fn attributes(dir: &Dir) -> Result<Attributes> {
    let fd = dir.as_fd();
    let mut names = vec![0; 64 << 10];
    let len = match flistxattr(fd, &mut names) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        len => len.map_err(Error::fs(FsOp::Stat, dir.path()))?,
    };
    let names = names.get(..len).unwrap_or_default();
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = CString::new(name) else { continue };
        let mut value = vec![0; 64 << 10];
        let len = fgetxattr(fd, &name, &mut value).map_err(Error::fs(FsOp::Stat, dir.path()))?;
        value.truncate(len);
        found.push((name, value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    #[test]
    fn a_directory_is_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("fs");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        setxattr(&path, c"user.before", b"1", XattrFlags::empty()).unwrap();
        let before = fs::metadata(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        let fresh = Fresh::look(&dir).unwrap().unwrap();
        fs::create_dir_all(path.join("etc/deep")).unwrap();
        fs::write(path.join("etc/passwd"), "root").unwrap();
        fs::write(path.join("file"), "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
        setxattr(&path, c"user.after", b"2", XattrFlags::empty()).unwrap();
        setxattr(&path, c"user.before", b"3", XattrFlags::empty()).unwrap();
        assert!(Fresh::look(&dir).unwrap().is_none());
        fresh.restore(&dir);
        assert_eq!(dir.names().unwrap(), Vec::<std::ffi::OsString>::new());
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
        assert_eq!(attributes(&dir).unwrap(), [(c"user.before".to_owned(), b"1".to_vec())]);
    }
}
