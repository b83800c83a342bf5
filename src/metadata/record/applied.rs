//! Records of what was applied to active layers.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use prost::Message;

use super::{Usage, malformed, proto};
use crate::Result;
use crate::types::{Digest, LayerId};

/// What was applied to an active layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedLayer {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Its size.
    pub size: u64,
    /// The blob that it came in, if the digest of that was checked.
    pub blob: Option<Digest>,
    /// What it takes, if that was counted.
    pub usage: Option<Usage>,
    /// Directories that the archive has no entry for, relative to the root, which is the empty path.
    pub implicit: Vec<PathBuf>,
    /// Whiteouts that were made.
    pub whiteouts: Vec<PathBuf>,
    /// Directories that were made opaque.
    pub opaque: Vec<PathBuf>,
    /// The layer that takes its place; its own directory is empty then.
    pub staged: Option<LayerId>,
    /// Whether it holds this archive and nothing else.
    pub verified: bool,
    /// The boot in which it was written without being made durable; empty when it is durable.
    pub boot: Box<str>,
    /// Whether its whiteouts were taken away, because nothing is below it.
    pub base: bool,
    /// Whether there are more implicit directories than are listed: too many for a commit to go through.
    pub implicit_unlisted: bool,
    /// The same of whiteouts and opaque directories.
    pub hiding_unlisted: bool,
}

impl AppliedLayer {
    /// Whether it hides something of what is below it.
    pub fn hides(&self) -> bool {
        !(self.whiteouts.is_empty() && self.opaque.is_empty())
    }

    /// Whether its root has the attributes of what is below it.
    pub fn has_implicit_root(&self) -> bool {
        self.implicit.iter().any(|path| path.as_os_str().is_empty())
    }

    /// Whether a directory other than the root has those of what is below it.
    pub fn has_implicit_directories(&self) -> bool {
        self.implicit.iter().any(|path| !path.as_os_str().is_empty())
    }

    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        let bytes =
            |paths: &[PathBuf]| paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect::<Vec<_>>();
        proto::Applied {
            diff_id: self.diff_id.as_str().to_owned(),
            size: self.size,
            blob: self.blob.as_ref().map(|blob| blob.as_str().to_owned()).unwrap_or_default(),
            usage: self.usage.map(Usage::to_record),
            implicit: bytes(&self.implicit),
            whiteouts: bytes(&self.whiteouts),
            opaque: bytes(&self.opaque),
            staged: self.staged.map(LayerId::get),
            verified: self.verified,
            boot: self.boot.to_string(),
            base: self.base,
            implicit_unlisted: self.implicit_unlisted,
            hiding_unlisted: self.hiding_unlisted,
        }
        .encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<AppliedLayer> {
        let record = proto::Applied::decode(bytes).map_err(|err| malformed("applied", err))?;
        let paths = |list: Vec<Vec<u8>>| list.into_iter().map(|path| OsString::from_vec(path).into()).collect();
        Ok(AppliedLayer {
            diff_id: Digest::parse(record.diff_id).map_err(|err| malformed("applied", err))?,
            size: record.size,
            blob: Digest::parse_optional(record.blob).map_err(|err| malformed("applied", err))?,
            usage: record.usage.map(Usage::from_record),
            implicit: paths(record.implicit),
            whiteouts: paths(record.whiteouts),
            opaque: paths(record.opaque),
            staged: record.staged.map(LayerId::new),
            verified: record.verified,
            boot: record.boot.into(),
            base: record.base,
            implicit_unlisted: record.implicit_unlisted,
            hiding_unlisted: record.hiding_unlisted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths() -> impl Strategy<Value = Vec<PathBuf>> {
        let path = prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| OsString::from_vec(bytes).into());
        prop::collection::vec(path, 0..4)
    }

    proptest! {
        #[test]
        fn records_round_trip(
            digest in "sha256:[0-9a-f]{64}", blob: bool, usage: Option<(u64, u64)>, implicit in paths(),
            whiteouts in paths(), opaque in paths(), staged: Option<u64>, verified: bool, base: bool, boot in "[a-z]{0,9}",
            unlisted: [bool; 2],
        ) {
            let diff_id = Digest::parse(digest).unwrap();
            let applied = AppliedLayer {
                blob: blob.then(|| diff_id.clone()),
                diff_id,
                size: 7,
                usage: usage.map(|(size, inodes)| Usage { size, inodes }),
                implicit,
                whiteouts,
                opaque,
                staged: staged.map(LayerId::new),
                verified,
                boot: boot.into(),
                base,
                implicit_unlisted: unlisted[0],
                hiding_unlisted: unlisted[1],
            };
            prop_assert_eq!(AppliedLayer::decode(&applied.encode()).unwrap(), applied);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = AppliedLayer::decode(&bytes);
        }
    }

    #[test]
    fn the_root_is_no_other_directory() {
        let applied = |implicit: &[&str]| AppliedLayer {
            diff_id: Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap(),
            size: 0,
            blob: None,
            usage: None,
            implicit: implicit.iter().map(PathBuf::from).collect(),
            whiteouts: Vec::new(),
            opaque: Vec::new(),
            staged: None,
            verified: true,
            boot: "".into(),
            base: false,
            implicit_unlisted: false,
            hiding_unlisted: false,
        };
        let has = |paths: &[&str]| (applied(paths).has_implicit_root(), applied(paths).has_implicit_directories());
        assert_eq!(
            [has(&[]), has(&[""]), has(&["usr"]), has(&["", "usr"])],
            [(false, false), (true, false), (false, true), (true, true)]
        );
    }
}
