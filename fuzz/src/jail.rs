//! A root directory with nothing in it but what must not change, and directories to extract to.
//!
//! The thread that enters it has a mount namespace and a root directory of its own, on a tmpfs without devices, so that
//! an extraction that went astray changes what is watched here, and nothing else: neither an absolute path nor any
//! number of `..` leads out. The working directory stays where it was, because libFuzzer has its files there: it must be
//! given relative paths.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FileType, XattrFlags, lgetxattr, setxattr};

use crate::Result;
use crate::diff::extract::{Extracted, Limits, Target, Whiteouts, extract};
use crate::memory::bounded;
use crate::overlay::{Dir, disk_usage, remove_tree_while};

/// Where the tmpfs is mounted, in the mount namespace of the thread only.
const MOUNT_POINT: &str = "/mnt";
/// Where layers go.
const LAYERS: &str = "/jail/layers";
/// What lower layers have.
const LOWER: &str = "/jail/lower";

/// Memory that an extraction may need whatever its archive is, and for each byte of it.
const MEMORY: usize = 4 << 20;
const MEMORY_FOR_BYTE: usize = 64;

/// The place.
pub struct Jail {
    layers: Dir,
}

impl Jail {
    /// Enters it, as root. There is no way back.
    pub fn enter() -> Jail {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).expect("root");
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        mount(Some("fuzz"), MOUNT_POINT, Some("tmpfs"), flags, Some("size=128m,mode=0755")).unwrap();
        let proc = Path::new(MOUNT_POINT).join("proc");
        fs::create_dir(&proc).unwrap();
        mount(Some("/proc"), &proc, none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &proc, none, read_only, none).unwrap();
        rustix::process::chroot(MOUNT_POINT).unwrap();
        for dir in ["/", "/jail", LOWER] {
            furnish(Path::new(dir));
        }
        fs::create_dir_all(LAYERS).unwrap();
        Jail { layers: Dir::open(LAYERS).unwrap() }
    }

    /// Returns the directory of a layer, new and empty.
    pub fn layer(&self, name: &str) -> PathBuf {
        remove_tree_while(&self.layers, Path::new(name), &mut || true).unwrap();
        let path = Path::new(LAYERS).join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Returns a directory of a lower layer.
    pub fn lower(&self) -> PathBuf {
        LOWER.into()
    }

    /// Extracts to a directory of a layer, and panics when anything else has changed, when it needs too much memory, or
    /// when what it says that it did is not so.
    pub fn extract(
        &self,
        archive: &[u8],
        chunk: usize,
        layer: &Path,
        parents: &[PathBuf],
        whiteouts: Whiteouts,
    ) -> Result<Extracted> {
        let root = File::open(layer).unwrap();
        let target = Target { root: root.as_fd(), parents, whiteouts };
        let before = watched(layer);
        let mut input = std::io::BufReader::with_capacity(chunk.max(1), archive);
        let most = MEMORY + MEMORY_FOR_BYTE * archive.len();
        let result = bounded(most, || extract(&mut input, &target, &Limits::default(), &|| false));
        let after = watched(layer);
        let changed: Vec<_> = before.iter().filter(|seen| !after.contains(seen)).collect();
        assert!(changed.is_empty() && before.len() == after.len(), "outside of the layer: {changed:?} changed");
        if let Ok(extracted) = &result {
            check(extracted, layer, whiteouts);
        }
        result
    }
}

/// Puts what archives may aim at into a directory.
fn furnish(dir: &Path) {
    for (path, mode) in [("a", 0o2711), ("a/b", 0o1700), ("b", 0o755), ("etc", 0o755), ("tmp", 0o777)] {
        let path = dir.join(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for path in ["a/c", "a/b/c", "c", "etc/passwd", ".wh.a"] {
        fs::write(dir.join(path), path).unwrap();
    }
    symlink("/etc", dir.join("d")).unwrap();
    symlink("../../a", dir.join("a/d")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("e"), FileType::CharacterDevice, 0.into(), 0).unwrap();
    setxattr(dir.join("a"), "user.a", b"1", XattrFlags::empty()).unwrap();
}

/// Returns what must stay as it is: everything but the layer. Nothing changes without the time of the last change.
fn watched(layer: &Path) -> Vec<(PathBuf, Vec<u64>)> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from("/")];
    while let Some(path) = pending.pop() {
        if path == Path::new("/proc") {
            continue;
        }
        let stat = fs::symlink_metadata(&path).unwrap();
        let mut seen = vec![stat.ino(), stat.mode().into(), stat.uid().into(), stat.gid().into()];
        // What is in it is the archive's, but not its own attributes.
        if path != layer {
            seen.extend([stat.nlink(), stat.size(), stat.ctime().cast_unsigned(), stat.ctime_nsec().cast_unsigned()]);
            if stat.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        found.push((path, seen));
    }
    found.sort();
    found
}

fn check(extracted: &Extracted, layer: &Path, whiteouts: Whiteouts) {
    let Extracted { usage, implicit, whiteouts: made, opaque, .. } = extracted;
    if let Some(usage) = usage {
        assert_eq!(*usage, disk_usage(layer).unwrap());
    }
    for path in implicit {
        assert!(fs::symlink_metadata(layer.join(path)).unwrap().is_dir(), "{path:?} is no directory");
    }
    for path in made {
        let stat = fs::symlink_metadata(layer.join(path)).unwrap();
        assert_eq!((stat.mode() & 0o170_000, stat.rdev()), (0o020_000, 0), "{path:?} is no whiteout");
    }
    let attribute = match whiteouts {
        Whiteouts::Overlay => "trusted.overlay.opaque",
        Whiteouts::OverlayUser => "user.overlay.opaque",
        Whiteouts::Remove => {
            assert!(made.is_empty() && opaque.is_empty());
            return;
        }
    };
    for path in opaque {
        let mut value = [0; 2];
        let len = lgetxattr(layer.join(path), attribute, &mut value[..]);
        assert_eq!((len, value[0]), (Ok(1), b'y'), "{path:?} is not opaque");
    }
    for paths in [implicit, made, opaque] {
        assert!(
            paths.iter().all(|path| !path.as_os_str().as_bytes().split(|byte| *byte == b'/').any(|name| name == b".."))
        );
        assert!(paths.is_sorted());
    }
}
