//! Asking a running daemon, or finding that there is none.

use std::io;

use anyhow::Context;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::config::Config;
use crate::grpc;
use crate::grpc::proto::leasehold::admin::v1::admin_client::AdminClient;
use crate::grpc::proto::leasehold::admin::v1::blobs_client::BlobsClient;
use crate::grpc::proto::leasehold::admin::v1::collections_client::CollectionsClient;
use crate::types::Namespace;

/// A connection to the daemon's API socket, for one command at a time.
pub(super) struct Daemon {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    client: AdminClient<Channel>,
}

/// The daemon's leases of one namespace.
pub(super) struct Leases {
    runtime: tokio::runtime::Runtime,
    client: grpc::LeasesClient,
}

impl Daemon {
    /// Connects; `None` when no daemon listens there.
    ///
    /// # Errors
    /// When one may, and cannot be asked: for want of permission, or because it does not answer.
    pub fn connect(config: &Config) -> anyhow::Result<Option<Daemon>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
        match runtime.block_on(grpc::client(&config.api.socket)) {
            Ok(channel) => {
                let client = AdminClient::new(channel.clone()).max_decoding_message_size(grpc::MAX_MESSAGE);
                Ok(Some(Daemon { runtime, channel, client }))
            }
            Err(err) if is_absent(&err) => Ok(None),
            Err(err) => Err(anyhow::Error::new(err).context(format!("connecting to {}", config.api.socket.display()))),
        }
    }

    /// Connects, for a command that is nothing without a daemon.
    pub fn required(config: &Config) -> anyhow::Result<Daemon> {
        Daemon::connect(config)?.with_context(|| {
            let socket = config.api.socket.display();
            format!("no daemon listens on {socket}. Start it, or name its configuration with --config")
        })
    }

    /// Makes one call.
    pub fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut AdminClient<Channel>) -> Result<Response<T>, Status>,
    ) -> anyhow::Result<T> {
        answer(self.runtime.block_on(call(&mut self.client)))
    }

    /// Makes a call that is answered by a stream, and passes every message of it to `visit`.
    pub fn stream<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut AdminClient<Channel>) -> Result<Response<Streaming<T>>, Status>,
        visit: impl FnMut(T),
    ) -> anyhow::Result<()> {
        answer(self.runtime.block_on(each_message(call(&mut self.client), visit)))
    }

    /// Makes a call about blobs that is answered by a stream, and passes every message of it to `visit`.
    pub fn stream_blobs<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut BlobsClient<Channel>) -> Result<Response<Streaming<T>>, Status>,
        visit: impl FnMut(T),
    ) -> anyhow::Result<()> {
        let mut client = BlobsClient::new(self.channel.clone()).max_decoding_message_size(grpc::MAX_MESSAGE);
        answer(self.runtime.block_on(each_message(call(&mut client), visit)))
    }

    /// Turns to the leases of a namespace.
    pub fn leases(self, namespace: &Namespace) -> anyhow::Result<Leases> {
        let client = grpc::leases_client(self.channel, namespace)?;
        Ok(Leases { runtime: self.runtime, client })
    }

    /// Makes one call that has to do with collections.
    pub fn call_collections<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut CollectionsClient<Channel>) -> Result<Response<T>, Status>,
    ) -> anyhow::Result<T> {
        let mut client = CollectionsClient::new(self.channel.clone()).max_decoding_message_size(grpc::MAX_MESSAGE);
        answer(self.runtime.block_on(call(&mut client)))
    }
}

/// Whether nobody listens on the socket.
pub(super) fn is_absent(err: &tonic::transport::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(err);
    while let Some(err) = next {
        if let Some(err) = err.downcast_ref::<io::Error>() {
            return matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        }
        next = err.source();
    }
    false
}

impl Leases {
    /// Makes one call.
    pub fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut grpc::LeasesClient) -> Result<Response<T>, Status>,
    ) -> anyhow::Result<T> {
        answer(self.runtime.block_on(call(&mut self.client)))
    }
}

async fn each_message<T>(
    call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    mut visit: impl FnMut(T),
) -> Result<Response<()>, Status> {
    let mut stream = call.await?.into_inner();
    while let Some(message) = stream.message().await? {
        visit(message);
    }
    Ok(Response::new(()))
}

fn answer<T>(answer: Result<Response<T>, Status>) -> anyhow::Result<T> {
    answer.map(Response::into_inner).map_err(|status| anyhow::anyhow!("{}", status.message()))
}
