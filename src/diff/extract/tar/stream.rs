//! The bytes of an archive, and where in them the data of an entry ends.
//!
//! Data is handed on in the pieces in which the input has it.

use std::io::{self, BufRead};

use super::MAX_SPECIAL;
use super::block::{BLOCK, Block, Header, kind};
use super::sparse::Piece;
use crate::{Error, FsOp, Result};

/// Whether the input has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Reached,
    Ahead,
}

/// The input, inside of which is the data of one entry.
pub(in crate::diff::extract) struct Data<'i> {
    input: &'i mut dyn BufRead,
    stop: &'i dyn Fn() -> bool,
    /// Bytes taken from the input.
    position: u64,
    /// Bytes of the entry that are still in the input.
    left: u64,
    /// Bytes that fill its last block.
    padding: u64,
    /// For a file with holes, which data it is.
    pieces: Option<Vec<Piece>>,
}

impl<'i> Data<'i> {
    pub(super) fn new(input: &'i mut dyn BufRead, stop: &'i dyn Fn() -> bool) -> Data<'i> {
        Data { input, stop, position: 0, left: 0, padding: 0, pieces: None }
    }

    /// Builds the error for what is no archive.
    pub(super) fn malformed(&self, problem: &str) -> Error {
        Error::invalid("layer", format!("no valid tar archive: {problem} (before byte {})", self.position))
    }

    /// Whether the file has holes.
    pub fn is_sparse(&self) -> bool {
        self.pieces.is_some()
    }

    /// Expects the data of an entry.
    pub(super) fn begin(&mut self, header: &Header) -> Result<()> {
        let size = if kind::is_header_only(header.kind) { 0 } else { header.size };
        self.left = u64::try_from(size).map_err(|_| self.malformed("an entry's size is negative"))?;
        self.padding = self.left.wrapping_neg() % BLOCK as u64;
        self.pieces = None;
        Ok(())
    }

    pub(super) fn set_pieces(&mut self, pieces: Vec<Piece>) {
        self.pieces = Some(pieces);
    }

    /// Skips what is left of an entry. An archive may end in what fills the last block.
    pub(super) fn finish(&mut self) -> Result<End> {
        let left = self.left;
        self.each_chunk(left, &mut |_| Ok(()))?;
        while self.padding > 0 {
            let len = with_chunk(self.input, <[u8]>::len)?.min(usize::try_from(self.padding).unwrap_or(BLOCK));
            if len == 0 {
                return Ok(End::Reached);
            }
            self.input.consume(len);
            self.position += len as u64;
            self.padding -= len as u64;
        }
        Ok(End::Ahead)
    }

    /// Reads a block, unless the input ends in front of it.
    pub(super) fn read_block(&mut self, block: &mut Block) -> Result<End> {
        let mut filled = 0;
        while filled < BLOCK {
            let len = with_chunk(self.input, |chunk| {
                let rest = block.get_mut(filled..).unwrap_or_default();
                let len = chunk.len().min(rest.len());
                if let (Some(to), Some(from)) = (rest.get_mut(..len), chunk.get(..len)) {
                    to.copy_from_slice(from);
                }
                len
            })?;
            if len == 0 {
                return if filled == 0 { Ok(End::Reached) } else { Err(self.cut()) };
            }
            filled += len;
            self.input.consume(len);
            self.position += len as u64;
        }
        Ok(End::Ahead)
    }

    /// Reads a block that has to be there and is not part of an entry's data.
    pub(super) fn read_raw(&mut self, block: &mut Block) -> Result<()> {
        if self.read_block(block)? == End::Reached { Err(self.cut()) } else { Ok(()) }
    }

    /// Reads a block of the entry's data.
    pub(super) fn read_of_entry(&mut self, block: &mut Block) -> Result<()> {
        self.left = self.left.checked_sub(BLOCK as u64).ok_or_else(|| self.malformed("data is missing"))?;
        self.read_raw(block)
    }

    /// Reads the whole data of an entry that belongs to the next one.
    pub(super) fn read_special(&mut self, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        if self.left > MAX_SPECIAL {
            return Err(self.malformed("names or records of more than a mebibyte"));
        }
        self.each_chunk(self.left, &mut |chunk| {
            into.extend_from_slice(chunk);
            Ok(())
        })
    }

    /// Calls `write` with what is left of the entry's data, in order, and with where in the file it belongs.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the input ends early or the data is not what was announced; [`Error::ShuttingDown`] when
    /// it is stopped; those of the input and of `write`.
    pub fn copy(&mut self, write: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let whole = [Piece { offset: 0, len: self.left }];
        let pieces = self.pieces.take();
        for piece in pieces.as_deref().unwrap_or(&whole) {
            if piece.len > self.left {
                return Err(self.malformed("data of a sparse file is missing"));
            }
            let mut offset = piece.offset;
            self.each_chunk(piece.len, &mut |chunk| {
                write(offset, chunk)?;
                offset += chunk.len() as u64;
                Ok(())
            })?;
        }
        if self.left > 0 {
            return Err(self.malformed("a sparse file has more data than pieces"));
        }
        Ok(())
    }

    fn each_chunk(&mut self, len: u64, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = len;
        while left > 0 {
            if (self.stop)() {
                return Err(Error::ShuttingDown);
            }
            let len = with_chunk(self.input, |chunk| {
                let len = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
                take(chunk.get(..len).unwrap_or_default()).map(|()| len)
            })??;
            if len == 0 {
                return Err(self.cut());
            }
            self.input.consume(len);
            self.position += len as u64;
            self.left -= len as u64;
            left -= len as u64;
        }
        Ok(())
    }

    fn cut(&self) -> Error {
        self.malformed("it ends too early")
    }
}

/// Waits for input, and hands on what there is of it; nothing at the end.
fn with_chunk<R>(input: &mut dyn BufRead, take: impl FnOnce(&[u8]) -> R) -> Result<R> {
    loop {
        match input.fill_buf() {
            Ok(chunk) => return Ok(take(chunk)),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(failed(err)),
        }
    }
}

/// Turns an error of the input into one of ours: whoever decompresses says what is wrong, or has said it already.
fn failed(err: io::Error) -> Error {
    if err.raw_os_error().is_some() {
        return Error::Fs { op: FsOp::Read, path: "layer".into(), source: err };
    }
    match err.downcast::<Error>() {
        Ok(err) => err,
        Err(err) => Error::invalid("layer", err.to_string()),
    }
}
