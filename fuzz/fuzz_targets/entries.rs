//! Chains of well-formed archives, whose entries meet each other: links, whiteouts, replacements, ways out.
//!
//! Invariant: as of `extract`, for each layer, those below it included; and applied once more to the same directory, a layer
//! does the same again or is refused.

#![no_main]

use std::cell::OnceCell;

use leasehold_fuzz::archive::Item;
use leasehold_fuzz::diff::extract::Whiteouts;
use leasehold_fuzz::jail::Jail;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static JAIL: OnceCell<Jail> = const { OnceCell::new() };
}

/// Most layers of a chain.
const LAYERS: usize = 3;

#[derive(Arbitrary, Debug)]
struct Chain {
    plain: bool,
    user: bool,
    layers: Vec<Vec<Entry>>,
}

#[derive(Arbitrary, Debug)]
struct Entry {
    kind: Kind,
    name: Vec<Part>,
    link: Vec<Part>,
    mode: u16,
    owner: (u8, u8),
    mtime: u32,
    device: (u8, u8),
    size: u8,
    xattrs: Vec<(Xattr, u8)>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    File,
    OldFile,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    Character,
    Block,
    Global,
    Sparse,
}

/// One component of a path, or less.
#[derive(Arbitrary, Debug)]
enum Part {
    A,
    B,
    C,
    D,
    Up,
    Here,
    Nothing,
    Etc,
    Opaque,
    Whiteout,
    WhiteoutOfA,
    WhiteoutOfB,
    WhiteoutOfUp,
    Long(u8),
    Byte(u8),
}

#[derive(Arbitrary, Debug)]
enum Xattr {
    User,
    Opaque,
    UserOpaque,
    Capability,
    Acl,
    DefaultAcl,
    Byte(u8),
}

fn path(parts: &[Part]) -> Vec<u8> {
    let part = |part: &Part| match part {
        Part::A => b"a".to_vec(),
        Part::B => b"b".to_vec(),
        Part::C => b"c".to_vec(),
        Part::D => b"d".to_vec(),
        Part::Up => b"..".to_vec(),
        Part::Here => b".".to_vec(),
        Part::Nothing => Vec::new(),
        Part::Etc => b"etc".to_vec(),
        Part::Opaque => b".wh..wh..opq".to_vec(),
        Part::Whiteout => b".wh.".to_vec(),
        Part::WhiteoutOfA => b".wh.a".to_vec(),
        Part::WhiteoutOfB => b".wh.b".to_vec(),
        Part::WhiteoutOfUp => b".wh...".to_vec(),
        Part::Long(len) => vec![b'n'; usize::from(*len)],
        Part::Byte(byte) => vec![*byte],
    };
    parts.iter().map(part).collect::<Vec<_>>().join(&b'/')
}

fn xattr((name, size): &(Xattr, u8)) -> (Vec<u8>, Vec<u8>) {
    let name: Vec<u8> = match name {
        Xattr::User => b"user.a".to_vec(),
        Xattr::Opaque => b"trusted.overlay.opaque".to_vec(),
        Xattr::UserOpaque => b"user.overlay.opaque".to_vec(),
        Xattr::Capability => b"security.capability".to_vec(),
        Xattr::Acl => b"system.posix_acl_access".to_vec(),
        Xattr::DefaultAcl => b"system.posix_acl_default".to_vec(),
        Xattr::Byte(byte) => vec![b'u', b's', b'e', b'r', b'.', *byte],
    };
    ([b"SCHILY.xattr.", &name[..]].concat(), vec![b'y'; usize::from(*size)])
}

fn item(entry: &Entry) -> Item {
    let kind = match entry.kind {
        Kind::File | Kind::Sparse => b'0',
        Kind::OldFile => 0,
        Kind::Directory => b'5',
        Kind::Symlink => b'2',
        Kind::HardLink => b'1',
        Kind::Fifo => b'6',
        Kind::Character => b'3',
        Kind::Block => b'4',
        Kind::Global => b'g',
    };
    let has_data = matches!(entry.kind, Kind::File | Kind::OldFile | Kind::Sparse);
    let mut records: Vec<_> = entry.xattrs.iter().map(xattr).collect();
    if matches!(entry.kind, Kind::Sparse) {
        let (size, at) = (usize::from(entry.size), entry.mtime);
        records.push((b"GNU.sparse.size".to_vec(), (u64::from(at) + size as u64 + 5).to_string().into()));
        records.push((b"GNU.sparse.numblocks".to_vec(), b"1".to_vec()));
        records.push((b"GNU.sparse.map".to_vec(), format!("{at},{size}").into()));
    }
    Item {
        kind,
        name: path(&entry.name),
        link: path(&entry.link),
        mode: entry.mode.into(),
        owner: (entry.owner.0.into(), entry.owner.1.into()),
        mtime: entry.mtime.into(),
        device: (entry.device.0.into(), entry.device.1.into()),
        data: if has_data { vec![b'x'; entry.size.into()] } else { Vec::new() },
        records: if matches!(entry.kind, Kind::Global) { Vec::new() } else { records },
    }
}

fuzz_target!(|chain: Chain| {
    JAIL.with(|jail| {
        let jail = jail.get_or_init(Jail::enter);
        let mut parents = vec![jail.lower()];
        let plain = chain.plain.then(|| jail.layer("plain"));
        for (n, entries) in chain.layers.iter().take(LAYERS).enumerate() {
            let mut archive = Vec::new();
            for entry in entries {
                item(entry).write(&mut archive);
            }
            let whiteouts = if chain.user { Whiteouts::OverlayUser } else { Whiteouts::Overlay };
            let result = match &plain {
                Some(dir) => jail.extract(&archive, 1 << 16, dir, &[], Whiteouts::Remove),
                None => {
                    let dir = jail.layer(&n.to_string());
                    let result = jail.extract(&archive, 1 << 16, &dir, &parents, whiteouts);
                    if let Ok(first) = &result
                        && let Ok(second) = jail.extract(&archive, 1 << 16, &dir, &parents, whiteouts)
                    {
                        assert_eq!(first.entries, second.entries);
                        assert_eq!(first.opaque, second.opaque);
                    }
                    parents.insert(0, dir);
                    result
                }
            };
            if result.is_err() {
                break;
            }
        }
    });
});
