//! What every request needs: the way to the blocking pool, a span with its fields, metrics.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tracing::Span;

use crate::{Error, Result};

use super::scope::{LEASE, NAMESPACE, header};

/// Opens the span of a request, with the fields that an operator searches for.
pub(super) fn span(method: &'static str, headers: &MetadataMap, key: &str) -> Span {
    let header = |name| header(headers, name).map_or("", shortened);
    tracing::info_span!("request", method, namespace = header(NAMESPACE), lease = header(LEASE), key = shortened(key))
}

/// Returns the beginning of what a client sent, so that it cannot fill the logs.
fn shortened(text: &str) -> &str {
    const LIMIT: usize = 256;
    text.char_indices().nth(LIMIT).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Keeps calls that walk trees or wait from taking all of the blocking pool: containerd's short calls must get through.
///
/// A quarter of the pool may be walking, a quarter writing blobs, an eighth reading them, and an eighth waiting for space
/// (`app.rs`): a quarter is left for all else.
#[derive(Clone)]
pub(super) struct Slow(Arc<Semaphore>);

impl Slow {
    /// Lets one thread of every `share` of `threads` be slow at a time.
    pub fn new(threads: usize, share: usize) -> Slow {
        Slow(Arc::new(Semaphore::new((threads / share).max(1))))
    }

    /// Returns a turn, if nobody has to wait for one.
    pub fn try_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }

    /// Like [`blocking`], for work that may take long.
    pub async fn blocking<S: Send + Sync + 'static, T: Send + 'static>(
        &self,
        core: &Arc<S>,
        method: &'static str,
        span: Span,
        work: impl FnOnce(&S) -> Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.0.clone().acquire_owned().await.map_err(|_| Error::ShuttingDown)?;
        let in_turn = move |core: &S| {
            // Given back when the work ends: a client that hangs up does not end it.
            let _turn = turn;
            work(core)
        };
        blocking(core, method, span, in_turn).await
    }
}

/// Runs `work` on the blocking pool, in the request's span, and counts it.
pub(super) async fn blocking<S: Send + Sync + 'static, T: Send + 'static>(
    core: &Arc<S>,
    method: &'static str,
    span: Span,
    work: impl FnOnce(&S) -> Result<T> + Send + 'static,
) -> Result<T, Status> {
    let started = Instant::now();
    let core = core.clone();
    let result = tokio::task::spawn_blocking(move || {
        let _entered = span.entered();
        work(&core).map_err(refuse)
    })
    .await
    .unwrap_or_else(|err| {
        // A panic ends one request, not the daemon.
        tracing::error!(error = %err, method, "request ended unexpectedly");
        Err(Error::Lost("a request").into())
    });
    count(method, started, &result);
    result
}

/// Runs `cached` on this thread, and only when it returns `None` `read` on the blocking pool: waking another thread
/// costs more than a look into memory.
pub(super) async fn from_memory<S: Send + Sync + 'static, T: Send + 'static>(
    core: &Arc<S>,
    method: &'static str,
    span: Span,
    cached: impl FnOnce(&S) -> Result<Option<T>>,
    read: impl FnOnce(&S) -> Result<T> + Send + 'static,
) -> Result<T, Status> {
    let started = Instant::now();
    let found = span.in_scope(|| cached(core).map_err(refuse));
    match found.transpose() {
        Some(result) => {
            count(method, started, &result);
            result
        }
        None => blocking(core, method, span, read).await,
    }
}

/// Logs an error and encodes it.
pub(super) fn refuse(err: Error) -> Status {
    // Clients try again until the other one is done.
    let waits = matches!(err, Error::Locked(_));
    let status = Status::from(err);
    if waits {
        tracing::debug!(code = name(status.code()), error = status.message(), "request refused");
    } else {
        log_failure(&status);
    }
    status
}

/// Counts a request, and how long it took.
pub(super) fn count<T>(method: &'static str, started: Instant, result: &Result<T, Status>) {
    let code = result.as_ref().err().map_or(Code::Ok, Status::code);
    metrics::histogram!("leasehold_request_seconds", "method" => method, "code" => name(code))
        .record(started.elapsed().as_secs_f64());
}

/// What a client asked wrongly is for debugging; what failed here is for the operator.
fn log_failure(status: &Status) {
    match status.code() {
        Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unimplemented => {
            tracing::debug!(code = name(status.code()), error = status.message(), "request refused");
        }
        code => tracing::error!(code = name(code), error = status.message(), "request failed"),
    }
}

/// Returns the code's name in gRPC's documentation.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn slow_work_keeps_its_turn_when_its_client_is_gone() {
        let (slow, core) = (Slow::new(1, 4), Arc::new(()));
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (finish, finished) = channel::<()>();
        let (own, own_core) = (slow.clone(), core.clone());
        let call = tokio::spawn(async move {
            let work = move |_: &()| {
                started.send(()).ok();
                finished.recv().ok();
                Ok(())
            };
            own.blocking(&own_core, "Usage", Span::none(), work).await
        });
        has_started.await.unwrap();
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_eq!(slow.0.available_permits(), 0);
        finish.send(()).unwrap();
        slow.blocking(&core, "Usage", Span::none(), |_| Ok(())).await.unwrap();
    }
}
