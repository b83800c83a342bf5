//! Extended attributes: which ones a layer has, and what overlayfs says by its own.

use rustix::io::Errno;

use super::entry::Entry;

/// What a layer has of them. All others are of this host: `trusted.*` is overlayfs's, and no archive may set it.
const KEPT: [&[u8]; 3] = [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];

/// Where overlayfs has its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `trusted.overlay.*`
    Trusted,
    /// `user.overlay.*`, with the mount option `userxattr`.
    User,
}

impl Dialect {
    fn prefix(self) -> &'static [u8] {
        match self {
            Dialect::Trusted => b"trusted.overlay.",
            Dialect::User => b"user.overlay.",
        }
    }
}

/// The attributes of one inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// What belongs into a layer, sorted by name.
    pub kept: Vec<(Vec<u8>, Vec<u8>)>,
    /// A directory that hides what is below it.
    pub opaque: bool,
    /// A directory whose empty files may be whiteouts.
    pub has_whiteouts: bool,
    /// An empty file that is a whiteout, in a directory that [may have some](Self::has_whiteouts).
    pub whiteout: bool,
    /// What it shows is elsewhere in the lower layers: another directory, or a file's data.
    pub redirected: bool,
}

impl Attributes {
    /// Reads what an inode has. `dialect` is that of the overlay; `None` where there is none.
    pub fn of(entry: &Entry, dialect: Option<Dialect>) -> Result<Attributes, Errno> {
        let mut found = Attributes::default();
        for name in entry.xattr_names()? {
            match dialect.and_then(|dialect| name.strip_prefix(dialect.prefix())) {
                Some(b"opaque") => match entry.xattr(&name)?.as_deref() {
                    Some(b"y") => found.opaque = true,
                    Some(b"x") => found.has_whiteouts = true,
                    _ => {}
                },
                Some(b"whiteout") => found.whiteout = entry.stat.size == 0,
                Some(b"redirect" | b"metacopy") => found.redirected = true,
                Some(_) => {}
                None if is_kept(&name) => {
                    // Taken away since it was listed.
                    let Some(value) = entry.xattr(&name)? else { continue };
                    found.kept.push((name, value));
                }
                None => {}
            }
        }
        found.kept.sort();
        Ok(found)
    }
}

fn is_kept(name: &[u8]) -> bool {
    let user = name.starts_with(b"user.") && !name.starts_with(Dialect::User.prefix());
    // The records of a tar stream end a name at `=`.
    (user && !name.contains(&b'=')) || KEPT.contains(&name)
}
