//! Archives for tests, written field by field, and directories to extract them to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::{Extracted, Limits, Target, Whiteouts, extract};
use crate::Result;

/// One entry of an archive.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub name: Vec<u8>,
    pub kind: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    pub device: (u32, u32),
    pub records: Vec<(String, Vec<u8>)>,
}

/// Builds an entry that belongs to whoever runs the test.
pub(super) fn item(kind: u8, name: &str) -> Item {
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (name, link, data, records) = (name.into(), Vec::new(), Vec::new(), Vec::new());
    Item { name, kind, mode: 0o644, owner, mtime: 1_000_000_000, link, data, device: (0, 0), records }
}

pub(super) fn file(name: &str, data: &str) -> Item {
    Item { data: data.into(), ..item(b'0', name) }
}

pub(super) fn dir(name: &str) -> Item {
    Item { mode: 0o755, ..item(b'5', name) }
}

pub(super) fn symlink(name: &str, to: &str) -> Item {
    Item { link: to.into(), ..item(b'2', name) }
}

pub(super) fn hard_link(name: &str, to: &str) -> Item {
    Item { link: to.into(), ..item(b'1', name) }
}

impl Item {
    pub fn mode(self, mode: u32) -> Item {
        Item { mode, ..self }
    }

    pub fn owner(self, uid: u32, gid: u32) -> Item {
        Item { owner: (uid, gid), ..self }
    }

    pub fn mtime(self, mtime: u64) -> Item {
        Item { mtime, ..self }
    }

    /// Adds a PAX record.
    pub fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Item {
        self.records.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Item {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    /// Returns the entry as it is in an archive.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.records.is_empty() {
            let records: Vec<u8> = self.records.iter().flat_map(|(key, value)| record(key, value)).collect();
            bytes.extend(Item { kind: b'x', data: records, records: Vec::new(), ..item(b'x', "PaxHeaders") }.bytes());
        }
        bytes.extend(self.header());
        bytes.extend(padded(&self.data));
        bytes
    }

    /// Returns the header alone, in the layout of ustar.
    pub fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        put(&mut block, 0, &self.name);
        put(&mut block, 100, format!("{:07o}", self.mode).as_bytes());
        put(&mut block, 108, &number(self.owner.0.into(), 8));
        put(&mut block, 116, &number(self.owner.1.into(), 8));
        put(&mut block, 124, &number(self.data.len() as u64, 12));
        put(&mut block, 136, &number(self.mtime, 12));
        block[156] = self.kind;
        put(&mut block, 157, &self.link);
        put(&mut block, 257, b"ustar\x0000");
        put(&mut block, 329, &number(self.device.0.into(), 8));
        put(&mut block, 337, &number(self.device.1.into(), 8));
        seal(&mut block);
        block
    }
}

/// Puts the checksum into a header.
pub(super) fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// Puts bytes into a header; what does not fit its field would break the next one.
pub(super) fn put(block: &mut [u8; 512], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Returns a number as octal digits, or in binary when it is too large for them.
pub(super) fn number(value: u64, width: usize) -> Vec<u8> {
    let digits = format!("{value:0width$o}\0", width = width - 1);
    if digits.len() <= width {
        return digits.into_bytes();
    }
    let mut bytes = vec![0; width];
    bytes[width - 8..].copy_from_slice(&value.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}

/// Fills the last block with zeros.
pub(super) fn padded(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(512), 0);
    padded
}

/// Returns a PAX record.
pub(super) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let len = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap() + rest.len();
    [len.to_string().as_bytes(), &rest].concat()
}

/// Returns an archive with its end marker.
pub(super) fn archive(items: &[Item]) -> Vec<u8> {
    let mut bytes: Vec<u8> = items.iter().flat_map(Item::bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}

/// A directory to extract to.
pub(super) struct Layer {
    pub dir: tempfile::TempDir,
    pub whiteouts: Whiteouts,
    pub limits: Limits,
    pub parents: Vec<PathBuf>,
}

impl Layer {
    pub fn new() -> Layer {
        Layer::with(Whiteouts::Overlay)
    }

    pub fn with(whiteouts: Whiteouts) -> Layer {
        let (limits, parents) = (Limits::default(), Vec::new());
        Layer { dir: tempfile::tempdir().unwrap(), whiteouts, limits, parents }
    }

    /// Returns the root, or what is below it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn extract(&self, items: &[Item]) -> Result<Extracted> {
        self.extract_bytes(&archive(items))
    }

    /// Extracts an archive that comes in small pieces.
    pub fn extract_bytes(&self, mut archive: &[u8]) -> Result<Extracted> {
        let root = fs::File::open(self.path("")).unwrap();
        let target = Target { root: root.as_fd(), parents: &self.parents, whiteouts: self.whiteouts };
        let mut input = std::io::BufReader::with_capacity(700, &mut archive);
        extract(&mut input, &target, &self.limits, &|| false)
    }

    /// Describes everything in it: a line for each path, with type, mode, content and what it leads to.
    pub fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        describe(self.dir.path(), "", &mut tree);
        tree
    }

    pub fn metadata(&self, path: &str) -> fs::Metadata {
        self.path(path).symlink_metadata().unwrap()
    }

    pub fn xattr(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        xattr(&self.path(path), name)
    }
}

/// Returns an extended attribute.
pub(super) fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// Describes a tree by path.
pub(super) fn describe(dir: &Path, prefix: &str, tree: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        let stat = path.symlink_metadata().unwrap();
        let kind = stat.file_type();
        let what = if kind.is_symlink() {
            format!("-> {}", String::from_utf8_lossy(fs::read_link(&path).unwrap().as_os_str().as_bytes()))
        } else if kind.is_dir() {
            describe(&path, &format!("{name}/"), tree);
            format!("dir {:o}", stat.mode() & 0o7777)
        } else if kind.is_file() {
            let mut content = String::new();
            fs::File::open(&path).unwrap().read_to_string(&mut content).unwrap();
            format!("file {:o} {content}", stat.mode() & 0o7777)
        } else if kind.is_fifo() {
            format!("fifo {:o}", stat.mode() & 0o7777)
        } else {
            let rdev = stat.rdev();
            let kind = if kind.is_char_device() { "char" } else { "block" };
            format!("{kind} {:o} {}:{}", stat.mode() & 0o7777, rustix::fs::major(rdev), rustix::fs::minor(rdev))
        };
        tree.insert(name, what);
    }
}

/// Builds what [`Layer::tree`] gives.
pub(super) fn tree<const N: usize>(lines: [(&str, &str); N]) -> BTreeMap<String, String> {
    lines.map(|(path, what)| (path.to_owned(), what.to_owned())).into()
}

/// Whether the test may do what only root can. Says so when it may not.
pub(super) fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let _ = writeln!(std::io::stderr(), "SKIPPED needs root: {what}");
    }
    is_root
}
