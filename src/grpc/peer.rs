//! Who is at the other end of a socket.

use std::path::Path;

use tokio::net::UnixStream;
use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

/// Whom a socket serves, beyond what its file mode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Root and the daemon's own user.
    Owner,
    /// Whoever the mode of the socket lets in: a group was configured.
    Mode,
}

/// Whether a connection is served. A process that inherited or was passed the socket gets past its mode; not past this.
pub(super) fn is_allowed(stream: &UnixStream, allowed: Allowed) -> bool {
    if allowed == Allowed::Mode {
        return true;
    }
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw() => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), "connection of another user refused");
            false
        }
        Err(err) => {
            tracing::warn!(error = %err, "connection without credentials refused");
            false
        }
    }
}

/// Returns the process that a request came from, where the kernel tells.
pub(super) fn caller<T>(request: &Request<T>) -> Option<i32> {
    known(request.extensions().get::<UdsConnectInfo>()?.peer_cred?.pid())
}

/// Returns the process that listens on a socket, where the kernel tells.
pub(super) async fn listener(socket: &Path) -> Option<i32> {
    known(UnixStream::connect(socket).await.ok()?.peer_cred().ok()?.pid())
}

/// A process of another PID namespace has number 0.
fn known(pid: Option<i32>) -> Option<i32> {
    pid.filter(|pid| *pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        assert_eq!(listener(&socket).await, None);
        let _listening = tokio::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(listener(&socket).await, i32::try_from(std::process::id()).ok());
        assert_eq!(caller(&Request::new(())), None);
        assert_eq!(known(Some(0)), None);
    }
}
