//! Diff: a layer of what a snapshot changes.
//!
//! A client of the API socket gets a blob in its namespace. containerd only knows of blobs that it was given itself, whoever
//! stores them, so what is made for it goes to it, as an upload of the same client. It calls in none of its transactions; the
//! thread at work here is none of those by which such an upload may come back to this daemon as a content store.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::{Request, Status};
use tracing::Span;
use uuid::Uuid;

use crate::diff::compare::{Sink, Written};
use crate::diff::{Compare, Compared, Differ};
use crate::{Error, Result};

use super::super::client;
use super::super::convert;
use super::super::proto::containerd::types::Descriptor;
use super::super::request::{refuse, span};
use super::super::scope::{ContentCaller, LEASE, header, namespace};
use super::super::socket::Socket;
use super::api;
use super::upload::{BROKEN_OFF, Upload};
use super::{DiffService, StopWhenGone};

/// How long containerd may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(10);

impl DiffService {
    /// Makes a layer, and returns its blob.
    pub(super) async fn compare(&self, request: Request<api::DiffRequest>) -> Result<Descriptor, Status> {
        let span = span("Diff/Diff", request.metadata(), &request.get_ref().r#ref);
        let refuse = |err| span.in_scope(|| refuse(err));
        match self.socket {
            Socket::Api(_) => {
                let compared = self.socket.changed(self.compare_here(request, &span).await).map_err(refuse)?;
                Ok(descriptor(compared.media_type, compared.digest.as_str(), compared.size))
            }
            Socket::Plugin => self.compare_for_containerd(request, &span).await,
        }
    }

    async fn compare_here(&self, request: Request<api::DiffRequest>, span: &Span) -> Result<Compared> {
        let ContentCaller { scope, lease } = ContentCaller::on_api_socket(request.metadata())?;
        let request = request.into_inner();
        let compare = Compare {
            scope,
            lease,
            left: convert::mounts_of(request.left),
            right: convert::mounts_of(request.right),
            media_type: request.media_type,
            name: request.r#ref,
            labels: convert::labels(request.labels)?,
            source_date_epoch: request.source_date_epoch.map(|latest| latest.seconds),
        };
        self.in_turn(span, move |differ, stop| differ.compare(compare, stop)).await
    }

    async fn compare_for_containerd(
        &self,
        request: Request<api::DiffRequest>,
        span: &Span,
    ) -> Result<Descriptor, Status> {
        let refuse = |err| span.in_scope(|| refuse(err));
        let (headers, _, request) = request.into_parts();
        let (left, right) = (convert::mounts_of(request.left), convert::mounts_of(request.right));
        let latest = request.source_date_epoch.map(|latest| latest.seconds);
        let comparison = self.differ.comparison(&left, &right, &request.media_type, latest).map_err(refuse)?;
        let media_type = comparison.media_type();
        let Ok(namespace) = namespace(&headers) else {
            return Err(refuse(Error::Unsupported("comparing without a namespace".into())));
        };
        let Some(socket) = self.containerd.as_deref() else {
            return Err(refuse(Error::Unsupported("comparing without diff.containerd_socket".into())));
        };
        let channel = match timeout(CONNECT, client::containerd(socket)).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(socket = %socket.display(), "containerd does not answer where diff.containerd_socket says");
                return Err(refuse(Error::Unsupported("comparing while containerd does not answer".into())));
            }
        };
        let upload = Upload {
            content: client::content_client(channel.clone(), &namespace).map_err(refuse)?,
            leases: client::leases_client(channel, &namespace).map_err(refuse)?,
            lease: header(&headers, LEASE).map(str::to_owned),
            name: if request.r#ref.is_empty() { format!("leasehold-diff-{}", Uuid::new_v4()) } else { request.r#ref },
            labels: request.labels,
        };
        // Two on the way: one is made while the other is sent.
        let (chunks, parts) = mpsc::channel(1);
        let (tell, written) = oneshot::channel();
        let work = move |_: &Differ, stop: &dyn Fn() -> bool| {
            // Nobody hears it when the upload has failed.
            let _ = tell.send(comparison.write(&mut Chunks(chunks), stop)?);
            Ok(())
        };
        // A task of its own: what it has begun, it takes back when the client is gone.
        let uploading = tokio::spawn(upload.run(parts, written));
        let worked = self.in_turn(span, work).await;
        let uploaded = uploading.await.unwrap_or_else(|_| Err(Error::Lost("an upload").into()));
        match (worked, uploaded) {
            (_, Ok(Some(Written { digest, size, .. }))) => Ok(descriptor(media_type, digest.as_str(), size)),
            (Ok(()) | Err(Error::Lost(BROKEN_OFF)), Err(status)) => Err(status),
            (Err(err), _) => Err(refuse(err)),
            (Ok(()), Ok(None)) => Err(refuse(Error::Lost(BROKEN_OFF))),
        }
    }

    /// Does what takes long when its turn comes, on a thread of its own.
    async fn in_turn<T: Send + 'static>(
        &self,
        span: &Span,
        work: impl FnOnce(&Differ, &dyn Fn() -> bool) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.turns.0.clone().acquire_owned().await.map_err(|_| Error::ShuttingDown)?;
        let (answer, answered) = oneshot::channel();
        let gone = StopWhenGone::default();
        let stop = gone.0.clone();
        let answer = move |result| {
            // Given back when the work ends: a client that hangs up does not end it at once.
            let _turn = turn;
            // Nobody hears it when the client has hung up.
            let _ = answer.send(result);
        };
        span.in_scope(|| self.differ.start_compare(work, stop, answer))?;
        answered.await.unwrap_or(Err(Error::Lost("a comparison")))
    }
}

/// What the thread at work has made, on its way to the task that sends it.
struct Chunks(mpsc::Sender<Bytes>);

impl Sink for Chunks {
    fn append(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.0.blocking_send(bytes.into()).map_err(|_| Error::Lost(BROKEN_OFF))
    }
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Descriptor {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    Descriptor { media_type: media_type.into(), digest: digest.into(), size, ..Descriptor::default() }
}
