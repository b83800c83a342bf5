//! What there is of blobs and uploads, page by page.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};
use tracing::Span;

use crate::Result;
use crate::content::{Content, Entry, Inventory, Upload, Uploads};
use crate::types::Scope;

use super::super::proto::leasehold::admin::v1 as api;
use super::super::request::blocking;
use super::Messages;

/// Answers `List`.
pub(super) fn blobs(content: &Arc<Content>, span: Span) -> Response<Messages<api::ListBlobsResponse>> {
    pages(content, span, "Blobs/List", Inventory::default(), |content, inventory| {
        let page = content.next_entries(inventory)?;
        Ok(page.map(|page| api::ListBlobsResponse { blobs: page.into_iter().map(api::Blob::from).collect() }))
    })
}

/// Answers `Uploads`.
pub(super) fn uploads(content: &Arc<Content>, span: Span) -> Response<Messages<api::UploadsResponse>> {
    pages(content, span, "Blobs/Uploads", Uploads::default(), |content, uploads| {
        let page = content.next_uploads(uploads)?;
        Ok(page.map(|page| api::UploadsResponse { uploads: page.into_iter().map(api::Upload::from).collect() }))
    })
}

/// Sends a listing page by page; ends when the client is gone. A page is read when the one before it was taken.
fn pages<L: Send + 'static, M: Send + 'static>(
    content: &Arc<Content>,
    span: Span,
    method: &'static str,
    mut listing: L,
    next: impl Fn(&Content, &mut L) -> Result<Option<M>> + Copy + Send + 'static,
) -> Response<Messages<M>> {
    let (sender, receiver) = mpsc::channel(1);
    let content = content.clone();
    tokio::spawn(async move {
        while let Ok(slot) = sender.reserve().await {
            let read = move |content: &Content| {
                let page = next(content, &mut listing)?;
                Ok((page, listing))
            };
            match blocking(&content, method, span.clone(), read).await {
                Ok((Some(page), rest)) => {
                    listing = rest;
                    slot.send(Ok(page));
                }
                Ok((None, _)) => return,
                Err(status) => {
                    slot.send(Err::<M, Status>(status));
                    return;
                }
            }
        }
    });
    Response::new(ReceiverStream::new(receiver))
}

impl From<Entry> for api::Blob {
    fn from(entry: Entry) -> api::Blob {
        let Entry { scope, digest, blob, removed_at, leases, more_leases } = entry;
        let lease = |(namespace, id): (crate::types::Namespace, crate::types::LeaseId)| api::LeaseName {
            namespace: namespace.as_str().to_owned(),
            id: id.as_str().to_owned(),
        };
        api::Blob {
            namespace: scope.as_str().to_owned(),
            digest: digest.as_str().to_owned(),
            size: blob.size,
            created_at: Some(blob.created_at.into()),
            updated_at: Some(blob.updated_at.into()),
            labels: blob.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            removed_at: removed_at.map(Into::into),
            leases: leases.into_iter().map(lease).collect(),
            more_leases,
        }
    }
}

impl From<Upload> for api::Upload {
    fn from(upload: Upload) -> api::Upload {
        let Upload { status, expires_at, open } = upload;
        let (namespace, name) = match status.name.in_leases() {
            Some((namespace, name)) => (namespace.as_str().to_owned(), name.to_owned()),
            None => (String::new(), status.name.as_str().to_owned()),
        };
        api::Upload {
            namespace,
            name,
            r#ref: status.name.as_str().to_owned(),
            offset: status.offset,
            total: status.total,
            expected: status.expected.map(|digest| digest.as_str().to_owned()).unwrap_or_default(),
            started_at: Some(status.started_at.into()),
            updated_at: Some(status.updated_at.into()),
            expires_at: expires_at.map(Into::into),
            open,
            api: matches!(status.name.scope(), Scope::Api(_)),
        }
    }
}
