//! One block of 512 bytes as a header.
//!
//! Knows the layouts (V7, ustar, GNU, star), checks the sum, and takes the fields out. Which layout it is follows from
//! the magic numbers alone.

use super::number::{Time, numeric, octal};

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;
/// A header, or a piece of data.
pub(super) type Block = [u8; BLOCK];

/// What the header of an entry says, with what longer records say in place of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::diff::extract) struct Header {
    /// One of [`kind`].
    pub kind: u8,
    /// Path of the entry, as it was written.
    pub name: Vec<u8>,
    /// What a link leads to.
    pub link: Vec<u8>,
    /// Bytes of a file; of a sparse one with its holes.
    pub size: i64,
    /// Permissions, and perhaps a type that means nothing.
    pub mode: i64,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// When the content changed.
    pub mtime: Time,
    /// When it was read; often not set.
    pub atime: Time,
    /// Of a device.
    pub major: i64,
    /// Of a device.
    pub minor: i64,
}

/// The types of entries.
pub(in crate::diff::extract) mod kind {
    /// A file.
    pub const FILE: u8 = b'0';
    /// A file, or a directory when its name ends in a slash, in the oldest archives.
    pub const OLD_FILE: u8 = 0;
    /// Another name of a file.
    pub const HARD_LINK: u8 = b'1';
    /// A symbolic link.
    pub const SYMLINK: u8 = b'2';
    /// A character device.
    pub const CHAR_DEVICE: u8 = b'3';
    /// A block device.
    pub const BLOCK_DEVICE: u8 = b'4';
    /// A directory.
    pub const DIRECTORY: u8 = b'5';
    /// A named pipe.
    pub const FIFO: u8 = b'6';
    /// PAX records for the next entry.
    pub const RECORDS: u8 = b'x';
    /// PAX records for all entries that follow.
    pub const GLOBAL_RECORDS: u8 = b'g';
    /// A file with holes, in GNU's older way.
    pub const SPARSE: u8 = b'S';
    /// The name of the next entry, in GNU's way.
    pub const LONG_NAME: u8 = b'L';
    /// What the next entry leads to, in GNU's way.
    pub const LONG_LINK: u8 = b'K';

    /// Whether such an entry never has data, whatever size its header tells.
    pub fn is_header_only(kind: u8) -> bool {
        matches!(kind, HARD_LINK | SYMLINK | CHAR_DEVICE | BLOCK_DEVICE | DIRECTORY | FIFO)
    }
}

/// How the fields behind the first 257 bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Gnu,
    Star,
}

/// Returns the layout of a header; `None` when its sum is wrong.
pub(super) fn format(block: &Block) -> Option<Format> {
    let sum = octal(field(block, 148, 8))?;
    let of = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
    let signed = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
    let (before, after) = (field(block, 0, 148), field(block, 156, BLOCK - 156));
    // The field of the sum counts as spaces. Some old writers took the bytes as signed.
    let spaces = 8 * i64::from(b' ');
    if sum != of(before) + of(after) + spaces && sum != signed(before) + signed(after) + spaces {
        return None;
    }
    Some(match (field(block, 257, 6), field(block, 263, 2), field(block, 508, 4)) {
        (b"ustar\0", _, b"tar\0") => Format::Star,
        (b"ustar\0", _, _) => Format::Ustar,
        (b"ustar ", b" \0", _) => Format::Gnu,
        _ => Format::V7,
    })
}

/// Fills `header` from a block; `None` when a number cannot be read.
pub(super) fn read(block: &Block, format: Format, header: &mut Header) -> Option<()> {
    header.kind = field(block, 156, 1).first().copied()?;
    header.name.clear();
    header.link.clear();
    header.link.extend_from_slice(text(field(block, 157, 100)));
    header.size = numeric(field(block, 124, 12))?;
    header.mode = numeric(field(block, 100, 8))?;
    header.uid = numeric(field(block, 108, 8))?;
    header.gid = numeric(field(block, 116, 8))?;
    header.mtime = Time::unix(numeric(field(block, 136, 12))?);
    header.atime = Time::default();
    (header.major, header.minor) = (0, 0);
    let mut prefix: &[u8] = &[];
    if format != Format::V7 {
        header.major = numeric(field(block, 329, 8))?;
        header.minor = numeric(field(block, 337, 8))?;
        match format {
            Format::V7 => {}
            Format::Ustar => prefix = text(field(block, 345, 155)),
            Format::Star => {
                prefix = text(field(block, 345, 131));
                header.atime = Time::unix(numeric(field(block, 476, 12))?);
                numeric(field(block, 488, 12))?;
            }
            Format::Gnu => match (gnu_time(field(block, 345, 12)), gnu_time(field(block, 357, 12))) {
                (Some(atime), Some(_)) => header.atime = atime,
                // Go once wrote a prefix where GNU has times.
                _ => prefix = Some(text(field(block, 345, 155))).filter(|text| text.is_ascii()).unwrap_or_default(),
            },
        }
    }
    if !prefix.is_empty() {
        header.name.extend_from_slice(prefix);
        header.name.push(b'/');
    }
    header.name.extend_from_slice(text(field(block, 0, 100)));
    Some(())
}

/// Reads a time that need not be there.
fn gnu_time(field: &[u8]) -> Option<Time> {
    if field.first() == Some(&0) { Some(Time::default()) } else { numeric(field).map(Time::unix) }
}

/// Returns a field. Only constants are passed, so that it is always there.
pub(super) fn field(block: &[u8], start: usize, len: usize) -> &[u8] {
    block.get(start..start + len).unwrap_or_default()
}

/// Returns what is before the first zero byte.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
