//! What goes in comes out, and what is malformed is told.

use std::io::{self, BufRead as _, Cursor, Read, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256, Sha512};

use super::inflate::BUFFER;
use super::{Limits, Source, Stream, Uncompressed, Verified};
use crate::types::{Algorithm, Digest};
use crate::{Error, Result};

/// Compressible, but not to nothing.
fn data(len: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| b"leasehold layers"[(next() % 16) as usize]).collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn skippable(data: &[u8]) -> Vec<u8> {
    [&[0x53, 0x2a, 0x4d, 0x18][..], &(data.len() as u32).to_le_bytes(), data].concat()
}

fn open(blob: &[u8], limits: &Limits) -> Stream<'static> {
    Stream::open(Box::new(Cursor::new(blob.to_vec())), blob.len() as u64, limits).unwrap()
}

fn uncompress(blob: &[u8]) -> Result<Uncompressed> {
    open(blob, &Limits::default()).finish(&|| false)
}

fn expected(data: &[u8]) -> Uncompressed {
    let diff_id = Digest::from_bytes(Algorithm::Sha256, &Sha256::digest(data)).unwrap();
    Uncompressed { diff_id, size: data.len() as u64 }
}

#[test]
fn all_formats_give_the_same_stream() {
    for len in [0, 1, 511, BUFFER - 1, BUFFER, BUFFER + 1, 9 * BUFFER + 17] {
        let data = data(len);
        for blob in [data.clone(), gzip(&data), zstd(&data)] {
            assert_eq!(uncompress(&blob).unwrap(), expected(&data), "{len}");
            let mut read = Vec::new();
            let mut stream = open(&blob, &Limits::default());
            stream.read_to_end(&mut read).unwrap();
            assert!(read == data);
            // What was read counts as much as what is left to read.
            assert_eq!(stream.finish(&|| false).unwrap(), expected(&data));
        }
    }
}

#[test]
fn parts_follow_each_other() {
    let (a, b, whole) = (data(70_000), data(3), [data(70_000), data(3)].concat());
    for blob in [
        [gzip(&a), gzip(&b)].concat(),
        [gzip(&a), gzip(b""), gzip(&b), gzip(b"")].concat(),
        [zstd(&a), zstd(&b)].concat(),
        [skippable(b""), zstd(&a), skippable(&data(300_000)), zstd(b""), zstd(&b), skippable(b"the end")].concat(),
    ] {
        assert_eq!(uncompress(&blob).unwrap(), expected(&whole));
    }
}

#[test]
fn headers_of_gzip_may_have_all_fields() {
    let builder =
        GzBuilder::new().filename("layer.tar").comment("none").extra(vec![1; 300]).mtime(7).operating_system(3);
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(&data(5000)).unwrap();
    assert_eq!(uncompress(&encoder.finish().unwrap()).unwrap(), expected(&data(5000)));
}

#[test]
fn nothing_may_follow() {
    for whole in [gzip(&data(5000)), zstd(&data(5000))] {
        for garbage in [&[0][..], &[0; 512], b"x", b"\x1f\x8b", b"\x1f\x8b\x08", b"\x28\xb5\x2f", &data(400_000)] {
            let refused = uncompress(&[&whole, garbage].concat()).unwrap_err();
            assert!(matches!(refused, Error::Invalid { .. }), "{garbage:?}: {refused}");
        }
    }
    // Neither may one format follow the other.
    assert!(uncompress(&[gzip(b"a"), zstd(b"b")].concat()).is_err());
    assert!(uncompress(&[zstd(b"a"), gzip(b"b")].concat()).is_err());
}

#[test]
fn what_ends_early_is_refused_at_every_offset() {
    let data = data(3000);
    for (whole, magic) in [(gzip(&data), 3), (zstd(&data), 4), ([gzip(&data), gzip(&data)].concat(), 3)] {
        let between = gzip(&data).len();
        for len in magic..whole.len() {
            match uncompress(&whole[..len]) {
                // The first of two members is whole.
                Ok(found) => {
                    assert!(whole.len() > between + 100 && len == between && found == expected(&data), "{len}")
                }
                Err(err) => assert!(matches!(err, Error::Invalid { .. }), "{len}: {err}"),
            }
        }
    }
}

#[test]
fn what_is_damaged_is_never_taken_for_something_else() {
    let data = data(3000);
    // Their checksums see to it. What says nothing of the data may be anything.
    for whole in [gzip(&data), zstd(&data)] {
        for at in 4..whole.len() {
            for bit in [0, 3, 7] {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                match uncompress(&damaged) {
                    Ok(found) => assert_eq!(found, expected(&data), "{at}"),
                    Err(err) => assert!(matches!(err, Error::Invalid { .. } | Error::Unsupported(_)), "{at}: {err}"),
                }
            }
        }
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let zeros = vec![0; 20 << 20];
    for blob in [gzip(&zeros), zstd(&zeros), zeros.clone()] {
        let refused = open(&blob, &Limits { max_size: 5 << 20, max_ratio: 0 }).finish(&|| false).unwrap_err();
        assert!(matches!(&refused, Error::Invalid { problem, .. } if problem.contains("max_layer_size")), "{refused}");
        let limits = Limits { max_size: 20 << 20, max_ratio: 1 };
        assert_eq!(open(&blob, &limits).finish(&|| false).unwrap().size, 20 << 20);
    }
}

#[test]
fn a_frame_may_not_ask_for_any_memory() {
    let frame = |window_log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3, 1, 0, 0];
    assert_eq!(uncompress(&frame(27)).unwrap(), expected(b""));
    let refused = uncompress(&frame(28)).unwrap_err();
    assert!(matches!(refused, Error::Unsupported(_)), "{refused}");
}

/// A source that says when it is dropped.
struct Watched<R> {
    inner: R,
    _dropped: Sender<()>,
}

fn watched<R: Read + Send + 'static>(inner: R) -> (Source, Receiver<()>) {
    let (_dropped, is_dropped) = channel();
    (Box::new(Watched { inner, _dropped }), is_dropped)
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

/// Ends after some bytes with an error.
struct Failing(usize, Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.0);
        self.0 -= len;
        if len == 0 {
            return Err(self.1.take().expect("a source that failed is not read again"));
        }
        buffer[..len].fill(b'x');
        Ok(len)
    }
}

#[test]
fn the_thread_ends_when_its_reader_does() {
    for read in [0, 1, BUFFER, 3 * BUFFER] {
        let (source, is_dropped) = watched(io::repeat(b'x'));
        let mut stream = Stream::open(source, 1, &Limits::default()).unwrap();
        io::copy(&mut stream.by_ref().take(read as u64), &mut io::sink()).unwrap();
        drop(stream);
        let ended = is_dropped.recv_timeout(Duration::from_secs(30));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "after {read}");
    }
}

#[test]
fn whoever_drains_a_stream_can_be_stopped() {
    let (source, is_dropped) = watched(io::repeat(b'x'));
    let stream = Stream::open(source, 1, &Limits::default()).unwrap();
    assert!(matches!(stream.finish(&|| true), Err(Error::ShuttingDown)));
    assert!(is_dropped.recv_timeout(Duration::from_secs(30)).is_err());
}

/// The same over and over.
struct Endless(Vec<u8>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len() / self.0.len() * self.0.len();
        buffer[..len].chunks_mut(self.0.len()).for_each(|chunk| chunk.copy_from_slice(&self.0));
        Ok(len)
    }
}

#[test]
fn whoever_waits_for_nothing_can_be_stopped() {
    for part in [gzip(b""), skippable(b"xxxxxxxx")] {
        // The first bytes are read by themselves, and are the rest of no part.
        let blob = Cursor::new(part.clone()).chain(Endless(part));
        let (source, is_dropped) = watched(io::BufReader::with_capacity(64 << 10, blob));
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        };
        let mut stream = Stream::open(source, 1, &Limits::default()).unwrap().until(&stop);
        assert!(stream.fill_buf().is_err());
        assert!(matches!(stream.failure(), Some(Error::ShuttingDown)));
        drop(stream);
        let ended = is_dropped.recv_timeout(Duration::from_secs(30));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}

#[test]
fn errors_of_the_source_come_out_as_they_are() {
    let fails_with = |after: usize, err: io::Error| {
        let mut stream = Stream::open(Box::new(Failing(after, Some(err))), 1, &Limits::default()).unwrap();
        let message = io::copy(&mut stream, &mut io::sink()).unwrap_err().to_string();
        assert!(stream.fill_buf().is_err(), "a stream that failed does not end well");
        (stream.failure().unwrap(), message)
    };
    for after in [0, 1, 100, 3 * BUFFER] {
        let (err, message) = fails_with(after, io::Error::other(Error::Corrupt("as wanted".into())));
        assert!(matches!(err, Error::Corrupt(_)), "{err}");
        assert!(message.contains("as wanted"), "{message}");
        let (err, _) = fails_with(after, io::Error::from_raw_os_error(5));
        assert!(matches!(err, Error::Fs { .. }), "{err}");
    }
}

#[test]
fn a_panic_of_the_thread_is_an_error_of_the_reader() {
    let mut stream = Stream::open(Box::new(Failing(10, None)), 1, &Limits::default()).unwrap();
    assert!(stream.read_to_end(&mut Vec::new()).is_err());
    assert!(matches!(stream.failure(), Some(Error::Lost(_))));
}

#[test]
fn a_blob_is_what_its_digest_says_or_an_error() {
    let data = data(1_000_003);
    let (sha256, sha512) = (Sha256::digest(&data), Sha512::digest(&data));
    let right = [
        Digest::from_bytes(Algorithm::Sha256, &sha256).unwrap(),
        Digest::from_bytes(Algorithm::Sha512, &sha512).unwrap(),
    ];
    let verified =
        |digest: &Digest, data: &[u8]| Verified::start(Box::new(Cursor::new(data.to_vec())), digest.clone()).unwrap();
    for digest in &right {
        let mut read = Vec::new();
        let mut source = verified(digest, &data);
        source.read_to_end(&mut read).unwrap();
        assert!(read == data);
        // The end is the end, however often it is asked for.
        assert_eq!(source.read(&mut [0; 8]).unwrap(), 0);
        for wrong in [&data[1..], &data[..data.len() - 1], b""] {
            let mut read = Vec::new();
            let err = verified(digest, wrong).read_to_end(&mut read).unwrap_err();
            assert!(matches!(err.downcast::<Error>(), Ok(Error::Mismatch { .. })));
        }
    }
    let mismatched = Stream::open(Box::new(verified(&right[0], b"tar")), 3, &Limits::default()).unwrap();
    assert!(matches!(mismatched.finish(&|| false), Err(Error::Mismatch { .. })));
    let blob = gzip(&data);
    let digest = Digest::from_bytes(Algorithm::Sha256, &Sha256::digest(&blob)).unwrap();
    let stream = Stream::open(Box::new(verified(&digest, &blob)), 1, &Limits::default()).unwrap();
    assert_eq!(stream.finish(&|| false).unwrap(), expected(&data));
}

#[test]
fn a_verified_source_fails_with_what_it_was_read_from() {
    let digest = Digest::from_bytes(Algorithm::Sha256, &[0; 32]).unwrap();
    let source = Box::new(Failing(300_000, Some(io::Error::from_raw_os_error(5))));
    let mut read = Vec::new();
    let err = Verified::start(source, digest).unwrap().read_to_end(&mut read).unwrap_err();
    assert!(matches!(err.downcast::<Error>(), Ok(Error::Fs { .. })));
}
