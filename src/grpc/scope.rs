//! Whose names a request means, and which lease: its headers.

use tonic::metadata::MetadataMap;

use crate::types::{LeaseId, Namespace, Scope, SnapshotKey, SnapshotLease};
use crate::{Error, Result, leases};

/// Headers that containerd and its clients send. Both may be absent on the plugin socket (containerd's collector sends
/// neither), and a lease that is unknown there is containerd's own.
pub(super) const NAMESPACE: &str = "containerd-namespace";
pub(super) const LEASE: &str = "containerd-lease";

/// Returns a header as text; `None` when it is absent.
pub(super) fn header<'h>(headers: &'h MetadataMap, name: &str) -> Option<&'h str> {
    std::str::from_utf8(headers.get(name)?.as_encoded_bytes()).ok()
}

/// Reads the namespace that every request on the API socket needs.
///
/// # Errors
/// [`Error::NoNamespace`], and [`Error::Invalid`] for one that is no identifier.
pub(super) fn namespace(headers: &MetadataMap) -> Result<Namespace> {
    match header(headers, NAMESPACE) {
        None | Some("") => Err(Error::NoNamespace),
        Some(name) => Namespace::parse(name),
    }
}

/// Reads namespace and lease of a request on the API socket.
///
/// # Errors
/// As for [`namespace`]; [`Error::NotFound`] for what cannot be a lease.
fn client(headers: &MetadataMap) -> Result<(Scope, Option<LeaseId>)> {
    let scope = Scope::Api(namespace(headers)?);
    let lease = header(headers, LEASE).map(|id| leases::existing(id.to_owned())).transpose()?;
    Ok((scope, lease))
}

/// What the headers of a request on blobs and ingests say.
#[derive(Clone, Debug)]
pub(super) struct ContentCaller {
    /// Where its digests and refs are looked up.
    pub scope: Scope,
    /// The lease that is to name what it makes.
    pub lease: Option<LeaseId>,
}

impl ContentCaller {
    /// Reads a request on the plugin socket.
    pub fn on_plugin_socket() -> ContentCaller {
        ContentCaller { scope: Scope::Plugin, lease: None }
    }

    /// Reads a request on the API socket.
    ///
    /// # Errors
    /// As for [`namespace`]; [`Error::NotFound`] for what cannot be a lease.
    pub fn on_api_socket(headers: &MetadataMap) -> Result<ContentCaller> {
        let (scope, lease) = client(headers)?;
        Ok(ContentCaller { scope, lease })
    }
}

/// What the headers of a request on snapshots say.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Where its keys are looked up.
    pub scope: Scope,
    /// The lease that is to name what it makes.
    pub lease: Option<SnapshotLease>,
}

impl Caller {
    /// Reads a request on the plugin socket. Whatever containerd calls a snapshotter there is `ours`.
    pub fn on_plugin_socket(headers: &MetadataMap, ours: &str) -> Caller {
        let id = header(headers, LEASE).and_then(|id| LeaseId::parse(id).ok());
        Caller { scope: Scope::Plugin, lease: id.map(|id| SnapshotLease { id, snapshotter: ours.into() }) }
    }

    /// Reads a request on the API socket. There is one snapshotter, called `ours`, so its name may be left out.
    ///
    /// # Errors
    /// As for [`namespace`]; [`Error::Invalid`] for another snapshotter; [`Error::NotFound`] for what cannot be a lease.
    pub fn on_api_socket(headers: &MetadataMap, ours: &str, snapshotter: &str) -> Result<Caller> {
        if !snapshotter.is_empty() && snapshotter != ours {
            return Err(Error::invalid("snapshotter", format!("{snapshotter:?} is not loaded, only {ours:?} is")));
        }
        let (scope, id) = client(headers)?;
        Ok(Caller { scope, lease: id.map(|id| SnapshotLease { id, snapshotter: ours.into() }) })
    }

    /// Checks a key of the request.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn key(&self, key: String) -> Result<SnapshotKey> {
        SnapshotKey::parse_in(self.scope.clone(), key)
    }

    /// Checks a parent in the request; the empty string means that there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parent(&self, parent: String) -> Result<Option<SnapshotKey>> {
        SnapshotKey::parse_parent_in(self.scope.clone(), parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut headers = MetadataMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_api_socket_needs_a_namespace() {
        assert!(matches!(namespace(&headers(&[])), Err(Error::NoNamespace)));
        assert!(matches!(namespace(&headers(&[(NAMESPACE, "")])), Err(Error::NoNamespace)));
        assert!(matches!(namespace(&headers(&[(NAMESPACE, "a/b")])), Err(Error::Invalid { .. })));
        assert_eq!(namespace(&headers(&[(NAMESPACE, "k8s.io")])).unwrap().as_str(), "k8s.io");
    }

    #[test]
    fn the_plugin_socket_takes_everything() {
        for pairs in [&[][..], &[(NAMESPACE, "a/b"), (LEASE, "")], &[(LEASE, "l")]] {
            let caller = Caller::on_plugin_socket(&headers(pairs), "leasehold");
            assert_eq!(caller.scope, Scope::Plugin);
            assert_eq!(caller.lease.is_some(), pairs.contains(&(LEASE, "l")));
        }
    }

    #[test]
    fn there_is_one_snapshotter() {
        let headers = headers(&[(NAMESPACE, "a")]);
        for (name, known) in [("leasehold", true), ("", true), ("overlayfs", false), ("Leasehold", false)] {
            assert_eq!(Caller::on_api_socket(&headers, "leasehold", name).is_ok(), known, "{name}");
        }
    }
}
