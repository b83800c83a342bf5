//! containerd's Content service.

mod read;
mod write;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

use crate::content::{self, Content, List};
use crate::leases::Changes;
use crate::types::{Digest, Filter, IngestRef};
use crate::{Error, Result};

use super::convert;
use super::proto::containerd::services::content::v1 as api;
use super::proto::containerd::services::content::v1::content_server::Content as Service;
use super::request::{Slow, blocking, from_memory, span};
use super::scope::ContentCaller;
use super::socket::Socket;

/// The service over one pool, on one socket.
pub(super) struct ContentService {
    content: Arc<Content>,
    turns: ContentTurns,
    socket: Socket,
}

/// Uploads and downloads, on both sockets, wait for the disk in turns of their own, so that neither keeps the other, or
/// anybody else, from being served.
#[derive(Clone)]
pub(super) struct ContentTurns {
    writing: Slow,
    reading: Slow,
}

impl ContentTurns {
    /// Lets a quarter of `threads`, the size of the blocking pool, upload at a time, and an eighth download.
    pub fn new(threads: usize) -> ContentTurns {
        ContentTurns { writing: Slow::new(threads, 4), reading: Slow::new(threads, 8) }
    }
}

impl ContentService {
    /// Makes the service of the plugin socket.
    pub fn for_containerd(content: Arc<Content>, turns: ContentTurns) -> ContentService {
        ContentService { content, turns, socket: Socket::Plugin }
    }

    /// Makes the service of the API socket. Changes are told to `changes`.
    pub fn for_clients(content: Arc<Content>, turns: ContentTurns, changes: Arc<Changes>) -> ContentService {
        ContentService { content, turns, socket: Socket::Api(changes) }
    }

    /// Reads the headers of a request.
    fn caller(&self, headers: &MetadataMap) -> Result<ContentCaller> {
        match self.socket {
            Socket::Plugin => Ok(ContentCaller::on_plugin_socket()),
            Socket::Api(_) => ContentCaller::on_api_socket(headers),
        }
    }
}

#[tonic::async_trait]
impl Service for ContentService {
    async fn info(&self, request: Request<api::InfoRequest>) -> Result<Response<api::InfoResponse>, Status> {
        let span = span("Content/Info", request.metadata(), &request.get_ref().digest);
        let scope = self.caller(request.metadata())?.scope;
        let digest = Digest::parse(request.into_inner().digest)?;
        let info = from_memory(&self.content, "Content/Info", span, |content| content.info_cached(&scope, &digest), {
            let (scope, digest) = (scope.clone(), digest.clone());
            move |content| content.info(&scope, digest)
        });
        Ok(Response::new(api::InfoResponse { info: Some(info.await?.into()) }))
    }

    async fn update(&self, request: Request<api::UpdateRequest>) -> Result<Response<api::UpdateResponse>, Status> {
        let digest = request.get_ref().info.as_ref().map(|info| info.digest.as_str()).unwrap_or_default();
        let span = span("Content/Update", request.metadata(), digest);
        let scope = self.caller(request.metadata())?.scope;
        let request = request.into_inner();
        let info = blocking(&self.content, "Content/Update", span, move |content| {
            let info = request.info.ok_or_else(|| Error::invalid("info", "is missing"))?;
            let update = convert::label_update(request.update_mask, info.labels)?;
            content.update(&scope, Digest::parse(info.digest)?, update)
        });
        Ok(Response::new(api::UpdateResponse { info: Some(self.socket.changed(info.await)?.into()) }))
    }

    type ListStream = ReceiverStream<Result<api::ListContentResponse, Status>>;

    async fn list(&self, request: Request<api::ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        let span = span("Content/List", request.metadata(), "");
        let scope = self.caller(request.metadata())?.scope;
        let filters = request.into_inner().filters;
        // Compiling patterns is work, if bounded: not for the threads that serve everybody.
        let parse = move |_: &Content| Ok(List::new(scope, Filter::parse_all(&filters)?));
        let list = blocking(&self.content, "Content/List", span.clone(), parse).await?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(stream_pages(self.content.clone(), list, span, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn delete(&self, request: Request<api::DeleteContentRequest>) -> Result<Response<()>, Status> {
        let span = span("Content/Delete", request.metadata(), &request.get_ref().digest);
        let ContentCaller { scope, lease } = self.caller(request.metadata())?;
        let digest = request.into_inner().digest;
        let deleted = blocking(&self.content, "Content/Delete", span, move |content| {
            content.delete_from(&scope, &Digest::parse(digest)?, lease.as_ref())
        });
        // What its labels refer to may have been kept by it alone.
        self.socket.removed(deleted.await).map(Response::new)
    }

    type ReadStream = read::ReadStream;

    async fn read(&self, request: Request<api::ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let span = span("Content/Read", request.metadata(), &request.get_ref().digest);
        let scope = self.caller(request.metadata())?.scope;
        read::start(&self.content, &self.turns.reading, scope, request.into_inner(), span).await.map(Response::new)
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        let span = span("Content/Status", request.metadata(), &request.get_ref().r#ref);
        let scope = self.caller(request.metadata())?.scope;
        let name = request.into_inner().r#ref;
        let status = blocking(&self.content, "Content/Status", span, move |content| {
            content.status(IngestRef::parse_in(scope, name)?)
        });
        Ok(Response::new(api::StatusResponse { status: Some(status.await?.into()) }))
    }

    async fn list_statuses(
        &self,
        request: Request<api::ListStatusesRequest>,
    ) -> Result<Response<api::ListStatusesResponse>, Status> {
        let span = span("Content/ListStatuses", request.metadata(), "");
        let scope = self.caller(request.metadata())?.scope;
        let filters = request.into_inner().filters;
        let statuses = blocking(&self.content, "Content/ListStatuses", span, move |content| {
            content.statuses(&scope, &Filter::parse_all(&filters)?)
        });
        let statuses = statuses.await?.into_iter().map(api::Status::from).collect();
        Ok(Response::new(api::ListStatusesResponse { statuses }))
    }

    type WriteStream = write::WriteStream;

    async fn write(
        &self,
        request: Request<Streaming<api::WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let caller = self.caller(request.metadata())?;
        let (headers, _, messages) = request.into_parts();
        let place = write::Place {
            content: self.content.clone(),
            turns: self.turns.writing.clone(),
            socket: self.socket.clone(),
        };
        Ok(Response::new(write::start(place, caller, headers, messages)))
    }

    async fn abort(&self, request: Request<api::AbortRequest>) -> Result<Response<()>, Status> {
        let span = span("Content/Abort", request.metadata(), &request.get_ref().r#ref);
        let ContentCaller { scope, lease } = self.caller(request.metadata())?;
        let name = request.into_inner().r#ref;
        let aborted = blocking(&self.content, "Content/Abort", span, move |content| {
            content.abort_from(&IngestRef::parse_in(scope, name)?, lease.as_ref())
        });
        self.socket.removed(aborted.await).map(Response::new)
    }
}

/// Sends a listing page by page; ends when the client is gone. A page is read when the one before it was taken.
async fn stream_pages(
    content: Arc<Content>,
    mut list: List,
    span: Span,
    sender: mpsc::Sender<Result<api::ListContentResponse, Status>>,
) {
    while let Ok(slot) = sender.reserve().await {
        let page = blocking(&content, "Content/List", span.clone(), move |content| {
            let page = content.next_page(&mut list)?;
            Ok((page, list))
        });
        match page.await {
            Ok((Some(page), rest)) => {
                list = rest;
                slot.send(Ok(api::ListContentResponse { info: page.into_iter().map(api::Info::from).collect() }));
            }
            Ok((None, _)) => return,
            Err(status) => {
                slot.send(Err(status));
                return;
            }
        }
    }
}

impl From<content::Info> for api::Info {
    fn from(info: content::Info) -> api::Info {
        api::Info {
            digest: info.digest.as_str().to_owned(),
            size: clamp(info.blob.size),
            created_at: Some(info.blob.created_at.into()),
            updated_at: Some(info.blob.updated_at.into()),
            labels: info.blob.labels.into_inner(),
        }
    }
}

impl From<content::Status> for api::Status {
    fn from(status: content::Status) -> api::Status {
        api::Status {
            started_at: Some(status.started_at.into()),
            updated_at: Some(status.updated_at.into()),
            r#ref: status.name.as_str().to_owned(),
            offset: clamp(status.offset),
            total: clamp(status.total),
            expected: status.expected.map(|digest| digest.as_str().to_owned()).unwrap_or_default(),
        }
    }
}

/// Sizes are signed on the wire.
fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
