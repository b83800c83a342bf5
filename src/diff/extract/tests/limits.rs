//! What is too much ends with a clear error, and so does who is asked to stop.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd as _;

use crate::diff::extract::testing::{Item, Layer, archive, dir, file, item, tree};
use crate::diff::extract::{Devices, Limits, Target, Whiteouts, extract};
use crate::{Error, Resource, Result};

/// Extracts with other limits, and returns the text of the error.
fn refused(limits: Limits, items: &[Item]) -> String {
    let layer = Layer { limits, ..Layer::new() };
    let err = layer.extract(items).unwrap_err();
    assert!(matches!(err, Error::Invalid { .. }), "{err:?}");
    err.to_string()
}

#[test]
fn entries_are_counted() {
    let items = [file("a", ""), file("b", ""), file("c", "")];
    let limits = Limits { entries: 2, ..Limits::default() };
    assert!(refused(limits, &items).contains("more than 2 entries"));
    let layer = Layer { limits: Limits { entries: 3, ..Limits::default() }, ..Layer::new() };
    assert_eq!(layer.extract(&items).unwrap().entries, 3);
}

#[test]
fn paths_are_neither_long_nor_deep() {
    let limits = Limits { path: 10, depth: 3, ..Limits::default() };
    assert!(refused(limits.clone(), &[file("a-long-name", "")]).contains("path of 11 bytes"));
    assert!(refused(limits.clone(), &[file("a/b/c/d", "")]).contains("directories deep"));
    let layer = Layer { limits, ..Layer::new() };
    layer.extract(&[file("./a/b/c//", ""), file("ten-bytes-", "")]).unwrap();
    let long = "x/".repeat(3000);
    assert!(refused(Limits::default(), &[file("", "").record("path", long)]).contains("path of"));
}

#[test]
fn attributes_are_not_large() {
    let limits = Limits { xattrs: 20, ..Limits::default() };
    let items = [file("a", "").xattr("user.a", "12345").xattr("user.b", "12345")];
    assert!(refused(limits, &items).contains("22 bytes of extended attributes"));
}

#[test]
fn devices_are_refused_or_left_out() {
    let items = [dir("dev"), Item { device: (1, 3), ..item(b'3', "dev/null") }, file("dev/file", "x")];
    assert!(refused(Limits { devices: Devices::Refuse, ..Limits::default() }, &items).contains("is a device"));
    let layer = Layer { limits: Limits { devices: Devices::Skip, ..Limits::default() }, ..Layer::new() };
    layer.extract(&items).unwrap();
    assert_eq!(layer.tree(), tree([("dev", "dir 755"), ("dev/file", "file 644 x")]));
}

#[test]
fn paths_that_are_kept_are_limited() {
    let limits = Limits { kept: 10, ..Limits::default() };
    for items in [
        vec![dir("12345"), dir("123456")],
        vec![dir("12345"), dir("/12345")],
        vec![file("12345/67890/x", "")],
        vec![file("123/567/x", ""), file("4/x", "")],
    ] {
        assert!(refused(limits.clone(), &items).contains("more than 10 bytes of paths"), "{items:?}");
    }
    // Once each, and not what is gone.
    let layer = Layer { limits: limits.clone(), ..Layer::new() };
    let again: Vec<_> = (0..100).flat_map(|_| [dir("12345").mtime(7), dir("6789").mtime(9), dir("12345")]).collect();
    layer.extract(&again).unwrap();
    let layer = Layer { limits: limits.clone(), ..Layer::new() };
    let replaced: Vec<_> = (0..9).flat_map(|_| [dir("12"), file("12/456/x", ""), file("12", "")]).collect();
    layer.extract(&replaced).unwrap();
    let layer = Layer { limits, ..Layer::with(Whiteouts::Remove) };
    let err = layer.extract(&[file("12345", ""), file("67890", ""), file("x", "")]).unwrap_err();
    assert!(err.to_string().contains("more than 10 bytes of paths"), "{err}");
}

/// Input that fails after some bytes.
struct Failing<'b> {
    bytes: &'b [u8],
    error: fn() -> io::Error,
}

impl Read for Failing<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err((self.error)())
    }
}

impl BufRead for Failing<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bytes.is_empty() { Err((self.error)()) } else { Ok(self.bytes) }
    }

    fn consume(&mut self, amount: usize) {
        self.bytes = &self.bytes[amount..];
    }
}

fn run(input: &mut dyn BufRead, stop: &dyn Fn() -> bool) -> Result<()> {
    let layer = Layer::new();
    let root = fs::File::open(layer.path("")).unwrap();
    let target = Target { root: root.as_fd(), parents: &[], whiteouts: Whiteouts::Overlay };
    extract(input, &target, &layer.limits, stop).map(drop)
}

#[test]
fn errors_of_the_input_come_out_as_they_are() {
    let bytes = archive(&[file("file", &"x".repeat(2000))]);
    for len in [0, 100, 512, 1000, 1024] {
        let fail = |error| run(&mut Failing { bytes: &bytes[..len], error }, &|| false).unwrap_err();
        let ours = fail(|| io::Error::other(Error::NotFound(Resource::Layer(7))));
        assert!(matches!(ours, Error::NotFound(Resource::Layer(7))), "{ours:?}");
        let text = fail(|| io::Error::new(io::ErrorKind::InvalidData, "corrupt deflate stream"));
        assert_eq!(text.to_string(), "layer: corrupt deflate stream");
        let disk = fail(|| io::Error::from_raw_os_error(5));
        assert!(matches!(disk, Error::Fs { .. }), "{disk:?}");
    }
}

#[test]
fn whoever_stops_it_waits_for_no_more_than_a_chunk() {
    let bytes = archive(&[dir("a"), file("a/large", &"x".repeat(100_000)), file("b", "x")]);
    for after in 0..120 {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > after
        };
        let result = run(&mut io::BufReader::with_capacity(1000, &bytes[..]), &stop);
        match result {
            Err(Error::ShuttingDown) => assert_eq!(asked.get(), after + 1),
            Ok(()) => assert!(asked.get() > 100, "asked only {} times", asked.get()),
            Err(err) => panic!("{err:?}"),
        }
    }
}

#[test]
fn interrupted_reads_are_repeated() {
    struct Interrupted<'b>(&'b [u8], bool);
    impl Read for Interrupted<'_> {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!()
        }
    }
    impl BufRead for Interrupted<'_> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(&self.0[..self.0.len().min(100)]) }
        }
        fn consume(&mut self, amount: usize) {
            self.0 = &self.0[amount..];
        }
    }
    run(&mut Interrupted(&archive(&[file("a", "x")]), false), &|| false).unwrap();
}
