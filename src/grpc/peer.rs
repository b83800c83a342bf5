//! Who is at the other end of a socket.

use tokio::net::UnixStream;

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
