//! The headers that containerd's clients send with every request.

use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A connection whose requests have headers.
pub type Connection = InterceptedService<Channel, Headers>;

/// What the headers say; nothing on the plugin socket, as from containerd's collector.
#[derive(Clone, Default)]
pub struct Headers {
    pub namespace: Option<String>,
    pub lease: Option<String>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = [("containerd-namespace", &self.namespace), ("containerd-lease", &self.lease)];
        for (name, value) in headers {
            if let Some(value) = value {
                request.metadata_mut().insert(name, value.parse().unwrap());
            }
        }
        Ok(request)
    }
}
