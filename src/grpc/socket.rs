//! Where a service is that both sockets have.

use std::sync::Arc;

use crate::leases::Changes;

/// A socket, and who hears of changes on it.
#[derive(Clone)]
pub(super) enum Socket {
    /// containerd is the only client, and knows itself what it no longer needs.
    Plugin,
    /// Clients are in namespaces, and what they no longer need is collected.
    Api(Arc<Changes>),
}

impl Socket {
    /// Tells the collector of a change.
    pub fn mutated(&self) {
        if let Socket::Api(changes) = self {
            changes.mutated();
        }
    }

    /// Passes an answer on, and tells the collector of the change if there was one.
    pub fn changed<T, E>(&self, answer: Result<T, E>) -> Result<T, E> {
        if answer.is_ok() {
            self.mutated();
        }
        answer
    }

    /// Passes an answer on, and tells the collector of the removal if there was one: what was removed may have been all
    /// that held something else.
    pub fn removed<T, E>(&self, answer: Result<T, E>) -> Result<T, E> {
        if let (Socket::Api(changes), Ok(_)) = (self, &answer) {
            changes.dirty();
        }
        answer
    }
}
