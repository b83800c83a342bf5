//! One path, several entries: the last one counts.

use std::os::unix::fs::MetadataExt as _;

use crate::diff::extract::Whiteouts;
use crate::diff::extract::testing::{Layer, dir, file, hard_link, item, symlink, tree};

#[test]
fn a_directory_meets_a_directory_and_all_else_is_replaced() {
    let layer = Layer::new();
    layer
        .extract(&[
            file("file", "a long first version"),
            file("file", "second"),
            dir("dir").mode(0o700),
            file("dir/file", "kept"),
            dir("dir").mode(0o711).mtime(42),
            dir("to-file"),
            file("to-file/sub/file", "x"),
            file("to-file", "file"),
            file("to-dir", "x"),
            dir("to-dir"),
            file("to-dir/file", "x"),
            dir("to-link"),
            symlink("to-link", "file"),
            symlink("to-fifo", "dir"),
            item(b'6', "to-fifo"),
        ])
        .unwrap();
    let expected = tree([
        ("dir", "dir 711"),
        ("dir/file", "file 644 kept"),
        ("file", "file 644 second"),
        ("to-dir", "dir 755"),
        ("to-dir/file", "file 644 x"),
        ("to-fifo", "fifo 644"),
        ("to-file", "file 644 file"),
        ("to-link", "-> file"),
    ]);
    assert_eq!(layer.tree(), expected);
    assert_eq!(layer.metadata("dir").mtime(), 42);
}

#[test]
fn an_open_directory_is_forgotten_when_it_is_replaced() {
    let layer = Layer::new();
    layer
        .extract(&[
            file("a/b/one", "x"),
            file("a", "file"),
            dir("a"),
            file("a/b/two", "x"),
            dir("elsewhere"),
            symlink("a", "elsewhere"),
            file("a/b/three", "x"),
        ])
        .unwrap();
    let expected = tree([
        ("a", "-> elsewhere"),
        ("elsewhere", "dir 755"),
        ("elsewhere/b", "dir 755"),
        ("elsewhere/b/three", "file 644 x"),
    ]);
    assert_eq!(layer.tree(), expected);
}

#[test]
fn another_name_of_a_file_survives_the_replacement_of_the_first() {
    let layer = Layer::new();
    layer.extract(&[file("a", "old"), hard_link("b", "a"), file("a", "new")]).unwrap();
    assert_eq!(layer.tree(), tree([("a", "file 644 new"), ("b", "file 644 old")]));
}

#[test]
fn a_link_cannot_replace_what_it_is_to() {
    for items in [[file("a", "x"), hard_link("a", "a")], [file("a/b", "x"), hard_link("a", "a/b")]] {
        let layer = Layer::new();
        assert!(layer.extract(&items).is_err());
        assert_eq!(layer.tree(), tree([("a", "file 644 x")]).into_iter().filter(|_| false).collect());
    }
}

#[test]
fn times_of_a_directory_go_to_what_has_its_path_at_the_end() {
    let layer = Layer::with(Whiteouts::Remove);
    layer.extract(&[dir("a").mtime(5), file("a", "x").mtime(9), dir("b").mtime(6), symlink("c", "b")]).unwrap();
    // As in containerd.
    assert_eq!(layer.metadata("a").mtime(), 5);
    layer.extract(&[dir("d").mtime(7), symlink("d", "b").mtime(8)]).unwrap();
    assert_eq!(layer.metadata("b").mtime(), 7);
    assert_eq!(layer.metadata("d").mtime(), 8);
    // And where there is nothing.
    let gone = Layer::with(Whiteouts::Remove);
    assert!(gone.extract(&[dir("a"), file(".wh.a", "")]).is_err());
    assert!(gone.extract(&[dir("b/c"), file("b", "")]).is_err());
}

#[test]
fn a_second_layer_goes_on_top_of_the_first() {
    let layer = Layer::with(Whiteouts::Remove);
    layer.extract(&[file("etc/a", "1"), file("etc/b", "1"), dir("bin"), symlink("lib", "usr/lib")]).unwrap();
    let second = layer.extract(&[file("etc/b", "2"), file("bin", "2"), file("lib/x", "2")]).unwrap();
    let expected = tree([
        ("bin", "file 644 2"),
        ("etc", "dir 755"),
        ("etc/a", "file 644 1"),
        ("etc/b", "file 644 2"),
        ("lib", "-> usr/lib"),
        ("usr", "dir 755"),
        ("usr/lib", "dir 755"),
        ("usr/lib/x", "file 644 2"),
    ]);
    assert_eq!(layer.tree(), expected);
    assert_eq!(second.usage, None);
}
