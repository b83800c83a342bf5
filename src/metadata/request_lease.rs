//! Blobs and ingests as members of the lease that a request on the API socket comes with.
//!
//! The lease of a request names an ingest from the moment it is begun, and instead of it the blob once that is there. So
//! whatever a client of a lease uploads is held at every moment.

use super::{Metadata, Transaction};
use crate::types::{Digest, IngestRef, LeaseId, Member, MemberKind, Namespace, Scope};
use crate::{Error, Result};

impl Metadata {
    /// Fails where the lease of a request does not exist.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn require_lease(&self, scope: &Scope, lease: Option<&LeaseId>) -> Result<()> {
        match of_api(scope, lease) {
            Some((namespace, lease)) => self.lease(namespace, lease).map(drop),
            None => Ok(()),
        }
    }
}

impl Transaction<'_> {
    /// Looks for a blob that a client is to be told of: the lease of its request names it from now on, and no collection
    /// under way removes it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the blob, and for the lease.
    pub fn find_blob(&mut self, scope: &Scope, digest: &Digest, lease: Option<&LeaseId>) -> Result<()> {
        let blob = self.blob(scope, digest)?;
        self.note_blob(scope, digest, &blob);
        self.lease_blob(scope, digest, lease)
    }

    /// Has the lease of a request name an ingest.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the lease, [`Error::Invalid`] for a ref that no lease can name.
    pub fn lease_ingest(&mut self, name: &IngestRef, lease: Option<&LeaseId>) -> Result<()> {
        let Some((namespace, lease)) = of_api(name.scope(), lease) else { return Ok(()) };
        self.add_member(namespace, lease, &Member::new(MemberKind::Ingests, name.as_str())?)
    }

    /// Has the lease of a request no longer name an ingest that is gone, whether it did, and exists, or not.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unlease_ingest(&mut self, name: &IngestRef, lease: Option<&LeaseId>) -> Result<()> {
        let Ok(member) = Member::new(MemberKind::Ingests, name.as_str()) else { return Ok(()) };
        self.unlease(name.scope(), &member, lease)
    }

    /// Has the lease of a request no longer name a blob that is gone, whether it did, and exists, or not.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unlease_blob(&mut self, scope: &Scope, digest: &Digest, lease: Option<&LeaseId>) -> Result<()> {
        self.unlease(scope, &Member::new(MemberKind::Content, digest.as_str())?, lease)
    }

    pub(super) fn lease_blob(&mut self, scope: &Scope, digest: &Digest, lease: Option<&LeaseId>) -> Result<()> {
        let Some((namespace, lease)) = of_api(scope, lease) else { return Ok(()) };
        self.add_member(namespace, lease, &Member::new(MemberKind::Content, digest.as_str())?)
    }

    fn unlease(&mut self, scope: &Scope, member: &Member, lease: Option<&LeaseId>) -> Result<()> {
        let Some((namespace, lease)) = of_api(scope, lease) else { return Ok(()) };
        match self.remove_member(namespace, lease, member) {
            Err(Error::NotFound(_)) => Ok(()),
            result => result,
        }
    }
}

/// Returns the lease of a request with its namespace. A request on the plugin socket comes with one of containerd's own.
fn of_api<'a>(scope: &'a Scope, lease: Option<&'a LeaseId>) -> Option<(&'a Namespace, &'a LeaseId)> {
    match scope {
        Scope::Plugin => None,
        Scope::Api(namespace) => Some((namespace, lease?)),
    }
}
