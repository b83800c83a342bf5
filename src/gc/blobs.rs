//! What keeps a blob.

use std::time::SystemTime;

use super::explain::{Explained, Reason};
use super::pool::Collectible;
use super::why::Chain;
use crate::types::{Digest, Member, MemberKind, Namespace, Scope};
use crate::{Error, Result};

/// The most leases that are told of a namespace.
const TOLD: usize = 32;

impl Collectible {
    /// Explains a blob that containerd has, one that is retained, or one that leases name without its being here, in all
    /// namespaces but those where it was explained already.
    pub(super) fn blob(
        &self,
        digest: &str,
        only: Option<&Namespace>,
        explained: &[Namespace],
        now: SystemTime,
    ) -> Result<Vec<Explained>> {
        let Ok(digest) = Digest::parse(digest) else { return Ok(Vec::new()) };
        let metadata = self.snapshotter().metadata();
        let held = match metadata.blob(&Scope::Plugin, &digest) {
            Ok(_) => true,
            Err(Error::NotFound(_)) => false,
            Err(err) => return Err(err),
        };
        if held {
            let after_removal = self.leases_on_blob(&digest, now)?;
            return Ok(vec![Explained { after_removal, ..containerds(&digest) }]);
        }
        if metadata.retained_blob(&digest)?.is_some() {
            let holds = match metadata.blob_held_by(&digest, now)? {
                Some((namespace, lease)) => vec![self.lease(&namespace, &lease)],
                None => {
                    let chain = self.tree_of_blob(&digest, now)?;
                    chain.map(|chain| self.reasons(&chain)).unwrap_or_default()
                }
            };
            return Ok(vec![Explained::new("retained-blob", String::new(), digest.to_string(), holds)]);
        }
        self.absent_blob(&digest, only, explained, now)
    }

    /// Returns the unexpired leases of all namespaces that name a blob.
    fn leases_on_blob(&self, digest: &Digest, now: SystemTime) -> Result<Vec<Reason>> {
        let metadata = self.snapshotter().metadata();
        let mut reasons = Vec::new();
        for namespace in metadata.namespaces_of_content_leases() {
            let leases = metadata.holders(&namespace, &MemberKind::Content, digest.as_str(), now, TOLD)?;
            reasons.extend(leases.iter().map(|lease| self.lease(&namespace, lease)));
        }
        if reasons.is_empty() {
            reasons.extend(self.tree_of_blob(digest, now)?.and_then(|chain| self.lease_of_tree(&chain)));
        }
        Ok(reasons)
    }

    /// Tells of the lease at the root of a tree in one line.
    pub(super) fn lease_of_tree(&self, chain: &Chain) -> Option<Reason> {
        let named = &chain.links.first()?.resource.key;
        let lease = self.reasons(chain).into_iter().next()?;
        Some(Reason { reason: format!("names {named}, below which it is: {}", lease.reason), ..lease })
    }

    /// Explains a blob that leases name and nobody has.
    fn absent_blob(
        &self,
        digest: &Digest,
        only: Option<&Namespace>,
        explained: &[Namespace],
        now: SystemTime,
    ) -> Result<Vec<Explained>> {
        let member = Member::new(MemberKind::Content, digest.as_str())?;
        let mut found = Vec::new();
        for (namespace, _) in self.snapshotter().metadata().namespaces()? {
            if only.is_some_and(|only| *only != namespace) || explained.contains(&namespace) {
                continue;
            }
            let lease = self.snapshotter().metadata().held_by(&namespace, member.kind(), member.id(), now)?;
            found.extend(lease.map(|lease| {
                let holds = vec![self.lease(&namespace, &lease)];
                Explained::new("content", namespace.to_string(), digest.to_string(), holds)
            }));
        }
        Ok(found)
    }
}

fn containerds(digest: &Digest) -> Explained {
    let holder = Reason {
        kind: "containerd".to_owned(),
        namespace: String::new(),
        name: digest.to_string(),
        reason: "containerd has it, and has not deleted it".to_owned(),
    };
    Explained::new("blob", String::new(), digest.to_string(), vec![holder])
}
