//! An archive that ends too early, at any byte.

use crate::Error;
use crate::diff::extract::Whiteouts;
use crate::diff::extract::testing::{Item, Layer, archive, dir, file, hard_link, item, symlink};

fn sample() -> Vec<Item> {
    vec![
        dir("a/"),
        file("a/file", &"x".repeat(1300)),
        file("a/records", "y").record("mtime", "5.5").record("path", "a/longer-name"),
        symlink("link", "a"),
        file("link/through", "z"),
        hard_link("hard", "a/file"),
        Item { data: b"a/name-of-gnu\0".to_vec(), ..item(b'L', "././@LongLink") },
        file("short", &"g".repeat(512)),
        file("sparse", "0123456789")
            .record("GNU.sparse.map", "5,4,100,6")
            .record("GNU.sparse.numblocks", "2")
            .record("GNU.sparse.size", "200"),
        file("a/.wh.file", ""),
        file("last", "end"),
    ]
}

#[test]
fn what_comes_of_a_part_is_a_part() {
    let whole = Layer::with(Whiteouts::Remove);
    let bytes = archive(&sample());
    whole.extract_bytes(&bytes).unwrap();
    let complete = whole.tree();
    // What the whole archive has in the end, or had on the way.
    let known = |path: &str| complete.contains_key(path) || path == "a/file";
    let mut accepted = Vec::new();
    for len in 0..bytes.len() {
        let layer = Layer::with(Whiteouts::Remove);
        match layer.extract_bytes(&bytes[..len]) {
            Ok(_) => accepted.push(len),
            Err(err) => assert!(matches!(err, Error::Invalid { .. }), "{len}: {err:?}"),
        }
        for (path, what) in layer.tree() {
            assert!(known(&path), "{len}: {path}");
            // A file whose data was cut has a part of it; everything else is as in the whole.
            let expected = complete.get(&path).cloned().unwrap_or_default();
            assert!(what.starts_with("file ") || what == expected, "{len}: {path}: {what}");
        }
    }
    // Only where an entry, or its data, has ended. The end marker may be missing, but not be cut.
    let end = bytes.len() - 1024;
    for len in &accepted {
        let in_padding = bytes[*len..len.next_multiple_of(512)].iter().all(|byte| *byte == 0);
        assert!(in_padding || *len % 512 == 0, "{len}");
    }
    for len in [0, 512, end, end + 512] {
        assert!(accepted.contains(&len), "{len}");
    }
    for len in [1, 511, 513, end + 1, end + 513, end + 1023] {
        assert!(!accepted.contains(&len), "{len}");
    }
}
