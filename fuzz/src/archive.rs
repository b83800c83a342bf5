//! Archives that are well-formed, so that what is in them is looked at.

const BLOCK: usize = 512;

/// One entry.
#[derive(Default)]
pub struct Item {
    pub kind: u8,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub device: (u32, u32),
    pub data: Vec<u8>,
    /// Keys and values of PAX records.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Item {
    /// Puts the entry behind what is in an archive.
    pub fn write(mut self, archive: &mut Vec<u8>) {
        for (field, key) in [(&mut self.name, "path"), (&mut self.link, "linkpath")] {
            if field.len() > 100 {
                self.records.push((key.into(), std::mem::take(field)));
            }
        }
        if !self.records.is_empty() {
            let data = self.records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let name = b"PaxHeaders".to_vec();
            Item { kind: b'x', name, data, ..Item::default() }.write(archive);
        }
        archive.extend(self.header());
        archive.extend(&self.data);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }

    fn header(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name);
        put(100, format!("{:07o}", self.mode & 0o7_777_777).as_bytes());
        put(108, &binary(self.owner.0));
        put(116, &binary(self.owner.1));
        put(124, format!("{:011o}", self.data.len()).as_bytes());
        put(136, format!("{:011o}", self.mtime & 0o77_777_777_777).as_bytes());
        put(156, &[self.kind]);
        put(157, &self.link);
        put(257, b"ustar\x0000");
        put(329, &binary(self.device.0));
        put(337, &binary(self.device.1));
        seal(&mut block);
        block
    }
}

fn binary(number: u32) -> [u8; 8] {
    let mut field = u64::from(number).to_be_bytes();
    field[0] = 0x80;
    field
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits.
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// Puts the right checksum into a header.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Puts the right checksums into what look like the headers of an archive, which no mutation would hit on.
pub fn seal_all(archive: &mut [u8]) {
    let mut rest = archive;
    while rest.len() >= BLOCK {
        let (block, after) = rest.split_at_mut(BLOCK);
        if block.iter().any(|byte| *byte != 0) {
            seal(block);
        }
        let digits = std::str::from_utf8(&block[124..136]).unwrap_or_default();
        let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap_or_default();
        let skipped = if matches!(block[156], b'1'..=b'6') { 0 } else { size.next_multiple_of(BLOCK) };
        rest = after.get_mut(skipped..).unwrap_or_default();
    }
}
