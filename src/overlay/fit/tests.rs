//! A layer is made to fit, whatever its lists and those below it are.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, lsetxattr, mknodat};

use super::{Below, Lower};
use crate::overlay::testing::skipped;
use crate::overlay::{Attributes, LayerDirs, LayerKind, Layout};
use crate::types::LayerId;

const TOP: LayerId = LayerId::new(9);
const BELOW: [LayerId; 3] = [LayerId::new(3), LayerId::new(2), LayerId::new(1)];

/// A layer, and three that are to be below it.
struct Pool {
    dirs: LayerDirs,
    layout: Layout,
    _dir: tempfile::TempDir,
}

impl Pool {
    fn new() -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        layout.create().unwrap();
        let dirs = LayerDirs::open(&layout).unwrap();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        for id in BELOW.into_iter().chain([TOP]) {
            dirs.create(id, LayerKind::Active, Attributes { uid, gid, mode: 0o755 }).unwrap().keep();
        }
        Pool { dirs, layout, _dir: dir }
    }

    fn path(&self, id: LayerId, path: &str) -> PathBuf {
        self.layout.layer(id).join("fs").join(path)
    }

    fn make(&self, id: LayerId, path: &str, mode: u32) -> PathBuf {
        let path = self.path(id, path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(TOP, path)).unwrap().mode() & 0o7777
    }

    /// Fits it, and returns what was changed.
    fn fit(&self, implicit: &[&str]) -> Vec<String> {
        let implicit: Vec<_> = implicit.iter().map(PathBuf::from).collect();
        let root = self.dirs.open_fs(TOP).unwrap();
        let changed = self.dirs.fit(&root, TOP, &implicit, &BELOW, true).unwrap();
        self.dirs.sync_dirs(&root, TOP, &changed).unwrap();
        changed.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// An ACL as the kernel keeps it: for the owner, one other user, the group, the mask and all others.
fn acl() -> Vec<u8> {
    let entries = [(1_u16, 7_u16, u32::MAX), (2, 5, 1234), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)];
    let entry = |(tag, allowed, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &allowed.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), entries.into_iter().flat_map(entry).collect()].concat()
}

#[test]
fn the_nearest_layer_that_has_a_directory_counts() {
    let pool = Pool::new();
    let [near, middle, far] = BELOW;
    for (id, path, mode) in
        [(near, "a", 0o700), (far, "a", 0o711), (middle, "a/b", 0o2750), (far, "a/b", 0o777), (far, "a/b/c", 0o1777)]
    {
        pool.make(id, path, mode);
    }
    fs::set_permissions(pool.path(middle, "a"), fs::Permissions::from_mode(0o722)).unwrap();
    fs::write(pool.path(middle, "file"), "").unwrap();
    pool.make(far, "file", 0o700);
    for path in ["a/b/c/new", "file"] {
        pool.make(TOP, path, 0o755);
    }
    let implicit = ["a", "a/b", "a/b/c", "a/b/c/new", "file", "gone"];
    assert_eq!(pool.fit(&implicit), ["a", "a/b", "a/b/c"]);
    let modes = ["a", "a/b", "a/b/c", "a/b/c/new", "file"].map(|path| pool.mode(path));
    assert_eq!(modes, [0o700, 0o2750, 0o1777, 0o755, 0o755]);
    let time = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(time(pool.path(TOP, "a/b")), time(pool.path(middle, "a/b")));
    assert_eq!(pool.fit(&implicit), [""; 0], "nothing is left to do");
}

#[test]
fn links_of_lower_layers_stay_within_them() {
    let pool = Pool::new();
    let [near, middle, far] = BELOW;
    pool.make(near, "real/lib", 0o711);
    symlink("../../../../real", pool.path(near, "up")).unwrap();
    symlink("/real", pool.path(near, "absolute")).unwrap();
    symlink("/nowhere", pool.path(near, "dangling")).unwrap();
    symlink("loop", pool.path(middle, "loop")).unwrap();
    for path in ["dangling/lib", "loop/lib"] {
        pool.make(far, path, 0o700);
    }
    let implicit = ["absolute/lib", "dangling/lib", "loop/lib", "up/lib"];
    for path in implicit {
        pool.make(TOP, path, 0o755);
    }
    assert_eq!(pool.fit(&implicit), ["absolute/lib", "dangling/lib", "up/lib"]);
    assert_eq!(implicit.map(|path| pool.mode(path)), [0o711, 0o700, 0o755, 0o711]);
}

#[test]
fn extended_attributes_come_from_below_and_what_is_there_stays() {
    let pool = Pool::new();
    let (from, to) = (pool.make(BELOW[0], "a", 0o755), pool.make(TOP, "a", 0o755));
    for (name, value) in [("user.same", b"1"), ("user.other", b"1"), ("user.new", b"1"), ("user.overlay.opaque", b"y")]
    {
        set(&from, name, value);
    }
    for (name, value) in [("user.same", b"1"), ("user.other", b"2"), ("user.gone", b"1"), ("user.overlay.mine", b"y")] {
        set(&to, name, value);
    }
    set(&from, "system.posix_acl_access", &acl());
    set(&from, "system.posix_acl_default", &acl());
    assert_eq!(pool.fit(&["a"]), ["a"]);
    for name in ["user.same", "user.new", "system.posix_acl_access", "system.posix_acl_default"] {
        assert_eq!(get(&to, name), get(&from, name), "{name}");
        assert!(get(&to, name).is_some(), "{name}");
    }
    for (name, value) in [("user.other", b"2"), ("user.gone", b"1")] {
        assert_eq!(get(&to, name).unwrap(), value, "{name}");
    }
    assert_eq!(get(&to, "user.overlay.opaque"), None);
    assert_eq!(get(&to, "user.overlay.mine").unwrap(), b"y");
    assert_eq!(pool.mode("a"), 0o750);
    assert_eq!(pool.fit(&["a"]), [""; 0]);
    // An ACL that none of those below has came from a default ACL of the layer's own.
    fs::remove_dir(&from).unwrap();
    pool.make(BELOW[0], "a", 0o701);
    assert_eq!(pool.fit(&["a"]), ["a"]);
    assert!(get(&to, "system.posix_acl_access").is_some() && get(&to, "system.posix_acl_default").is_some());
    assert_eq!(pool.mode("a"), 0o701);
}

#[test]
fn the_root_is_changed_where_it_differs() {
    let pool = Pool::new();
    assert_eq!(pool.fit(&[""]), [""; 0]);
    pool.make(BELOW[0], "", 0o1700);
    assert_eq!(pool.fit(&[""]), [""]);
    assert_eq!(pool.mode(""), 0o1700);
    assert_eq!(pool.fit(&[""]), [""; 0]);
}

#[test]
fn many_directories_are_changed() {
    let pool = Pool::new();
    let implicit: Vec<String> = (0..2000).map(|n| format!("many/{n:04}")).collect();
    for path in &implicit {
        pool.make(BELOW[2], path, 0o700);
        pool.make(TOP, path, 0o755);
    }
    let implicit: Vec<_> = implicit.iter().map(String::as_str).collect();
    assert_eq!(pool.fit(&implicit), implicit);
    assert!(implicit.iter().all(|path| pool.mode(path) == 0o700));
}

#[test]
fn what_is_below_a_missing_directory_is_not_looked_for() {
    let pool = Pool::new();
    pool.make(BELOW[0], "a/b", 0o755);
    fs::write(pool.path(BELOW[0], "a/file"), "").unwrap();
    let mut lower = Lower::new(pool.dirs.open_fs(BELOW[0]).unwrap());
    let missing =
        |lower: &Lower| lower.missing.clone().map(|(path, is_other)| (path.to_str().unwrap().to_owned(), is_other));
    assert!(matches!(lower.find("a".as_ref()).unwrap(), Below::Directory(_)));
    assert!(matches!(lower.find("a/file/x/y".as_ref()).unwrap(), Below::Other));
    assert_eq!(missing(&lower), Some(("a/file".to_owned(), true)));
    assert!(matches!(lower.find("a/new/x/y".as_ref()).unwrap(), Below::Nothing));
    assert_eq!(missing(&lower), Some(("a/new".to_owned(), false)));
    // Known already, and so it stays, whatever comes.
    pool.make(BELOW[0], "a/new/x/z", 0o755);
    assert!(matches!(lower.find("a/new/x/z".as_ref()).unwrap(), Below::Nothing));
    assert!(matches!(lower.find("a/b".as_ref()).unwrap(), Below::Directory(_)));
    assert!(matches!(lower.find("a/newer".as_ref()).unwrap(), Below::Nothing));
}

#[test]
fn privileged_nothing_is_hidden_any_more() {
    if !rustix::process::geteuid().is_root() {
        skipped("needs root: whiteouts");
        return;
    }
    let pool = Pool::new();
    for path in ["a", "b"] {
        set(&pool.make(TOP, path, 0o755), "trusted.overlay.opaque", b"y");
    }
    set(&pool.path(TOP, "b"), "user.overlay.opaque", b"y");
    for path in ["a/gone", "a/lost", "gone"] {
        mknodat(CWD, pool.path(TOP, path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }
    fs::write(pool.path(TOP, "a/file"), "").unwrap();
    let [whiteouts, opaque] = [&["a/file", "a/gone", "a/lost", "a/never", "gone"][..], &["a", "b", "gone"]]
        .map(|paths| paths.iter().map(PathBuf::from).collect::<Vec<_>>());
    let root = pool.dirs.open_fs(TOP).unwrap();
    let show = || pool.dirs.show(&root, TOP, &whiteouts, &opaque).unwrap();
    assert_eq!(show(), ["a", "", "a", "b"].map(Path::new));
    assert!(show().is_empty(), "something is left to do");
    pool.dirs.unhide(TOP, &whiteouts, &opaque, true).unwrap();
    for path in ["a", "b"] {
        for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            assert_eq!(get(&pool.path(TOP, path), name), None);
        }
    }
    assert!(["a/gone", "a/lost", "gone"].iter().all(|path| pool.path(TOP, path).symlink_metadata().is_err()));
    assert!(pool.path(TOP, "a/file").exists());
}
