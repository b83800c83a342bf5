//! Who names a blob: the scopes that have it, and leases.

use std::time::SystemTime;

use super::record::BlobFile;
use super::{Metadata, Transaction, schema};
use crate::Result;
use crate::store::Column;
use crate::types::{Digest, Labels, LeaseId, MemberKind, Namespace, Scope};

/// Files in the order of their digests, and where the next page begins.
pub struct BlobFilePage {
    /// The files of this page.
    pub files: Vec<(Digest, BlobFile)>,
    /// The last digest that was read; `None` after the last page.
    pub next: Option<Digest>,
}

/// Who names a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedBy {
    /// Those that have it.
    pub scopes: Vec<Scope>,
    /// Whether it is kept for leases, after containerd deleted it.
    pub retained: bool,
    /// Unexpired leases that would hold it, the first of them where there are many.
    pub leases: Vec<(Namespace, LeaseId)>,
}

impl Metadata {
    /// Returns who names a blob, with up to `limit` leases.
    ///
    /// # Errors
    /// Those of the store.
    pub fn named_by(&self, digest: &Digest, now: SystemTime, limit: usize) -> Result<NamedBy> {
        let retained = self.store.get(Column::RetainedBlobs, &schema::content::retained_blob(digest))?.is_some();
        let mut named = NamedBy { retained, ..NamedBy::default() };
        let namespaces = self.namespaces()?;
        for (namespace, _) in &namespaces {
            let left = limit.saturating_sub(named.leases.len());
            let leases = self.holders(namespace, &MemberKind::Content, digest.as_str(), now, left)?;
            named.leases.extend(leases.into_iter().map(|lease| (namespace.clone(), lease)));
        }
        for scope in scopes(namespaces) {
            if self.store.get(Column::Blobs, &schema::content::blob(&scope, digest))?.is_some() {
                named.scopes.push(scope);
            }
        }
        Ok(named)
    }

    /// Reads the records of up to `limit` files after `after`. No state is kept between pages. Those that cannot be read are
    /// passed over.
    ///
    /// # Errors
    /// Those of the store.
    pub fn blob_files(&self, after: Option<&Digest>, limit: usize) -> Result<BlobFilePage> {
        let after = after.map(schema::content::file);
        let entries = self.store.page(Column::Files, &[], after.as_deref(), limit)?;
        let readable =
            |key: &[u8], value: &[u8]| Some((schema::content::parse_file(key).ok()?, BlobFile::decode(value).ok()?));
        let files = entries.iter().filter_map(|(key, value)| readable(key, value)).collect();
        let next = match entries.last() {
            Some((key, _)) if entries.len() == limit => Some(schema::content::parse_file(key)?),
            _ => None,
        };
        Ok(BlobFilePage { files, next })
    }
}

impl Transaction<'_> {
    /// Removes a blob that is damaged from everybody who has it, and the record of its file, which the caller sets aside.
    /// Returns who that was, without leases. The caller has the digest to itself.
    ///
    /// # Errors
    /// Those of the store.
    pub fn drop_blob(&mut self, digest: &Digest) -> Result<NamedBy> {
        let mut dropped = NamedBy { retained: self.forget_retained_blob(digest)?, ..NamedBy::default() };
        for scope in scopes(self.metadata.namespaces()?) {
            let key = schema::content::blob(&scope, digest);
            if self.txn.get(Column::Blobs, &key)?.is_some() {
                self.txn.delete(Column::Blobs, key);
                dropped.scopes.push(scope);
            }
        }
        self.txn.delete(Column::Files, schema::content::file(digest));
        Ok(dropped)
    }
}

/// Returns where a blob can be.
fn scopes(namespaces: Vec<(Namespace, Labels)>) -> impl Iterator<Item = Scope> {
    std::iter::once(Scope::Plugin).chain(namespaces.into_iter().map(|(namespace, _)| Scope::Api(namespace)))
}
