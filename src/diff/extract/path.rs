//! Paths of entries, as text.
//!
//! A *clean* path has no empty components, no `.` and no `..`, and does not begin with a slash; the root is empty. Only
//! such paths are used beneath a root, one component at a time.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Puts the clean form of `path`, seen from the root, behind what is in `clean`, which is clean itself.
/// `..` takes a component away, and at the root nothing. Tells whether the path names the root, by its first slash or by
/// such a `..`.
pub(super) fn push_clean(clean: &mut Vec<u8>, path: &[u8]) -> bool {
    let mut names_root = path.starts_with(b"/");
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                names_root |= clean.is_empty();
                clean.truncate(parent_len(clean));
            }
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(component);
            }
        }
    }
    names_root
}

/// Returns the clean form of `path`, seen from the root.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(path.len());
    push_clean(&mut clean, path);
    clean
}

/// Splits a clean path into its parent and the name in it.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let (parent, name) = path.split_at(parent_len(path));
    (parent, name.strip_prefix(b"/").unwrap_or(name))
}

/// Returns the path of `name` in the directory with a clean path.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// Returns how many components a clean path has.
pub(super) fn depth(path: &[u8]) -> usize {
    if path.is_empty() { 0 } else { 1 + path.iter().filter(|byte| **byte == b'/').count() }
}

/// Shows a path in errors.
pub(super) fn shown(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn parent_len(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{clean, depth, join, split};

    #[test]
    fn nothing_leads_above_the_root() {
        for (path, expected) in [
            ("a/b", "a/b"),
            ("./a//b/./", "a/b"),
            ("/", ""),
            ("", ""),
            ("..", ""),
            ("../../etc/passwd", "etc/passwd"),
            ("/../etc", "etc"),
            ("a/../../b", "b"),
            ("a/b/..", "a"),
            ("a..b/...", "a..b/..."),
        ] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path:?}");
        }
    }

    #[test]
    fn parts_of_paths() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b""), (&b""[..], &b""[..]));
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
        assert_eq!([depth(b""), depth(b"a"), depth(b"a/b/c")], [0, 1, 3]);
    }
}
