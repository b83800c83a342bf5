//! Info and Update.

use std::borrow::Cow;

use crate::metadata::{Blob, LabelUpdate};
use crate::types::{Adaptor, Digest, Scope};
use crate::{Error, Result};

use super::Content;

/// A blob as a client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// What it is.
    pub digest: Digest,
    /// Its record.
    pub blob: Blob,
}

impl Adaptor for Info {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path.split_first()? {
            (&"digest", _) => Some(self.digest.as_str().into()),
            // `size` is no field that filters can ask for: containerd never made it one.
            (&"labels", label) => self.blob.labels.field(label).map(Cow::from),
            _ => None,
        }
    }
}

impl Content {
    /// Returns a blob. Where containerd asks for one that is retained it is containerd's again, because it may count on
    /// it from now on, and says nothing more about that.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn info(&self, scope: &Scope, digest: Digest) -> Result<Info> {
        let blob = match self.metadata.blob(scope, &digest) {
            Err(Error::NotFound(resource)) => self.adopt(scope, &digest)?.ok_or(Error::NotFound(resource)),
            found => found,
        };
        Ok(Info { blob: blob?, digest })
    }

    /// Returns a blob if its record is in memory. For threads that must not wait.
    ///
    /// # Errors
    /// As for [`info`](Self::info).
    pub fn info_cached(&self, scope: &Scope, digest: &Digest) -> Result<Option<Info>> {
        let blob = match self.metadata.cached_blob(scope, digest) {
            // To adopt it is to wait for the disk.
            Err(Error::NotFound(_)) if self.may_be_retained(scope, digest)? => None,
            found => found?,
        };
        Ok(blob.map(|blob| Info { digest: digest.clone(), blob }))
    }

    /// Changes labels and returns what the blob is now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub fn update(&self, scope: &Scope, digest: Digest, update: LabelUpdate) -> Result<Info> {
        let mut txn = self.metadata.write(self.now())?;
        let blob = txn.update_blob(scope, &digest, update)?;
        txn.commit()?;
        Ok(Info { digest, blob })
    }
}
