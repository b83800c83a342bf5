//! Where everything below the pool's root is.
//!
//! ```text
//! <root>/meta/              metadata database
//! <root>/l/<id>/fs          upperdir of an active layer, lowerdir of a committed one
//! <root>/l/<id>/work        workdir, while the layer is active
//! <root>/staging/<id>       directories not yet named by a record
//! <root>/ingests/<id>       uploads in progress
//! <root>/blobs/<algorithm>/<hex>  blobs, read-only files
//! <root>/trash/<id>         renamed here first, deleted later
//! <root>/lost+found/<id>    set aside by `fsck --repair` rather than deleted
//! <root>/lost+found/record-<column>-<n>    bytes of a record that could not be read
//! ```
//!
//! `<id>` is a [`LayerId`]: a number in base 36, for uploads from the same sequence. It and `l` are short because the options of a mount of 128 layers
//! must fit one page (4096 bytes). They are
//! made with mode 0700, because a layer holds other people's set-user-ID programs.
//!
//! All but `meta` must be on one file system, because layers and files move between them by rename.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use crate::types::{Algorithm, LayerId};
use crate::{Error, FsOp, Result};

/// Derives every path of a pool from its root. The root is absolute, and fit to be named in mount options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: Box<str>,
}

impl Layout {
    /// Checks a pool's root directory. It need not exist, see [`create`](Self::create).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a path that is relative, is `/`, has a `..`, is not UTF-8, or has one of the characters
    /// that separate overlayfs options (`:` `,` `\`): such a pool could not be mounted.
    pub fn new(root: impl AsRef<Path>) -> Result<Layout> {
        let root = root.as_ref();
        let invalid = |problem| Err(Error::invalid("root", format!("{root:?} {problem}")));
        let Some(text) = root.to_str() else {
            return invalid("is not UTF-8, and mounts are described in UTF-8");
        };
        if !root.is_absolute() {
            return invalid("must be an absolute path");
        }
        if text.contains([':', ',', '\\', '\0']) {
            return invalid("must not contain ':', ',' or '\\', which separate overlayfs mount options");
        }
        // Mount options repeat the root for every layer, so a second slash would cost 128 bytes.
        let mut clean = String::with_capacity(text.len());
        for component in root.components() {
            match component {
                Component::Normal(name) => {
                    clean.push('/');
                    clean.push_str(name.to_str().unwrap_or_default());
                }
                Component::ParentDir => return invalid("must not contain '..'"),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if clean.is_empty() {
            return invalid("must be a directory of its own");
        }
        Ok(Layout { root: clean.into() })
    }

    /// Makes the root and the fixed directories that are missing, with mode 0700. Existing ones are left as they are.
    ///
    /// # Errors
    /// [`Error::Pool`] when the place is read-only or may not be written, saying what to do; [`Error::Fs`] and
    /// [`Error::NoSpace`] for everything else.
    pub fn create(&self) -> Result<()> {
        self.create_dir(self.root().to_owned(), true)?;
        let content = [self.ingests(), self.blobs()];
        let algorithms = Algorithm::ALL.map(|algorithm| self.blobs_of(algorithm));
        let layers = [self.meta(), self.layers(), self.staging(), self.trash(), self.lost_found()];
        for path in layers.into_iter().chain(content).chain(algorithms) {
            self.create_dir(path, false)?;
            crate::failpoint::hit("layout: directory made");
        }
        Ok(())
    }

    /// Returns the root.
    pub fn root(&self) -> &Path {
        Path::new(&*self.root)
    }

    /// Returns the directory of the metadata database.
    pub fn meta(&self) -> PathBuf {
        self.root().join("meta")
    }

    /// Returns the directory that holds all layers.
    pub fn layers(&self) -> PathBuf {
        self.root().join("l")
    }

    /// Returns the directory of one layer.
    pub fn layer(&self, id: LayerId) -> PathBuf {
        self.layers().join(id.to_string())
    }

    /// Returns the upperdir of an active layer, which is the lowerdir of a committed one. A string, because it goes
    /// into mount options and labels.
    pub fn upperdir(&self, id: LayerId) -> String {
        let mut path = String::with_capacity(self.root.len() + PER_LAYER);
        self.push_upperdir(&mut path, id);
        path
    }

    /// Returns the layer whose [`upperdir`](Self::upperdir) this is. `None` for every other path.
    pub fn layer_of(&self, upperdir: &str) -> Option<LayerId> {
        let name = upperdir.strip_prefix(&*self.root)?.strip_prefix("/l/")?.strip_suffix("/fs")?;
        LayerId::from_dir_name(name)
    }

    /// Returns the workdir of an active layer. A string, because it goes into mount options.
    pub fn workdir(&self, id: LayerId) -> String {
        let mut path = String::with_capacity(self.root.len() + PER_LAYER);
        self.push_workdir(&mut path, id);
        path
    }

    /// Returns the directory of layers that no record names yet.
    pub fn staging(&self) -> PathBuf {
        self.root().join("staging")
    }

    /// Returns the directory of layers that are to be deleted.
    pub fn trash(&self) -> PathBuf {
        self.root().join("trash")
    }

    /// Returns where one layer waits to be deleted.
    pub fn trashed(&self, id: LayerId) -> PathBuf {
        self.trash().join(id.to_string())
    }

    /// Returns the directory of uploads in progress.
    pub fn ingests(&self) -> PathBuf {
        self.root().join("ingests")
    }

    /// Returns the directory of all blobs.
    pub fn blobs(&self) -> PathBuf {
        self.root().join("blobs")
    }

    /// Returns the directory of the blobs whose digests are computed in one way.
    pub fn blobs_of(&self, algorithm: Algorithm) -> PathBuf {
        self.blobs().join(algorithm.as_str())
    }

    /// Returns the directory of layers that a repair set aside rather than deleted.
    pub fn lost_found(&self) -> PathBuf {
        self.root().join("lost+found")
    }

    /// Appends [`upperdir`](Self::upperdir): the options of a mount are built in one allocation.
    pub(super) fn push_upperdir(&self, to: &mut String, id: LayerId) {
        self.push(to, id, "fs");
    }

    /// Appends [`workdir`](Self::workdir).
    pub(super) fn push_workdir(&self, to: &mut String, id: LayerId) {
        self.push(to, id, "work");
    }

    /// Returns an upper bound of the bytes that [`push_upperdir`](Self::push_upperdir) appends for usual numbers.
    pub(super) fn upperdir_len(&self) -> usize {
        self.root.len() + PER_LAYER
    }

    fn push(&self, to: &mut String, id: LayerId, last: &str) {
        to.push_str(&self.root);
        to.push_str("/l/");
        // Writing to a string cannot fail.
        let _ = write!(to, "{id}");
        to.push('/');
        to.push_str(last);
    }

    fn create_dir(&self, path: PathBuf, recursive: bool) -> Result<()> {
        match DirBuilder::new().recursive(recursive).mode(0o700).create(&path) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(err) if err.kind() == io::ErrorKind::ReadOnlyFilesystem => Err(Error::Pool(format!(
                "cannot make {}: the file system is read-only. Remount it read-write, or set `root` to a directory on \
                 a writable one",
                path.display()
            ))),
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => Err(Error::Pool(format!(
                "cannot make {}: permission denied. Run as root, or set `root` to a directory that this user may write",
                path.display()
            ))),
            result => result.map_err(Error::fs(FsOp::CreateDir, &path)),
        }
    }
}

/// Bytes that one layer adds to the root: `/l/`, a number below 36^6, `/work`.
const PER_LAYER: usize = 14;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::Layout;
    use crate::Error;
    use crate::overlay::testing::{self, TestFs};
    use crate::types::{Algorithm, LayerId};

    #[test]
    fn paths_follow_the_drawing() {
        let layout = Layout::new("/var/lib//leasehold/./").unwrap();
        let id = LayerId::new(36);
        let shown = [
            layout.root().to_owned(),
            layout.meta(),
            layout.layers(),
            layout.layer(id),
            layout.upperdir(id).into(),
            layout.workdir(id).into(),
            layout.staging(),
            layout.trash(),
            layout.trashed(id),
            layout.lost_found(),
            layout.ingests(),
            layout.blobs_of(Algorithm::Sha256),
        ]
        .map(|path| path.to_str().unwrap().to_owned())
        .join("\n");
        insta::assert_snapshot!(shown, @r"
        /var/lib/leasehold
        /var/lib/leasehold/meta
        /var/lib/leasehold/l
        /var/lib/leasehold/l/10
        /var/lib/leasehold/l/10/fs
        /var/lib/leasehold/l/10/work
        /var/lib/leasehold/staging
        /var/lib/leasehold/trash
        /var/lib/leasehold/trash/10
        /var/lib/leasehold/lost+found
        /var/lib/leasehold/ingests
        /var/lib/leasehold/blobs/sha256
        ");
    }

    #[test]
    fn roots_that_cannot_be_mounted_are_refused() {
        for root in ["", "relative", "/", "//.", "/a:b", "/a,b", "/a\\b", "/a/../b", "/a\0b"] {
            assert!(matches!(Layout::new(root), Err(Error::Invalid { what: "root", .. })), "{root:?}");
        }
    }

    #[test]
    fn create_makes_private_directories_and_may_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("deep/pool")).unwrap();
        layout.create().unwrap();
        layout.create().unwrap();
        for path in [layout.meta(), layout.layers(), layout.staging(), layout.trash(), layout.lost_found()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700, "{path:?}");
        }
    }

    #[test]
    fn create_refuses_a_file_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("l"), "").unwrap();
        let err = Layout::new(dir.path()).unwrap().create().unwrap_err();
        assert!(matches!(err, Error::Fs { .. }), "{err:?}");
    }

    #[test]
    fn privileged_create_says_what_to_do_on_a_read_only_file_system() {
        testing::privileged("create on a read-only file system", || {
            let fs = TestFs::tmpfs();
            fs.make_read_only();
            let err = Layout::new(fs.path().join("pool")).unwrap().create().unwrap_err();
            assert!(matches!(&err, Error::Pool(text) if text.contains("read-write")), "{err:?}");
        });
    }
}
