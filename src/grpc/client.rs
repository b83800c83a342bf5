//! What a client of a daemon's API socket is made of, and one of containerd's.

use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::types::Namespace;
use crate::{Error, Result};

use super::proto::containerd::services::content::v1::content_client;
use super::proto::containerd::services::images::v1::images_client;
use super::proto::containerd::services::leases::v1::leases_client;
use super::proto::containerd::services::snapshots::v1::snapshots_client;
use super::scope::NAMESPACE;
use super::server::{MAX_MESSAGE, connect, endpoint};

/// A connection whose requests are in one namespace.
type Connection = InterceptedService<Channel, InNamespace>;

/// A client of the Leases service in one namespace.
pub type LeasesClient = leases_client::LeasesClient<Connection>;
/// A client of the Images service in one namespace.
pub type ImagesClient = images_client::ImagesClient<Connection>;
/// A client of the Content service in one namespace.
pub type ContentClient = content_client::ContentClient<Connection>;
/// A client of the Snapshots service in one namespace.
pub type SnapshotsClient = snapshots_client::SnapshotsClient<Connection>;

/// Says in which namespace a request is.
#[derive(Clone)]
pub struct InNamespace(MetadataValue<Ascii>);

impl Interceptor for InNamespace {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(NAMESPACE, self.0.clone());
        Ok(request)
    }
}

/// Connects to containerd's socket. Who calls sets deadlines.
///
/// # Errors
/// tonic's, when nobody listens there.
pub async fn containerd(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    // No pings: containerd's server hangs up on clients that send one every few seconds.
    connect(endpoint(), socket).await
}

/// Makes a client of the Leases service.
///
/// # Errors
/// [`Error::Invalid`] for a namespace that no header can hold, which none is.
pub fn leases_client(channel: Channel, namespace: &Namespace) -> Result<LeasesClient> {
    let connection = in_namespace(channel, namespace)?;
    Ok(leases_client::LeasesClient::new(connection).max_decoding_message_size(MAX_MESSAGE))
}

/// Makes a client of the Images service.
///
/// # Errors
/// As for [`leases_client()`].
pub fn images_client(channel: Channel, namespace: &Namespace) -> Result<ImagesClient> {
    let connection = in_namespace(channel, namespace)?;
    Ok(images_client::ImagesClient::new(connection).max_decoding_message_size(MAX_MESSAGE))
}

/// Makes a client of the Content service.
///
/// # Errors
/// As for [`leases_client()`].
pub fn content_client(channel: Channel, namespace: &Namespace) -> Result<ContentClient> {
    let connection = in_namespace(channel, namespace)?;
    Ok(content_client::ContentClient::new(connection).max_decoding_message_size(MAX_MESSAGE))
}

/// Makes a client of the Snapshots service.
///
/// # Errors
/// As for [`leases_client()`].
pub fn snapshots_client(channel: Channel, namespace: &Namespace) -> Result<SnapshotsClient> {
    let connection = in_namespace(channel, namespace)?;
    Ok(snapshots_client::SnapshotsClient::new(connection).max_decoding_message_size(MAX_MESSAGE))
}

fn in_namespace(channel: Channel, namespace: &Namespace) -> Result<Connection> {
    let header = namespace.as_str().parse().map_err(|_| Error::invalid("namespace", "is no header"))?;
    Ok(InterceptedService::new(channel, InNamespace(header)))
}
