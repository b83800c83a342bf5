//! Read: a blob in chunks, no faster than the client takes them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Span;

use crate::content::{Content, Reader};
use crate::types::{Digest, Scope};

use super::super::request::{Slow, blocking};
use super::api;

/// How many chunks are ready before the client takes them.
const AHEAD: usize = 2;

/// The answer to a Read.
pub type ReadStream = ReceiverStream<Result<api::ReadContentResponse, Status>>;

/// Opens a blob and reads its first chunk; what follows is read while the client takes it.
pub(super) async fn start(
    content: &Arc<Content>,
    turns: &Slow,
    scope: Scope,
    request: api::ReadContentRequest,
    span: Span,
) -> Result<ReadStream, Status> {
    let api::ReadContentRequest { digest, offset, size } = request;
    // What is asked wrongly, or is not there, is said without waiting for a disk.
    let open = move |content: &Content| content.read(&scope, Digest::parse(digest)?, offset, size);
    let reader = blocking(content, "Content/Read", span.clone(), open).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    if !reader.is_at_end() {
        tokio::spawn(stream_chunks(content.clone(), turns.clone(), reader, span, sender));
    }
    Ok(ReceiverStream::new(receiver))
}

async fn stream_chunks(
    content: Arc<Content>,
    turns: Slow,
    mut reader: Reader,
    span: Span,
    sender: mpsc::Sender<Result<api::ReadContentResponse, Status>>,
) {
    // As containerd's service counts: from the first byte that was asked for.
    let mut offset = 0;
    // Ends when the client is gone. A chunk is read when there is room for it.
    while let Ok(slot) = sender.reserve().await {
        let chunk = turns.blocking(&content, "Content/Read/Chunk", span.clone(), move |_| {
            let chunk = reader.next_chunk()?;
            Ok((chunk, reader))
        });
        match chunk.await {
            Ok((Some(data), rest)) => {
                let len = data.len() as u64;
                metrics::counter!("leasehold_content_read_bytes_total").increment(len);
                slot.send(Ok(api::ReadContentResponse { offset, data }));
                if rest.is_at_end() {
                    return;
                }
                reader = rest;
                offset += super::clamp(len);
            }
            Ok((None, _)) => return,
            Err(status) => {
                slot.send(Err(status));
                return;
            }
        }
    }
}
