//! Directories without an entry get what the layers below say.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, chown, lsetxattr, mknodat};
use rustix::process::{Gid, Uid};

use crate::diff::extract::Whiteouts;
use crate::diff::extract::testing::{Layer, dir, file, is_root, tree, xattr};

/// Makes a directory of a lower layer.
fn lower(root: &Path, path: &str, mode: u32) {
    fs::create_dir_all(root.join(path)).unwrap();
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

fn with_parents(parents: &[&tempfile::TempDir]) -> Layer {
    let parents = parents.iter().map(|dir| dir.path().to_owned()).collect();
    Layer { parents, ..Layer::new() }
}

#[test]
fn the_nearest_layer_that_has_it_is_copied() {
    let [near, far] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    lower(near.path(), "a", 0o700);
    lower(far.path(), "a", 0o711);
    lower(far.path(), "a/b", 0o2751);
    let layer = with_parents(&[&near, &far]);
    let extracted = layer.extract(&[file("a/b/c/file", "x")]).unwrap();
    let expected = tree([("a", "dir 700"), ("a/b", "dir 2751"), ("a/b/c", "dir 755"), ("a/b/c/file", "file 644 x")]);
    assert_eq!(layer.tree(), expected);
    assert_eq!(extracted.implicit, ["", "a", "a/b", "a/b/c"].map(PathBuf::from));
}

#[test]
fn privileged_owner_and_attributes_are_copied() {
    if !is_root("changing owners") {
        return;
    }
    let below = tempfile::tempdir().unwrap();
    lower(below.path(), "a", 0o4750);
    let path = below.path().join("a");
    chown(&path, Some(Uid::from_raw(1000)), Some(Gid::from_raw(2000))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).unwrap();
    for name in ["security.mine", "trusted.overlay.opaque", "trusted.mine"] {
        lsetxattr(&path, name, b"y", XattrFlags::empty()).unwrap();
    }
    let layer = with_parents(&[&below]);
    layer.extract(&[file("a/file", "x")]).unwrap();
    let stat = layer.metadata("a");
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (1000, 2000, 0o4750));
    assert_eq!(xattr(&layer.path("a"), "security.mine").unwrap(), b"y");
    assert_eq!(xattr(&layer.path("a"), "trusted.overlay.opaque"), None);
    assert_eq!(xattr(&layer.path("a"), "trusted.mine"), None);
}

#[test]
fn an_entry_that_comes_later_counts() {
    let layer = Layer::new();
    let extracted = layer.extract(&[file("a/b/file", "x"), dir("a").mode(0o700).mtime(5)]).unwrap();
    assert_eq!(extracted.implicit, ["", "a/b"].map(PathBuf::from));
    assert_eq!(layer.metadata("a").mode() & 0o7777, 0o700);
    assert_eq!(layer.metadata("a").mtime(), 5);
}

#[test]
fn an_entry_that_comes_later_leaves_attributes_of_those_below() {
    let below = tempfile::tempdir().unwrap();
    for path in ["a", "b", "c", "d"] {
        lower(below.path(), path, 0o700);
    }
    for path in ["a", "c", "d"] {
        lsetxattr(below.path().join(path), "user.mine", b"y", XattrFlags::empty()).unwrap();
    }
    let layer = with_parents(&[&below]);
    let files = ["a", "b", "c", "d"].map(|path| file(&format!("{path}/file"), "x"));
    let extracted = layer.extract(&[&files[..], &[dir("a"), dir("b"), dir("d"), file("d", "")]].concat()).unwrap();
    assert_eq!(extracted.implicit, ["", "c"].map(PathBuf::from));
    assert_eq!(extracted.inherited, ["a"].map(PathBuf::from));
    assert_eq!(xattr(&layer.path("a"), "user.mine").unwrap(), b"y");
}

#[test]
fn privileged_labels_of_the_host_are_not_copied_and_the_rest_is() {
    if !is_root("setting attributes") {
        return;
    }
    let below = tempfile::tempdir().unwrap();
    lower(below.path(), "a", 0o755);
    let path = below.path().join("a");
    for name in ["security.selinux", "user.overlay.mine"] {
        if lsetxattr(&path, name, b"y", XattrFlags::empty()).is_err() {
            return;
        }
    }
    for (whiteouts, expected) in [(Whiteouts::Overlay, Some(b"y".to_vec())), (Whiteouts::OverlayUser, None)] {
        let layer = Layer { parents: vec![below.path().to_owned()], ..Layer::with(whiteouts) };
        layer.extract(&[file("a/file", "x")]).unwrap();
        assert_eq!(xattr(&layer.path("a"), "user.overlay.mine"), expected);
        assert_eq!(xattr(&layer.path("a"), "security.selinux"), None);
    }
}

#[test]
fn what_was_replaced_is_not_reported() {
    let layer = Layer::new();
    let items = [file("a/b/file", "x"), file("a-/b", "x"), file("a", "x"), file("c/d/e", "x")];
    let extracted = layer.extract(&items).unwrap();
    assert_eq!(extracted.implicit, ["", "a-", "c", "c/d"].map(PathBuf::from));
}

#[test]
fn a_directory_that_exists_is_not_implicit() {
    let below = tempfile::tempdir().unwrap();
    lower(below.path(), "a", 0o700);
    let layer = with_parents(&[&below]);
    lower(&layer.path(""), "a", 0o711);
    let extracted = layer.extract(&[file("a/file", "x")]).unwrap();
    assert_eq!(extracted.implicit, [PathBuf::new()]);
    assert_eq!(extracted.usage, None);
    assert_eq!(layer.metadata("a").mode() & 0o7777, 0o711);
}

#[test]
fn links_of_a_lower_layer_do_not_lead_out_of_it() {
    let [below, outside] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    lower(outside.path(), "secret", 0o701);
    lower(below.path(), "real/in", 0o710);
    symlink("real", below.path().join("link")).unwrap();
    symlink(outside.path(), below.path().join("out")).unwrap();
    symlink("../../../../../../..", below.path().join("up")).unwrap();
    let layer = with_parents(&[&below]);
    let outside = outside.path().strip_prefix("/").unwrap().to_str().unwrap();
    layer
        .extract(&[file("link/in/f", ""), file("out/secret/f", ""), file(&format!("up/{outside}/secret/f"), "")])
        .unwrap();
    assert_eq!(layer.metadata("link/in").mode() & 0o7777, 0o710);
    assert_eq!(layer.metadata("out/secret").mode() & 0o7777, 0o755);
    assert_eq!(layer.metadata(&format!("up/{outside}/secret")).mode() & 0o7777, 0o755);
}

#[test]
fn what_the_nearest_layer_removed_or_replaced_is_not_copied() {
    let [near, far] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    fs::write(near.path().join("a"), "").unwrap();
    lower(far.path(), "a/b", 0o711);
    if is_root("making a whiteout") {
        mknodat(CWD, near.path().join("w"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        lower(far.path(), "w", 0o711);
    }
    let layer = with_parents(&[&near, &far]);
    layer.extract(&[file("a/b/file", "x"), file("w/file", "x")]).unwrap();
    for path in ["a", "a/b", "w"] {
        assert_eq!(layer.metadata(path).mode() & 0o7777, 0o755, "{path}");
    }
}

#[test]
fn a_layer_that_is_not_there_says_nothing() {
    let below = tempfile::tempdir().unwrap();
    lower(below.path(), "a", 0o711);
    let parents = vec![below.path().join("missing"), below.path().to_owned()];
    let layer = Layer { parents, ..Layer::new() };
    layer.extract(&[file("a/file", "x")]).unwrap();
    assert_eq!(layer.metadata("a").mode() & 0o7777, 0o711);
}
