//! The upload of a layer into containerd's content store, in the namespace that the layer is made for.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost_types::FieldMask;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use crate::Error;
use crate::diff::compare::Written;
use crate::types::{label, rfc3339_seconds};

use super::super::client::{ContentClient, LeasesClient};
use super::super::proto::containerd::services::content::v1::{
    AbortRequest, Info, InfoRequest, UpdateRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use super::super::proto::containerd::services::leases::v1::{CreateRequest, DeleteRequest};
use super::super::scope::LEASE;

/// What has ended when the other end of an upload is gone.
pub(super) const BROKEN_OFF: &str = "the upload of a layer to containerd";
/// The label that says what a blob's stream is when it is not compressed.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// How long containerd may take for one answer.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long a blob is kept that nothing refers to yet: as long as clients keep it that make images of containers.
const KEPT: Duration = Duration::from_secs(3600);

/// An upload that has not begun.
pub(super) struct Upload {
    pub content: ContentClient,
    pub leases: LeasesClient,
    /// The lease of the request. containerd does not pass on that of its client.
    pub lease: Option<String>,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// The stream of an upload, one answer to each message.
struct Stream {
    messages: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
}

impl Upload {
    /// Uploads all parts, and makes a blob of them when it is told what they are. `None` when that never comes; then nothing is
    /// left of them.
    pub async fn run(
        mut self,
        mut parts: mpsc::Receiver<Bytes>,
        written: oneshot::Receiver<Written>,
    ) -> Result<Option<Written>, Status> {
        let Some(first) = parts.recv().await else { return Ok(None) };
        // A collection between this and what the client does next would take the blob away.
        let own = match &self.lease {
            Some(_) => None,
            None => Some(self.create_lease().await?),
        };
        let lease = self.lease.clone().or_else(|| own.clone()).unwrap_or_default();
        let result = self.send(first, &mut parts, written, &lease).await;
        if !matches!(result, Ok(Some(_))) {
            self.take_back(own).await;
        }
        result
    }

    async fn send(
        &mut self,
        first: Bytes,
        parts: &mut mpsc::Receiver<Bytes>,
        written: oneshot::Receiver<Written>,
        lease: &str,
    ) -> Result<Option<Written>, Status> {
        let mut stream = self.open(lease).await?;
        let (mut offset, mut next) = (0, Some(first));
        while let Some(data) = next {
            let len = data.len() as u64;
            stream.step(WriteContentRequest { data, ..self.message(WriteAction::Write, offset) }).await?;
            offset += len;
            next = parts.recv().await;
        }
        let Ok(written) = written.await else { return Ok(None) };
        let mut labels = self.labels.clone();
        labels.insert(UNCOMPRESSED.into(), written.diff_id.as_str().into());
        let commit = WriteContentRequest {
            total: i64::try_from(written.size).unwrap_or(i64::MAX),
            expected: written.digest.as_str().into(),
            labels,
            ..self.message(WriteAction::Commit, offset)
        };
        match stream.step(commit).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::AlreadyExists => self.complete(&written).await?,
            Err(status) => return Err(status),
        }
        Ok(Some(written))
    }

    /// Opens the stream. What there is under the ref is written over.
    async fn open(&mut self, lease: &str) -> Result<Stream, Status> {
        let (messages, outgoing) = mpsc::channel(1);
        // The server answers the call when it answers the first message.
        messages.send(self.message(WriteAction::Stat, 0)).await.map_err(|_| broken_off())?;
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let lease = lease.parse().map_err(|_| Status::invalid_argument("lease: is no header"))?;
        request.metadata_mut().insert(LEASE, lease);
        let answers = within(self.content.write(request)).await?.into_inner();
        let mut stream = Stream { messages, answers };
        stream.answer().await?;
        Ok(stream)
    }

    /// Says of a blob that was there what it is uncompressed, unless that was said.
    async fn complete(&mut self, written: &Written) -> Result<(), Status> {
        let digest = written.digest.as_str().to_owned();
        let known = within(self.content.info(InfoRequest { digest: digest.clone() })).await?.into_inner().info;
        if known.is_some_and(|info| info.labels.get(UNCOMPRESSED).is_some_and(|diff_id| !diff_id.is_empty())) {
            return Ok(());
        }
        let labels = BTreeMap::from([(UNCOMPRESSED.to_owned(), written.diff_id.as_str().to_owned())]);
        let update = UpdateRequest {
            info: Some(Info { digest, labels, ..Info::default() }),
            update_mask: Some(FieldMask { paths: vec![format!("labels.{UNCOMPRESSED}")] }),
        };
        within(self.content.update(update)).await.map(drop)
    }

    /// Makes a lease that ends by itself: nobody says when the client has no more need of it.
    async fn create_lease(&mut self) -> Result<String, Status> {
        let id = format!("leasehold-diff-{}", Uuid::new_v4());
        let expiry = (label::GC_EXPIRE.to_owned(), rfc3339_seconds(SystemTime::now() + KEPT));
        within(self.leases.create(CreateRequest { id: id.clone(), labels: [expiry].into() })).await?;
        Ok(id)
    }

    async fn take_back(&mut self, lease: Option<String>) {
        let name = self.name.clone();
        // Aborted while the stream is open, it may come back; containerd gives it up later then, as anything unfinished.
        if let Err(status) = within(self.content.abort(AbortRequest { r#ref: name })).await
            && status.code() != Code::NotFound
        {
            tracing::warn!(name = self.name, error = status.message(), "an upload to containerd is left behind");
        }
        if let Some(id) = lease
            && let Err(status) = within(self.leases.delete(DeleteRequest { id, sync: false })).await
        {
            tracing::debug!(error = status.message(), "a lease in containerd is left to its end");
        }
    }

    fn message(&self, action: WriteAction, offset: u64) -> WriteContentRequest {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        WriteContentRequest { action: action.into(), r#ref: self.name.clone(), offset, ..Default::default() }
    }
}

impl Stream {
    async fn step(&mut self, message: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        // When it cannot be sent, the answer says why.
        let _ = self.messages.send(message).await;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<WriteContentResponse, Status> {
        within(self.answers.message()).await?.ok_or_else(broken_off)
    }
}

fn broken_off() -> Status {
    Error::Lost(BROKEN_OFF).into()
}

/// Waits for an answer of containerd.
async fn within<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(Status::unavailable("containerd does not answer")))
}
