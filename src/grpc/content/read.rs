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
    // What is asked wrongly, or is not there, is said without waiting for a turn. Where nobody waits for one, the first
    // chunk comes with it: most reads are of one, and another thread has to be woken for each step.
    let turn = turns.try_turn();
    let open = move |content: &Content| {
        let mut reader = content.read(&scope, Digest::parse(digest)?, offset, size)?;
        let first = match turn {
            Some(_turn) => reader.next_chunk()?,
            None => None,
        };
        Ok((reader, first))
    };
    let (reader, first) = blocking(content, "Content/Read", span.clone(), open).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let position = first.as_ref().map_or(0, |data| super::clamp(data.len() as u64));
    if let Some(data) = first {
        count(&data);
        // There is room for it, and the client is waiting for it.
        drop(sender.try_send(Ok(api::ReadContentResponse { offset: 0, data })));
    }
    if !reader.is_at_end() {
        tokio::spawn(stream_chunks(content.clone(), turns.clone(), reader, position, span, sender));
    }
    Ok(ReceiverStream::new(receiver))
}

fn count(data: &[u8]) {
    metrics::counter!("leasehold_content_read_bytes_total").increment(data.len() as u64);
}

async fn stream_chunks(
    content: Arc<Content>,
    turns: Slow,
    mut reader: Reader,
    // As containerd's service counts: from the first byte that was asked for.
    mut offset: i64,
    span: Span,
    sender: mpsc::Sender<Result<api::ReadContentResponse, Status>>,
) {
    // Ends when the client is gone. A chunk is read when there is room for it.
    while let Ok(slot) = sender.reserve().await {
        let chunk = turns.blocking(&content, "Content/Read/Chunk", span.clone(), move |_| {
            let chunk = reader.next_chunk()?;
            Ok((chunk, reader))
        });
        match chunk.await {
            Ok((Some(data), rest)) => {
                let len = data.len() as u64;
                count(&data);
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
