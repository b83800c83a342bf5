//! Random changes to a tree, as a container makes them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

use crate::common::random::Random;
use crate::common::tools;

/// What may be changed beyond what containerd's differ sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// All that containerd's differ sees.
    Containerd,
    /// Extended attributes of users, too.
    All,
}

/// Makes `count` changes below `root`.
pub fn change(root: &Path, random: &mut Random, count: usize, kinds: Kinds) {
    for _ in 0..count {
        step(root, random, kinds);
    }
}

fn step(root: &Path, random: &mut Random, kinds: Kinds) {
    let (dirs, others) = list(root);
    let dir = random.pick(&dirs).unwrap().clone();
    let new = dir.join(name(random));
    // Never the root itself.
    let known: Vec<PathBuf> = dirs.into_iter().skip(1).chain(others.iter().cloned()).collect();
    let old = random.pick(&known).cloned();
    match (random.below(22), old) {
        (0..=3, _) => write(&new, random),
        (4..=5, _) => drop(fs::create_dir(&new)),
        (6, _) => drop(symlink(format!("to/{}", random.below(99)), &new)),
        (7, _) => make_node(&new, random),
        (8..=9, Some(old)) => remove(&old),
        // Anything in the place of anything.
        (10, Some(old)) => {
            remove(&old);
            write(&old, random);
        }
        (11, Some(old)) => {
            remove(&old);
            fs::create_dir_all(&old).unwrap();
            write(&old.join(name(random)), random);
        }
        (12, Some(old)) if !new.starts_with(&old) && new.symlink_metadata().is_err() => {
            // `mv` copies a directory where overlayfs does not rename it.
            tools::run(Command::new("mv").arg("-T").args([&old, &new]));
        }
        (13, Some(old)) if !old.is_symlink() => {
            let mode = [0o755, 0o4711, 0o2755, 0o1777, 0o600, 0o700][random.below(6) as usize];
            fs::set_permissions(&old, fs::Permissions::from_mode(mode)).unwrap();
        }
        (14, Some(old)) => {
            let id = [0, 1000, 2_097_151, 2_097_152, 4_000_000_000][random.below(5) as usize];
            lchown(&old, Some(id), Some(id / 2)).unwrap();
        }
        (15, Some(old)) => touch(&old, random),
        (16, Some(old)) if old.is_file() && !old.is_symlink() => drop(fs::hard_link(&old, &new)),
        // Copied up, and not changed.
        (17, Some(old)) if is_regular(&old) => drop(fs::File::options().append(true).open(&old).unwrap()),
        (18, Some(old)) if is_regular(&old) => drop(fs::File::options().write(true).truncate(true).open(&old).unwrap()),
        (19, Some(old)) if is_regular(&old) => {
            let capability = [1, 0, 0, 2, random.below(200) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            lsetxattr(&old, "security.capability", &capability, XattrFlags::empty()).unwrap();
        }
        // Not of directories: that one lost an attribute a layer cannot say.
        (20, Some(old)) if kinds == Kinds::All && is_regular(&old) => {
            let value = format!("\0{}", random.next());
            lsetxattr(&old, format!("user.{}", random.below(3)), value.as_bytes(), XattrFlags::empty()).unwrap();
        }
        (21, Some(old)) if is_regular(&old) => {
            // The same again, with its time.
            let (data, time) = (fs::read(&old).unwrap(), old.symlink_metadata().unwrap().modified().unwrap());
            remove(&old);
            fs::write(&old, data).unwrap();
            fs::File::options().write(true).open(&old).unwrap().set_modified(time).unwrap();
        }
        _ => {}
    }
}

/// Returns the directories, the root first, and everything else.
fn list(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut dirs, mut others, mut next) = (Vec::new(), Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = next.pop() {
        let mut entries: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        let (below, files): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|path| path.is_dir() && !path.is_symlink());
        others.extend(files);
        next.extend(below);
        dirs.push(dir);
    }
    (dirs, others)
}

fn name(random: &mut Random) -> OsString {
    let short = format!("{}", random.below(12));
    let name = match random.below(14) {
        0 => format!("long-{}-{short}", "x".repeat(90 + random.below(60) as usize)).into_bytes(),
        1 => format!("ä€{short}").into_bytes(),
        2 => [b"\xff\xfe", short.as_bytes()].concat(),
        3 => format!("{short}.d").into_bytes(),
        4 => format!("a b\n{short}").into_bytes(),
        _ => short.into_bytes(),
    };
    OsString::from_vec(name)
}

fn write(path: &Path, random: &mut Random) {
    if path.is_dir() && !path.is_symlink() {
        return;
    }
    let size = [0, 1, 511, 512, 513, 5000, 1 << 20][random.below(7) as usize];
    remove(path);
    fs::write(path, vec![b'a' + random.below(20) as u8; size]).unwrap();
}

fn make_node(path: &Path, random: &mut Random) {
    if path.symlink_metadata().is_ok() {
        return;
    }
    let (kind, device) = match random.below(4) {
        0 => (SFlag::S_IFIFO, 0),
        1 => (SFlag::S_IFBLK, nix::sys::stat::makedev(7, 300)),
        _ => (SFlag::S_IFCHR, nix::sys::stat::makedev(1, 3)),
    };
    mknod(path, kind, Mode::from_bits_truncate(0o640), device).unwrap();
    chown(path, Some(7), Some(8)).unwrap();
}

fn touch(path: &Path, random: &mut Random) {
    let seconds = [0, 1_000_000_000, 1_700_000_000, -5, 9_000_000_000][random.below(5) as usize];
    let nanoseconds = [0, 500_000_000][random.below(2) as usize];
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn is_regular(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}
