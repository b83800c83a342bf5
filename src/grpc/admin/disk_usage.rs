//! What namespaces, leases and images take on disk.

use crate::Result;
use crate::content::{self, BlobAccounts, Owner};
use crate::snapshotter::{self, Accounts, ImageAccount, ImageTops, LeaseAccount, NamespaceAccount};
use crate::types::Namespace;

use super::super::proto::leasehold::admin::v1 as api;
use super::super::proto::leasehold::admin::v1::{
    BlobShare, BlobUsage, DiskUsageResponse, ImageUsage, LeaseUsage, NamespaceUsage, Share,
};

/// Reads which images are asked about.
pub(super) fn images(asked: Vec<api::ImageTops>) -> Result<Vec<ImageTops>> {
    let image = |one: api::ImageTops| Ok(ImageTops { namespace: Namespace::parse(one.namespace)?, tops: one.tops });
    asked.into_iter().map(image).collect()
}

/// Encodes what is asked for: one namespace and its leases, or all.
pub(super) fn response(accounts: Accounts, blobs: BlobAccounts, wanted: Option<&Namespace>) -> DiskUsageResponse {
    let is_wanted = |namespace: Option<&Namespace>| wanted.is_none() || namespace == wanted;
    DiskUsageResponse {
        namespaces: accounts
            .namespaces
            .into_iter()
            .filter(|of| is_wanted(of.namespace.as_ref()))
            .map(NamespaceUsage::from)
            .collect(),
        leases: accounts.leases.into_iter().filter(|of| is_wanted(Some(&of.namespace))).map(LeaseUsage::from).collect(),
        images: accounts.images.into_iter().map(ImageUsage::from).collect(),
        total: Some(accounts.total.into()),
        unknown: accounts.unknown,
        blobs: blobs.owners.into_iter().map(blob_usage).filter(|of| is_asked_for(of, wanted)).collect(),
        blob_total: Some(blobs.total.into()),
    }
}

fn is_asked_for(of: &BlobUsage, wanted: Option<&Namespace>) -> bool {
    wanted.is_none_or(|wanted| of.namespace == wanted.as_str())
}

fn blob_usage((owner, share): (Owner, content::BlobShare)) -> BlobUsage {
    let (owner, namespace) = match owner {
        Owner::Containerd => ("containerd", String::new()),
        Owner::Retained => ("retained", String::new()),
        Owner::Namespace(namespace) => ("namespace", namespace.as_str().to_owned()),
    };
    BlobUsage { owner: owner.to_owned(), namespace, share: Some(share.into()) }
}

impl From<content::BlobShare> for BlobShare {
    fn from(share: content::BlobShare) -> BlobShare {
        BlobShare { blobs: share.blobs, size: share.size, unique: share.unique }
    }
}

impl From<snapshotter::Share> for Share {
    fn from(share: snapshotter::Share) -> Share {
        Share { layers: share.layers, size: share.size, unique: share.unique }
    }
}

impl From<NamespaceAccount> for NamespaceUsage {
    fn from(of: NamespaceAccount) -> NamespaceUsage {
        NamespaceUsage {
            namespace: of.namespace.map(|namespace| namespace.as_str().to_owned()).unwrap_or_default(),
            snapshots: of.snapshots,
            retained: of.retained,
            share: Some(of.share.into()),
        }
    }
}

impl From<LeaseAccount> for LeaseUsage {
    fn from(of: LeaseAccount) -> LeaseUsage {
        LeaseUsage {
            namespace: of.namespace.as_str().to_owned(),
            lease: of.id.as_str().to_owned(),
            expires_at: of.lease.expires_at.map(Into::into),
            snapshots: of.snapshots,
            missing: of.missing,
            share: Some(of.share.into()),
        }
    }
}

impl From<ImageAccount> for ImageUsage {
    fn from(of: ImageAccount) -> ImageUsage {
        ImageUsage { snapshots: of.snapshots, missing: of.missing, share: Some(of.share.into()) }
    }
}
