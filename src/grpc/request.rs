//! What every request needs: the way to the blocking pool, a span with its fields, metrics.

use std::sync::Arc;
use std::time::Instant;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tracing::Span;

use crate::{Error, Result};

use super::scope::{LEASE, NAMESPACE, header};

/// Opens the span of a request, with the fields that an operator searches for.
pub(super) fn span(method: &'static str, headers: &MetadataMap, key: &str) -> Span {
    let header = |name| header(headers, name).unwrap_or_default();
    tracing::info_span!("request", method, namespace = header(NAMESPACE), lease = header(LEASE), key)
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
        let result = work(&core).map_err(Status::from);
        if let Err(status) = &result {
            log_failure(status);
        }
        result
    })
    .await
    .unwrap_or_else(|err| {
        // A panic ends one request, not the daemon.
        tracing::error!(error = %err, method, "request ended unexpectedly");
        Err(Error::Lost("a request").into())
    });
    let code = result.as_ref().err().map_or(Code::Ok, Status::code);
    metrics::histogram!("leasehold_request_seconds", "method" => method, "code" => name(code))
        .record(started.elapsed().as_secs_f64());
    result
}

/// What a client asked wrongly is for debugging; what failed here is for the operator.
fn log_failure(status: &Status) {
    match status.code() {
        Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::InvalidArgument
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
