//! Asking a running daemon, or finding that there is none.

use anyhow::Context;

use crate::config::Config;
use crate::grpc;
use crate::grpc::proto::leasehold::admin::v1::admin_client::AdminClient;
use crate::grpc::proto::leasehold::admin::v1::collections_client::CollectionsClient;

/// A connection to the daemon's API socket, for one command at a time.
pub(super) struct Daemon {
    runtime: tokio::runtime::Runtime,
    client: AdminClient<tonic::transport::Channel>,
    collections: CollectionsClient<tonic::transport::Channel>,
}

impl Daemon {
    /// Connects; `None` when no daemon listens there.
    pub fn connect(config: &Config) -> anyhow::Result<Option<Daemon>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
        match runtime.block_on(grpc::client(&config.api.socket)) {
            Ok(channel) => Ok(Some(Daemon {
                runtime,
                collections: CollectionsClient::new(channel.clone()),
                client: AdminClient::new(channel),
            })),
            Err(_) => Ok(None),
        }
    }

    /// Makes one call.
    pub fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut AdminClient<tonic::transport::Channel>) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(call(&mut self.client));
        answer.map(tonic::Response::into_inner).map_err(|status| anyhow::anyhow!("{}", status.message()))
    }

    /// Makes one call that has to do with collections.
    pub fn call_collections<T>(
        &mut self,
        call: impl AsyncFnOnce(
            &mut CollectionsClient<tonic::transport::Channel>,
        ) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(call(&mut self.collections));
        answer.map(tonic::Response::into_inner).map_err(|status| anyhow::anyhow!("{}", status.message()))
    }
}
