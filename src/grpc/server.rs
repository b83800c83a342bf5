//! The two sockets and the servers on them.

use std::os::fd::OwnedFd;
use std::os::unix::net as std_unix;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use tokio::net::UnixListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::content::Content;
use crate::diff::Differ;
use crate::gc::Collectible;
use crate::leases::Leases;
use crate::namespaces::Namespaces;
use crate::overlay::HostFeatures;
use crate::snapshotter::Snapshotter;
use crate::{Error, FsOp, Result};

use super::admin::AdminService;
use super::blobs::BlobsService;
use super::collections::CollectionsService;
use super::content::{ContentService, ContentTurns};
use super::diff::{DiffService, DiffTurns};
use super::introspection::IntrospectionService;
use super::leases::LeasesService;
use super::namespaces::NamespacesService;
use super::peer::{Allowed, is_allowed};
use super::proto::containerd::services::content::v1::content_server::ContentServer;
use super::proto::containerd::services::diff::v1::diff_server::DiffServer;
use super::proto::containerd::services::introspection::v1::introspection_server::IntrospectionServer;
use super::proto::containerd::services::leases::v1::leases_server::LeasesServer;
use super::proto::containerd::services::namespaces::v1::namespaces_server::NamespacesServer;
use super::proto::containerd::services::snapshots::v1::snapshots_server::SnapshotsServer;
use super::proto::containerd::services::version::v1::version_server::VersionServer;
use super::proto::leasehold::admin::v1::admin_server::AdminServer;
use super::proto::leasehold::admin::v1::blobs_server::BlobsServer;
use super::proto::leasehold::admin::v1::collections_server::CollectionsServer;
use super::request::Slow;
use super::snapshots::SnapshotsService;
use super::socket::Socket;
use super::version::VersionService;

/// containerd's own limit for one message.
pub const MAX_MESSAGE: usize = 16 << 20;
/// How many requests of one connection are under way; a client keeps further ones back. containerd has one connection.
const MAX_STREAMS: u32 = 512;
/// How much of one request, and of all of one connection, is on its way without having been asked for: containerd sends
/// blobs in messages of a megabyte and more, of many streams through one connection, and nobody is to wait in between.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How long a failed accept rests.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client waits for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a client waits for any sign of life from a daemon, each way.
const ALIVE: Duration = Duration::from_secs(10);

/// A listening socket.
pub struct Listener {
    socket: std_unix::UnixListener,
    allowed: Allowed,
    /// What to remove at the end; `None` for an inherited socket, which belongs to systemd.
    file: Option<PathBuf>,
}

impl Listener {
    /// Binds a socket with mode 0600, or 0660 and the group `gid`.
    ///
    /// The file of a daemon that is gone is replaced.
    ///
    /// # Errors
    /// [`Error::Pool`] when another process listens there or the path is too long, [`Error::Fs`] otherwise.
    pub fn bind(path: &Path, gid: Option<u32>) -> Result<Listener> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(Error::fs(FsOp::CreateDir, dir))?;
        }
        remove_stale(path)?;
        let address = UnixAddr::new(path).map_err(|err| {
            Error::Pool(format!("{}: not usable as a socket path ({err}); at most 107 bytes fit", path.display()))
        })?;
        let failed = || Error::fs::<nix::Error>(FsOp::Bind, path);
        let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed())?;
        // Before it has a name: nobody gets in between bind and chmod.
        let mode = if gid.is_some() { 0o660 } else { 0o600 };
        rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode)).map_err(Error::fs(FsOp::Chmod, path))?;
        bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address).map_err(failed())?;
        crate::failpoint::hit("listen: socket bound");
        if gid.is_some() {
            std::os::unix::fs::chown(path, None, gid).map_err(Error::fs(FsOp::Chown, path))?;
            // A restrictive umask took the group's bits at bind.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, mode).map_err(Error::fs(FsOp::Chmod, path))?;
        }
        listen(&socket, Backlog::MAXCONN).map_err(failed())?;
        let allowed = if gid.is_some() { Allowed::Mode } else { Allowed::Owner };
        Ok(Listener { socket: socket.into(), allowed, file: Some(path.to_owned()) })
    }

    /// Takes over a listening socket that systemd passed. Who may connect is what its unit says.
    pub fn inherited(socket: OwnedFd) -> Listener {
        Listener { socket: socket.into(), allowed: Allowed::Mode, file: None }
    }

    fn into_tokio(self) -> Result<(UnixListener, Allowed, SocketFile)> {
        let path = self.file.clone().unwrap_or_default();
        self.socket.set_nonblocking(true).map_err(Error::fs(FsOp::Bind, &path))?;
        let listener = UnixListener::from_std(self.socket).map_err(Error::fs(FsOp::Bind, &path))?;
        Ok((listener, self.allowed, SocketFile::of(self.file)))
    }
}

/// Removes the file of a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(Error::fs(FsOp::Stat, path)(err)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::Pool(format!(
                "{}: exists and is not a socket. Remove it, or configure another path",
                path.display()
            )));
        }
        Ok(_) => {}
    }
    match std_unix::UnixStream::connect(path) {
        Ok(_) => Err(Error::Pool(format!(
            "{}: another process listens on this socket. Stop it, or configure another path",
            path.display()
        ))),
        Err(_) => std::fs::remove_file(path).map_err(Error::fs(FsOp::Remove, path)),
    }
}

/// Removes the socket's file when the server ends.
struct SocketFile(Option<(PathBuf, Inode)>);

/// Device and inode: what tells a file from a later one of the same name.
type Inode = (u64, u64);

impl SocketFile {
    fn of(path: Option<PathBuf>) -> SocketFile {
        SocketFile(path.and_then(|path| Some((inode(&path)?, path))).map(|(inode, path)| (path, inode)))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some((path, own)) = &self.0
            && inode(path) == Some(*own)
        {
            drop(std::fs::remove_file(path));
        }
    }
}

fn inode(path: &Path) -> Option<Inode> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The servers of both sockets.
pub struct Servers {
    snapshotter: Arc<Snapshotter>,
    leases: Arc<Leases>,
    namespaces: Arc<Namespaces>,
    collectible: Arc<Collectible>,
    content: Arc<Content>,
    differ: Arc<Differ>,
    host: HostFeatures,
    threads: usize,
    applies: usize,
    containerd: Option<PathBuf>,
}

impl Servers {
    /// Makes the servers over one pool; `threads` is the size of the blocking pool, `applies` how many layers are
    /// applied at a time, and `containerd` the socket where containerd serves its clients.
    pub fn new(
        snapshotter: Arc<Snapshotter>,
        leases: Arc<Leases>,
        collectible: Arc<Collectible>,
        content: Arc<Content>,
        differ: Arc<Differ>,
        host: HostFeatures,
        threads: usize,
        applies: usize,
        containerd: Option<PathBuf>,
    ) -> Servers {
        let namespaces = Arc::new(Namespaces::new(snapshotter.metadata().clone(), leases.clone()));
        Servers { snapshotter, leases, namespaces, collectible, content, differ, host, threads, applies, containerd }
    }

    /// Serves both sockets until `stop`; then no new request is taken, and those under way are finished.
    ///
    /// # Errors
    /// [`Error::Fs`] when a socket cannot be used.
    pub async fn serve(self, plugin: Listener, api: Listener, stop: CancellationToken) -> Result<()> {
        let (health, health_service) = health_reporter();
        let slow = Slow::new(self.threads, 4);
        report_serving(&health).await;
        let snapshots = |service| {
            SnapshotsServer::new(service).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
        };
        let for_containerd = SnapshotsService::for_containerd(self.snapshotter.clone(), slow.clone());
        let content = |service| {
            ContentServer::new(service).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
        };
        let turns = ContentTurns::new(self.threads);
        let content_for_containerd = ContentService::for_containerd(self.content.clone(), turns.clone());
        let content_for_clients =
            ContentService::for_clients(self.content.clone(), turns, self.leases.changes().clone());
        let applies = DiffTurns::new(self.applies);
        let diff = |socket| {
            DiffServer::new(DiffService::new(self.differ.clone(), applies.clone(), socket, self.containerd.clone()))
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE)
        };
        let plugin_router = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .add_service(content(content_for_containerd))
            .add_service(diff(Socket::Plugin))
            .add_service(snapshots(for_containerd))
            .add_service(health_service.clone());
        let for_clients =
            SnapshotsService::for_clients(self.snapshotter.clone(), slow.clone(), self.leases.changes().clone());
        let leases = LeasesServer::new(LeasesService::new(self.leases.clone(), slow.clone()))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let admin = AdminService::new(
            self.snapshotter.clone(),
            self.content.clone(),
            self.collectible.clone(),
            &self.host,
            slow.clone(),
        );
        let admin =
            AdminServer::new(admin).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        let api_router = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .add_service(admin)
            .add_service(BlobsServer::new(BlobsService::new(self.content.clone())))
            .add_service(CollectionsServer::new(CollectionsService::new(self.collectible.clone(), slow)))
            .add_service(content(content_for_clients))
            .add_service(diff(Socket::Api(self.leases.changes().clone())))
            .add_service(IntrospectionServer::new(IntrospectionService::new(self.snapshotter.clone())))
            .add_service(leases)
            .add_service(NamespacesServer::new(NamespacesService::new(self.namespaces.clone())))
            .add_service(snapshots(for_clients))
            .add_service(VersionServer::new(VersionService))
            .add_service(health_service);
        let (plugin, plugin_allowed, _plugin_file) = plugin.into_tokio()?;
        let (api, api_allowed, _api_file) = api.into_tokio()?;
        let plugin = plugin_router.serve_with_incoming_shutdown(
            UnixListenerStream::new(plugin).filter(admit(plugin_allowed)).then(pause_after_failure),
            stop.clone().cancelled_owned(),
        );
        let api = api_router.serve_with_incoming_shutdown(
            UnixListenerStream::new(api).filter(admit(api_allowed)).then(pause_after_failure),
            stop.cancelled_owned(),
        );
        let (plugin, api) = tokio::join!(plugin, api);
        for result in [plugin, api] {
            if let Err(err) = result {
                tracing::error!(error = %crate::Chain(&err), "a server ended with an error");
                return Err(Error::Lost("a server"));
            }
        }
        Ok(())
    }
}

/// Passes on what was accepted. When nothing can be, because there are no more descriptors, the next try waits a little.
async fn pause_after_failure(
    accepted: std::io::Result<tokio::net::UnixStream>,
) -> std::io::Result<tokio::net::UnixStream> {
    if let Err(err) = &accepted {
        tracing::warn!(error = %err, "a connection cannot be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
    accepted
}

fn admit(allowed: Allowed) -> impl FnMut(&std::io::Result<tokio::net::UnixStream>) -> bool {
    move |accepted| accepted.as_ref().map_or(true, |stream| is_allowed(stream, allowed))
}

async fn report_serving(health: &HealthReporter) {
    health.set_serving::<SnapshotsServer<SnapshotsService>>().await;
    health.set_serving::<AdminServer<AdminService>>().await;
    health.set_serving::<BlobsServer<BlobsService>>().await;
    health.set_serving::<ContentServer<ContentService>>().await;
    health.set_serving::<CollectionsServer<CollectionsService>>().await;
    health.set_serving::<DiffServer<DiffService>>().await;
    health.set_serving::<IntrospectionServer<IntrospectionService>>().await;
    health.set_serving::<LeasesServer<LeasesService>>().await;
    health.set_serving::<NamespacesServer<NamespacesService>>().await;
    health.set_serving::<VersionServer<VersionService>>().await;
}

/// Connects to a daemon's socket.
///
/// # Errors
/// tonic's, when nobody listens there.
pub async fn client(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    // A call may take long, but a daemon that is stopped answers no ping.
    let endpoint = endpoint().http2_keep_alive_interval(ALIVE).keep_alive_timeout(ALIVE);
    connect(endpoint, socket).await
}

/// Returns what every client of a socket begins with.
pub(super) fn endpoint() -> Endpoint {
    // The address is not used: the connector knows where to go.
    Endpoint::from_static("http://leasehold.invalid").connect_timeout(CONNECT)
}

/// Connects to a socket.
///
/// # Errors
/// tonic's, when nobody listens there.
pub(super) async fn connect(endpoint: Endpoint, socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    endpoint
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await
}
