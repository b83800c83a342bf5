//! Headers of tar entries, byte for byte as containerd's library writes them.
//!
//! An entry has a plain header (`ustar`) where everything fits into that, and an extended one (`pax`) before it where not. A
//! layer that both differs make has one DiffID then, and what is pushed already is not pushed again.

/// Unit of a tar stream.
pub(super) const BLOCK: usize = 512;
/// Longest extended header that readers accept.
const MAX_RECORDS: usize = 1 << 20;
/// Room for a name, and for the directories before it.
const NAME: usize = 100;
const PREFIX: usize = 155;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Regular,
    HardLink,
    SymbolicLink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl Type {
    fn flag(self) -> u8 {
        match self {
            Type::Regular => b'0',
            Type::HardLink => b'1',
            Type::SymbolicLink => b'2',
            Type::CharDevice => b'3',
            Type::BlockDevice => b'4',
            Type::Directory => b'5',
            Type::Fifo => b'6',
        }
    }
}

/// An entry without its data.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub kind: Type,
    /// Relative; that of a directory ends with `/`.
    pub name: Vec<u8>,
    /// Of both kinds of links.
    pub target: Vec<u8>,
    /// Permissions with set-user-ID, set-group-ID and the sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    pub device: (u32, u32),
    /// Names and values, sorted by name. No name has a `=`.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Header {
    /// Returns a header that says nothing but what it is.
    pub fn new(kind: Type, name: Vec<u8>) -> Header {
        Header {
            kind,
            name,
            target: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// Returns the blocks of the header. `None` when it is longer than readers accept.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let split = split(&self.name);
        let (records, plain) = self.records(split.is_some());
        if plain {
            let (prefix, name) = split.unwrap_or((&[], &self.name));
            return Some(self.block(name, prefix, &self.target).to_vec());
        }
        if records.len() > MAX_RECORDS {
            return None;
        }
        let mut blocks = Vec::with_capacity(2 * BLOCK + records.len().next_multiple_of(BLOCK));
        blocks.extend_from_slice(&extension_block(&self.name, records.len()));
        blocks.extend_from_slice(&records);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        blocks.extend_from_slice(&self.block(&ascii(&self.name), &[], &ascii(&self.target)));
        Some(blocks)
    }

    /// Returns the records of the extended header, and whether none is needed.
    fn records(&self, can_split: bool) -> (Vec<u8>, bool) {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut plain = true;
        if !fits(&self.name) {
            records.push((b"path".into(), self.name.clone()));
            plain &= can_split;
        }
        if !fits(&self.target) {
            records.push((b"linkpath".into(), self.target.clone()));
            plain = false;
        }
        let numbers = [
            (&b"uid"[..], i128::from(self.uid), 8),
            (b"gid", i128::from(self.gid), 8),
            (b"size", i128::from(self.size), 12),
            (b"mtime", i128::from(self.mtime), 12),
        ];
        for (key, value, room) in numbers {
            if !fits_octal(value, room) {
                records.push((key.into(), value.to_string().into()));
                plain = false;
            }
        }
        for (name, value) in &self.xattrs {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
            plain = false;
        }
        records.sort();
        (records.iter().flat_map(|(key, value)| record(key, value)).collect(), plain)
    }

    fn block(&self, name: &[u8], prefix: &[u8], target: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put_text(&mut block, 0, NAME, name);
        put_octal(&mut block, 100, 8, self.mode.into());
        put_octal(&mut block, 108, 8, self.uid.into());
        put_octal(&mut block, 116, 8, self.gid.into());
        put_octal(&mut block, 124, 12, self.size.into());
        put_octal(&mut block, 136, 12, self.mtime.into());
        put_text(&mut block, 156, 1, &[self.kind.flag()]);
        put_text(&mut block, 157, NAME, target);
        put_octal(&mut block, 329, 8, self.device.0.into());
        put_octal(&mut block, 337, 8, self.device.1.into());
        put_text(&mut block, 345, PREFIX, prefix);
        seal(&mut block);
        block
    }
}

/// Returns the block before the records of an extended header.
fn extension_block(name: &[u8], len: usize) -> [u8; BLOCK] {
    let at = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (dir, last) = name.split_at_checked(at).unwrap_or((&[], name));
    let slash: &[u8] = if last.is_empty() { b"" } else { b"/" };
    let full = ascii(&[dir, b"PaxHeaders.0", slash, last].concat());
    let mut cut = full.get(..NAME).unwrap_or(&full);
    while let Some(shorter) = cut.strip_suffix(b"/") {
        cut = shorter;
    }
    let mut block = [0; BLOCK];
    put_text(&mut block, 0, NAME, cut);
    for (at, room) in [(100, 8), (108, 8), (116, 8), (136, 12)] {
        put_octal(&mut block, at, room, 0);
    }
    put_octal(&mut block, 124, 12, i128::try_from(len).unwrap_or(0));
    put_text(&mut block, 156, 1, b"x");
    seal(&mut block);
    block
}

/// Puts in what every block ends with: the format, and the sum of all bytes.
fn seal(block: &mut [u8; BLOCK]) {
    put_text(block, 257, 6, b"ustar\0");
    put_text(block, 263, 2, b"00");
    put_text(block, 148, 8, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    // Its end is a zero byte and a space.
    put_octal(block, 148, 7, sum.into());
    put_text(block, 154, 1, &[0]);
}

fn put_text(block: &mut [u8; BLOCK], at: usize, room: usize, text: &[u8]) {
    let Some(field) = block.get_mut(at..at + room) else { return };
    for (to, byte) in field.iter_mut().zip(text) {
        *to = *byte;
    }
    if text.len() > room && field.last() == Some(&b'/') {
        // Some readers take a file for a directory whose name was cut behind a slash.
        let kept = field.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        if let Some(end) = field.get_mut(kept) {
            *end = 0;
        }
    }
}

/// Writes an octal number with a zero byte behind it; one that does not fit is 0, and in the extended header.
fn put_octal(block: &mut [u8; BLOCK], at: usize, room: usize, value: i128) {
    let value = if fits_octal(value, room) { value } else { 0 };
    put_text(block, at, room, format!("{value:0width$o}", width = room - 1).as_bytes());
}

fn fits_octal(value: i128, room: usize) -> bool {
    (0..1 << (3 * (room - 1))).contains(&value)
}

/// Whether a name can be written into its field.
fn fits(name: &[u8]) -> bool {
    name.len() <= NAME && name.is_ascii()
}

/// Takes the directories before a long name apart, where both have room for it.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !name.is_ascii() {
        return None;
    }
    let searched = if name.len() > PREFIX + 1 {
        PREFIX + 1
    } else if name.ends_with(b"/") {
        name.len() - 1
    } else {
        name.len()
    };
    let slash = name.get(..searched)?.iter().rposition(|byte| *byte == b'/')?;
    let (prefix, rest) = (name.get(..slash)?, name.get(slash + 1..)?);
    let fits = (1..=PREFIX).contains(&prefix.len()) && (1..=NAME).contains(&rest.len());
    fits.then_some((prefix, rest))
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(u8::is_ascii).collect()
}

/// Returns `<length> <key>=<value>\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let digits = |len: usize| len.to_string().len();
    let mut len = rest + digits(rest);
    len = rest + digits(len);
    let mut record = Vec::with_capacity(len);
    record.extend_from_slice(len.to_string().as_bytes());
    record.push(b' ');
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &[u8]) -> Header {
        Header::new(Type::Regular, name.into())
    }

    #[test]
    fn what_fits_has_one_block() {
        let prefix = "d".repeat(155);
        for name in ["a".repeat(100), format!("{prefix}/{}", "a".repeat(100)), format!("x/{}/", "a".repeat(98))] {
            assert_eq!(header(name.as_bytes()).encode().unwrap().len(), BLOCK, "{name}");
        }
        let largest = Header { uid: 0o7_777_777, size: (1 << 33) - 1, mtime: (1 << 33) - 1, ..header(b"a") };
        assert_eq!(largest.encode().unwrap().len(), BLOCK);
    }

    #[test]
    fn what_does_not_fit_has_records() {
        let long = "a".repeat(101);
        for (header, record) in [
            (header(long.as_bytes()), format!("111 path={long}\n")),
            (header("é".as_bytes()), "11 path=é\n".to_owned()),
            (Header { target: long.clone().into(), ..header(b"a") }, format!("115 linkpath={long}\n")),
            (Header { uid: 0o10_000_000, ..header(b"a") }, "15 uid=2097152\n".to_owned()),
            (Header { gid: u32::MAX, ..header(b"a") }, "18 gid=4294967295\n".to_owned()),
            (Header { size: 1 << 33, ..header(b"a") }, "19 size=8589934592\n".to_owned()),
            (Header { mtime: -1, ..header(b"a") }, "12 mtime=-1\n".to_owned()),
        ] {
            let blocks = header.encode().unwrap();
            assert_eq!(blocks.len(), 3 * BLOCK);
            assert_eq!((blocks[156], blocks[2 * BLOCK + 156]), (b'x', b'0'));
            let records = &blocks[BLOCK..2 * BLOCK];
            assert_eq!(&records[..record.len()], record.as_bytes());
            assert!(records[record.len()..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for len in (0..30).chain(80..110).chain(980..1010) {
            let record = record(b"k", &vec![b'v'; len]);
            let said: usize = record
                .iter()
                .take_while(|byte| **byte != b' ')
                .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn attributes_have_a_limit_and_an_order() {
        let xattrs = vec![(b"user.b".to_vec(), b"1\0\n".to_vec()), (b"user.a".to_vec(), Vec::new())];
        let blocks = Header { xattrs, ..header(b"a") }.encode().unwrap();
        let expected = b"24 SCHILY.xattr.user.a=\n27 SCHILY.xattr.user.b=1\0\n\n";
        assert_eq!(blocks[BLOCK..][..expected.len()], expected[..]);
        let xattrs = vec![(b"user.a".to_vec(), vec![0; MAX_RECORDS])];
        assert_eq!(Header { xattrs, ..header(b"a") }.encode(), None);
    }
}
