//! Files with holes: which pieces of them an archive has.
//!
//! Three ways of GNU tar are read: in the header and blocks behind it (type `S`), in PAX records (0.0 and 0.1), and in
//! front of the data (1.0). All give a list of pieces in order; between them and behind the last one are holes.

use super::block::{Block, field};
use super::number::{decimal, numeric};

/// Data of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where in the file it belongs.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// Bytes of the longest map.
pub(super) const MAX_MAP: usize = 1 << 20;

/// Bytes of one piece in a header.
const PIECE: usize = 24;
/// Pieces in the header of an entry, and in a block that extends it.
const IN_HEADER: usize = 4;
const IN_EXTENSION: usize = 21;

/// Reads the pieces in the header of an entry of type `S`. Tells whether a block with more of them follows.
pub(super) fn header(block: &Block, pieces: &mut Vec<(i64, i64)>) -> Option<bool> {
    table(field(block, 386, PIECE * IN_HEADER + 1), IN_HEADER, pieces)
}

/// Reads the pieces in a block that extends such a header.
pub(super) fn extension(block: &Block, pieces: &mut Vec<(i64, i64)>) -> Option<bool> {
    table(block, IN_EXTENSION, pieces)
}

fn table(bytes: &[u8], count: usize, pieces: &mut Vec<(i64, i64)>) -> Option<bool> {
    for entry in bytes.chunks_exact(PIECE).take(count) {
        let (offset, len) = entry.split_at_checked(PIECE / 2)?;
        if offset.first() == Some(&0) {
            break;
        }
        pieces.push((numeric(offset)?, numeric(len)?));
    }
    Some(bytes.get(PIECE * count)? > &0)
}

/// Pairs the numbers of a map in PAX records, of which there must be `count` pairs.
pub(super) fn pairs(numbers: &[&[u8]], count: &[u8]) -> Option<Vec<(i64, i64)>> {
    let count = decimal(count).and_then(|count| usize::try_from(count).ok())?;
    if count.checked_mul(2)? != numbers.len() {
        return None;
    }
    numbers.chunks_exact(2).map(|pair| Some((decimal(pair.first()?)?, decimal(pair.last()?)?))).collect()
}

/// A map in front of the data: decimal numbers, each with a line end, the first one the number of pairs. It fills whole
/// blocks, and is fed block by block.
#[derive(Default)]
pub(super) struct MapReader {
    text: Vec<u8>,
    lines: usize,
}

impl MapReader {
    /// Takes the next block. Returns the pieces when they are complete, and `None` when they are malformed.
    pub fn feed(&mut self, block: &Block) -> Option<Option<Vec<(i64, i64)>>> {
        self.text.extend_from_slice(block);
        self.lines += block.iter().filter(|byte| **byte == b'\n').count();
        if self.lines == 0 {
            return Some(None);
        }
        let mut numbers = self.text.split(|byte| *byte == b'\n');
        let count = numbers.next().and_then(decimal).and_then(|count| usize::try_from(count).ok())?;
        if self.lines - 1 < count.checked_mul(2)? {
            return Some(None);
        }
        let mut pieces = Vec::with_capacity(count);
        for _ in 0..count {
            pieces.push((decimal(numbers.next()?)?, decimal(numbers.next()?)?));
        }
        Some(Some(pieces))
    }

    /// Whether one more block would be too many.
    pub fn is_full(&self) -> bool {
        self.text.len() + size_of::<Block>() > MAX_MAP
    }
}

/// Checks that the pieces are in order and inside of a file of `size` bytes.
pub(super) fn check(pieces: &[(i64, i64)], size: i64) -> Option<Vec<Piece>> {
    let size = u64::try_from(size).ok()?;
    let mut end = 0;
    let mut checked = Vec::with_capacity(pieces.len());
    for (offset, len) in pieces {
        let piece = Piece { offset: u64::try_from(*offset).ok()?, len: u64::try_from(*len).ok()? };
        if piece.offset < end {
            return None;
        }
        // Both are below 2^63.
        end = piece.offset + piece.len;
        if end > size {
            return None;
        }
        checked.push(piece);
    }
    Some(checked)
}
