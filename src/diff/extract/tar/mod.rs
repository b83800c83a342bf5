//! Tar archives as a stream of entries.
//!
//! Takes and refuses what Go's `archive/tar` takes and refuses, because that is what images are made for: V7, ustar, PAX,
//! GNU and star headers, long names, numbers in binary, sparse files in all four ways. An archive may end without its
//! end marker, but not inside of a header or of data. Memory is bounded: whatever stands before an entry is
//! at most [`MAX_SPECIAL`] bytes, and data is never copied.

mod block;
mod number;
mod pax;
mod sparse;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use block::{Header, kind};
pub(super) use stream::Data;

use std::io::BufRead;

use block::{BLOCK, Block, Format};
use pax::{Key, Records};
use sparse::{MapReader, Piece};
use stream::End;

use crate::Result;

/// Bytes of the longest name in GNU's way and of the most PAX records of one entry.
const MAX_SPECIAL: u64 = 1 << 20;

/// Reads an archive.
pub(super) struct Reader<'i> {
    /// The data of the entry that was read last.
    pub data: Data<'i>,
    /// That entry.
    pub entry: Entry,
}

/// One entry, without its data.
#[derive(Default)]
pub(super) struct Entry {
    /// What it is.
    pub header: Header,
    records: Records,
}

impl Entry {
    /// Returns names and values of its extended attributes, each name once.
    pub fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records.xattrs()
    }
}

impl<'i> Reader<'i> {
    /// Starts at the first header. `stop` is asked before each chunk of data; true ends it.
    pub fn new(input: &'i mut dyn BufRead, stop: &'i dyn Fn() -> bool) -> Reader<'i> {
        Reader { data: Data::new(input, stop), entry: Entry::default() }
    }

    /// Goes on to the next entry; what was not read of the last one is skipped. False at the end.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for what is no archive; those of the input.
    pub fn advance(&mut self) -> Result<bool> {
        let Reader { data, entry } = self;
        let (mut long_name, mut long_link) = (Vec::new(), Vec::new());
        let mut block: Block = [0; BLOCK];
        entry.records.clear();
        loop {
            if data.finish()? == End::Reached {
                return Ok(false);
            }
            let Some(format) = next_header(data, &mut block, &mut entry.header)? else { return Ok(false) };
            data.begin(&entry.header)?;
            match entry.header.kind {
                kind::RECORDS | kind::GLOBAL_RECORDS => {
                    data.read_special(&mut entry.records.text)?;
                    entry.records.parse().ok_or_else(|| data.malformed("PAX records cannot be read"))?;
                    if entry.header.kind == kind::GLOBAL_RECORDS {
                        // An entry of its own, that has no effect on others.
                        merge(data, entry)?;
                        return Ok(true);
                    }
                }
                kind::LONG_NAME => long_special(data, &mut long_name)?,
                kind::LONG_LINK => long_special(data, &mut long_link)?,
                _ => {
                    merge(data, entry)?;
                    let header = &mut entry.header;
                    for (long, field) in [(&mut long_name, &mut header.name), (&mut long_link, &mut header.link)] {
                        if !long.is_empty() {
                            std::mem::swap(long, field);
                        }
                    }
                    if header.kind == kind::OLD_FILE {
                        header.kind = if header.name.ends_with(b"/") { kind::DIRECTORY } else { kind::FILE };
                    }
                    // Records may have changed the size.
                    data.begin(header)?;
                    if let Some(pieces) = holes(data, entry, &block, format)? {
                        data.set_pieces(pieces);
                    }
                    return Ok(true);
                }
            }
        }
    }
}

/// Reads a header into `block` and `header`; `None` at the end of the archive.
fn next_header(data: &mut Data<'_>, block: &mut Block, header: &mut Header) -> Result<Option<Format>> {
    if data.read_block(block)? == End::Reached {
        return Ok(None);
    }
    if is_zero(block) {
        if data.read_block(block)? == End::Reached || is_zero(block) {
            return Ok(None);
        }
        return Err(data.malformed("an empty block is followed by one that is not"));
    }
    let format = block::format(block).ok_or_else(|| data.malformed("a header's checksum is wrong"))?;
    block::read(block, format, header).ok_or_else(|| data.malformed("a number in a header cannot be read"))?;
    Ok(Some(format))
}

fn is_zero(block: &Block) -> bool {
    block.iter().fold(0, |all, byte| all | byte) == 0
}

fn merge(data: &Data<'_>, entry: &mut Entry) -> Result<()> {
    let Entry { header, records } = entry;
    records.merge(header).ok_or_else(|| data.malformed("a number in PAX records cannot be read"))
}

/// Reads a name that is too long for a header.
fn long_special(data: &mut Data<'_>, name: &mut Vec<u8>) -> Result<()> {
    data.read_special(name)?;
    let len = block::text(name).len();
    name.truncate(len);
    Ok(())
}

/// Finds out which pieces of a file with holes follow. `None` for a file without.
fn holes(data: &mut Data<'_>, entry: &mut Entry, block: &Block, format: Format) -> Result<Option<Vec<Piece>>> {
    let pieces = if entry.header.kind == kind::SPARSE {
        old_holes(data, &mut entry.header, block, format)?
    } else {
        match pax_holes(data, entry)? {
            Some(pieces) => pieces,
            None => return Ok(None),
        }
    };
    if kind::is_header_only(entry.header.kind) {
        return Err(data.malformed("holes in what is no file"));
    }
    match sparse::check(&pieces, entry.header.size) {
        Some(pieces) => Ok(Some(pieces)),
        None => Err(data.malformed("pieces of a sparse file are not in order")),
    }
}

/// Reads the map of an entry of type `S`, with the blocks that extend its header.
fn old_holes(data: &mut Data<'_>, header: &mut Header, block: &Block, format: Format) -> Result<Vec<(i64, i64)>> {
    let size = number::numeric(block::field(block, 483, 12)).filter(|_| format == Format::Gnu);
    let malformed = |data: &Data<'_>| data.malformed("a sparse file's header cannot be read");
    header.size = size.ok_or_else(|| malformed(data))?;
    let mut pieces = Vec::new();
    let mut more = sparse::header(block, &mut pieces).ok_or_else(|| malformed(data))?;
    let mut read = 0;
    let mut extension: Block = [0; BLOCK];
    while more {
        read += BLOCK;
        if read >= sparse::MAX_MAP {
            return Err(data.malformed("a sparse file has too many pieces"));
        }
        data.read_raw(&mut extension)?;
        more = sparse::extension(&extension, &mut pieces).ok_or_else(|| malformed(data))?;
    }
    Ok(pieces)
}

/// Reads the map that PAX records speak of. `None` when they speak of none.
fn pax_holes(data: &mut Data<'_>, entry: &mut Entry) -> Result<Option<Vec<(i64, i64)>>> {
    let Entry { header, records } = entry;
    let before_data = match (records.get(Key::SparseMajor), records.get(Key::SparseMinor)) {
        (b"0", b"0" | b"1") => false,
        (b"1", b"0") => true,
        (b"", b"") if records.has_map() => false,
        // None, or a version that nobody knows.
        _ => return Ok(None),
    };
    let name = records.get(Key::SparseName);
    if !name.is_empty() {
        header.name.clear();
        header.name.extend_from_slice(name);
    }
    let malformed = |data: &Data<'_>| data.malformed("a map of holes cannot be read");
    let size = [Key::SparseSize, Key::SparseRealSize].map(|key| records.get(key)).into_iter().find(|s| !s.is_empty());
    if let Some(size) = size {
        header.size = number::decimal(size).ok_or_else(|| malformed(data))?;
    }
    if !before_data {
        let pieces = sparse::pairs(&records.map(), records.get(Key::SparseBlocks));
        return pieces.map(Some).ok_or_else(|| malformed(data));
    }
    let mut map = MapReader::default();
    let mut block: Block = [0; BLOCK];
    loop {
        if map.is_full() {
            return Err(data.malformed("a sparse file has too many pieces"));
        }
        data.read_of_entry(&mut block)?;
        if let Some(pieces) = map.feed(&block).ok_or_else(|| malformed(data))? {
            return Ok(Some(pieces));
        }
    }
}
