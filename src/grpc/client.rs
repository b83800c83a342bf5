//! What a client of a daemon's API socket is made of.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::types::Namespace;
use crate::{Error, Result};

use super::proto::containerd::services::leases::v1::leases_client;
use super::scope::NAMESPACE;
use super::server::MAX_MESSAGE;

/// A client of the Leases service in one namespace.
pub type LeasesClient = leases_client::LeasesClient<InterceptedService<Channel, InNamespace>>;

/// Says in which namespace a request is.
#[derive(Clone)]
pub struct InNamespace(MetadataValue<Ascii>);

impl Interceptor for InNamespace {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(NAMESPACE, self.0.clone());
        Ok(request)
    }
}

/// Makes a client of the Leases service.
///
/// # Errors
/// [`Error::Invalid`] for a namespace that no header can hold, which none is.
pub fn leases_client(channel: Channel, namespace: &Namespace) -> Result<LeasesClient> {
    let header = namespace.as_str().parse().map_err(|_| Error::invalid("namespace", "is no header"))?;
    let client = leases_client::LeasesClient::with_interceptor(channel, InNamespace(header));
    Ok(client.max_decoding_message_size(MAX_MESSAGE))
}
