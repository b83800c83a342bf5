//! Markers become what overlayfs has, or remove what they name.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::diff::extract::Whiteouts;
use crate::diff::extract::testing::{Layer, dir, file, is_root, symlink, tree};

#[test]
fn privileged_overlayfs_gets_devices_and_an_attribute() {
    if !is_root("making whiteouts") {
        return;
    }
    for (whiteouts, attribute) in
        [(Whiteouts::Overlay, "trusted.overlay.opaque"), (Whiteouts::OverlayUser, "user.overlay.opaque")]
    {
        let layer = Layer::with(whiteouts);
        let extracted = layer
            .extract(&[
                file("a/.wh.gone", "").owner(3, 4).mode(0o600),
                dir("a").mode(0o700),
                dir("b"),
                file("b/.wh..wh..opq", "").mode(0o600),
                file("b/kept", "x"),
                file(".wh.top", "data that nobody wants"),
                file(".wh..wh.plnk", ""),
            ])
            .unwrap();
        let expected = tree([
            (".wh.plnk", "char 0 0:0"),
            ("a", "dir 700"),
            ("a/gone", "char 0 0:0"),
            ("b", "dir 755"),
            ("b/kept", "file 644 x"),
            ("top", "char 0 0:0"),
        ]);
        assert_eq!(layer.tree(), expected);
        assert_eq!((layer.metadata("a/gone").uid(), layer.metadata("a/gone").gid()), (3, 4));
        assert_eq!(layer.xattr("b", attribute).unwrap(), b"y");
        assert_eq!(layer.xattr("a", attribute), None);
        assert_eq!(extracted.whiteouts, [".wh.plnk", "a/gone", "top"].map(PathBuf::from));
        assert_eq!(extracted.opaque, [PathBuf::from("b")]);
        assert_eq!(extracted.usage.unwrap(), crate::overlay::disk_usage(&layer.path("")).unwrap());
    }
}

#[test]
fn privileged_the_root_can_be_opaque() {
    if !is_root("setting attributes of overlayfs") {
        return;
    }
    let layer = Layer::new();
    let extracted = layer.extract(&[file(".wh..wh..opq", "")]).unwrap();
    assert_eq!(layer.xattr("", "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(extracted.opaque, [PathBuf::new()]);
}

#[test]
fn privileged_a_file_takes_the_place_of_its_whiteout_but_not_the_reverse() {
    if !is_root("making whiteouts") {
        return;
    }
    let layer = Layer::new();
    let extracted = layer.extract(&[file(".wh.a", ""), file("a", "x")]).unwrap();
    assert_eq!(layer.tree(), tree([("a", "file 644 x")]));
    assert!(extracted.whiteouts.is_empty());
    for items in [[file("b", "x"), file(".wh.b", "")], [file(".wh.b", ""), file(".wh.b", "")]] {
        let err = Layer::new().extract(&items).unwrap_err().to_string();
        assert!(err.contains("there, and then removed"), "{err}");
    }
}

#[test]
fn without_overlayfs_what_they_name_is_removed() {
    let layer = Layer::with(Whiteouts::Remove);
    layer.extract(&[file("dir/sub/file", "old"), file("dir/file", "old"), file("top", "old")]).unwrap();
    let extracted = layer
        .extract(&[
            file("dir/new", "new"),
            file("dir/.wh.sub", ""),
            file("dir/.wh.missing", ""),
            file(".wh.top", ""),
            file("absent/.wh.x", ""),
        ])
        .unwrap();
    let expected =
        tree([("absent", "dir 755"), ("dir", "dir 755"), ("dir/file", "file 644 old"), ("dir/new", "file 644 new")]);
    assert_eq!(layer.tree(), expected);
    assert!(extracted.whiteouts.is_empty());
    assert_eq!(extracted.implicit, ["", "absent"].map(PathBuf::from));
}

#[test]
fn without_overlayfs_an_opaque_directory_keeps_what_has_an_entry() {
    let layer = Layer::with(Whiteouts::Remove);
    layer.extract(&[file("d/old/file", ""), file("d/kept/old", ""), file("d/file", "old"), file("x", "")]).unwrap();
    layer
        .extract(&[
            dir("d/kept"),
            file("d/kept/new", "new"),
            file("d/made/for/this", "new"),
            file("d/.wh..wh..opq", ""),
            file("d/later", "new"),
            // The second time nothing happens.
            file("d/.wh..wh..opq", ""),
        ])
        .unwrap();
    // As in containerd, a directory that has no entry goes with what has one.
    let expected = tree([
        ("d", "dir 755"),
        ("d/kept", "dir 755"),
        ("d/kept/new", "file 644 new"),
        ("d/later", "file 644 new"),
        ("x", "file 644 "),
    ]);
    assert_eq!(layer.tree(), expected);
}

#[test]
fn without_overlayfs_links_are_removed_and_not_what_they_lead_to() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "precious").unwrap();
    let layer = Layer::with(Whiteouts::Remove);
    let target = outside.path().to_str().unwrap();
    layer.extract(&[symlink("d/link", target), symlink("e/link", target), dir("e/sub")]).unwrap();
    layer.extract(&[file("d/.wh.link", ""), file("e/.wh..wh..opq", ""), file("e/link/.wh.file", "")]).unwrap();
    // The link in `e` is gone by then, so that its name is a directory.
    let expected = tree([("d", "dir 755"), ("e", "dir 755"), ("e/link", "dir 755")]);
    assert_eq!(layer.tree(), expected);
    assert_eq!(std::fs::read_to_string(outside.path().join("file")).unwrap(), "precious");
}

#[test]
fn names_that_would_remove_a_directory_from_within_are_refused() {
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Remove] {
        for name in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh.."] {
            let layer = Layer::with(whiteouts);
            assert!(layer.extract(&[file("a/b", "x"), file(name, "")]).is_err(), "{name}");
            assert!(layer.tree().contains_key("a/b"), "{name}");
        }
    }
}
