//! Opening and reading beneath a directory, whatever symbolic links are in it.
//!
//! The kernel follows no link here but where [`root_path`] says so: a path is either free of links, or resolved by us as
//! containerd resolves it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::path::{push_clean, shown, split};
use crate::{Error, FsOp, Result};

/// How a directory is opened.
const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How something is opened that may be anything, to look at it or to name it.
const OPEN_PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Most symbolic links in one path; as many as containerd follows.
const MAX_LINKS: usize = 255;
/// How often the kernel is asked again when a directory is renamed while it resolves `..`.
const ATTEMPTS: usize = 16;

/// Opens the directory `name` in `dir`. It is no symbolic link.
pub(super) fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(dir, name, OPEN_DIR, Mode::empty())
}

/// Opens `name` in `dir`, whatever it is, without any effect on it.
pub(super) fn open_node(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(dir, name, OPEN_PATH, Mode::empty())
}

/// Opens the directory with a clean path beneath `root`, none of whose components is a symbolic link.
pub(super) fn open_path(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    if path.is_empty() {
        return open_dir(root, b".");
    }
    let within = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
    match openat2(root, path, OPEN_DIR, Mode::empty(), within) {
        // Older container runtimes forbid the call, some with the wrong error.
        Err(Errno::NOSYS | Errno::PERM) => {}
        result => return result,
    }
    let mut components = path.split(|byte| *byte == b'/');
    let first = components.next().unwrap_or_default();
    components.try_fold(open_dir(root, first)?, |dir, name| open_dir(dir.as_fd(), name))
}

/// Resolves the symbolic links in `path` beneath `root` as containerd does, and returns a clean path. What does not exist
/// is no link. Nothing is opened by the result; it may be stale, and is used component by component.
///
/// A link in the first place is replaced by what it says as it is, unless the path is `from_root`, by which what it says is
/// cleaned first. Containerd replaces links one at a time, from left to right, and the text `..` takes the component before it away,
/// even when that is a link which has been met only by the kernel.
pub(super) fn root_path(root: BorrowedFd<'_>, path: &[u8], from_root: bool) -> Result<Vec<u8>> {
    let mut links = 0;
    let mut path = if from_root { [b"/", path].concat() } else { path.to_vec() };
    loop {
        let before = links;
        let walked = walk(root, &path, &mut links)?;
        let mut clean = Vec::with_capacity(walked.len());
        push_clean(&mut clean, &walked);
        // Once more when a link was met, because what it leads to may lead on.
        if links == before {
            return Ok(clean);
        }
        path = walked;
    }
}

/// Goes through a path once, replacing each link by what it says.
fn walk(root: BorrowedFd<'_>, path: &[u8], links: &mut usize) -> Result<Vec<u8>> {
    let mut at = Vec::new();
    let mut is_relative = !path.starts_with(b"/");
    for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        let mut next = Vec::new();
        push_clean(&mut next, &at);
        push_clean(&mut next, component);
        match read_link(root, &next, links)? {
            None => at = next,
            // The very first one has nothing before it that it could be relative to.
            Some(target) if is_relative || target.starts_with(b"/") => at = target,
            Some(target) => {
                at.push(b'/');
                at.extend_from_slice(&target);
                let mut clean = Vec::new();
                push_clean(&mut clean, &at);
                at = clean;
            }
        }
        is_relative = false;
    }
    Ok(at)
}

/// Returns what the symbolic link with a clean path leads to; `None` for what is no link, or not there.
fn read_link(root: BorrowedFd<'_>, path: &[u8], links: &mut usize) -> Result<Option<Vec<u8>>> {
    let failed = |op, err| Err(Error::fs(op, shown(path))(err));
    if *links > MAX_LINKS {
        return failed(FsOp::ReadLink, Errno::LOOP);
    }
    if path.is_empty() {
        return Ok(None);
    }
    let node = match open_link(root, path) {
        Ok(node) => node,
        // Containerd would leave the root here, and find nothing that counts.
        Err(Errno::NOENT | Errno::XDEV) => return Ok(None),
        Err(err) => return failed(FsOp::Open, err),
    };
    match readlinkat(&node, c"", Vec::new()) {
        Ok(target) => {
            *links += 1;
            Ok(Some(target.into_bytes()))
        }
        // What is no link: which of the two depends on the kernel.
        Err(Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(err) => failed(FsOp::ReadLink, err),
    }
}

/// Opens what may be a link. Links on the way to it are followed, as long as they stay beneath the root.
fn open_link(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let within = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
    for _ in 0..ATTEMPTS {
        match openat2(root, path, OPEN_PATH, Mode::empty(), within) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => break,
            result => return result,
        }
    }
    let (parent, name) = split(path);
    let dir = match open_path(root, parent) {
        // A link on the way: the next round has replaced it.
        Err(Errno::LOOP | Errno::NOTDIR) if is_link_on_way(root, parent) => return Err(Errno::NOENT),
        result => result?,
    };
    open_node(dir.as_fd(), name)
}

/// Whether the first component of a path that is no directory is a symbolic link.
fn is_link_on_way(root: BorrowedFd<'_>, path: &[u8]) -> bool {
    let Ok(mut dir) = open_dir(root, b".") else { return false };
    for name in path.split(|byte| *byte == b'/') {
        match open_dir(dir.as_fd(), name) {
            Ok(next) => dir = next,
            Err(_) => {
                let node = open_node(dir.as_fd(), name);
                return node.is_ok_and(|node| readlinkat(&node, c"", Vec::new()).is_ok());
            }
        }
    }
    false
}
