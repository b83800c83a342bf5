//! What there is, page by page.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Span;

use crate::snapshotter::{Entry, Inventory, Snapshotter};
use crate::types::{Namespace, Scope};

use super::super::proto::leasehold::admin::v1::{Snapshot, SnapshotsRequest, SnapshotsResponse, Usage};
use super::super::request::{blocking, span};

pub(super) type SnapshotsStream = Pin<Box<dyn Stream<Item = Result<SnapshotsResponse, Status>> + Send>>;

/// Answers `Snapshots`.
pub(super) fn snapshots(
    snapshotter: &Arc<Snapshotter>,
    request: Request<SnapshotsRequest>,
) -> Result<Response<SnapshotsStream>, Status> {
    let span = span("Snapshots", request.metadata(), "");
    let namespace = wanted(request.into_inner().namespace)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(stream_pages(snapshotter.clone(), Inventory::new(namespace), span, sender));
    Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
}

/// Reads the namespace that is asked for; the empty string means all.
pub(super) fn wanted(namespace: String) -> Result<Option<Namespace>, Status> {
    if namespace.is_empty() { Ok(None) } else { Ok(Some(Namespace::parse(namespace)?)) }
}

/// Sends a listing page by page; ends when the client is gone. A page is read when the one before it was taken.
async fn stream_pages(
    snapshotter: Arc<Snapshotter>,
    mut inventory: Inventory,
    span: Span,
    sender: mpsc::Sender<Result<SnapshotsResponse, Status>>,
) {
    while let Ok(slot) = sender.reserve().await {
        let page = blocking(&snapshotter, "Snapshots", span.clone(), move |snapshotter| {
            let page = snapshotter.next_entries(&mut inventory)?;
            Ok((page, inventory))
        });
        match page.await {
            Ok((Some(page), rest)) => {
                inventory = rest;
                slot.send(Ok(SnapshotsResponse { snapshots: page.into_iter().map(Snapshot::from).collect() }));
            }
            Ok((None, _)) => return,
            Err(status) => {
                slot.send(Err(status));
                return;
            }
        }
    }
}

impl From<Entry> for Snapshot {
    fn from(entry: Entry) -> Snapshot {
        let snapshot = entry.snapshot;
        Snapshot {
            namespace: entry.namespace.map(|namespace| namespace.as_str().to_owned()).unwrap_or_default(),
            name: entry.key.client_key().to_owned(),
            key: entry.key.as_str().to_owned(),
            kind: snapshot.kind.as_str().to_owned(),
            parent: snapshot.parent.map(|parent| parent.as_str().to_owned()).unwrap_or_default(),
            layer: snapshot.layer.map(|layer| layer.to_string()).unwrap_or_default(),
            parent_layers: snapshot.parent_layers.iter().map(ToString::to_string).collect(),
            usage: entry.usage.map(|usage| Usage { size: usage.size, inodes: usage.inodes }),
            created_at: Some(snapshot.created_at.into()),
            removed_at: entry.removed_at.map(Into::into),
            api: matches!(entry.key.scope(), Scope::Api(_)),
            leases: entry.leases.iter().map(|lease| lease.as_str().to_owned()).collect(),
            more_leases: entry.more_leases,
        }
    }
}
