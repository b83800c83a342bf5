//! containerd's Version service.

use tonic::{Request, Response, Status};

use super::proto::containerd::services::version::v1::VersionResponse;
use super::proto::containerd::services::version::v1::version_server::Version;

/// The service, which has no state.
pub(super) struct VersionService;

#[tonic::async_trait]
impl Version for VersionService {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        // A build knows its version, and a revision only where it was made from a clone: none is better than a wrong one.
        Ok(Response::new(VersionResponse { version: env!("CARGO_PKG_VERSION").into(), revision: String::new() }))
    }
}
