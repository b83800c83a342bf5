//! One entry of a directory, held by a descriptor.
//!
//! A container may be writing while its layer is read. So an entry is looked up once, without following anything, and whatever
//! is asked about it afterwards is asked about that very inode: no device is opened that took a file's place, and no link
//! leads elsewhere.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

/// An inode that is held, with what it was when it was looked up.
#[derive(Debug)]
pub(super) struct Entry {
    fd: OwnedFd,
    pub stat: Stat,
}

/// Attributes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub kind: FileType,
    /// Permissions with set-user-ID, set-group-ID and the sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    pub device: (u32, u32),
    pub links: u32,
    /// Device and inode.
    pub inode: (u32, u32, u64),
}

impl Stat {
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether it has several names.
    pub fn is_linked(&self) -> bool {
        !self.is_dir() && self.links > 1
    }

    /// Whether it is how overlayfs says that a name is deleted.
    pub fn is_whiteout(&self) -> bool {
        self.kind == FileType::CharacterDevice && self.device == (0, 0)
    }
}

const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

impl Entry {
    /// Looks up a path beneath a directory. A link is not followed but found; nor is a mount entered (`XDEV`).
    pub fn find(dir: BorrowedFd<'_>, path: &CStr) -> Result<Entry, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(dir, path, flags, Mode::empty(), WITHIN)?;
        let wanted = StatxFlags::BASIC_STATS;
        let stat = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted)?;
        let mode = u32::from(stat.stx_mode);
        let stat = Stat {
            kind: FileType::from_raw_mode(mode),
            mode: mode & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            device: (stat.stx_rdev_major, stat.stx_rdev_minor),
            links: stat.stx_nlink,
            inode: (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
        };
        Ok(Entry { fd, stat })
    }

    /// Opens a regular file to be read.
    pub fn open(&self) -> Result<File, Errno> {
        if self.stat.kind != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let flags = OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC;
        match rustix::fs::open(self.magic_path(), flags, Mode::empty()) {
            // Only the owner and the privileged may leave the time of access as it is.
            Err(Errno::PERM) => rustix::fs::open(self.magic_path(), flags - OFlags::NOATIME, Mode::empty()),
            opened => opened,
        }
        .map(File::from)
    }

    /// Opens a directory to be listed.
    pub fn open_dir(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, c".", flags, Mode::empty())
    }

    /// Returns what a symbolic link says.
    pub fn target(&self) -> Result<Vec<u8>, Errno> {
        Ok(rustix::fs::readlinkat(&self.fd, c"", Vec::new())?.into_bytes())
    }

    /// Returns the names of its extended attributes.
    pub fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let path = self.magic_path();
        let list = match grown(256, |buffer| rustix::fs::listxattr(&path, buffer)) {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            list => list?,
        };
        Ok(list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// Returns the value of an extended attribute; `None` where it has no such one.
    pub fn xattr(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let path = self.magic_path();
        match grown(64, |buffer| rustix::fs::getxattr(&path, name, buffer)) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            value => value.map(Some),
        }
    }

    /// The name that leads to this very inode, whatever it is and wherever it was moved.
    fn magic_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

impl AsFd for Entry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Calls `read` with more and more room until what it returns fits.
fn grown(first: usize, read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    /// More than the kernel lets an attribute, or a list of them, have.
    const LIMIT: usize = 128 << 10;
    let mut buffer = vec![0; first];
    loop {
        match read(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < LIMIT => buffer.resize(buffer.len() * 4, 0),
            Err(err) => return Err(err),
        }
    }
}
