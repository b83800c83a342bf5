//! A content store of somebody else, with the layout of containerd's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::content::sha256;

/// A directory of blobs.
pub struct Foreign(PathBuf);

impl Foreign {
    pub fn new(path: PathBuf) -> Foreign {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::create_dir_all(path.join("ingest")).unwrap();
        Foreign(path)
    }

    /// Puts a blob there as containerd does, and returns its digest.
    pub fn store(&self, data: &[u8]) -> String {
        let digest = sha256(data);
        self.store_as(&digest, data, 0o444);
        digest
    }

    /// Puts a file there under the name of any digest.
    pub fn store_as(&self, digest: &str, data: &[u8], mode: u32) {
        let file = self.file(digest);
        fs::write(&file, data).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn file(&self, digest: &str) -> PathBuf {
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}
