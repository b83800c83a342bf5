use proptest::prelude::{Just, Strategy, any, prop};
use proptest::{prop_assert, prop_oneof, proptest};

use super::{Entry, Reader, kind};
use crate::Result;
use crate::diff::extract::testing::{Item, archive, dir, file, item, number, padded, put, record, seal, symlink};

/// What was read of an entry: kind, name, link, data, and for a sparse file where the data belongs.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: char,
    name: String,
    link: String,
    data: Vec<(u64, String)>,
}

/// Reads an archive to its end, with what was read before an error.
fn read(bytes: &[u8]) -> (Vec<Seen>, Result<()>) {
    let mut seen = Vec::new();
    let mut input = std::io::BufReader::with_capacity(300, bytes);
    let mut reader = Reader::new(&mut input, &|| false);
    let mut one = |reader: &mut Reader<'_>| -> Result<bool> {
        if !reader.advance()? {
            return Ok(false);
        }
        let mut data: Vec<(u64, Vec<u8>)> = Vec::new();
        reader.data.copy(&mut |offset, chunk| {
            match data.last_mut().filter(|(start, data)| start + data.len() as u64 == offset) {
                Some((_, data)) => data.extend(chunk),
                None => data.push((offset, chunk.to_vec())),
            }
            Ok(())
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Entry { header, .. } = &reader.entry;
        seen.push(Seen {
            kind: header.kind.into(),
            name: text(&header.name),
            link: text(&header.link),
            data: data.iter().map(|(offset, data)| (*offset, text(data))).collect(),
        });
        Ok(true)
    };
    let result = loop {
        match one(&mut reader) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(err) => break Err(err),
        }
    };
    (seen, result)
}

fn names(items: &[Item]) -> Vec<String> {
    let (seen, result) = read(&archive(items));
    result.unwrap();
    seen.into_iter().map(|seen| seen.name).collect()
}

fn first(item: &Item) -> super::Header {
    let bytes = archive(std::slice::from_ref(item));
    let mut input = &bytes[..];
    let mut reader = Reader::new(&mut input, &|| false);
    assert!(reader.advance().unwrap());
    reader.entry.header
}

/// Changes a header and its checksum.
fn changed(item: &Item, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut block = item.header();
    change(&mut block);
    seal(&mut block);
    [&block[..], &padded(&item.data), &[0; 1024]].concat()
}

#[test]
fn long_names_of_three_kinds() {
    let long = "d/".repeat(100) + "file";
    let gnu = |kind, text: &str| Item { data: format!("{text}\0rest").into_bytes(), ..item(kind, "././@LongLink") };
    let (seen, result) = read(&archive(&[
        file("short", "").record("path", &long),
        gnu(b'L', &long),
        file("short", "x"),
        gnu(b'K', &long),
        symlink("link", "short"),
        symlink("link", "short").record("linkpath", &long),
        file("next", ""),
    ]));
    result.unwrap();
    let texts: Vec<_> = seen.iter().map(|seen| (seen.name.as_str(), seen.link.as_str())).collect();
    assert_eq!(texts, [(&*long, ""), (&*long, ""), ("link", &*long), ("link", &*long), ("next", "")]);
    let prefixed = changed(&file("file", ""), |block| put(block, 345, b"some/prefix"));
    assert_eq!(read(&prefixed).0[0].name, "some/prefix/file");
}

#[test]
fn headers_of_old_and_other_programs() {
    let star = changed(&file("file", ""), |block| {
        put(block, 345, b"prefix");
        put(block, 476, b"00000000005\0");
        put(block, 508, b"tar\0");
    });
    assert_eq!(read(&star).0[0].name, "prefix/file");
    let v7 = changed(&file("file", ""), |block| {
        put(block, 257, &[0; 8]);
        put(block, 345, b"no prefix here");
    });
    assert_eq!(read(&v7).0[0].name, "file");
    // GNU has times where others have a prefix; Go once had one nevertheless.
    let gnu = |text: &'static [u8]| {
        changed(&file("file", ""), move |block| {
            put(block, 257, b"ustar  \0");
            put(block, 345, text);
        })
    };
    assert_eq!(read(&gnu(b"00000000005\0")).0[0].name, "file");
    assert_eq!(read(&gnu(b"prefix")).0[0].name, "prefix/file");
    assert_eq!(read(&gnu(b"pr\xffx")).0[0].name, "file");
    let mut signed = file("\u{e9}", "").header();
    let sum: i64 = signed
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { i64::from(byte.cast_signed()) })
        .sum();
    put(&mut signed, 148, format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read(&signed).0[0].name, "\u{e9}");
}

#[test]
fn numbers_that_do_not_fit_octal_digits() {
    let huge = changed(&file("file", ""), |block| {
        put(block, 108, &number(4_000_000_000, 8));
        put(block, 136, &number(1 << 40, 12));
    });
    let mut input = &huge[..];
    let mut reader = Reader::new(&mut input, &|| false);
    reader.advance().unwrap();
    assert_eq!(reader.entry.header.uid, 4_000_000_000);
    assert_eq!(reader.entry.header.mtime, super::number::Time::unix(1 << 40));
}

#[test]
fn records_override_and_empty_ones_do_not() {
    let header = first(
        &file("name", "data")
            .record("path", "other")
            .record("path", "")
            .record("uid", "7")
            .record("uid", "5000000000")
            .record("gid", "")
            .record("size", "4")
            .record("uname", "somebody")
            .record("VENDOR.key", [0xff, 0, b'=']),
    );
    assert_eq!(header.name, b"name");
    assert_eq!(header.uid, 5_000_000_000);
    assert_eq!(header.gid, first(&file("", "")).gid);
    assert_eq!(header.size, 4);
    // A second set of records takes the place of the first.
    let records = Item { data: record("path", b"first"), ..item(b'x', "x") };
    assert_eq!(names(&[records, file("name", "").record("mtime", "1")]), ["name"]);
    let records = Item { data: record("path", b"lost"), ..item(b'x', "x") };
    assert_eq!(names(&[records]), [""; 0]);
}

#[test]
fn the_size_in_the_records_is_that_of_the_data() {
    let mut item = file("file", "data");
    item.records.push(("size".into(), b"4".to_vec()));
    let mut bytes = archive(&[item, file("next", "")]);
    // The header says nothing, as for files of 8 GiB.
    let mut block: [u8; 512] = bytes[1024..1536].try_into().unwrap();
    put(&mut block, 124, b"00000000000\0");
    seal(&mut block);
    bytes[1024..1536].copy_from_slice(&block);
    let (seen, result) = read(&bytes);
    result.unwrap();
    assert_eq!(seen[0].data, [(0, "data".to_owned())]);
    assert_eq!(seen[1].name, "next");
}

#[test]
fn malformed_records_are_refused() {
    for text in [
        "9 path=a",
        "10 path=ab\n",
        "5 a=\nx",
        "0 a=b\n",
        "6 =ab\n",
        "x a=b\n",
        "7 path\n\n",
        "-6 a=b\n",
        "10 size=x\n\n",
        "9 size=x\n",
        "10 mtime=\u{1}\n",
        "9 path=\0\n",
        "8 a\0b=c\n",
        "26 GNU.sparse.numbytes=10\n",
        "24 GNU.sparse.offset=1,\n",
    ] {
        let records = Item { data: text.into(), ..item(b'x', "x") };
        let (_, result) = read(&archive(&[records, file("a", "")]));
        assert!(result.is_err(), "{text:?}");
    }
    for text in ["7 a=bc\n", "+7 a=b\n", "8 a=b=c\n", "9 atime=\n"] {
        let records = Item { data: text.into(), ..item(b'x', "x") };
        read(&archive(&[records, file("a", "")])).1.unwrap();
    }
}

#[test]
fn four_ways_to_tell_of_holes() {
    let size = |item: Item, key: &str| item.record(key, "2000");
    let text = |at: &str| at.to_owned();
    let expected = vec![(10, text("0123")), (1000, text("456789"))];
    let oldest = size(file("sparse", "0123456789"), "GNU.sparse.size")
        .record("GNU.sparse.numblocks", "2")
        .record("GNU.sparse.offset", "10")
        .record("GNU.sparse.numbytes", "4")
        .record("GNU.sparse.offset", "1000")
        .record("GNU.sparse.numbytes", "6");
    let second = size(file("hidden", "0123456789"), "GNU.sparse.size")
        .record("GNU.sparse.name", "sparse")
        .record("GNU.sparse.numblocks", "2")
        .record("GNU.sparse.map", "10,4,1000,6");
    let map = String::from_utf8(padded(b"2\n10\n4\n1000\n6\n")).unwrap();
    let third = size(file("hidden", &format!("{map}0123456789")), "GNU.sparse.realsize")
        .record("GNU.sparse.major", "1")
        .record("GNU.sparse.minor", "0")
        .record("GNU.sparse.name", "sparse");
    for item in [oldest, second, third] {
        let (seen, result) = read(&archive(&[item, file("next", "x")]));
        result.unwrap();
        assert_eq!((&*seen[0].name, &seen[0].data), ("sparse", &expected));
        assert_eq!(seen[1].name, "next");
    }
}

/// An entry of type `S` with 30 pieces of one byte, of which 26 are in blocks that follow.
fn old_sparse() -> Vec<u8> {
    let data: String = (0..30).map(|n| char::from(b'a' + n % 26)).collect();
    let piece = |n: u64| [number(n * 10, 12), number(1, 12)].concat();
    let mut block = Item { kind: kind::SPARSE, ..file("sparse", &data) }.header();
    put(&mut block, 257, b"ustar  \0");
    put(&mut block, 345, &[0; 24]);
    for n in 0..4 {
        put(&mut block, 386 + n as usize * 24, &piece(n));
    }
    block[482] = 1;
    put(&mut block, 483, &number(1000, 12));
    seal(&mut block);
    let mut extensions = [[0; 512]; 2];
    for n in 4..30 {
        let (block, at) = ((n - 4) / 21, (n - 4) % 21);
        put(&mut extensions[block], at * 24, &piece(n as u64));
    }
    extensions[0][504] = 1;
    [&block[..], &extensions.concat(), &padded(data.as_bytes()), &archive(&[file("next", "")])].concat()
}

#[test]
fn the_oldest_way_to_tell_of_holes() {
    let (seen, result) = read(&old_sparse());
    result.unwrap();
    assert_eq!(seen[0].data.len(), 30);
    assert_eq!(seen[0].data[29], (290, "d".to_owned()));
    assert_eq!(seen[1].name, "next");
}

#[test]
fn maps_of_holes_that_are_wrong() {
    let sparse = |numbers: &str, count: &str, size: &str| {
        file("f", "0123456789")
            .record("GNU.sparse.map", numbers)
            .record("GNU.sparse.numblocks", count)
            .record("GNU.sparse.size", size)
    };
    read(&archive(&[sparse("0,10", "1", "10")])).1.unwrap();
    for item in [
        sparse("0,10", "2", "10"),
        sparse("0,10,11", "1", "20"),
        sparse("0,10", "-1", "10"),
        sparse("0,10", "9223372036854775807", "10"),
        sparse("0,10", "1", "9"),
        sparse("5,5,0,5", "2", "20"),
        sparse("0,6,5,4", "2", "20"),
        sparse("-1,10", "1", "10"),
        sparse("0,9", "1", "10"),
        sparse("0,11", "1", "20"),
        sparse("9223372036854775807,1", "1", "9223372036854775807"),
        sparse("0,x", "1", "10"),
        sparse("0,10", "1", "-1"),
        Item { kind: b'5', ..sparse("0,10", "1", "10") },
        file("f", &String::from_utf8(padded(b"1\nx\n1\n")).unwrap())
            .record("GNU.sparse.major", "1")
            .record("GNU.sparse.minor", "0"),
        file("f", "1\n0\n1\n").record("GNU.sparse.major", "1").record("GNU.sparse.minor", "0"),
    ] {
        assert!(read(&archive(std::slice::from_ref(&item))).1.is_err(), "{item:?}");
    }
    // A version that nobody knows is a file like any other.
    let unknown = sparse("0,1", "1", "1").record("GNU.sparse.major", "2");
    assert_eq!(read(&archive(&[unknown])).0[0].data, [(0, "0123456789".to_owned())]);
}

#[test]
fn memory_does_not_follow_what_headers_promise() {
    let promise = |item: &Item, size: u64| changed(item, |block| put(block, 124, &number(size, 12)));
    for kind in [b'x', b'g', b'L', b'K'] {
        let (_, result) = read(&promise(&item(kind, "x"), 1 << 40));
        assert!(result.unwrap_err().to_string().contains("mebibyte"));
    }
    let mut endless = Item { kind: kind::SPARSE, ..file("sparse", "") }.header();
    put(&mut endless, 257, b"ustar  \0");
    put(&mut endless, 345, &[0; 24]);
    endless[482] = 1;
    put(&mut endless, 483, &number(1000, 12));
    seal(&mut endless);
    let mut extension = [0; 512];
    extension[504] = 1;
    let bytes = [&endless[..], &extension.repeat(5000)].concat();
    assert!(read(&bytes).1.unwrap_err().to_string().contains("too many pieces"));
    let map = "9999999\n".to_owned() + &"1\n".repeat(1 << 20);
    let item = file("f", &map).record("GNU.sparse.major", "1").record("GNU.sparse.minor", "0");
    assert!(read(&archive(&[item])).1.unwrap_err().to_string().contains("too many pieces"));
}

#[test]
fn ends_of_archives() {
    let bytes = archive(&[dir("dir"), file("file", "x")]);
    let end = bytes.len() - 1024;
    let with = |end: &[u8]| read(&[&bytes[..bytes.len() - 1024], end].concat()).1;
    for good in [&[][..], &[0; 512], &[0; 1024], &[0; 10240], &[&[0; 1024][..], b"anything"].concat()] {
        with(good).unwrap();
    }
    for bad in [&[0; 100][..], &[0; 1023], &[&[0; 512][..], &bytes[..512]].concat(), &[1; 512]] {
        assert!(with(bad).is_err(), "{}", bad.len());
    }
    // What fills the last block may be missing.
    read(&bytes[..end - 511]).1.unwrap();
    assert!(read(&bytes[..end - 512]).1.is_err());
    assert!(read(&[]).0.is_empty());
}

/// Archives that are nearly right: good entries, with bytes changed, removed or added.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let keys = prop_oneof![
        Just("path"),
        Just("size"),
        Just("mtime"),
        Just("GNU.sparse.map"),
        Just("GNU.sparse.major"),
        Just("GNU.sparse.minor"),
        Just("GNU.sparse.numblocks"),
        Just("GNU.sparse.offset"),
        Just("GNU.sparse.numbytes"),
        Just("GNU.sparse.realsize"),
        Just("SCHILY.xattr.user.x"),
    ];
    let record = (keys, prop_oneof!["[0-9]{0,3}", "[0-9,.-]{0,20}", ".{0,5}"]);
    let kind =
        prop_oneof![Just(b'0'), Just(0), Just(b'5'), Just(b'x'), Just(b'L'), Just(b'S'), Just(b'g'), any::<u8>()];
    let entry = (kind, ".{0,20}", prop::collection::vec(record, 0..4), "[0-9\n]{0,600}");
    let entry = entry.prop_map(|(kind, name, records, data)| {
        let item = Item { kind, ..file(&name, &data) };
        records.into_iter().fold(item, |item, (key, value)| item.record(key, value))
    });
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..6);
    (prop::collection::vec(entry, 0..5), changes).prop_map(|(items, changes)| {
        let mut bytes = archive(&items);
        for (at, byte, fix) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let start = at / 512 * 512;
            if fix && let Some(block) = bytes.get_mut(start..start + 512) {
                seal(block.try_into().unwrap());
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..2000), nearly()]) {
        let (seen, result) = read(&bytes);
        // No more data than there was.
        let len: usize = seen.iter().flat_map(|seen| &seen.data).map(|(_, data)| data.len()).sum();
        prop_assert!(result.is_err() || len <= 3 * bytes.len());
    }

    #[test]
    fn what_was_written_is_read(items in prop::collection::vec(("[a-z/]{1,90}", "[a-z]{0,1200}"), 0..8)) {
        let written: Vec<_> = items.iter().map(|(name, data)| file(name, data)).collect();
        let (seen, result) = read(&archive(&written));
        result.unwrap();
        let data = |data: &str| if data.is_empty() { vec![] } else { vec![(0, data.to_owned())] };
        let read: Vec<_> = seen.into_iter().map(|seen| (seen.name, seen.data)).collect();
        let expected: Vec<_> = items.into_iter().map(|(name, text)| (name, data(&text))).collect();
        prop_assert!(read == expected);
    }
}
