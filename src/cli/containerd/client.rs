//! Asking containerd, with a deadline for every call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::grpc;
use crate::grpc::proto::containerd::services::content::v1::{InfoRequest, ListContentRequest, ReadContentRequest};
use crate::grpc::proto::containerd::services::images::v1::{GetImageRequest, Image, ListImagesRequest};
use crate::grpc::proto::containerd::services::namespaces::v1::ListNamespacesRequest;
use crate::grpc::proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use crate::grpc::proto::containerd::services::snapshots::v1::StatSnapshotRequest;
use crate::types::Namespace;

use super::super::daemon::is_absent;

/// How long containerd may take for one answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest index, manifest or configuration that is read. containerd itself stops at the same size.
const MAX_DOCUMENT: u64 = 8 << 20;

/// A connection to containerd, for one command at a time.
pub(in crate::cli) struct Containerd {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    socket: PathBuf,
}

impl Containerd {
    /// Connects to a socket.
    pub fn connect(socket: &Path) -> anyhow::Result<Containerd> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
        match runtime.block_on(grpc::containerd(socket)) {
            Ok(channel) => Ok(Containerd { runtime, channel, socket: socket.to_owned() }),
            Err(err) if is_absent(&err) => {
                bail!("no containerd listens on {}. Name its socket with --containerd", socket.display())
            }
            Err(err) => {
                Err(anyhow::Error::new(err).context(format!("connecting to containerd on {}", socket.display())))
            }
        }
    }

    /// Lists all namespaces. Those with names that containerd itself would not take are left out.
    pub fn namespaces(&self) -> anyhow::Result<Vec<Namespace>> {
        let mut client = NamespacesClient::new(self.channel.clone());
        let answer = self.call(async { client.list(ListNamespacesRequest::default()).await })?;
        let names = answer.map(|answer| answer.namespaces).unwrap_or_default();
        Ok(names.into_iter().filter_map(|one| Namespace::parse(one.name).ok()).collect())
    }

    /// Returns the image of exactly this name.
    pub fn image(&self, namespace: &Namespace, name: &str) -> anyhow::Result<Option<Image>> {
        let mut client = grpc::images_client(self.channel.clone(), namespace)?;
        let request = GetImageRequest { name: name.to_owned() };
        Ok(self.call(async { client.get(request).await })?.and_then(|answer| answer.image))
    }

    /// Lists the images that match one of containerd's filters; all without any.
    pub fn images(&self, namespace: &Namespace, filters: Vec<String>) -> anyhow::Result<Vec<Image>> {
        let mut client = grpc::images_client(self.channel.clone(), namespace)?;
        let answer = self.call(async { client.list(ListImagesRequest { filters }).await })?;
        Ok(answer.map(|answer| answer.images).unwrap_or_default())
    }

    /// Lists the digests of all blobs that a namespace has, with their sizes. What is asked is containerd's metadata: whether
    /// they can be read is another question.
    pub fn blobs(&self, namespace: &Namespace) -> anyhow::Result<Vec<(String, u64)>> {
        let mut client = grpc::content_client(self.channel.clone(), namespace)?;
        let listed = self.call(async {
            let mut stream = client.list(ListContentRequest::default()).await?.into_inner();
            let mut all = Vec::new();
            while let Some(page) = stream.message().await? {
                all.extend(
                    page.info.into_iter().map(|info| (info.digest, u64::try_from(info.size).unwrap_or_default())),
                );
            }
            Ok(Response::new(all))
        })?;
        Ok(listed.unwrap_or_default())
    }

    /// Whether there is a blob of this digest.
    pub fn has_blob(&self, namespace: &Namespace, digest: &str) -> anyhow::Result<bool> {
        let mut client = grpc::content_client(self.channel.clone(), namespace)?;
        let request = InfoRequest { digest: digest.to_owned() };
        Ok(self.call(async { client.info(request).await })?.is_some())
    }

    /// Reads a whole blob that is a document.
    ///
    /// # Errors
    /// For one that is too large to be one.
    pub fn document(&self, namespace: &Namespace, digest: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let mut client = grpc::content_client(self.channel.clone(), namespace)?;
        let digest = digest.to_owned();
        let read = self.call(async {
            let info = client.info(InfoRequest { digest: digest.clone() }).await?.into_inner().info.unwrap_or_default();
            let expected = u64::try_from(info.size).unwrap_or_default();
            let mut bytes = Vec::new();
            if expected > MAX_DOCUMENT {
                return Ok(Response::new(None));
            }
            let request = ReadContentRequest { digest: digest.clone(), ..ReadContentRequest::default() };
            let mut stream = client.read(request).await?.into_inner();
            while let Some(message) = stream.message().await? {
                bytes.extend_from_slice(&message.data);
                // Whatever it said before.
                if bytes.len() as u64 > expected {
                    return Err(Status::data_loss(format!("blob {digest} is longer than it should be")));
                }
            }
            Ok(Response::new(Some(bytes)))
        })?;
        match read {
            Some(None) => bail!("{digest} is no document of an image: it is larger than {} MiB", MAX_DOCUMENT >> 20),
            Some(bytes) => Ok(bytes),
            None => Ok(None),
        }
    }

    /// Whether a snapshotter has a snapshot of this name.
    pub fn has_snapshot(&self, namespace: &Namespace, snapshotter: &str, name: &str) -> anyhow::Result<bool> {
        let mut client = grpc::snapshots_client(self.channel.clone(), namespace)?;
        let request = StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: name.to_owned() };
        Ok(self.call(async { client.stat(request).await })?.is_some())
    }

    /// Makes one call; `None` when what it is about is not found.
    fn call<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> anyhow::Result<Option<T>> {
        let socket = self.socket.display();
        let answer = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, call).await });
        match answer {
            Ok(Ok(answer)) => Ok(Some(answer.into_inner())),
            Ok(Err(status)) if status.code() == Code::NotFound => Ok(None),
            Ok(Err(status)) => bail!("containerd on {socket}: {}", status.message()),
            Err(_) => bail!("containerd on {socket} did not answer within {} s", DEADLINE.as_secs()),
        }
    }
}
