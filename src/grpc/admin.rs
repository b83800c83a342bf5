//! What the command line asks a running daemon.

mod disk_usage;
mod info;
mod inventory;

use std::sync::Arc;

use tonic::{Request, Response, Status};

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
    features: Vec<Feature>,
    slow: Slow,
}

impl AdminService {
    pub fn new(
        snapshotter: Arc<Snapshotter>,
        collectible: Arc<Collectible>,
        host: &HostFeatures,
        slow: Slow,
    ) -> AdminService {
        let features = host
            .rows()
            .into_iter()
            .map(|(name, value, meaning)| Feature { name: name.into(), value, meaning: meaning.into() })
            .collect();
        AdminService { snapshotter, collectible, features, slow }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let span = span("Info", request.metadata(), "");
        let (collectible, features) = (self.collectible.clone(), self.features.clone());
        let answer = blocking(&self.snapshotter, "Info", span, move |snapshotter| {
            info::response(snapshotter, collectible.failure(), features)
        });
        answer.await.map(Response::new)
    }

    async fn fsck(&self, request: Request<FsckRequest>) -> Result<Response<FsckResponse>, Status> {
        let span = span("Fsck", request.metadata(), "");
        let repair = request.into_inner().repair;
        let report = self.slow.blocking(&self.snapshotter, "Fsck", span, move |snapshotter| snapshotter.fsck(repair));
        let report = report.await?;
        if repair && !report.problems.is_empty() {
            self.collectible.wake();
        }
        Ok(Response::new(report.into()))
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
        let accounts =
            self.slow.blocking(&self.snapshotter, "DiskUsage", span, move |snapshotter| snapshotter.accounts(&images));
        let accounts = accounts.await?;
        Ok(Response::new(disk_usage::response(accounts, namespace.as_ref())))
    }
}

impl From<FsckReport> for FsckResponse {
    fn from(report: FsckReport) -> FsckResponse {
        let problems = report
            .problems
            .into_iter()
            .map(|problem| Problem {
                kind: problem.kind.code().into(),
                what: problem.kind.to_string(),
                repair: problem.repair.unwrap_or_default(),
            })
            .collect();
        FsckResponse {
            snapshots: report.snapshots,
            layers: report.layers,
            directories: report.directories,
            problems,
            leases: report.leases,
        }
    }
}
