//! No name and no link leads out of the layer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::diff::extract::Whiteouts;
use crate::diff::extract::testing::{Item, Layer, describe, dir, file, hard_link, item, symlink, tree};

#[test]
fn names_are_cleaned() {
    let layer = Layer::new();
    layer
        .extract(&[
            file("/absolute", ""),
            file("../../above", ""),
            file("a/../../beside", ""),
            file("./dot//double/./file", ""),
            dir("."),
            dir("/"),
            dir(".."),
            file("x/..", "the root"),
        ])
        .unwrap();
    let expected = tree([
        ("above", "file 644 "),
        ("absolute", "file 644 "),
        ("beside", "file 644 "),
        ("dot", "dir 755"),
        ("dot/double", "dir 755"),
        ("dot/double/file", "file 644 "),
    ]);
    assert_eq!(layer.tree(), expected);
}

#[test]
fn links_on_the_way_are_followed_beneath_the_root() {
    let layer = Layer::new();
    layer
        .extract(&[
            symlink("absolute", "/made"),
            file("absolute/sub/file", "1"),
            symlink("up", "../../../../tmp"),
            file("up/file", "2"),
            symlink("chain", "chain2"),
            symlink("chain2", "real"),
            dir("real"),
            file("chain/file", "3"),
            symlink("real/back", "../dangling/x"),
            file("chain/back/file", "4"),
            symlink("root", "/"),
            file("root/at-top", "5"),
            dir("root"),
        ])
        .unwrap();
    let expected = tree([
        ("absolute", "-> /made"),
        ("at-top", "file 644 5"),
        ("chain", "-> chain2"),
        ("chain2", "-> real"),
        ("dangling", "dir 755"),
        ("dangling/x", "dir 755"),
        ("dangling/x/file", "file 644 4"),
        ("made", "dir 755"),
        ("made/sub", "dir 755"),
        ("made/sub/file", "file 644 1"),
        ("real", "dir 755"),
        ("real/back", "-> ../dangling/x"),
        ("real/file", "file 644 3"),
        ("root", "dir 755"),
        ("tmp", "dir 755"),
        ("tmp/file", "file 644 2"),
        ("up", "-> ../../../../tmp"),
    ]);
    assert_eq!(layer.tree(), expected);
}

#[test]
fn hard_links_are_resolved_beneath_the_root() {
    let layer = Layer::new();
    layer
        .extract(&[
            file("dir/file", "x"),
            symlink("link", "dir"),
            symlink("to-file", "dir/file"),
            hard_link("1", "/dir/file"),
            hard_link("2", "../../dir/file"),
            hard_link("3", "link/file"),
            hard_link("4", "link/../dir/./file"),
            hard_link("5", "dir/file/"),
            // A link to a link is one more name of that link.
            hard_link("6", "to-file"),
        ])
        .unwrap();
    for name in ["1", "2", "3", "4", "5"] {
        assert_eq!(layer.tree()[name], "file 644 x", "{name}");
    }
    assert_eq!(layer.tree()["6"], "-> dir/file");
    for target in ["missing", "", "/", "..", ".", "dir", "dir/..", "dir/file/x"] {
        assert!(layer.extract(&[hard_link("new", target)]).is_err(), "{target:?}");
    }
}

#[test]
fn circles_and_files_on_the_way_are_errors() {
    for items in [
        [symlink("a", "b"), symlink("b", "a"), file("a/file", "")],
        [symlink("a", "a/a"), symlink("b", "a"), file("b/file", "")],
        [file("a", ""), symlink("b", "a"), file("b/file", "")],
        [file("a", ""), file("b", ""), file("a/b/c/file", "")],
        [symlink("a", ""), file("b", ""), file("b", "")],
    ] {
        let layer = Layer::new();
        assert!(layer.extract(&items).is_err(), "{items:?}");
    }
}

/// Everything that was ever tried to get out of a directory. `outside` is a path to a directory with a file `secret`.
fn escapes(outside: &Path) -> Vec<Vec<Item>> {
    let outside = outside.to_str().unwrap();
    let up = format!("../../../../../../../../..{outside}");
    let mut attempts = Vec::new();
    for way in [outside, &up] {
        let link = || symlink("link", way);
        attempts.extend([
            vec![file(&format!("{way}/new"), "x")],
            vec![file(&format!("{way}/.wh.secret"), "x")],
            vec![hard_link("stolen", &format!("{way}/secret"))],
            vec![hard_link("stolen", &format!("{way}/secret")), file("stolen", "overwritten")],
            vec![link(), file("link/secret", "overwritten")],
            vec![link(), file("link/new", "x")],
            vec![link(), dir("link"), file("link/new", "x")],
            vec![link(), dir("link/")],
            vec![link(), dir("link/sub"), file("link/sub/new", "x")],
            vec![link(), file("link/.wh.secret", "")],
            vec![link(), file("link/.wh..wh..opq", "")],
            vec![link(), hard_link("stolen", "link/secret")],
            vec![link(), symlink("link/new", "x")],
            vec![link(), item(b'6', "link/new")],
            vec![link(), symlink("second", "link"), file("second/secret", "overwritten")],
            vec![link(), symlink("second", "link/../link"), file("second/secret", "overwritten")],
            vec![dir("d"), symlink("d/link", way), file("d/link/secret", "x"), symlink("d", "d/link")],
            vec![link(), hard_link("alias", "link"), file("alias/secret", "overwritten")],
            vec![link(), file("link", "x").mode(0o7777)],
            vec![symlink("file", &format!("{way}/secret")), file("file", "overwritten")],
            vec![symlink("file", &format!("{way}/secret")), hard_link("alias", "file").mode(0o777).mtime(1)],
            vec![symlink("file", &format!("{way}/secret")).xattr("user.evil", "x").mode(0o777)],
            vec![symlink("new", &format!("{way}/new")), file("new", "x")],
            vec![item(b'g', &format!("{way}/secret"))],
        ]);
    }
    attempts
}

/// Describes a directory, with the times of what is in it.
fn state(dir: &Path) -> (BTreeMap<String, String>, Vec<std::time::SystemTime>) {
    let mut tree = BTreeMap::new();
    describe(dir, "", &mut tree);
    let times = tree.keys().map(|name| dir.join(name)).chain([dir.to_owned()]);
    let times = times.map(|path| fs::symlink_metadata(path).unwrap().modified().unwrap()).collect();
    (tree, times)
}

#[test]
fn nothing_leads_outside() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let before = state(outside.path());
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Remove] {
        for attempt in escapes(outside.path()) {
            let layer = Layer::with(whiteouts);
            let result = layer.extract(&attempt);
            assert!(state(outside.path()) == before, "{attempt:?}: {result:?}");
            assert!(!layer.tree().values().any(|what| what.contains(" secret")), "{attempt:?}");
        }
    }
}

#[test]
fn the_place_of_the_layer_may_move() {
    let layer = Layer::new();
    let moved: PathBuf = layer.path("inner");
    fs::create_dir(&moved).unwrap();
    let root = fs::File::open(&moved).unwrap();
    fs::rename(&moved, layer.path("elsewhere")).unwrap();
    let target = crate::diff::extract::Target {
        root: std::os::fd::AsFd::as_fd(&root),
        parents: &[],
        whiteouts: Whiteouts::Overlay,
    };
    let bytes = crate::diff::extract::testing::archive(&[dir("a"), file("a/b", "x")]);
    crate::diff::extract::extract(&mut &bytes[..], &target, &layer.limits, &|| false).unwrap();
    assert_eq!(layer.tree()["elsewhere/a/b"], "file 644 x");
}
