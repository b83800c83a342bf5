//! Asking a running daemon, or finding that there is none.

use std::io;

use anyhow::Context;

use crate::config::Config;
use crate::grpc;
use crate::grpc::proto::leasehold::admin::v1::admin_client::AdminClient;

/// A connection to the daemon's API socket, for one command at a time.
pub(super) struct Daemon {
    runtime: tokio::runtime::Runtime,
    client: AdminClient<tonic::transport::Channel>,
}

impl Daemon {
    /// Connects; `None` when no daemon listens there.
    ///
    /// # Errors
    /// When one may, and cannot be asked: for want of permission, or because it does not answer.
    pub fn connect(config: &Config) -> anyhow::Result<Option<Daemon>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
        match runtime.block_on(grpc::client(&config.api.socket)) {
            Ok(channel) => Ok(Some(Daemon { runtime, client: AdminClient::new(channel) })),
            Err(err) if is_absent(&err) => Ok(None),
            Err(err) => Err(anyhow::Error::new(err).context(format!("connecting to {}", config.api.socket.display()))),
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
}

/// Whether nobody listens on the socket.
fn is_absent(err: &tonic::transport::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(err);
    while let Some(err) = next {
        if let Some(err) = err.downcast_ref::<io::Error>() {
            return matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        }
        next = err.source();
    }
    false
}
