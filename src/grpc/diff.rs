//! containerd's Diff service.

mod compare;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::Span;

use crate::diff::{Apply, Begun, Differ, Job, Uncompressed};
use crate::types::{Digest, Scope};
use crate::{Error, Result};

use super::convert;
use super::proto::containerd::services::diff::v1 as api;
use super::proto::containerd::services::diff::v1::diff_server::Diff as Service;
use super::proto::containerd::types::Descriptor;
use super::request::{blocking, count, refuse, span};
use super::scope::ContentCaller;
use super::socket::Socket;

/// What containerd calls a layer that is not compressed, whatever the compressed one was called.
const UNCOMPRESSED: &str = "application/vnd.oci.image.layer.v1.tar";

/// The service over one pool, on one socket.
pub(super) struct DiffService {
    differ: Arc<Differ>,
    turns: DiffTurns,
    socket: Socket,
    /// Where containerd serves its clients.
    containerd: Option<PathBuf>,
}

/// Layers of both sockets are applied in the order in which they came, so many at a time.
#[derive(Clone)]
pub(super) struct DiffTurns(Arc<Semaphore>);

impl DiffTurns {
    /// Lets `limit` layers be applied at a time; 0 means as many as there are processors.
    pub fn new(limit: usize) -> DiffTurns {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        DiffTurns(Arc::new(Semaphore::new(if limit == 0 { processors() } else { limit })))
    }
}

impl DiffService {
    /// Makes the service of a socket.
    pub fn new(differ: Arc<Differ>, turns: DiffTurns, socket: Socket, containerd: Option<PathBuf>) -> DiffService {
        DiffService { differ, turns, socket, containerd }
    }

    fn scope(&self, headers: &MetadataMap) -> Result<Scope> {
        Ok(match self.socket {
            Socket::Plugin => ContentCaller::on_plugin_socket(),
            Socket::Api(_) => ContentCaller::on_api_socket(headers)?,
        }
        .scope)
    }

    /// Applies a layer when its turn comes, on a thread of its own: those that serve everybody are for what is short.
    async fn apply_in_turn(&self, job: Job, span: &Span) -> Result<Uncompressed> {
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
        span.in_scope(|| self.differ.start(job, stop, answer))?;
        answered.await.unwrap_or(Err(Error::Lost("an apply")))
    }
}

/// Stops the work when it is dropped, which happens when the client is gone.
#[derive(Default)]
struct StopWhenGone(Arc<AtomicBool>);

impl Drop for StopWhenGone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl Service for DiffService {
    async fn apply(&self, request: Request<api::ApplyRequest>) -> Result<Response<api::ApplyResponse>, Status> {
        let started = Instant::now();
        let digest = request.get_ref().diff.as_ref().map(|diff| diff.digest.as_str()).unwrap_or_default();
        let span = span("Diff/Apply", request.metadata(), digest);
        let scope = self.scope(request.metadata())?;
        let request = request.into_inner();
        let begun =
            blocking(&self.differ, "Diff/Begin", span.clone(), move |differ| differ.begin(read(scope, request)?));
        let result = match begun.await? {
            Begun::Known(uncompressed) => Ok(uncompressed),
            Begun::Work(job) => self.apply_in_turn(job, &span).await.map_err(|err| span.in_scope(|| refuse(err))),
        };
        count("Diff/Apply", started, &result);
        let Uncompressed { diff_id, size } = result?;
        let applied = Descriptor {
            media_type: UNCOMPRESSED.into(),
            digest: diff_id.as_str().into(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            ..Descriptor::default()
        };
        Ok(Response::new(api::ApplyResponse { applied: Some(applied) }))
    }

    async fn diff(&self, request: Request<api::DiffRequest>) -> Result<Response<api::DiffResponse>, Status> {
        let started = Instant::now();
        let result = self.compare(request).await;
        count("Diff/Diff", started, &result);
        Ok(Response::new(api::DiffResponse { diff: Some(result?) }))
    }
}

fn read(scope: Scope, request: api::ApplyRequest) -> Result<Apply> {
    let Some(diff) = request.diff else { return Err(Error::invalid("diff", "is missing")) };
    Ok(Apply {
        scope,
        media_type: diff.media_type,
        digest: Digest::parse(diff.digest)?,
        size: u64::try_from(diff.size).unwrap_or(0),
        mounts: convert::mounts_of(request.mounts),
        sync: request.sync_fs,
    })
}
