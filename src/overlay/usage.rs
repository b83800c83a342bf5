//! How much space a tree and a file system have.
//!
//! Counts as containerd's snapshotters do: blocks that are allocated, each inode once however many links it has, the
//! top directory included. Mounts inside a tree belong to somebody else and are not counted. Files that vanish while
//! they are counted are no error, because a container is running in the tree.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

use super::dir::{Dir, for_each_entry, open_below};
use super::tree::Descent;
use crate::{Error, FsOp, Result};

/// Unit of `st_blocks`, whatever the file system's own block size is.
const BLOCK: u64 = 512;

/// Space that a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in allocated blocks, so that holes are not counted.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Measures the tree at `path`. Walks it.
///
/// # Errors
/// [`Error::Fs`] when the top is missing, or something cannot be read for another reason than that it has vanished.
pub fn disk_usage(path: &Path) -> Result<Usage> {
    let top = Dir::open(path)?;
    let mut count = Count::default();
    count.add(&stat(top.as_fd(), c"").map_err(Error::fs(FsOp::Stat, path))?);

    let fd = rustix::io::fcntl_dupfd_cloexec(&top, 0).map_err(Error::fs(FsOp::Open, path))?;
    let mut descent = Descent::new(c"".into(), fd);
    let mut buffer = Vec::new();
    let failed = |op, descent: &Descent, err: Errno| Error::fs(op, &descent.path(path, c""))(err);
    loop {
        let (fd, pending) = descent.current();
        for_each_entry(fd, &mut buffer, |name, _| {
            let stat = match stat(fd, name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(()),
                Err(err) => return Err(err),
            };
            if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
                return Ok(());
            }
            count.add(&stat);
            if is_dir(&stat) {
                pending.push(name.to_owned());
            }
            Ok(())
        })
        .map_err(|err| failed(FsOp::List, &descent, err))?;

        // Up to the next directory that has something left to visit, and down into that.
        loop {
            if let Some(name) = descent.current().1.pop() {
                match open_below(descent.fd(), &name) {
                    Ok(fd) => {
                        descent.enter(name, fd).map_err(|err| failed(FsOp::Stat, &descent, err))?;
                        break;
                    }
                    // Gone, replaced or mounted over since it was listed.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                    Err(err) => return Err(Error::fs(FsOp::Open, &descent.path(path, &name))(err)),
                }
            } else if descent.leave().map_err(|err| failed(FsOp::Open, &descent, err))?.is_none() {
                return Ok(count.usage);
            }
        }
    }
}

/// Returns the bytes that an unprivileged user could still write to the file system that holds `dir`.
/// One system call.
///
/// # Errors
/// [`Error::Fs`].
pub fn free_bytes(dir: &Dir) -> Result<u64> {
    Ok(free_space(dir)?.bytes)
}

/// What an unprivileged user could still make on a file system.
#[derive(Clone, Copy, Debug)]
pub struct FreeSpace {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories; `None` on a file system that makes inodes as it needs them.
    pub inodes: Option<u64>,
}

/// Returns what is free on the file system that holds `dir`. One system call.
///
/// # Errors
/// [`Error::Fs`].
pub fn free_space(dir: &Dir) -> Result<FreeSpace> {
    let stat = rustix::fs::fstatvfs(dir).map_err(Error::fs(FsOp::StatFs, dir.path()))?;
    let inodes = (stat.f_files > 0).then_some(stat.f_favail);
    Ok(FreeSpace { bytes: stat.f_bavail.saturating_mul(stat.f_frsize), inodes })
}

#[derive(Default)]
struct Count {
    usage: Usage,
    /// Device and inode of what has several links: anything else is met only once, so it need not be remembered.
    linked: HashSet<(u32, u32, u64)>,
}

impl Count {
    fn add(&mut self, stat: &Statx) {
        let once = stat.stx_nlink <= 1 || is_dir(stat);
        if once || self.linked.insert((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)) {
            self.usage.inodes += 1;
            self.usage.size = self.usage.size.saturating_add(stat.stx_blocks.saturating_mul(BLOCK));
        }
    }
}

fn stat(dir: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    statx(dir, name, flags, StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::BLOCKS)
}

fn is_dir(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Dir, Usage, disk_usage, free_bytes};
    use crate::overlay::testing::{self, TestFs};

    fn blocks(paths: &[&Path]) -> u64 {
        paths.iter().map(|path| path.symlink_metadata().unwrap().blocks() * 512).sum()
    }

    #[test]
    fn inodes_count_once_and_holes_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let [dir, file, link, hole] = ["dir", "dir/file", "link", "hole"].map(|name| root.path().join(name));
        fs::create_dir(&dir).unwrap();
        fs::write(&file, vec![1; 100_000]).unwrap();
        fs::hard_link(&file, root.path().join("hard")).unwrap();
        symlink("/etc", &link).unwrap();
        fs::File::create(&hole).unwrap().set_len(1 << 30).unwrap();
        let expected = Usage { size: blocks(&[root.path(), &dir, &file, &link, &hole]), inodes: 5 };
        assert_eq!(disk_usage(root.path()).unwrap(), expected);
        assert!(expected.size < 1 << 20);
    }

    #[test]
    fn an_empty_directory_is_one_inode_and_a_missing_one_an_error() {
        let root = tempfile::tempdir().unwrap();
        let expected = Usage { size: blocks(&[root.path()]), inodes: 1 };
        assert_eq!(disk_usage(root.path()).unwrap(), expected);
        assert!(disk_usage(&root.path().join("none")).is_err());
    }

    #[test]
    fn du_agrees_on_a_deep_and_wide_tree() {
        let root = tempfile::tempdir().unwrap();
        let deep: std::path::PathBuf = (0..200).map(|_| "deep").collect();
        fs::create_dir_all(root.path().join(&deep)).unwrap();
        fs::write(root.path().join(&deep).join("file"), vec![1; 5000]).unwrap();
        for n in 0..3000 {
            fs::write(root.path().join(format!("file-with-a-name-{n}")), vec![1; n]).unwrap();
        }
        let du = |flag: &str| -> u64 {
            let output = std::process::Command::new("du").args(["-s", flag]).arg(root.path()).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.split_whitespace().next().unwrap().parse().unwrap()
        };
        let usage = disk_usage(root.path()).unwrap();
        assert_eq!(usage, Usage { size: du("-B1"), inodes: du("--inodes") });
    }

    #[test]
    fn files_may_come_and_go_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0.. {
                    let dir = root.path().join(format!("{}", round % 3));
                    fs::create_dir_all(dir.join("a/b/c")).unwrap();
                    fs::write(dir.join("a/b/file"), "x").unwrap();
                    fs::remove_dir_all(&dir).unwrap();
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let results: Vec<_> = (0..500).map(|_| disk_usage(root.path())).collect();
            done.store(true, Ordering::Relaxed);
            for result in results {
                result.unwrap();
            }
        });
    }

    #[test]
    fn free_space_is_what_the_file_system_says() {
        let root = tempfile::tempdir().unwrap();
        assert!(free_bytes(&Dir::open(root.path()).unwrap()).unwrap() > 0);
    }

    #[test]
    fn privileged_mounts_are_not_counted_and_free_space_is_exact() {
        testing::privileged("mounts are not counted", || {
            let fs = TestFs::tmpfs();
            fs::create_dir_all(fs.path().join("tree/mnt")).unwrap();
            fs::create_dir(fs.path().join("other")).unwrap();
            fs::write(fs.path().join("other/file"), vec![1; 100_000]).unwrap();
            rustix::mount::mount_bind(fs.path().join("other"), fs.path().join("tree/mnt")).unwrap();
            assert_eq!(disk_usage(&fs.path().join("tree")).unwrap().inodes, 1);
            // The directory that is a mount itself is the top, and is counted.
            assert_eq!(disk_usage(&fs.path().join("tree/mnt")).unwrap(), Usage { size: 102_400, inodes: 2 });
            assert_eq!(free_bytes(&Dir::open(fs.path()).unwrap()).unwrap(), TestFs::TMPFS_SIZE - 102_400);
        });
    }
}
