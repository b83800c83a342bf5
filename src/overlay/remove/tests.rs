use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mkdirat, mknodat};

use super::{RemoveStats, remove_tree, remove_tree_while};
use crate::overlay::Dir;
use crate::overlay::dir::open_below;
use crate::overlay::testing::{self, TestFs};
use crate::{Chain, Error};

fn temp() -> (tempfile::TempDir, Dir) {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path()).unwrap();
    (root, dir)
}

/// Makes `depth` directories named `d` below each other.
fn make_deep(root: &Path, depth: u64) {
    let mut fd = rustix::io::dup(Dir::open(root).unwrap().as_fd()).unwrap();
    for _ in 0..depth {
        mkdirat(&fd, c"d", Mode::RWXU).unwrap();
        fd = open_below(fd.as_fd(), c"d").unwrap();
    }
}

#[test]
fn a_tree_goes_and_its_neighbours_stay() {
    let (root, dir) = temp();
    fs::create_dir_all(root.path().join("tree/a/b")).unwrap();
    fs::create_dir_all(root.path().join("neighbour")).unwrap();
    fs::write(root.path().join("neighbour/file"), "kept").unwrap();
    fs::write(root.path().join("tree/a/file"), "").unwrap();
    symlink("../neighbour", root.path().join("tree/link")).unwrap();
    symlink("../../neighbour/file", root.path().join("tree/a/link")).unwrap();
    fs::hard_link(root.path().join("neighbour/file"), root.path().join("tree/hard")).unwrap();

    assert_eq!(remove_tree(&dir, "tree").unwrap(), RemoveStats { directories: 3, files: 4 });
    assert!(!root.path().join("tree").exists());
    assert_eq!(fs::read(root.path().join("neighbour/file")).unwrap(), b"kept");
    // Running it twice changes nothing more.
    assert_eq!(remove_tree(&dir, "tree").unwrap(), RemoveStats::default());
}

#[test]
fn a_top_that_is_no_directory_is_unlinked_and_not_followed() {
    let (root, dir) = temp();
    fs::create_dir(root.path().join("target")).unwrap();
    fs::write(root.path().join("target/file"), "").unwrap();
    symlink("target", root.path().join("link")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    for name in ["link", "file"] {
        assert_eq!(remove_tree(&dir, name).unwrap(), RemoveStats { directories: 0, files: 1 });
    }
    assert!(root.path().join("target/file").exists());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_root, dir) = temp();
    for name in ["", ".", "..", "a/b", "/", "a\0"] {
        assert!(matches!(remove_tree(&dir, name), Err(Error::Invalid { .. })), "{name:?}");
    }
}

#[test]
fn ten_thousand_levels_need_neither_stack_nor_descriptors() {
    let (root, dir) = temp();
    make_deep(root.path(), 10_000);
    // A small stack: recursion would overflow it.
    let remove = move || remove_tree(&dir, "d").unwrap();
    let stats = std::thread::Builder::new().stack_size(64 * 1024).spawn(remove).unwrap().join().unwrap();
    assert_eq!(stats.directories, 10_000);
}

#[test]
fn a_removal_is_asked_before_every_entry_and_can_be_ended_and_taken_up_again() {
    let (root, dir) = temp();
    let make = || {
        fs::create_dir_all(root.path().join("tree/a/b")).unwrap();
        for file in ["tree/1", "tree/a/2", "tree/a/b/3", "tree/a/b/4"] {
            fs::write(root.path().join(file), "").unwrap();
        }
    };
    let left = || walk(&root.path().join("tree"));
    make();
    for allowed in 0..7 {
        let mut asked = 0;
        let mut go_on = || {
            asked += 1;
            asked <= allowed
        };
        assert!(matches!(remove_tree_while(&dir, "tree", &mut go_on), Err(Error::ShuttingDown)), "{allowed}");
        assert_eq!(left(), 7 - allowed);
        remove_tree(&dir, "tree").unwrap();
        make();
    }
    let mut asked = 0;
    remove_tree_while(&dir, "tree", &mut || {
        asked += 1;
        true
    })
    .unwrap();
    assert_eq!((asked, left()), (7, 0));
}

/// Counts a tree's entries, its top included.
fn walk(top: &Path) -> usize {
    let Ok(entries) = fs::read_dir(top) else { return 0 };
    let below = |entry: fs::DirEntry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 };
    1 + entries.map(|entry| below(entry.unwrap())).sum::<usize>()
}

#[test]
fn a_directory_larger_than_the_listing_buffer_goes() {
    let (root, dir) = temp();
    fs::create_dir(root.path().join("wide")).unwrap();
    for n in 0..20_000 {
        let fd = rustix::fs::openat(
            CWD,
            root.path().join(format!("wide/a-file-with-a-longer-name-{n}")),
            rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
            Mode::RUSR,
        );
        drop(fd.unwrap());
    }
    assert_eq!(remove_tree(&dir, "wide").unwrap(), RemoveStats { directories: 1, files: 20_000 });
}

#[test]
fn many_walkers_may_delete_the_same_tree() {
    let (root, dir) = temp();
    for n in 0..2_000 {
        let parent = root.path().join(format!("tree/{}/{}", n % 7, n % 31));
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(n.to_string()), "").unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| remove_tree(&dir, "tree").unwrap());
        }
    });
    assert_eq!(dir.names().unwrap().len(), 0);
}

#[test]
fn privileged_whiteouts_devices_and_closed_directories_go() {
    testing::privileged("whiteouts and closed directories are deleted", || {
        for fs in TestFs::each() {
            let tree = fs.path().join("tree");
            fs::create_dir_all(tree.join("closed/inner")).unwrap();
            let below = Dir::open(&tree).unwrap();
            mknodat(&below, c"whiteout", FileType::CharacterDevice, Mode::empty(), 0).unwrap();
            mknodat(&below, c"pipe", FileType::Fifo, Mode::empty(), 0).unwrap();
            rustix::fs::chmod(tree.join("closed/inner"), Mode::empty()).unwrap();
            rustix::fs::chmod(tree.join("closed"), Mode::empty()).unwrap();
            let dir = Dir::open(fs.path()).unwrap();
            assert_eq!(remove_tree(&dir, "tree").unwrap(), RemoveStats { directories: 3, files: 2 });
        }
    });
}

#[test]
fn privileged_mounts_are_named_and_left_alone() {
    testing::privileged("mounts are left alone by removal", || {
        let fs = TestFs::tmpfs();
        for dir in ["tree/a/mnt", "tree/z", "elsewhere"] {
            fs::create_dir_all(fs.path().join(dir)).unwrap();
        }
        for file in ["tree/a/file", "tree/z/file", "tree/bound", "elsewhere/file"] {
            fs::write(fs.path().join(file), "").unwrap();
        }
        // Both of the same file system: a comparison of devices would not see the first.
        rustix::mount::mount_bind(fs.path().join("elsewhere"), fs.path().join("tree/a/mnt")).unwrap();
        let dir = Dir::open(fs.path()).unwrap();
        let err = remove_tree(&dir, "tree").unwrap_err();
        assert!(Chain(&err).to_string().contains("tree/a/mnt\": something is mounted"), "{}", Chain(&err));
        assert!(fs.path().join("elsewhere/file").exists());
        assert!(!fs.path().join("tree/z").exists() && !fs.path().join("tree/a/file").exists());

        // A mount on the top itself, and one on a file.
        rustix::mount::mount_bind(fs.path().join("elsewhere"), fs.path().join("tree")).unwrap();
        assert!(matches!(remove_tree(&dir, "tree"), Err(Error::Fs { .. })));
        assert!(fs.path().join("elsewhere/file").exists());
        rustix::mount::unmount(fs.path().join("tree"), rustix::mount::UnmountFlags::DETACH).unwrap();
        rustix::mount::unmount(fs.path().join("tree/a/mnt"), rustix::mount::UnmountFlags::DETACH).unwrap();
        fs::write(fs.path().join("tree/bound"), "").unwrap();
        rustix::mount::mount_bind(fs.path().join("elsewhere/file"), fs.path().join("tree/bound")).unwrap();
        let err = remove_tree(&dir, "tree").unwrap_err();
        assert!(Chain(&err).to_string().contains("tree/bound\": something is mounted"), "{}", Chain(&err));
        rustix::mount::unmount(fs.path().join("tree/bound"), rustix::mount::UnmountFlags::DETACH).unwrap();
        remove_tree(&dir, "tree").unwrap();
    });
}

#[test]
fn privileged_immutable_entries_are_named_and_the_rest_goes() {
    testing::privileged("immutable files are reported by removal", || {
        let fs = TestFs::ext4(&[]);
        fs::create_dir_all(fs.path().join("tree/dir")).unwrap();
        for file in ["tree/1", "tree/pinned", "tree/2", "tree/dir/file"] {
            fs::write(fs.path().join(file), "").unwrap();
        }
        let dir = Dir::open(fs.path()).unwrap();
        let chattr = |flag: &str, file: &str| {
            assert!(Command::new("chattr").arg(flag).arg(fs.path().join(file)).status().unwrap().success());
        };
        chattr("+i", "tree/dir");
        let err = remove_tree(&dir, "tree").unwrap_err();
        let text = Chain(&err).to_string();
        assert!(text.contains("tree/dir/file\": its directory is immutable"), "{text}");
        chattr("-i", "tree/dir");

        fs::write(fs.path().join("tree/pinned"), "").unwrap();
        chattr("+i", "tree/pinned");
        let err = remove_tree(&dir, "tree").unwrap_err();
        let text = Chain(&err).to_string();
        assert!(text.contains("tree/pinned\": it is immutable"), "{text}");
        let left: BTreeSet<_> = Dir::open(fs.path().join("tree")).unwrap().names().unwrap().into_iter().collect();
        assert_eq!(left, BTreeSet::from(["pinned".into()]));
        chattr("-i", "tree/pinned");
        remove_tree(&dir, "tree").unwrap();
    });
}

#[test]
fn privileged_a_listing_without_types_is_enough() {
    testing::privileged("removal without d_type", || {
        let fs = TestFs::ext4(&["-O", "^filetype"]);
        fs::create_dir_all(fs.path().join("tree/a/b")).unwrap();
        fs::write(fs.path().join("tree/a/b/file"), "").unwrap();
        symlink("a", fs.path().join("tree/link")).unwrap();
        let dir = Dir::open(fs.path()).unwrap();
        assert_eq!(remove_tree(&dir, "tree").unwrap(), RemoveStats { directories: 3, files: 2 });
    });
}

#[test]
fn privileged_a_read_only_file_system_ends_the_walk() {
    testing::privileged("removal on a read-only file system", || {
        let fs = TestFs::tmpfs();
        fs::create_dir(fs.path().join("tree")).unwrap();
        fs::write(fs.path().join("tree/file"), "").unwrap();
        fs.make_read_only();
        let err = remove_tree(&Dir::open(fs.path()).unwrap(), "tree").unwrap_err();
        assert!(Chain(&err).to_string().contains("Read-only file system"), "{}", Chain(&err));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn counts_are_what_was_there(paths in prop::collection::btree_set("[ab]{1,2}(/[ab]{1,2}){0,4}/f[0-9]", 0..40)) {
        let (root, dir) = temp();
        let top = root.path().join("top");
        let mut directories = BTreeSet::from([top.clone()]);
        fs::create_dir(&top).unwrap();
        for path in &paths {
            let file = top.join(path);
            let parent = file.parent().unwrap();
            fs::create_dir_all(parent).unwrap();
            directories.extend(parent.ancestors().take_while(|dir| dir.starts_with(&top)).map(Path::to_owned));
            fs::write(file, "").unwrap();
        }
        let expected = RemoveStats { directories: directories.len() as u64, files: paths.len() as u64 };
        prop_assert_eq!(remove_tree(&dir, "top").unwrap(), expected);
        prop_assert_eq!(dir.names().unwrap().len(), 0);
    }
}
