//! containerd's Snapshots service.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::Span;

use crate::Error;
use crate::leases::Changes;
use crate::metadata::{CommitActive, Kind};
use crate::overlay::Mount;
use crate::snapshotter::{Create, List, Snapshotter};
use crate::types::{Filter, Scope};

use super::convert;
use super::proto::containerd::services::snapshots::v1::snapshots_server::Snapshots;
use super::proto::containerd::services::snapshots::v1::{
    CleanupRequest, CommitSnapshotRequest, ListSnapshotsRequest, ListSnapshotsResponse, MountsRequest, MountsResponse,
    PrepareSnapshotRequest, PrepareSnapshotResponse, RemoveSnapshotRequest, StatSnapshotRequest, StatSnapshotResponse,
    UpdateSnapshotRequest, UpdateSnapshotResponse, UsageRequest, UsageResponse, ViewSnapshotRequest,
    ViewSnapshotResponse,
};
use super::request::{Slow, blocking, from_memory, span};
use super::scope::Caller;
use super::socket::Socket;

/// The service over one pool, on one socket.
pub(super) struct SnapshotsService {
    snapshotter: Arc<Snapshotter>,
    slow: Slow,
    socket: Socket,
}

impl SnapshotsService {
    /// Makes the service of the plugin socket.
    pub fn for_containerd(snapshotter: Arc<Snapshotter>, slow: Slow) -> SnapshotsService {
        SnapshotsService { snapshotter, slow, socket: Socket::Plugin }
    }

    /// Makes the service of the API socket. Removals are told to `changes`.
    pub fn for_clients(snapshotter: Arc<Snapshotter>, slow: Slow, changes: Arc<Changes>) -> SnapshotsService {
        SnapshotsService { snapshotter, slow, socket: Socket::Api(changes) }
    }

    /// Reads the headers of a request, and the snapshotter that it names.
    fn caller(&self, headers: &MetadataMap, snapshotter: &str) -> Result<Caller, Error> {
        match self.socket {
            Socket::Plugin => Ok(Caller::on_plugin_socket(headers, self.snapshotter.name())),
            Socket::Api(_) => Caller::on_api_socket(headers, self.snapshotter.name(), snapshotter),
        }
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotsService {
    async fn prepare(
        &self,
        request: Request<PrepareSnapshotRequest>,
    ) -> Result<Response<PrepareSnapshotResponse>, Status> {
        let span = span("Prepare", request.metadata(), &request.get_ref().key);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let PrepareSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let mounts = blocking(&self.snapshotter, "Prepare", span, move |snapshotter| {
            create(snapshotter, Kind::Active, caller?, key, parent, labels)
        });
        Ok(Response::new(PrepareSnapshotResponse { mounts: convert::mounts(self.socket.changed(mounts.await)?) }))
    }

    async fn view(&self, request: Request<ViewSnapshotRequest>) -> Result<Response<ViewSnapshotResponse>, Status> {
        let span = span("View", request.metadata(), &request.get_ref().key);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let ViewSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let mounts = blocking(&self.snapshotter, "View", span, move |snapshotter| {
            create(snapshotter, Kind::View, caller?, key, parent, labels)
        });
        Ok(Response::new(ViewSnapshotResponse { mounts: convert::mounts(self.socket.changed(mounts.await)?) }))
    }

    async fn mounts(&self, request: Request<MountsRequest>) -> Result<Response<MountsResponse>, Status> {
        let span = span("Mounts", request.metadata(), &request.get_ref().key);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let key = request.into_inner().key;
        let mounts =
            blocking(&self.snapshotter, "Mounts", span, move |snapshotter| snapshotter.mounts(&caller?.key(key)?));
        Ok(Response::new(MountsResponse { mounts: convert::mounts(mounts.await?) }))
    }

    async fn commit(&self, request: Request<CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let span = span("Commit", request.metadata(), &request.get_ref().key);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let CommitSnapshotRequest { name, key, labels, parent, .. } = request.into_inner();
        let committed = blocking(&self.snapshotter, "Commit", span, move |snapshotter| {
            let caller = caller?;
            snapshotter.commit(CommitActive {
                name: caller.key(name)?,
                key: caller.key(key)?,
                parent: caller.parent(parent)?,
                labels: convert::labels(labels)?,
                lease: caller.lease,
            })
        });
        self.socket.changed(committed.await).map(Response::new)
    }

    async fn remove(&self, request: Request<RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let span = span("Remove", request.metadata(), &request.get_ref().key);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let key = request.into_inner().key;
        let removed = blocking(&self.snapshotter, "Remove", span, move |snapshotter| {
            let caller = caller?;
            let key = caller.key(key)?;
            match caller.scope {
                Scope::Plugin => snapshotter.remove(&key),
                Scope::Api(_) => snapshotter.remove_from(&key, caller.lease.as_ref()),
            }
        });
        // Its parents may have been kept by it alone.
        self.socket.removed(removed.await).map(Response::new)
    }

    async fn stat(&self, request: Request<StatSnapshotRequest>) -> Result<Response<StatSnapshotResponse>, Status> {
        let span = span("Stat", request.metadata(), &request.get_ref().key);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter)?;
        let key = caller.key(request.into_inner().key)?;
        let info = from_memory(&self.snapshotter, "Stat", span, |snapshotter| snapshotter.stat_cached(&key), {
            let key = key.clone();
            move |snapshotter| snapshotter.stat(key)
        });
        Ok(Response::new(StatSnapshotResponse { info: Some(convert::info(info.await?)) }))
    }

    async fn update(
        &self,
        request: Request<UpdateSnapshotRequest>,
    ) -> Result<Response<UpdateSnapshotResponse>, Status> {
        let name = request.get_ref().info.as_ref().map(|info| info.name.as_str()).unwrap_or_default();
        let span = span("Update", request.metadata(), name);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let request = request.into_inner();
        let info = blocking(&self.snapshotter, "Update", span, move |snapshotter| {
            let (key, update) = convert::update(&caller?, request)?;
            snapshotter.update(key, update)
        });
        Ok(Response::new(UpdateSnapshotResponse { info: Some(convert::info(self.socket.changed(info.await)?)) }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<ListSnapshotsResponse, Status>> + Send>>;

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Result<Response<Self::ListStream>, Status> {
        let span = span("List", request.metadata(), "");
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let filters = request.into_inner().filters;
        // Compiling patterns is work, if bounded: not for the threads that serve everybody.
        let parse = move |_: &Snapshotter| Ok(List::new(caller?.scope, Filter::parse_all(&filters)?));
        let list = blocking(&self.snapshotter, "List", span.clone(), parse).await?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(stream_pages(self.snapshotter.clone(), list, span, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn usage(&self, request: Request<UsageRequest>) -> Result<Response<UsageResponse>, Status> {
        let span = span("Usage", request.metadata(), &request.get_ref().key);
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let key = request.into_inner().key;
        let usage = self
            .slow
            .blocking(&self.snapshotter, "Usage", span, move |snapshotter| snapshotter.usage(&caller?.key(key)?));
        let usage = usage.await?;
        let clamp = |number| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(Response::new(UsageResponse { size: clamp(usage.size), inodes: clamp(usage.inodes) }))
    }

    async fn cleanup(&self, request: Request<CleanupRequest>) -> Result<Response<()>, Status> {
        let span = span("Cleanup", request.metadata(), "");
        let caller = self.caller(request.metadata(), &request.get_ref().snapshotter);
        let cleanup = self.slow.blocking(&self.snapshotter, "Cleanup", span, move |snapshotter| {
            caller?;
            snapshotter.cleanup();
            Ok(())
        });
        cleanup.await.map(Response::new)
    }
}

/// What Prepare and View have in common.
fn create(
    snapshotter: &Snapshotter,
    kind: Kind,
    caller: Caller,
    key: String,
    parent: String,
    labels: BTreeMap<String, String>,
) -> Result<Vec<Mount>, Error> {
    let (key, parent, labels) = (caller.key(key)?, caller.parent(parent)?, convert::labels(labels)?);
    snapshotter.create(Create { kind, key, parent, labels, lease: caller.lease })
}

/// Sends a listing page by page; ends when the client is gone. A page is read when the one before it was taken.
async fn stream_pages(
    snapshotter: Arc<Snapshotter>,
    mut list: List,
    span: Span,
    sender: mpsc::Sender<Result<ListSnapshotsResponse, Status>>,
) {
    while let Ok(slot) = sender.reserve().await {
        let page = blocking(&snapshotter, "List", span.clone(), move |snapshotter| {
            let page = snapshotter.next_page(&mut list)?;
            Ok((page, list))
        });
        match page.await {
            Ok((Some(page), rest)) => {
                list = rest;
                slot.send(Ok(ListSnapshotsResponse { info: page.into_iter().map(convert::info).collect() }));
            }
            Ok((None, _)) => return,
            Err(status) => {
                slot.send(Err(status));
                return;
            }
        }
    }
}
