use std::fs;
use std::path::Path;

use super::{LayerDirs, Listing, Renames};
use crate::overlay::testing::{self, TestFs};
use crate::overlay::{Attributes, LayerKind, Layout};
use crate::types::LayerId;
use crate::{Error, Resource};

const ID: LayerId = LayerId::new(7);

fn pool(root: &Path) -> (Layout, LayerDirs) {
    let layout = Layout::new(root).unwrap();
    layout.create().unwrap();
    let dirs = LayerDirs::open(&layout).unwrap();
    (layout, dirs)
}

fn own() -> Attributes {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Attributes { uid: uid.as_raw(), gid: gid.as_raw(), mode: 0o755 }
}

fn make(dirs: &LayerDirs, layout: &Layout, content: &str) {
    dirs.create(ID, LayerKind::Active, own()).unwrap().keep();
    fs::write(Path::new(&layout.upperdir(ID)).join(content), "").unwrap();
}

#[test]
fn opening_needs_the_directories_and_leaves_no_trace() {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::new(root.path()).unwrap();
    assert!(matches!(LayerDirs::open(&layout), Err(Error::Fs { .. })));
    layout.create().unwrap();
    // What a crash during an earlier start left.
    for dir in [layout.staging(), layout.layers(), layout.trash(), layout.lost_found()] {
        fs::create_dir(dir.join(super::SCOUT)).unwrap();
    }
    let dirs = LayerDirs::open(&layout).unwrap();
    assert_eq!(dirs.renames, Renames::Exclusive);
    for dir in [layout.staging(), layout.layers(), layout.trash(), layout.lost_found()] {
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    }
    assert!(dirs.free_bytes().unwrap() > 0);
}

#[test]
fn a_layer_goes_to_the_trash_once_and_is_reclaimed() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    make(&dirs, &layout, "file");
    assert!(dirs.move_to_trash(ID).unwrap());
    assert!(!dirs.move_to_trash(ID).unwrap());
    assert_eq!(dirs.list_layers().unwrap(), Listing::default());
    assert_eq!(dirs.list_trash().unwrap().ids, [ID]);
    assert!(layout.trashed(ID).join("fs/file").exists());
    let stats = dirs.reclaim(ID, &mut || true).unwrap();
    assert_eq!((stats.directories, stats.files), (3, 1));
    assert_eq!(dirs.reclaim(ID, &mut || true).unwrap().directories, 0);
}

#[test]
fn the_trash_may_hold_a_predecessor() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    for content in ["old", "new"] {
        make(&dirs, &layout, content);
        assert!(dirs.move_to_trash(ID).unwrap());
    }
    assert!(layout.trashed(ID).join("fs/new").exists());
}

#[test]
fn setting_aside_replaces_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    for (content, place) in [("first", "7"), ("second", "7.1"), ("third", "7.2")] {
        make(&dirs, &layout, content);
        let aside = dirs.set_aside(ID).unwrap().unwrap();
        assert_eq!(aside, layout.lost_found().join(place));
        assert!(aside.join("fs").join(content).exists());
    }
    assert_eq!(dirs.set_aside(ID).unwrap(), None);
}

#[test]
fn listings_tell_layers_from_strangers() {
    let root = tempfile::tempdir().unwrap();
    let (layout, dirs) = pool(root.path());
    for dir in [layout.layers(), layout.staging(), layout.trash()] {
        for name in ["10", "z", "0", "new-123", "Z", "007"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
    }
    let ids: Vec<_> = [0, 35, 36].map(LayerId::new).into();
    for listing in [dirs.list_layers(), dirs.list_staging(), dirs.list_trash()] {
        let mut listing = listing.unwrap();
        listing.unknown.sort();
        assert_eq!(listing, Listing { ids: ids.clone(), unknown: ["007", "Z", "new-123"].map(Into::into).into() });
    }
    dirs.discard_staged(LayerId::new(36)).unwrap();
    assert_eq!(dirs.list_staging().unwrap().ids, ids[..2]);
}

#[test]
fn attributes_of_a_missing_layer_are_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let (_, dirs) = pool(root.path());
    let Err(Error::Fs { path, .. }) = dirs.attributes_of(ID) else { panic!("found") };
    assert!(path.ends_with("l/7/fs"));
}

#[test]
fn a_file_system_that_cannot_refuse_is_looked_at_first() {
    let root = tempfile::tempdir().unwrap();
    let (layout, mut dirs) = pool(root.path());
    dirs.renames = Renames::Checked;
    fs::create_dir(layout.layer(ID)).unwrap();
    let err = dirs.create(ID, LayerKind::Active, own()).unwrap_err();
    assert!(matches!(err, Error::AlreadyExists(Resource::Layer(7))), "{err:?}");
    fs::remove_dir(layout.layer(ID)).unwrap();
    make(&dirs, &layout, "file");
    assert!(dirs.move_to_trash(ID).unwrap());
}

#[test]
fn privileged_a_pool_across_mounts_is_refused() {
    testing::privileged("a pool across mounts", || {
        for place in ["l", "trash", "lost+found"] {
            let test = TestFs::tmpfs();
            let layout = Layout::new(test.path()).unwrap();
            layout.create().unwrap();
            // One file system, two mounts: renames are refused all the same.
            rustix::mount::mount_bind(test.path().join(place), test.path().join(place)).unwrap();
            let err = LayerDirs::open(&layout).unwrap_err();
            assert!(matches!(&err, Error::Pool(text) if text.contains("one mount")), "{err:?}");
        }
    });
}

#[test]
fn privileged_every_file_system_refuses_to_replace() {
    testing::privileged("renames without replacing", || {
        for test in TestFs::each() {
            let (_, dirs) = pool(&test.path().join("pool"));
            assert_eq!(dirs.renames, Renames::Exclusive, "{}", test.kind());
        }
    });
}
