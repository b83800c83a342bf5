//! Whose names a request means: containerd's, or those of one namespace.

use super::Namespace;

/// Where a name is looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// What came through the plugin socket. containerd's namespaces are part of the keys there.
    #[default]
    Plugin,
    /// One namespace of the API socket.
    Api(Namespace),
}

impl Scope {
    /// Returns the namespace as keys of records have it: empty for the plugin socket, which no namespace is.
    pub fn as_str(&self) -> &str {
        match self {
            Scope::Plugin => "",
            Scope::Api(namespace) => namespace.as_str(),
        }
    }
}
