//! PAX records: what does not fit the fields of a header.
//!
//! `<length> <key>=<value>\n`, with the length of the whole record. Of several records with one key the last one counts,
//! and an empty value leaves the header's. A record that means nothing here is checked and forgotten.

use std::ops::Range;

use super::block::Header;
use super::number::{Time, decimal};

/// The keys that mean something, other than attributes.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Path,
    LinkPath,
    Uid,
    Gid,
    Atime,
    Mtime,
    Ctime,
    Size,
    SparseMap,
    SparseBlocks,
    SparseName,
    SparseMajor,
    SparseMinor,
    SparseSize,
    SparseRealSize,
}

const KEYS: usize = Key::SparseRealSize as usize + 1;

/// The prefix of keys that are extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records in front of one entry.
#[derive(Default)]
pub(super) struct Records {
    /// The records as they were in the archive; everything else points into it.
    pub text: Vec<u8>,
    known: [Option<Range<usize>>; KEYS],
    /// Names and values, each name once.
    xattrs: Vec<(Range<usize>, Range<usize>)>,
    /// Offsets and lengths of the oldest way to tell of holes, which repeats keys.
    pieces: Vec<Range<usize>>,
}

impl Records {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.text.clear();
        self.known = Default::default();
        self.xattrs.clear();
        self.pieces.clear();
    }

    /// Takes `text` apart; `None` when it is malformed.
    pub fn parse(&mut self) -> Option<()> {
        self.known = Default::default();
        self.xattrs.clear();
        self.pieces.clear();
        let mut start = 0;
        while start < self.text.len() {
            let (key, value) = record(&self.text, start)?;
            start = value.end + 1;
            self.take(key, value)?;
        }
        // The last of one name counts.
        let text = &self.text;
        self.xattrs.sort_by(|a, b| text.get(a.0.clone()).cmp(&text.get(b.0.clone())));
        self.xattrs.dedup_by(|later, kept| {
            let same = text.get(later.0.clone()) == text.get(kept.0.clone());
            if same {
                kept.1 = later.1.clone();
            }
            same
        });
        Some(())
    }

    fn take(&mut self, key: Range<usize>, value: Range<usize>) -> Option<()> {
        let (name, text) = (self.text.get(key.clone())?, self.text.get(value.clone())?);
        let string = matches!(name, b"path" | b"linkpath" | b"uname" | b"gname");
        if name.is_empty() || if string { text.contains(&0) } else { name.contains(&0) } {
            return None;
        }
        let known = match name {
            b"path" => Key::Path,
            b"linkpath" => Key::LinkPath,
            b"uid" => Key::Uid,
            b"gid" => Key::Gid,
            b"atime" => Key::Atime,
            b"mtime" => Key::Mtime,
            b"ctime" => Key::Ctime,
            b"size" => Key::Size,
            b"GNU.sparse.map" => Key::SparseMap,
            b"GNU.sparse.numblocks" => Key::SparseBlocks,
            b"GNU.sparse.name" => Key::SparseName,
            b"GNU.sparse.major" => Key::SparseMajor,
            b"GNU.sparse.minor" => Key::SparseMinor,
            b"GNU.sparse.size" => Key::SparseSize,
            b"GNU.sparse.realsize" => Key::SparseRealSize,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let offset_is_next = self.pieces.len().is_multiple_of(2);
                if (name == b"GNU.sparse.offset") != offset_is_next || text.contains(&b',') {
                    return None;
                }
                self.pieces.push(value);
                return Some(());
            }
            _ => {
                if name.starts_with(XATTR) {
                    self.xattrs.push((key.start + XATTR.len()..key.end, value));
                }
                return Some(());
            }
        };
        *self.known.get_mut(known as usize)? = Some(value);
        Some(())
    }

    /// Returns a value, empty when there is none.
    pub fn get(&self, key: Key) -> &[u8] {
        let range = self.known.get(key as usize).cloned().flatten();
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
    }

    /// Returns the extended attributes.
    pub fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.xattrs
            .iter()
            .filter_map(|(name, value)| Some((self.text.get(name.clone())?, self.text.get(value.clone())?)))
    }

    /// Returns the numbers of a map of holes: offset, length, offset, and so on.
    pub fn map(&self) -> Vec<&[u8]> {
        let mut numbers: Vec<_> = if self.pieces.is_empty() {
            self.get(Key::SparseMap).split(|byte| *byte == b',').collect()
        } else {
            self.pieces.iter().filter_map(|range| self.text.get(range.clone())).collect()
        };
        if numbers == [b""] {
            numbers.clear();
        }
        numbers
    }

    /// Whether there is a map of holes.
    pub fn has_map(&self) -> bool {
        !self.map().is_empty()
    }

    /// Puts what the records say into `header`; `None` when a number in them cannot be read.
    pub fn merge(&self, header: &mut Header) -> Option<()> {
        let some = |key| Some(self.get(key)).filter(|value| !value.is_empty());
        for (key, field) in [(Key::Path, &mut header.name), (Key::LinkPath, &mut header.link)] {
            if let Some(value) = some(key) {
                field.clear();
                field.extend_from_slice(value);
            }
        }
        for (key, field) in [(Key::Uid, &mut header.uid), (Key::Gid, &mut header.gid), (Key::Size, &mut header.size)] {
            if let Some(value) = some(key) {
                *field = decimal(value)?;
            }
        }
        for (key, field) in [(Key::Atime, &mut header.atime), (Key::Mtime, &mut header.mtime)] {
            if let Some(value) = some(key) {
                *field = Time::pax(value)?;
            }
        }
        if let Some(value) = some(Key::Ctime) {
            Time::pax(value)?;
        }
        Some(())
    }
}

/// Returns where key and value of the record at `start` are.
fn record(text: &[u8], start: usize) -> Option<(Range<usize>, Range<usize>)> {
    let rest = text.get(start..)?;
    let digits = rest.iter().position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(rest.get(..digits)?)?).ok()?;
    if len < 5 || len > rest.len() || len <= digits + 1 {
        return None;
    }
    let end = start + len - 1;
    if text.get(end) != Some(&b'\n') {
        return None;
    }
    let key = start + digits + 1;
    let equals = key + text.get(key..end)?.iter().position(|byte| *byte == b'=')?;
    Some((key..equals, equals + 1..end))
}
