//! Any bytes as a blob; and any bytes compressed, in parts, as a blob.
//!
//! Invariant: the stream ends or fails, with no more memory than its buffers and no more bytes than are allowed; what ends
//! has the digest and the size of what was read of it; what was compressed comes out as it was, and cut short it fails;
//! nothing panics, in no thread.

#![no_main]

use std::io::{Cursor, Read as _, Write as _};

use flate2::{Compression, GzBuilder};
use leasehold_fuzz::Error;
use leasehold_fuzz::diff::stream::{Limits, Stream};
use leasehold_fuzz::memory::bounded;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

/// Bytes that may come out.
const MOST: u64 = 8 << 20;
/// Bytes of memory: the buffers, and what is kept here.
const MEMORY: usize = 40 << 20;

fn read(blob: &[u8], chunk: usize) -> Result<Vec<u8>, Error> {
    let limits = Limits { max_size: MOST, max_ratio: 0 };
    let mut stream = Stream::open(Box::new(Cursor::new(blob.to_vec())), blob.len() as u64, &limits).unwrap();
    let mut all = Vec::new();
    let mut buffer = vec![0; chunk];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => all.extend(&buffer[..len]),
            Err(_) => {
                let err = stream.failure().expect("a reason");
                assert!(!matches!(err, Error::Lost(_)), "{err}");
                return Err(err);
            }
        }
    }
    assert!(all.len() as u64 <= MOST);
    let found = stream.finish(&|| false).unwrap();
    let digest: String = Sha256::digest(&all).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((found.diff_id.hex(), found.size), (&*digest, all.len() as u64));
    Ok(all)
}

fn gzip(data: &[u8], level: u8) -> Vec<u8> {
    let builder =
        if level & 4 == 0 { GzBuilder::new() } else { GzBuilder::new().filename("a").comment("b").extra(b"cd") };
    let mut encoder = builder.write(Vec::new(), Compression::new(u32::from(level & 3) * 3));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8], level: u8) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), i32::from(level & 3) + 1).unwrap();
    encoder.include_checksum(level & 4 == 0).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fuzz_target!(|data: &[u8]| {
    let [how, at, rest @ ..] = data else { return };
    let chunk = if how & 0x20 == 0 { 1 << 16 } else { 1 + usize::from(*at) };
    bounded(MEMORY, || {
        if how & 0x80 == 0 {
            // Why it is refused does not matter.
            _ = read(rest, chunk);
            return;
        }
        let (first, second) = rest.split_at(rest.len() * usize::from(*at) / 256);
        let compress = if how & 0x40 == 0 { gzip } else { zstd };
        let parts = [compress(first, how & 7), compress(second, how >> 3 & 7)];
        let mut blob = parts.concat();
        assert!(read(&blob, chunk).unwrap() == rest, "not what was compressed");
        blob.pop();
        assert!(read(&blob, chunk).is_err(), "cut short");
        blob.extend([0, 0]);
        // Another last byte, and one too many.
        assert!(read(&blob, chunk).is_err(), "garbage behind it");
    });
});
