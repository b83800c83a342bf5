//! What is meant to differ from containerd.

use super::verdict::Key;

/// A layer that we apply, and containerd does not.
struct Exception {
    /// Whether it is meant: what was applied, and what containerd said.
    fits: fn(&Key, &str) -> bool,
    #[expect(dead_code, reason = "for the reader")]
    reason: &'static str,
}

const APPLIED_BY_US: [Exception; 3] = [
    Exception {
        fits: |_, theirs| theirs.ends_with("unhandled tar header type 83"),
        reason: "Go's reader takes the older sparse files of GNU tar apart and gives their content, and leaves their type as it \
                 is; containerd does not know the type. There is one thing only that such an entry can mean.",
    },
    Exception {
        fits: |key, theirs| !key.plain && below_file_of_lower(key, theirs),
        reason: "A directory without an entry, where the nearest layer below has a whiteout or a file in the place of one above it: \
                 containerd looks for the attributes to copy, takes ENOTDIR for something else than an absence, and gives up. \
                 The layer is as good as any, and there is nothing to copy. Images of which one layer removes a directory \
                 and the next one fills it again are built every day, though most have an entry for it.",
    },
    Exception {
        fits: |_, theirs| theirs.contains("lstat /") && theirs.ends_with(": too many levels of symbolic links"),
        reason: "Both resolve links as text: ./l/../b in the place of a/l is a/b. When containerd sets the times of directories at the                  end, it asks the kernel about a path that still has such a link in it, for which that is a loop.",
    },
];

/// Whether we may apply a layer that containerd refuses for this reason. There is nothing that we may refuse.
pub fn may_be_applied(key: &Key, theirs: &str) -> bool {
    APPLIED_BY_US.iter().any(|exception| (exception.fits)(key, theirs))
}

/// Whether containerd failed to look at something in the directory of a layer below.
fn below_file_of_lower(key: &Key, theirs: &str) -> bool {
    let of_layer = |layer: usize| format!("/theirs/{}/{layer}/", key.case);
    theirs.starts_with("lstat /")
        && theirs.ends_with(": not a directory")
        && (0..key.layer).any(|lower| theirs.contains(&of_layer(lower)))
}
