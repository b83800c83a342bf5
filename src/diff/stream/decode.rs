//! Decompression: what a blob is compressed with, found out from its first bytes, and the decoder of it.
//!
//! What is accepted is what containerd's decoders accept. Both formats may have several parts (members, frames), with
//! frames to be skipped among them, and nothing may follow the last: that is an error, as is a part that ends early.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::{Error, FsOp, Result};

/// How much compressed data is read at a time. More gains nothing measurable, and less than an eighth of it loses.
const READ: usize = 256 << 10;
/// As many bytes tell what a blob is compressed with.
const MAGIC: usize = 10;
/// The largest window of zstd, as a power of two: 128 MiB, which is what its own program allows unless told otherwise.
/// Only `--ultra -22` and `--long` need as much; level 19 needs 8 MiB. A window is memory, for each layer under way.
const WINDOW_LOG: u32 = 27;

/// What a blob is read from.
pub type Source = Box<dyn Read + Send>;

type Input = BufReader<Chain<Cursor<Vec<u8>>, Source>>;

/// The uncompressed data of one blob.
pub(super) enum Decoder {
    Plain(Input),
    Gzip(MultiGzDecoder<Input>),
    Zstd(ZstdDecoder<'static, Input>),
}

impl Decoder {
    /// Looks at the first bytes of a blob. What its media type says of compression does not matter.
    ///
    /// # Errors
    /// [`Error::Fs`], or what the source fails with.
    pub fn open(mut source: Source) -> Result<Decoder> {
        let mut head = Vec::with_capacity(MAGIC);
        source.by_ref().take(MAGIC as u64).read_to_end(&mut head).map_err(explain)?;
        let format = Format::detect(&head);
        let input = BufReader::with_capacity(READ, Cursor::new(head).chain(source));
        Ok(match format {
            Format::Plain => Decoder::Plain(input),
            Format::Gzip => Decoder::Gzip(MultiGzDecoder::new(input)),
            Format::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(input).map_err(explain)?;
                decoder.window_log_max(WINDOW_LOG).map_err(explain)?;
                Decoder::Zstd(decoder)
            }
        })
    }

    /// Fills a buffer, and returns how much is in it: less than all of it only at the end.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be decompressed, [`Error::Unsupported`] for what would need too much memory,
    /// and what the source fails with.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = match self {
                Decoder::Plain(input) => input.read(rest),
                Decoder::Gzip(decoder) => decoder.read(rest),
                Decoder::Zstd(decoder) => decoder.read(rest),
            };
            match read {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(self.explain(err)),
            }
        }
        Ok(filled)
    }

    fn explain(&self, err: io::Error) -> Error {
        let format = match self {
            Decoder::Plain(_) => return explain(err),
            Decoder::Gzip(_) => "gzip",
            Decoder::Zstd(_) => "zstd",
        };
        // Of the kernel, or of whoever else reads: the decoders have neither.
        if err.raw_os_error().is_some() || err.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            return explain(err);
        }
        let text = err.to_string();
        if text.contains("too much memory") {
            return Error::Unsupported(format!(
                "a zstd frame with a window of more than {} MiB",
                1 << (WINDOW_LOG - 20)
            ));
        }
        match err.kind() {
            io::ErrorKind::UnexpectedEof => Error::invalid("layer", format!("the {format} data ends too early")),
            _ => Error::invalid("layer", format!("malformed {format} data: {text}")),
        }
    }
}

/// Takes an error of ours out of an I/O error, where it is one.
fn explain(err: io::Error) -> Error {
    match err.downcast::<Error>() {
        Ok(inner) => inner,
        Err(err) => Error::fs(FsOp::Read, "blob".as_ref())(err),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Format {
    /// An empty blob is an empty layer: there are images with such.
    fn detect(head: &[u8]) -> Format {
        // Any of 16 numbers begins a frame to be skipped, and its length follows.
        let is_skippable = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, _, _, _, _, ..]);
        match head {
            [0x1f, 0x8b, 0x08, ..] => Format::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
            _ if is_skippable => Format::Zstd,
            _ => Format::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        for (head, format) in [
            (&b""[..], Format::Plain),
            (b"\x1f\x8b", Format::Plain),
            (b"\x1f\x8b\x08", Format::Gzip),
            (b"\x1f\x8b\x07\0\0\0\0\0\0\0", Format::Plain),
            (b"\x28\xb5\x2f\xfd", Format::Zstd),
            (b"\x50\x2a\x4d\x18\0\0\0\0", Format::Zstd),
            (b"\x5f\x2a\x4d\x18\0\0\0\0\0\0", Format::Zstd),
            (b"\x5f\x2a\x4d\x18\0\0\0", Format::Plain),
            (b"\x60\x2a\x4d\x18\0\0\0\0", Format::Plain),
            (b"etc/passwd", Format::Plain),
        ] {
            assert_eq!(Format::detect(head), format, "{head:?}");
        }
    }
}
