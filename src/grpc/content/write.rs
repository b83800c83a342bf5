//! Write: one answer to each message of a stream.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use tracing::Span;

use crate::content::{Action, Content, Message, Reply, Session, Step};
use crate::types::{Digest, IngestRef};
use crate::{Error, Result};

use super::super::convert;
use super::super::request::{Slow, blocking, span};
use super::super::scope::ContentCaller;
use super::super::socket::Socket;
use super::api;

/// The answers to the messages of a stream.
pub type WriteStream = ReceiverStream<Result<api::WriteContentResponse, Status>>;

const METHOD: &str = "Content/Write";

/// What a stream writes to, and who hears of what it changes.
pub(super) struct Place {
    pub content: Arc<Content>,
    pub turns: Slow,
    pub socket: Socket,
}

/// A stream with its client.
struct Stream {
    place: Place,
    span: Span,
    messages: Streaming<api::WriteContentRequest>,
    replies: mpsc::Sender<Result<api::WriteContentResponse, Status>>,
}

/// Begins to serve a stream, in a task of its own: a client that vanishes must not end what it began in the middle.
pub(super) fn start(
    place: Place,
    caller: ContentCaller,
    headers: MetadataMap,
    messages: Streaming<api::WriteContentRequest>,
) -> WriteStream {
    let (replies, receiver) = mpsc::channel(1);
    let stream = Stream { place, span: span(METHOD, &headers, ""), messages, replies };
    tokio::spawn(stream.serve(caller, headers));
    ReceiverStream::new(receiver)
}

impl Stream {
    async fn serve(mut self, caller: ContentCaller, headers: MetadataMap) {
        let first = match self.messages.message().await {
            Ok(Some(first)) => first,
            // A client that is gone without a message wanted nothing.
            Ok(None) => return,
            Err(status) => return self.refuse(status).await,
        };
        self.span = span(METHOD, &headers, &first.r#ref);
        let mut step = self.open(caller, first).await;
        loop {
            let (session, reply) = match step {
                Ok(Step { reply, session }) => (session, Ok(reply.into())),
                Err(status) => (None, Err(status)),
            };
            let taken = self.replies.send(reply).await.is_ok();
            let Some(session) = session else { return };
            let next = if taken { self.messages.message().await } else { Ok(None) };
            step = match next {
                Ok(Some(message)) => self.handle(session, message).await,
                // The client is done with it for now: the ingest goes on another time.
                Ok(None) => return self.close(session).await,
                // It is gone, or its message cannot be read.
                Err(status) => {
                    self.close(session).await;
                    return self.refuse(status).await;
                }
            };
        }
    }

    /// Opens the ingest that the first message names, and answers it.
    async fn open(&self, caller: ContentCaller, first: api::WriteContentRequest) -> Result<Step, Status> {
        let opened = blocking(&self.place.content, METHOD, self.span.clone(), move |content| {
            let name = IngestRef::parse_in(caller.scope, first.r#ref.clone())?;
            let message = Message::try_from(first)?;
            let session = content.open_session(name, caller.lease, &message)?;
            if session.may_wait(&message) {
                return Ok(Err((session, message)));
            }
            content.handle(session, message).map(Ok)
        });
        match self.place.socket.changed(opened.await)? {
            Ok(step) => Ok(step),
            Err((session, message)) => self.carry_out(session, message).await,
        }
    }

    async fn handle(&self, session: Session, message: api::WriteContentRequest) -> Result<Step, Status> {
        match Message::try_from(message) {
            Ok(message) => self.carry_out(session, message).await,
            Err(err) => {
                self.close(session).await;
                Err(err.into())
            }
        }
    }

    async fn carry_out(&self, session: Session, message: Message) -> Result<Step, Status> {
        let len = message.data.len() as u64;
        let waits = session.may_wait(&message);
        let handle = move |content: &Content| content.handle(session, message);
        let step = if waits {
            self.place.turns.blocking(&self.place.content, METHOD, self.span.clone(), handle).await
        } else {
            blocking(&self.place.content, METHOD, self.span.clone(), handle).await
        };
        if let Ok(step) = &step {
            metrics::counter!("leasehold_content_written_bytes_total").increment(len);
            if step.session.is_none() {
                // There is one more blob.
                self.place.socket.mutated();
            }
        }
        step
    }

    /// Ends the stream with what is wrong with it, if there is still somebody who wants to know.
    async fn refuse(&self, status: Status) {
        drop(self.replies.send(Err(status)).await);
    }

    async fn close(&self, session: Session) {
        let close = move |content: &Content| {
            content.close_session(session);
            Ok(())
        };
        // What can fail there was logged.
        drop(blocking(&self.place.content, "Content/Write/Close", self.span.clone(), close).await);
    }
}

impl TryFrom<api::WriteContentRequest> for Message {
    type Error = Error;

    fn try_from(request: api::WriteContentRequest) -> Result<Message> {
        let action = match api::WriteAction::try_from(request.action) {
            Ok(api::WriteAction::Stat) => Action::Stat,
            Ok(api::WriteAction::Write) => Action::Write,
            Ok(api::WriteAction::Commit) => Action::Commit,
            Err(_) => return Err(Error::invalid("action", format!("{} is none", request.action))),
        };
        Ok(Message {
            action,
            // Less than nothing says nothing, as in containerd.
            total: u64::try_from(request.total).unwrap_or(0),
            expected: Digest::parse_optional(request.expected)?,
            offset: request.offset,
            data: request.data,
            labels: convert::labels(request.labels)?,
        })
    }
}

impl From<Reply> for api::WriteContentResponse {
    fn from(reply: Reply) -> api::WriteContentResponse {
        let action = match reply.action {
            Action::Stat => api::WriteAction::Stat,
            Action::Write => api::WriteAction::Write,
            Action::Commit => api::WriteAction::Commit,
        };
        api::WriteContentResponse {
            action: action.into(),
            started_at: Some(reply.started_at.into()),
            updated_at: Some(reply.updated_at.into()),
            offset: super::clamp(reply.offset),
            total: super::clamp(reply.total),
            digest: reply.digest.as_str().to_owned(),
        }
    }
}
