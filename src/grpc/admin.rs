//! What the command line asks a running daemon.

mod disk_usage;
mod info;
mod inventory;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::content::{self, Content};
use crate::gc::Collectible;
use crate::overlay::HostFeatures;
use crate::snapshotter::{FsckReport, Snapshotter};

use super::proto::leasehold::admin::v1::admin_server::Admin;
use super::proto::leasehold::admin::v1::{
    DiskUsageRequest, DiskUsageResponse, Feature, FsckRequest, FsckResponse, InfoRequest, InfoResponse, Problem,
    SnapshotsRequest,
};
use super::request::{Slow, blocking, span};

/// The service over one pool.
pub(super) struct AdminService {
    snapshotter: Arc<Snapshotter>,
    collectible: Arc<Collectible>,
    content: Arc<Content>,
    features: Vec<Feature>,
    slow: Slow,
}

impl AdminService {
    pub fn new(
        snapshotter: Arc<Snapshotter>,
        content: Arc<Content>,
        collectible: Arc<Collectible>,
        host: &HostFeatures,
        slow: Slow,
    ) -> AdminService {
        let features = host
            .rows()
            .into_iter()
            .map(|(name, value, meaning)| Feature { name: name.into(), value, meaning: meaning.into() })
            .collect();
        AdminService { snapshotter, collectible, content, features, slow }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let span = span("Info", request.metadata(), "");
        let (collectible, features) = (self.collectible.clone(), self.features.clone());
        let ingests = self.content.ingests_open() as u64;
        let answer = blocking(&self.snapshotter, "Info", span, move |snapshotter| {
            info::response(snapshotter, ingests, collectible.failure(), features)
        });
        answer.await.map(Response::new)
    }

    async fn fsck(&self, request: Request<FsckRequest>) -> Result<Response<FsckResponse>, Status> {
        let span = span("Fsck", request.metadata(), "");
        let repair = request.into_inner().repair;
        let content = self.content.clone();
        let response = self.slow.blocking(&self.snapshotter, "Fsck", span, move |snapshotter| {
            // Blobs first: what becomes of them is in trash, which layers are compared with.
            let content = content.fsck(repair)?;
            Ok(fsck_response(snapshotter.fsck(repair)?, content))
        });
        let response = response.await?;
        if repair && !response.problems.is_empty() {
            self.collectible.wake();
        }
        Ok(Response::new(response))
    }

    type SnapshotsStream = inventory::SnapshotsStream;

    async fn snapshots(&self, request: Request<SnapshotsRequest>) -> Result<Response<Self::SnapshotsStream>, Status> {
        inventory::snapshots(&self.snapshotter, request)
    }

    async fn disk_usage(&self, request: Request<DiskUsageRequest>) -> Result<Response<DiskUsageResponse>, Status> {
        let span = span("DiskUsage", request.metadata(), "");
        let request = request.into_inner();
        let namespace = inventory::wanted(request.namespace)?;
        let images = disk_usage::images(request.images)?;
        let content = self.content.clone();
        let accounts = self.slow.blocking(&self.snapshotter, "DiskUsage", span, move |snapshotter| {
            Ok((snapshotter.accounts(&images)?, content.accounts()?))
        });
        let (layers, blobs) = accounts.await?;
        Ok(Response::new(disk_usage::response(layers, blobs, namespace.as_ref())))
    }
}

/// Puts what was found about layers and about blobs into one answer.
pub(crate) fn fsck_response(layers: FsckReport, content: content::FsckReport) -> FsckResponse {
    let of_layers = layers.problems.into_iter().map(|problem| Problem {
        kind: problem.kind.code().into(),
        what: problem.kind.to_string(),
        repair: problem.repair.unwrap_or_default(),
    });
    let of_content = content.problems.into_iter().map(|problem| Problem {
        kind: problem.kind.code().into(),
        what: problem.kind.to_string(),
        repair: problem.repair.unwrap_or_default(),
    });
    FsckResponse {
        snapshots: layers.snapshots,
        layers: layers.layers,
        directories: layers.directories,
        leases: layers.leases,
        blobs: content.blobs,
        ingests: content.ingests,
        problems: of_layers.chain(of_content).collect(),
    }
}
