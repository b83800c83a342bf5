//! Blobs, for the command line: lists of them, and long work on them, told of while it goes on.

mod list;

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Span;

use crate::content::{self, Content, Damage, Event, Import, Imported, Progress, Report, Skipped};
use crate::{Error, Result};

use super::proto::leasehold::admin::v1 as api;
use super::proto::leasehold::admin::v1::blobs_server::Blobs;
use super::request::{refuse, span};

/// How many messages wait for the client.
const MESSAGES: usize = 16;

/// The service over one pool.
pub(super) struct BlobsService {
    content: Arc<Content>,
    /// One check and one import at a time: more would only make each other wait for the disk.
    checks: Arc<Semaphore>,
    imports: Arc<Semaphore>,
}

/// The messages of a stream.
type Messages<M> = ReceiverStream<Result<M, Status>>;

/// A client that is told how long work goes on.
struct Listener<M> {
    messages: mpsc::Sender<Result<M, Status>>,
    span: Span,
    _turn: OwnedSemaphorePermit,
}

impl BlobsService {
    pub fn new(content: Arc<Content>) -> BlobsService {
        BlobsService { content, checks: Arc::new(Semaphore::new(1)), imports: Arc::new(Semaphore::new(1)) }
    }

    /// Has `work` done in a thread of the background: it takes long, and the blocking pool is for requests. It ends
    /// when the client is gone.
    async fn start<M: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        name: &'static str,
        span: Span,
        work: impl FnOnce(&Content, &Listener<M>) -> Result<M> + Send + 'static,
    ) -> Result<Response<Messages<M>>, Status> {
        let turn = turns.clone().acquire_owned().await.map_err(|_| Error::ShuttingDown)?;
        let (messages, receiver) = mpsc::channel(MESSAGES);
        let listener = Listener { messages, span, _turn: turn };
        self.content.in_background(name, move |content| listener.serve(|listener| work(content, listener)))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl<M> Listener<M> {
    fn serve(self, work: impl FnOnce(&Self) -> Result<M>) {
        let _entered = self.span.enter();
        let done = work(&self);
        if self.messages.is_closed() {
            tracing::info!(completed = done.is_ok(), "the client is gone");
            return;
        }
        let last = done.map_err(refuse);
        // Nobody is left to be told when that fails.
        drop(self.messages.blocking_send(last));
    }

    /// Sends something that must not get lost; breaks off when nobody is there any more.
    fn send(&self, message: M) -> ControlFlow<()> {
        if self.messages.blocking_send(Ok(message)).is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    /// Sends something that the next message says again; breaks off when nobody is there any more.
    fn mention(&self, message: M) -> ControlFlow<()> {
        match self.messages.try_send(Ok(message)) {
            Err(mpsc::error::TrySendError::Closed(_)) => ControlFlow::Break(()),
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => ControlFlow::Continue(()),
        }
    }
}

#[tonic::async_trait]
impl Blobs for BlobsService {
    type ListStream = Messages<api::ListBlobsResponse>;

    async fn list(&self, request: Request<api::ListBlobsRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(list::blobs(&self.content, span("Blobs/List", request.metadata(), "")))
    }

    type UploadsStream = Messages<api::UploadsResponse>;

    async fn uploads(&self, request: Request<api::UploadsRequest>) -> Result<Response<Self::UploadsStream>, Status> {
        Ok(list::uploads(&self.content, span("Blobs/Uploads", request.metadata(), "")))
    }

    type VerifyStream = Messages<api::VerifyResponse>;

    async fn verify(&self, request: Request<api::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let span = span("Blobs/Verify", request.metadata(), "");
        let api::VerifyRequest { repair, jobs } = request.into_inner();
        let threads = content::threads_to_read(jobs);
        self.start(&self.checks, "verify", span, move |content, listener| {
            let report: Report<'_, Damage> = &mut |event| match event {
                Event::Progress(progress) => listener.mention(verified(progress, false)),
                Event::Found(damage) => {
                    tracing::error!(error = %damage, repair = damage.repair, "damaged");
                    listener.send(api::VerifyResponse { problems: vec![damage.into()], ..Default::default() })
                }
            };
            content.verify(threads, repair, report).map(|progress| verified(progress, true))
        })
        .await
    }

    type ImportStream = Messages<api::ImportResponse>;

    async fn import(&self, request: Request<api::ImportRequest>) -> Result<Response<Self::ImportStream>, Status> {
        let span = span("Blobs/Import", request.metadata(), &request.get_ref().directory);
        let api::ImportRequest { directory, dry_run, jobs } = request.into_inner();
        let threads = content::threads_to_bring(jobs);
        self.start(&self.imports, "import", span, move |content, listener| {
            let report: Report<'_, Skipped> = &mut |event| match event {
                Event::Progress(progress) => {
                    listener.mention(api::ImportResponse { progress: Some(progress.into()), ..Default::default() })
                }
                Event::Found(skipped) => {
                    listener.send(api::ImportResponse { skipped: vec![skipped.into()], ..Default::default() })
                }
            };
            let imported = content.import(Import { from: directory.as_ref(), dry_run, threads }, report)?;
            tracing::info!(?imported, dry_run, "blobs imported");
            Ok(api::ImportResponse { imported: Some(imported.into()), ..Default::default() })
        })
        .await
    }
}

fn verified(progress: Progress, done: bool) -> api::VerifyResponse {
    api::VerifyResponse { problems: Vec::new(), progress: Some(progress.into()), done }
}

impl From<Progress> for api::Progress {
    fn from(progress: Progress) -> api::Progress {
        let Progress { blobs, all_blobs, bytes, all_bytes } = progress;
        api::Progress { blobs, all_blobs, bytes, all_bytes }
    }
}

impl From<Damage> for api::Problem {
    fn from(damage: Damage) -> api::Problem {
        let (kind, what) = (damage.code().to_owned(), damage.to_string());
        api::Problem { kind, what, repair: damage.repair.unwrap_or_default() }
    }
}

impl From<Skipped> for api::Skipped {
    fn from(skipped: Skipped) -> api::Skipped {
        let Skipped { name, reason } = skipped;
        api::Skipped { name, reason: reason.code().to_owned(), what: reason.to_string() }
    }
}

impl From<Imported> for api::Imported {
    fn from(imported: Imported) -> api::Imported {
        let Imported { linked, cloned, copied, bytes, known, skipped, missing } = imported;
        api::Imported { linked, cloned, copied, bytes, known, skipped, missing }
    }
}
