//! A stream that is compressed on a thread of its own, while what comes next is read and hashed.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::chunks::{Chunk, Output};
use crate::types::{Algorithm, Digest};
use crate::{Error, Result};

/// Chunks between the two threads.
const QUEUE: usize = 3;
/// How much of the compressed stream is passed on at a time.
const BUFFER: usize = 1 << 20;
/// What containerd uses of each.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// "Unknown": a blob says nothing about the host that made it.
const GZIP_SYSTEM: u8 = 255;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, without a name and a time.
    Gzip,
    /// One frame of zstd.
    Zstd,
}

/// A stream, before and after it was compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Digest of the uncompressed stream.
    pub diff_id: Digest,
    /// Bytes in that.
    pub uncompressed: u64,
    /// Digest of what the sink was given.
    pub digest: Digest,
    /// Bytes in that.
    pub size: u64,
}

/// Takes what there is of a blob, in order.
pub trait Sink: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// Whatever keeps it from that; nothing more comes then.
    fn append(&mut self, bytes: Vec<u8>) -> Result<()>;
}

/// What the other thread is told.
enum Part {
    Chunk(Chunk),
    /// There is nothing more. Without this, the stream was broken off.
    End,
}

/// Has `produce` write a stream, and passes it on to `sink`.
///
/// # Errors
/// Those of both. `sink` may have been given a part then.
pub(super) fn pack(
    compression: Compression,
    sink: &mut dyn Sink,
    produce: impl for<'o> FnOnce(Output<'o>) -> Result<Output<'o>>,
) -> Result<Written> {
    thread::scope(|scope| {
        let (full, parts) = sync_channel(QUEUE);
        let (give_back, empty) = channel();
        let other = thread::Builder::new()
            .name("compress".into())
            .spawn_scoped(scope, move || compress(compression, sink, &parts, |chunk| drop(give_back.send(chunk))))
            .map_err(|_| Error::Lost("the thread that compresses a layer"))?;
        let mut spare = QUEUE;
        let mut hand_over = |chunk| {
            send(&full, Part::Chunk(chunk))?;
            if spare > 0 {
                spare -= 1;
                return Ok(Chunk::new());
            }
            empty.recv().map_err(|_| Error::Lost(BROKEN_OFF))
        };
        let produced = produce(Output::new(&mut hand_over)).and_then(Output::finish);
        let produced = produced.and_then(|produced| send(&full, Part::End).map(|()| produced));
        drop(full);
        let compressed = other.join().unwrap_or(Err(Error::Lost("the thread that compresses a layer")));
        match (produced, compressed) {
            (Ok((diff_id, uncompressed)), Ok((digest, size))) => {
                let digest = digest.unwrap_or_else(|| diff_id.clone());
                Ok(Written { diff_id, uncompressed, digest, size })
            }
            // The reason, and not that it was told to nobody.
            (Err(Error::Lost(BROKEN_OFF)), Err(reason)) | (Err(reason), _) | (Ok(_), Err(reason)) => Err(reason),
        }
    })
}

/// What one thread is answered when the other one has failed.
const BROKEN_OFF: &str = "the stream of a layer";

fn send(to: &SyncSender<Part>, part: Part) -> Result<()> {
    to.send(part).map_err(|_| Error::Lost(BROKEN_OFF))
}

/// Returns the digest and the size of the result; no digest where it is what it was.
fn compress(
    compression: Compression,
    sink: &mut dyn Sink,
    parts: &Receiver<Part>,
    give_back: impl Fn(Chunk),
) -> Result<(Option<Digest>, u64)> {
    let hash = (compression != Compression::None).then(Sha256::new);
    let passing = Passing { sink, buffer: Vec::with_capacity(BUFFER), hash, size: 0 };
    let mut encoder = Encoder::new(compression, passing).map_err(inner)?;
    loop {
        match parts.recv() {
            Ok(Part::Chunk(chunk)) => {
                encoder.write_all(chunk.filled()).map_err(inner)?;
                give_back(chunk);
            }
            Ok(Part::End) => return encoder.finish().map_err(inner)?.finish(),
            Err(_) => return Err(Error::Lost(BROKEN_OFF)),
        }
    }
}

/// Takes a crate's error out of the library's that carried it.
fn inner(err: io::Error) -> Error {
    match err.downcast::<Error>() {
        Ok(err) => err,
        Err(err) => Error::Fs { op: crate::FsOp::Write, path: "a compressed layer".into(), source: err },
    }
}

enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    fn new(compression: Compression, to: W) -> io::Result<Encoder<W>> {
        Ok(match compression {
            Compression::None => Encoder::Plain(to),
            Compression::Gzip => {
                let builder = GzBuilder::new().operating_system(GZIP_SYSTEM);
                Encoder::Gzip(builder.write(to, flate2::Compression::new(GZIP_LEVEL)))
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(to, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(to) => to.write_all(bytes),
            Encoder::Gzip(encoder) => encoder.write_all(bytes),
            Encoder::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Plain(to) => Ok(to),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Gathers the small writes of a library.
struct Passing<'s> {
    sink: &'s mut dyn Sink,
    buffer: Vec<u8>,
    hash: Option<Sha256>,
    size: u64,
}

impl Passing<'_> {
    fn finish(mut self) -> Result<(Option<Digest>, u64)> {
        self.pass_on()?;
        let digest = self.hash.map(|hash| Digest::from_bytes(Algorithm::Sha256, &hash.finalize()));
        Ok((digest.map(|digest| digest.ok_or(Error::Lost("a digest"))).transpose()?, self.size))
    }

    fn pass_on(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Some(hash) = &mut self.hash {
            hash.update(&self.buffer);
        }
        self.size += self.buffer.len() as u64;
        self.sink.append(std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER)))
    }
}

impl Write for Passing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.pass_on().map_err(io::Error::other)?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
