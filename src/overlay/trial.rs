//! Trying overlayfs out.
//!
//! Owns one directory in `staging` and mounts an overlay of directories in it. The mount is never attached to the
//! tree of mounts, or detached at once where the kernel cannot do without, so nobody else sees it and a crash leaves
//! nothing mounted.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, XattrFlags, accessat, fsetxattr, mkdirat, mknodat, openat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount, unmount,
};
use tracing::warn;

use super::dir::{Dir, OPEN_DIR, for_each_entry};
use super::layout::Layout;
use super::probe::HostFeatures;
use super::remove::remove_tree;
use crate::{Chain, Error, FsOp, Result};

/// Directory of the trial. Not a layer's name.
const NAME: &str = ".trial";

/// Tries everything that a pool cannot do without.
///
/// # Errors
/// As [`probe`](super::probe()).
pub(super) fn run(layout: &Layout, staging: &Dir, host: &HostFeatures) -> Result<()> {
    if host.file_system == "overlayfs" {
        return unfit(
            layout,
            host,
            "it is on overlayfs itself, which cannot hold an upperdir (a container's own file system?): put it on a \
             volume of the host",
        );
    }
    let trial = Trial::new(layout, staging, host)?;
    trial.check_listing()?;
    trial.check_whiteout()?;
    trial.check_xattr()?;
    // The new interface leaves nothing mounted, but old kernels lack it and container runtimes may forbid it.
    let merged = trial.mount_detached().or_else(|refusal| match refusal.err {
        Errno::NODEV => Err(refusal),
        _ => trial.mount_attached().map_err(|err| Refusal { err, ..refusal }),
    });
    let merged = merged.or_else(|refusal| refusal.explain(layout, host))?;
    crate::failpoint::hit("trial: mounted");
    trial.check_merged(&merged)
}

/// The directory of the trial; deleted when dropped.
struct Trial<'d> {
    layout: &'d Layout,
    staging: &'d Dir,
    host: &'d HostFeatures,
    dir: Dir,
}

/// Why an overlay could not be mounted.
#[derive(Debug)]
struct Refusal {
    err: Errno,
    /// What the kernel has to say about it.
    messages: String,
}

impl<'d> Trial<'d> {
    fn new(layout: &'d Layout, staging: &'d Dir, host: &'d HostFeatures) -> Result<Trial<'d>> {
        clear(staging)?;
        let path = staging.path().join(NAME);
        mkdirat(staging, NAME, Mode::RWXU).map_err(Error::fs(FsOp::CreateDir, &path))?;
        let trial = Trial { layout, staging, host, dir: Dir::open(path)? };
        for name in ["lower1", "lower2", "upper", "work", "merged", "lower1/from1", "lower2/from2"] {
            mkdirat(&trial.dir, name, Mode::from_raw_mode(0o755))
                .map_err(|err| Error::fs(FsOp::CreateDir, &trial.dir.path().join(name))(err))?;
        }
        Ok(trial)
    }

    /// Checks that listings tell types.
    fn check_listing(&self) -> Result<()> {
        let mut unknown = false;
        for_each_entry(self.dir.as_fd(), &mut Vec::new(), |_, kind| {
            unknown |= kind == FileType::Unknown;
            Ok(())
        })
        .map_err(Error::fs(FsOp::List, self.dir.path()))?;
        if !unknown {
            return Ok(());
        }
        let advice = match self.host.file_system.as_str() {
            "xfs" => "format it again with `mkfs.xfs -n ftype=1`",
            "ext2/3/4" => "switch the feature `filetype` on with `tune2fs -O filetype` and check it with `e2fsck -f`",
            _ => "use ext4, xfs or btrfs",
        };
        self.unfit(&format!("its directory listings do not tell types (d_type): {advice}"))
    }

    /// Checks that a whiteout can be made, as the differ makes them.
    fn check_whiteout(&self) -> Result<()> {
        let made = mknodat(&self.dir, c"upper/whiteout", FileType::CharacterDevice, Mode::empty(), 0)
            .and_then(|()| unlinkat(&self.dir, c"upper/whiteout", AtFlags::empty()));
        match made {
            Ok(()) => Ok(()),
            Err(Errno::PERM) => self.unfit(
                "whiteouts (character device 0:0) cannot be made: run as root with CAP_MKNOD, or use Linux 5.8 or \
                 later in a user namespace",
            ),
            Err(err) => self.unfit(&format!("whiteouts (character device 0:0) cannot be made: {err}")),
        }
    }

    /// Checks that overlayfs can keep its attributes.
    fn check_xattr(&self) -> Result<()> {
        let (name, space) = match (self.host.userns, self.host.userxattr) {
            (_, true) => (c"user.overlay.leasehold", "user"),
            (false, false) => (c"trusted.overlay.leasehold", "trusted"),
            // Overlayfs does without here.
            (true, false) => return Ok(()),
        };
        let upper = openat(&self.dir, c"upper", OPEN_DIR, Mode::empty())
            .map_err(Error::fs(FsOp::Open, &self.dir.path().join("upper")))?;
        match fsetxattr(&upper, name, b"y", XattrFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::PERM) => self.unfit("trusted.* attributes may not be written: run as root with CAP_SYS_ADMIN"),
            Err(err) => self.unfit(&format!(
                "{space}.* attributes cannot be written ({err}), so deleted directories would come back: use \
                 ext4, xfs or btrfs"
            )),
        }
    }

    /// Mounts without attaching: what is mounted ends with the descriptor.
    fn mount_detached(&self) -> Result<OwnedFd, Refusal> {
        let fs =
            fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|err| Refusal { err, messages: String::new() })?;
        let refused = |err| Refusal { err, messages: messages(fs.as_fd()) };
        // A value is at most 256 bytes long here, so paths go through the descriptor.
        let base = format!("/proc/self/fd/{}", self.dir.as_fd().as_raw_fd());
        for (key, value) in options(&base, self.host) {
            match value {
                Some(value) => fsconfig_set_string(&fs, key, &*value),
                None => fsconfig_set_flag(&fs, key),
            }
            .map_err(refused)?;
        }
        fsconfig_create(&fs).map_err(refused)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(refused)
    }

    /// Mounts in the tree of mounts, and detaches at once.
    fn mount_attached(&self) -> Result<OwnedFd, Errno> {
        let base = self.dir.path().to_string_lossy();
        let list: Vec<_> = options(&base, self.host)
            .into_iter()
            .map(|(key, value)| value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}")))
            .collect();
        let list = CString::new(list.join(",")).map_err(|_| Errno::INVAL)?;
        let target = self.dir.path().join("merged");
        mount(c"overlay", &target, c"overlay", MountFlags::empty(), &*list)?;
        let merged = openat(CWD, &target, OPEN_DIR, Mode::empty());
        unmount(&target, UnmountFlags::DETACH)?;
        merged
    }

    /// Checks that the mount shows both lowerdirs, and that deleting makes a whiteout.
    fn check_merged(&self, merged: &OwnedFd) -> Result<()> {
        for name in [c"from1", c"from2"] {
            if let Err(err) = accessat(merged, name, rustix::fs::Access::EXISTS, AtFlags::empty()) {
                return self.unfit(&format!("an overlay of two lowerdirs does not show both: {err}"));
            }
        }
        let whiteout = unlinkat(merged, c"from1", AtFlags::REMOVEDIR)
            .and_then(|()| statat(&self.dir, c"upper/from1", AtFlags::SYMLINK_NOFOLLOW));
        match whiteout {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0 => {
                Ok(())
            }
            Ok(_) => self.unfit("deleting in an overlay leaves no whiteout"),
            Err(err) => self.unfit(&format!("nothing can be deleted in an overlay: {err}")),
        }
    }

    fn unfit(&self, problem: &str) -> Result<()> {
        unfit(self.layout, self.host, problem)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Err(err) = clear(self.staging) {
            warn!(error = %Chain(&err), "cannot remove the directory in which overlayfs was tried");
        }
    }
}

impl Refusal {
    /// Fails with what to do about it.
    fn explain<T>(self, layout: &Layout, host: &HostFeatures) -> Result<T> {
        let Refusal { err, messages, .. } = self;
        let kernel = &host.kernel;
        let problem = match err {
            Errno::NODEV => format!(
                "the kernel {kernel} has no overlayfs: load it with `modprobe overlay`, or use a kernel built with \
                 CONFIG_OVERLAY_FS"
            ),
            Errno::PERM if host.userns => format!(
                "overlayfs may not be mounted in this user namespace by the kernel {kernel}: use Linux 5.11 or later, \
                 or run outside of it"
            ),
            Errno::PERM => "overlayfs may not be mounted: run as root with CAP_SYS_ADMIN".into(),
            err => format!("overlayfs cannot be mounted on it ({err}): use ext4, xfs or btrfs"),
        };
        let problem = if messages.is_empty() { problem } else { format!("{problem}. The kernel says: {messages}") };
        unfit(layout, host, &problem)
    }
}

/// Deletes the directory of a trial. One that crashed between mounting and detaching has something mounted in it.
fn clear(staging: &Dir) -> Result<()> {
    if remove_tree(staging, NAME).is_err() {
        let merged = staging.path().join(NAME).join("merged");
        // When this was not what kept it, the second attempt says what does.
        let _ = unmount(merged, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        remove_tree(staging, NAME)?;
    }
    Ok(())
}

/// Returns the options of the trial's mount: those that real mounts get.
fn options(base: &str, host: &HostFeatures) -> Vec<(&'static str, Option<String>)> {
    let mut options = vec![
        ("lowerdir", Some(format!("{base}/lower1:{base}/lower2"))),
        ("upperdir", Some(format!("{base}/upper"))),
        ("workdir", Some(format!("{base}/work"))),
    ];
    if host.userxattr {
        options.push(("userxattr", None));
    }
    if host.index_off {
        options.push(("index", Some("off".into())));
    }
    options
}

/// Reads what the kernel says about a mount that is being made.
fn messages(fs: BorrowedFd<'_>) -> String {
    let mut messages = Vec::new();
    let mut buffer = [0; 1024];
    // Each read gives one message, after a letter for its weight and a space.
    while let Ok(len) = rustix::io::read(fs, &mut buffer) {
        let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default());
        match text.trim_end().split_once(' ') {
            Some((_, message)) => messages.push(message.to_owned()),
            None => break,
        }
    }
    messages.join("; ")
}

fn unfit<T>(layout: &Layout, host: &HostFeatures, problem: &str) -> Result<T> {
    let (root, file_system) = (layout.root().display(), &host.file_system);
    Err(Error::Pool(format!("{root} ({file_system}) cannot hold a pool: {problem}")))
}

#[cfg(test)]
mod tests;
