//! Owner, mode, extended attributes and times, in the order in which they do not undo each other.

use std::os::unix::fs::MetadataExt as _;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::Mode;

use crate::Error;
use crate::diff::extract::Whiteouts;
use crate::diff::extract::testing::{Item, Layer, dir, file, hard_link, is_root, item, symlink, tree, xattr};

/// A version 2 capability, as `setcap cap_net_raw+ep` writes it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An ACL that gives the user 7 all rights, and the group `group`.
fn acl(group: u8) -> Vec<u8> {
    let entry =
        |tag: u16, rights: u16, id: u32| [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat();
    let entries = [entry(1, 7, !0), entry(2, 7, 7), entry(4, group.into(), !0), entry(16, 7, !0), entry(32, 0, !0)];
    [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
}

#[test]
fn times_are_exact_and_directories_get_theirs_last() {
    let layer = Layer::new();
    layer
        .extract(&[
            dir("dir").record("mtime", "123.456789012"),
            file("dir/file", "x").record("mtime", "1350244992.023960108").record("atime", "1350244993.5"),
            symlink("dir/link", "x").mtime(99),
            file("dir/early", "x").record("mtime", "-5"),
            item(b'6', "dir/fifo").mtime(7),
            dir("dir/sub").mtime(11),
        ])
        .unwrap();
    let mtime = |path| (layer.metadata(path).mtime(), layer.metadata(path).mtime_nsec());
    assert_eq!(mtime("dir"), (123, 456_789_012));
    assert_eq!(mtime("dir/file"), (1_350_244_992, 23_960_108));
    assert_eq!(layer.metadata("dir/file").atime(), 1_350_244_993);
    assert_eq!(mtime("dir/link"), (99, 0));
    assert_eq!(mtime("dir/early"), (0, 0));
    assert_eq!(layer.metadata("dir/early").atime(), 0);
    assert_eq!(mtime("dir/fifo"), (7, 0));
    assert_eq!(mtime("dir/sub"), (11, 0));
}

#[test]
fn the_umask_does_not_matter() {
    let layer = Layer::new();
    let extract = || {
        // A umask of this thread alone.
        unshare(CloneFlags::CLONE_FS).unwrap();
        rustix::process::umask(Mode::from_raw_mode(0o077));
        layer.extract(&[
            dir("dir").mode(0o777),
            file("dir/file", "x").mode(0o666),
            item(b'6', "fifo").mode(0o622),
            file("implicit/file", "x"),
        ])
    };
    std::thread::scope(|scope| scope.spawn(extract).join().unwrap()).unwrap();
    let expected = tree([
        ("dir", "dir 777"),
        ("dir/file", "file 666 x"),
        ("fifo", "fifo 622"),
        ("implicit", "dir 755"),
        ("implicit/file", "file 644 x"),
    ]);
    assert_eq!(layer.tree(), expected);
}

#[test]
fn special_bits_and_types_in_the_mode() {
    let layer = Layer::new();
    layer.extract(&[file("suid", "").mode(0o104_755), dir("sticky").mode(0o41_777), dir("sgid").mode(0o2775)]).unwrap();
    let expected = tree([("sgid", "dir 2775"), ("sticky", "dir 1777"), ("suid", "file 4755 ")]);
    assert_eq!(layer.tree(), expected);
}

#[test]
fn privileged_owners_do_not_cost_the_special_bits() {
    if !is_root("changing owners") {
        return;
    }
    let layer = Layer::new();
    layer
        .extract(&[
            file("suid", "").mode(0o6755).owner(1000, 2000),
            symlink("link", "nowhere").owner(1, 2),
            dir("huge").owner(u32::MAX - 1, 3_000_000_000),
            file("records", "").record("uid", "4294967291").record("gid", "7"),
            // The kernel takes the highest number for "as it is".
            file("kept", "").owner(u32::MAX, u32::MAX),
            item(b'6', "fifo").owner(5, 6).mode(0o640),
        ])
        .unwrap();
    let owner = |path| (layer.metadata(path).uid(), layer.metadata(path).gid());
    assert_eq!(owner("suid"), (1000, 2000));
    assert_eq!(layer.metadata("suid").mode() & 0o7777, 0o6755);
    assert_eq!(owner("link"), (1, 2));
    assert_eq!(owner("huge"), (u32::MAX - 1, 3_000_000_000));
    assert_eq!(owner("records"), (u32::MAX - 4, 7));
    assert_eq!(owner("kept"), (0, 0));
    assert_eq!(owner("fifo"), (5, 6));
}

#[test]
fn privileged_the_group_of_a_set_group_id_directory_is_not_inherited() {
    if !is_root("changing owners") {
        return;
    }
    let layer = Layer::new();
    layer
        .extract(&[
            dir("sgid").mode(0o2755).owner(0, 50),
            file("sgid/file", "").owner(0, 0),
            dir("sgid/dir").owner(0, 0).mode(0o755),
            symlink("sgid/link", "x").owner(0, 0),
        ])
        .unwrap();
    for path in ["sgid/file", "sgid/dir", "sgid/link"] {
        assert_eq!(layer.metadata(path).gid(), 0, "{path}");
    }
    assert_eq!(layer.metadata("sgid/dir").mode() & 0o7777, 0o755);
}

#[test]
fn privileged_capabilities_and_lists_outlive_the_change_of_owner() {
    if !is_root("security attributes") {
        return;
    }
    let layer = Layer::new();
    layer
        .extract(&[
            file("ping", "").mode(0o755).owner(1000, 1000).xattr("security.capability", CAPABILITY),
            file("acl", "").mode(0o640).owner(1000, 1000).xattr("system.posix_acl_access", acl(4)),
            dir("dir").mode(0o750).xattr("system.posix_acl_default", acl(5)),
            file("dir/inherits", "").mode(0o600),
        ])
        .unwrap();
    assert_eq!(layer.xattr("ping", "security.capability").unwrap(), CAPABILITY);
    // The mode of the header wins over the list's mask.
    assert_eq!(layer.metadata("acl").mode() & 0o7777, 0o640);
    assert!(layer.xattr("acl", "system.posix_acl_access").is_some());
    assert!(layer.xattr("dir", "system.posix_acl_default").is_some());
    assert_eq!(layer.metadata("dir/inherits").mode() & 0o7777, 0o600);
}

#[test]
fn attributes_of_users_are_for_files_and_directories() {
    let layer = Layer::new();
    let result = layer.extract(&[
        file("file", "").xattr("user.name", "value").xattr("user.empty", ""),
        dir("dir").xattr("user.name", "a=b\nc"),
        symlink("link", "x").xattr("user.name", "value"),
        item(b'6', "fifo").xattr("user.name", "value"),
    ]);
    result.unwrap();
    if layer.xattr("file", "user.name").is_none() {
        // A file system without them: they are left out.
        return;
    }
    assert_eq!(layer.xattr("file", "user.name").unwrap(), b"value");
    assert_eq!(layer.xattr("file", "user.empty").unwrap(), b"");
    assert_eq!(layer.xattr("dir", "user.name").unwrap(), b"a=b\nc");
    assert_eq!(layer.xattr("link", "user.name"), None);
}

#[test]
fn the_last_record_of_a_name_counts() {
    let layer = Layer::new();
    layer.extract(&[file("file", "").xattr("user.a", "1").xattr("user.b", "2").xattr("user.a", "3")]).unwrap();
    let value = layer.xattr("file", "user.a");
    assert!(value.is_none() || value.unwrap() == b"3");
}

#[test]
fn what_is_the_administrators_is_left_out() {
    let items = [
        file("file", "").xattr("trusted.overlay.metacopy", "").xattr("trusted.mine", "x"),
        dir("dir").xattr("trusted.overlay.opaque", "y").xattr("user.overlay.opaque", "y"),
        file("odd", "").xattr("nonsense", "x"),
    ];
    for whiteouts in [Whiteouts::Overlay, Whiteouts::OverlayUser] {
        let layer = Layer::with(whiteouts);
        layer.extract(&items).unwrap();
        assert_eq!(layer.xattr("file", "trusted.overlay.metacopy"), None);
        assert_eq!(layer.xattr("file", "trusted.mine"), None);
        assert_eq!(layer.xattr("dir", "trusted.overlay.opaque"), None);
        if whiteouts == Whiteouts::OverlayUser {
            assert_eq!(layer.xattr("dir", "user.overlay.opaque"), None);
        }
    }
}

#[test]
fn an_attribute_that_cannot_be_set_is_an_error() {
    let layer = Layer::new();
    let long = format!("user.{}", "x".repeat(300));
    let err = layer.extract(&[file("file", "").xattr(&long, "x")]).unwrap_err();
    assert!(matches!(err, Error::Fs { .. }), "{err:?}");
}

#[test]
fn a_hard_link_brings_attributes_too() {
    let layer = Layer::new();
    layer
        .extract(&[
            file("file", "x").mode(0o644).mtime(1),
            hard_link("link", "file").mode(0o4711).mtime(2).xattr("user.a", "1"),
            symlink("symlink", "file").mtime(3),
            hard_link("to-symlink", "symlink").mode(0o600).mtime(4),
        ])
        .unwrap();
    for path in ["file", "link"] {
        assert_eq!(layer.metadata(path).mode() & 0o7777, 0o4711);
        assert_eq!(layer.metadata(path).mtime(), 2);
    }
    assert!(layer.metadata("to-symlink").is_symlink());
    assert_eq!(layer.metadata("symlink").mtime(), 4);
}

#[test]
fn privileged_a_symbolic_link_has_attributes_of_its_own() {
    if !is_root("security attributes") {
        return;
    }
    let layer = Layer::new();
    layer
        .extract(&[
            file("file", "x"),
            symlink("link", "file").xattr("security.mine", "link"),
            Item { device: (1, 3), ..item(b'3', "null") }.xattr("security.mine", "device").mode(0o666),
        ])
        .unwrap();
    assert_eq!(xattr(&layer.path("link"), "security.mine").unwrap(), b"link");
    assert_eq!(xattr(&layer.path("null"), "security.mine").unwrap(), b"device");
    assert_eq!(xattr(&layer.path("file"), "security.mine"), None);
}
