use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::Mode;

use super::{Attributes, LayerKind};
use crate::overlay::testing::{self, TestFs};
use crate::overlay::{LayerDirs, Layout};
use crate::types::LayerId;
use crate::{Error, Resource};

const ID: LayerId = LayerId::new(1234);

fn pool(root: &Path) -> (Layout, LayerDirs) {
    let layout = Layout::new(root).unwrap();
    layout.create().unwrap();
    let dirs = LayerDirs::open(&layout).unwrap();
    (layout, dirs)
}

/// What an unprivileged user can ask for.
fn own(mode: u32) -> Attributes {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Attributes { uid: uid.as_raw(), gid: gid.as_raw(), mode }
}

fn entries(path: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_layer_has_what_its_kind_needs() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    for (n, kind, expected) in [(1, LayerKind::Active, vec!["fs", "work"]), (2, LayerKind::View, vec!["fs"])] {
        let id = LayerId::new(n);
        let pending = dirs.create(id, kind, own(0o755)).unwrap();
        assert_eq!(pending.id(), id);
        pending.keep();
        assert_eq!(entries(layout.layer(id)), expected);
        assert_eq!(mode(layout.layer(id)), 0o700);
        assert_eq!(mode(layout.upperdir(id)), 0o755);
    }
    assert_eq!(mode(layout.workdir(LayerId::new(1))), 0o711);
    assert!(entries(layout.staging()).is_empty());
}

#[test]
fn dropping_takes_the_directories_away_and_keeping_does_not() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    let pending = dirs.create(ID, LayerKind::Active, own(0o755)).unwrap();
    fs::write(Path::new(&layout.upperdir(ID)).join("file"), "").unwrap();
    drop(pending);
    assert!(entries(layout.layers()).is_empty());
    dirs.create(ID, LayerKind::Active, own(0o755)).unwrap().keep();
    assert_eq!(entries(layout.layers()), [ID.to_string()]);
}

#[test]
fn an_existing_layer_is_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    // Empty, so that a plain rename would replace it.
    fs::create_dir(layout.layer(ID)).unwrap();
    let inode = fs::metadata(layout.layer(ID)).unwrap().ino();
    let err = dirs.create(ID, LayerKind::Active, own(0o755)).unwrap_err();
    assert!(matches!(err, Error::AlreadyExists(Resource::Layer(1234))), "{err:?}");
    assert_eq!(fs::metadata(layout.layer(ID)).unwrap().ino(), inode);
    assert!(entries(layout.staging()).is_empty());
}

#[test]
fn what_a_crash_left_in_staging_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    let left = layout.staging().join(ID.to_string());
    fs::create_dir_all(left.join("fs/old")).unwrap();
    fs::write(left.join("fs/old/file"), "").unwrap();
    dirs.create(ID, LayerKind::View, own(0o755)).unwrap().keep();
    assert!(entries(layout.upperdir(ID)).is_empty());
}

#[test]
fn the_mode_is_exact_whatever_the_umask_is() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_owned();
    std::thread::spawn(move || {
        // The umask becomes this thread's own.
        unshare(CloneFlags::CLONE_FS).unwrap();
        let modes = [0o755, 0o700, 0o777, 0o1777, 0o2755, 0o4755, 0o7777, 0o000, 0o555];
        for (n, umask) in [0o000, 0o022, 0o077].into_iter().enumerate() {
            rustix::process::umask(Mode::from_raw_mode(umask));
            let (layout, dirs) = pool(&root.join(n.to_string()));
            for (id, wanted) in modes.into_iter().enumerate() {
                let id = LayerId::new(id as u64);
                dirs.create(id, LayerKind::Active, own(wanted)).unwrap().keep();
                assert_eq!(mode(layout.upperdir(id)), wanted, "umask {umask:o}");
                assert_eq!(dirs.attributes_of(id).unwrap(), own(wanted));
            }
        }
    })
    .join()
    .unwrap();
}

#[test]
fn a_set_group_id_root_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o2755)).unwrap();
    let (layout, dirs) = pool(root.path());
    dirs.create(ID, LayerKind::Active, own(0o755)).unwrap().keep();
    assert_eq!(mode(layout.upperdir(ID)), 0o755);
}

#[test]
fn recreate_makes_only_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    assert!(dirs.recreate(ID, LayerKind::Active, own(0o750)).unwrap());
    assert_eq!(entries(layout.layer(ID)), ["fs", "work"]);
    fs::write(Path::new(&layout.upperdir(ID)).join("kept"), "").unwrap();
    assert!(!dirs.recreate(ID, LayerKind::Active, own(0o700)).unwrap());

    fs::remove_dir(layout.workdir(ID)).unwrap();
    assert!(dirs.recreate(ID, LayerKind::Active, own(0o700)).unwrap());
    assert_eq!(entries(layout.layer(ID)), ["fs", "work"]);
    assert_eq!(entries(layout.upperdir(ID)), ["kept"]);
    assert_eq!(mode(layout.upperdir(ID)), 0o750);
}

#[test]
fn many_threads_make_layers_at_once() {
    let root = tempfile::tempdir().unwrap();
    let (_, dirs) = pool(root.path());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let dirs = &dirs;
            scope.spawn(move || {
                for n in 0..50 {
                    let pending = dirs.create(LayerId::new(thread * 50 + n), LayerKind::Active, own(0o755)).unwrap();
                    if n % 2 == 0 {
                        pending.keep();
                    }
                }
            });
        }
    });
    let expected: Vec<_> = (0..400).filter(|n| n % 50 % 2 == 0).map(LayerId::new).collect();
    assert_eq!(dirs.list_layers().unwrap().ids, expected);
}

#[test]
fn privileged_owner_and_special_bits_are_inherited_on_every_file_system() {
    testing::privileged("owners are set", || {
        for test in TestFs::each() {
            let (layout, dirs) = pool(&test.path().join("pool"));
            let wanted = Attributes { uid: 100_000, gid: 200_000, mode: 0o6711 };
            dirs.create(ID, LayerKind::Active, wanted).unwrap().keep();
            assert_eq!(dirs.attributes_of(ID).unwrap(), wanted, "{}", test.kind());
            let child = LayerId::new(2);
            dirs.create(child, LayerKind::Active, dirs.attributes_of(ID).unwrap()).unwrap().keep();
            let stat = fs::metadata(layout.upperdir(child)).unwrap();
            assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (100_000, 200_000, 0o6711));
            // Only `fs` is the container's.
            assert_eq!(fs::metadata(layout.layer(child)).unwrap().uid(), 0);
        }
    });
}

#[test]
fn privileged_a_full_file_system_leaves_nothing_behind() {
    testing::privileged("create on a full file system", || {
        let test = TestFs::tmpfs();
        let (layout, dirs) = pool(test.path());
        // A tmpfs is full when it has no inode left; this leaves room for the first directory only.
        let inodes = rustix::fs::statfs(test.path()).unwrap();
        let used = inodes.f_files - inodes.f_ffree;
        let options = format!("nr_inodes={}", used + 1);
        let remount = nix::mount::MsFlags::MS_REMOUNT;
        nix::mount::mount(None::<&str>, test.path(), None::<&str>, remount, Some(&*options)).unwrap();
        let err = dirs.create(ID, LayerKind::Active, Attributes::default()).unwrap_err();
        assert!(matches!(err, Error::NoSpace { .. }), "{err:?}");
        assert!(entries(layout.staging()).is_empty() && entries(layout.layers()).is_empty());
    });
}
