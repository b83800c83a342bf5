//! Every kind of entry becomes what it says.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::diff::extract::testing::{Item, Layer, dir, file, hard_link, is_root, item, padded, symlink, tree};
use crate::overlay::disk_usage;

#[test]
fn files_directories_and_links() {
    let layer = Layer::new();
    let extracted = layer
        .extract(&[
            dir("etc/").mode(0o750),
            file("etc/passwd", "root").mode(0o640),
            hard_link("etc/passwd-", "etc/passwd").mode(0o640),
            symlink("etc/link", "../../anywhere"),
            file("etc/empty", ""),
            Item { kind: 0, ..file("etc/old", "V7") },
            Item { kind: 0, ..dir("old-dir/") },
            item(b'6', "fifo").mode(0o600),
        ])
        .unwrap();
    let expected = tree([
        ("etc", "dir 750"),
        ("etc/empty", "file 644 "),
        ("etc/link", "-> ../../anywhere"),
        ("etc/old", "file 644 V7"),
        ("etc/passwd", "file 640 root"),
        ("etc/passwd-", "file 640 root"),
        ("fifo", "fifo 600"),
        ("old-dir", "dir 755"),
    ]);
    assert_eq!(layer.tree(), expected);
    assert_eq!(layer.metadata("etc/passwd").ino(), layer.metadata("etc/passwd-").ino());
    assert_eq!(extracted.entries, 8);
    assert_eq!(extracted.implicit, [PathBuf::new()]);
    if let Some(usage) = extracted.usage {
        assert_eq!(usage, disk_usage(&layer.path("")).unwrap());
    }
}

#[test]
fn attributes_that_come_with_a_link_are_counted() {
    let layer = Layer::new();
    // More than an inode of ext4 has room for, and some blocks before it.
    let link = hard_link("link", "file").xattr("user.a", [b'x'; 1500]);
    let extracted = layer.extract(&[file("other", &"x".repeat(10_000)), file("file", "x"), link]).unwrap();
    assert_eq!(layer.xattr("file", "user.a").unwrap().len(), 1500);
    if let Some(usage) = extracted.usage {
        assert_eq!(usage, disk_usage(&layer.path("")).unwrap());
    }
}

#[test]
fn privileged_attributes_that_go_with_a_link_are_counted() {
    if !is_root("capabilities") {
        return;
    }
    let layer = Layer::new();
    // The owner of the link takes the capability away, and with it the block for what did not fit into the inode.
    let capability = [&[1, 0, 0, 2, 0, 32][..], &[0; 14]].concat();
    let file = file("file", "").xattr("user.a", [b'x'; 100]).xattr("security.capability", capability);
    let extracted = layer.extract(&[file, hard_link("link", "file")]).unwrap();
    assert!(layer.xattr("file", "security.capability").is_none());
    if let Some(usage) = extracted.usage {
        assert_eq!(usage, disk_usage(&layer.path("")).unwrap());
    }
}

#[test]
fn privileged_devices_are_made() {
    if !is_root("making devices") {
        return;
    }
    let layer = Layer::new();
    let device = |kind, name, device| Item { device, ..item(kind, name).mode(0o620) };
    layer.extract(&[device(b'3', "tty", (5, 1)), device(b'4', "disk", (4095, 1_048_575))]).unwrap();
    assert_eq!(layer.tree(), tree([("disk", "block 620 4095:1048575"), ("tty", "char 620 5:1")]));
}

#[test]
fn large_files_come_in_pieces() {
    let layer = Layer::new();
    let data: String = (0..400_000).map(|n| char::from(b'a' + (n / 700 % 26) as u8)).collect();
    layer.extract(&[file("large", &data), file("small", "x")]).unwrap();
    assert!(fs::read_to_string(layer.path("large")).unwrap() == data);
    assert_eq!(fs::read_to_string(layer.path("small")).unwrap(), "x");
}

#[test]
fn holes_stay_holes() {
    let layer = Layer::new();
    let sparse = file("sparse", &"x".repeat(4096))
        .record("GNU.sparse.major", "0")
        .record("GNU.sparse.minor", "1")
        .record("GNU.sparse.size", "1073741824")
        .record("GNU.sparse.numblocks", "1")
        .record("GNU.sparse.map", "536870912,4096");
    layer.extract(&[sparse, file("after", "y")]).unwrap();
    let stat = layer.metadata("sparse");
    assert_eq!(stat.len(), 1 << 30);
    assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());
    let file = fs::File::open(layer.path("sparse")).unwrap();
    let mut data = [1; 4098];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut data, (512 << 20) - 1).unwrap();
    assert!(data[0] == 0 && data[1..4097].iter().all(|byte| *byte == b'x') && data[4097] == 0);
    assert_eq!(fs::read_to_string(layer.path("after")).unwrap(), "y");
}

#[test]
fn data_that_is_not_wanted_is_skipped() {
    let layer = Layer::new();
    // A directory has no data, whatever its size says; a name that means the root is not even looked at.
    let mut header = Item { data: vec![0; 600], ..dir("dir") }.header().to_vec();
    header.extend(file(".", &"z".repeat(700)).bytes());
    header.extend(file("file", "x").bytes());
    layer.extract_bytes(&header).unwrap();
    assert_eq!(layer.tree(), tree([("dir", "dir 755"), ("file", "file 644 x")]));
}

#[test]
fn what_is_no_kind_of_file_is_refused() {
    for kind in [b'7', b'V', b'D', b'M', b'z'] {
        let layer = Layer::new();
        let err = layer.extract(&[item(kind, "entry")]).unwrap_err().to_string();
        assert!(err.contains("unknown type"), "{err}");
    }
}

#[test]
fn global_records_change_no_entry() {
    let layer = Layer::new();
    let records = crate::diff::extract::testing::record("mtime", b"5");
    let global = Item { data: records, ..item(b'g', "pax_global_header") };
    layer.extract(&[global, file("file", "x").mtime(77)]).unwrap();
    assert_eq!(layer.metadata("file").mtime(), 77);
    assert_eq!(layer.tree(), tree([("file", "file 644 x")]));
}

#[test]
fn the_rest_of_the_input_is_left() {
    let layer = Layer::new();
    let mut bytes = crate::diff::extract::testing::archive(&[file("file", "x")]);
    let len = bytes.len();
    bytes.extend(padded(b"more"));
    let mut input = &bytes[..];
    let root = fs::File::open(layer.path("")).unwrap();
    let target = crate::diff::extract::Target {
        root: std::os::fd::AsFd::as_fd(&root),
        parents: &[],
        whiteouts: layer.whiteouts,
    };
    crate::diff::extract::extract(&mut input, &target, &layer.limits, &|| false).unwrap();
    assert_eq!(input, &bytes[len..]);
}
