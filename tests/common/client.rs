//! A client that waits for each answer, so that a test reads from top to bottom.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leasehold::grpc::proto::containerd::services::snapshots::v1 as api;
use leasehold::grpc::proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use leasehold::grpc::proto::containerd::types::Mount;
use tokio::runtime::Runtime;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::daemon::Daemon;
use super::headers::{Connection, Headers};

/// The label that carries a snapshot's upperdir where the configuration has `upperdir_label`.
pub const UPPERDIR: &str = "containerd.io/snapshot/overlay.upperdir";
/// What a [`Site`](super::daemon::Site) needs for [`upperdir`].
pub const UPPERDIR_SETTING: &str = "[snapshotter]\nupperdir_label = true\n";

/// Longer than any answer may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

pub type Answer<T> = Result<T, Status>;
pub type Labels = BTreeMap<String, String>;

pub struct Client {
    runtime: Arc<Runtime>,
    channel: Channel,
    headers: Headers,
}

impl Client {
    pub fn new(daemon: &Daemon) -> Client {
        Client::connect(daemon.plugin_socket()).unwrap()
    }

    /// Connects to the API socket, in a namespace.
    pub fn api(daemon: &Daemon, namespace: &str) -> Client {
        Client::connect(daemon.api_socket()).unwrap().in_namespace(namespace)
    }

    /// Connects to a socket, behind which the daemon may be dying.
    pub fn connect(socket: &Path) -> Result<Client, tonic::transport::Error> {
        // A thread of its own looks after the connection between calls: it hears that the daemon stops.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let channel = runtime.block_on(leasehold::grpc::client(socket))?;
        Ok(Client { runtime: Arc::new(runtime), channel, headers: Headers::default() })
    }

    /// Returns a client on the same connection that says it is in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Client {
        self.with(Headers { namespace: Some(namespace.to_owned()), ..self.headers.clone() })
    }

    /// Returns a client on the same connection that works for a lease.
    pub fn leased(&self, lease: &str) -> Client {
        self.with(Headers { lease: Some(lease.to_owned()), ..self.headers.clone() })
    }

    /// Returns a client on the same connection, for another thread.
    pub fn another(&self) -> Client {
        self.with(self.headers.clone())
    }

    fn with(&self, headers: Headers) -> Client {
        Client { runtime: self.runtime.clone(), channel: self.channel.clone(), headers }
    }

    /// Returns what a client of another service is made with.
    pub fn connection(&self) -> Connection {
        InterceptedService::new(self.channel.clone(), self.headers.clone())
    }

    /// Waits for the answer to a call of any service.
    pub fn answer<T>(&self, call: impl Future<Output = Answer<Response<T>>>) -> Answer<T> {
        self.run(call).map(Response::into_inner)
    }

    /// Makes any call of the service and waits for its answer.
    pub fn call<T, F>(&self, call: impl FnOnce(SnapshotsClient<Connection>) -> F) -> Answer<T>
    where
        F: Future<Output = Answer<Response<T>>>,
    {
        self.answer(call(SnapshotsClient::new(self.connection())))
    }

    /// Waits for anything else that has to do with the service, such as the next message of a stream.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(LIMIT, work).await }).expect("no answer")
    }

    pub fn prepare(&self, key: &str, parent: &str) -> Answer<Vec<Mount>> {
        self.prepare_with(key, parent, &[])
    }

    pub fn prepare_with(&self, key: &str, parent: &str, labels: &[(&str, &str)]) -> Answer<Vec<Mount>> {
        let request = api::PrepareSnapshotRequest {
            key: key.into(),
            parent: parent.into(),
            labels: label_map(labels),
            ..Default::default()
        };
        self.call(async |mut client| client.prepare(request).await).map(|answer| answer.mounts)
    }

    pub fn view(&self, key: &str, parent: &str) -> Answer<Vec<Mount>> {
        self.view_with(key, parent, &[])
    }

    pub fn view_with(&self, key: &str, parent: &str, labels: &[(&str, &str)]) -> Answer<Vec<Mount>> {
        let request = api::ViewSnapshotRequest {
            key: key.into(),
            parent: parent.into(),
            labels: label_map(labels),
            ..Default::default()
        };
        self.call(async |mut client| client.view(request).await).map(|answer| answer.mounts)
    }

    pub fn mounts(&self, key: &str) -> Answer<Vec<Mount>> {
        let request = api::MountsRequest { key: key.into(), ..Default::default() };
        self.call(async |mut client| client.mounts(request).await).map(|answer| answer.mounts)
    }

    pub fn commit(&self, name: &str, key: &str) -> Answer<()> {
        self.commit_with(name, key, "", &[])
    }

    /// Commits on a parent that was not known at Prepare (rebase), with labels.
    pub fn commit_with(&self, name: &str, key: &str, parent: &str, labels: &[(&str, &str)]) -> Answer<()> {
        let request = api::CommitSnapshotRequest {
            name: name.into(),
            key: key.into(),
            parent: parent.into(),
            labels: label_map(labels),
            ..Default::default()
        };
        self.call(async |mut client| client.commit(request).await)
    }

    pub fn remove(&self, key: &str) -> Answer<()> {
        let request = api::RemoveSnapshotRequest { key: key.into(), ..Default::default() };
        self.call(async |mut client| client.remove(request).await)
    }

    pub fn stat(&self, key: &str) -> Answer<api::Info> {
        let request = api::StatSnapshotRequest { key: key.into(), ..Default::default() };
        self.call(async |mut client| client.stat(request).await).map(|answer| answer.info.unwrap())
    }

    /// Updates the labels that `paths` name.
    pub fn update(&self, key: &str, labels: &[(&str, &str)], paths: &[&str]) -> Answer<api::Info> {
        let info = api::Info { name: key.into(), labels: label_map(labels), ..Default::default() };
        let mask = prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let request = api::UpdateSnapshotRequest { info: Some(info), update_mask: Some(mask), ..Default::default() };
        self.call(async |mut client| client.update(request).await).map(|answer| answer.info.unwrap())
    }

    pub fn usage(&self, key: &str) -> Answer<api::UsageResponse> {
        let request = api::UsageRequest { key: key.into(), ..Default::default() };
        self.call(async |mut client| client.usage(request).await)
    }

    pub fn cleanup(&self) -> Answer<()> {
        self.call(async |mut client| client.cleanup(api::CleanupRequest::default()).await)
    }

    /// Returns what the stream of a List says to its end.
    pub fn list(&self, filters: &[&str]) -> Answer<Vec<api::Info>> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let request = api::ListSnapshotsRequest { filters, ..Default::default() };
        self.call(async |mut client| {
            let mut stream = client.list(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(page) = stream.message().await? {
                all.extend(page.info);
            }
            Ok(Response::new(all))
        })
    }

    /// Prepares, writes a file of that content into the layer, and commits.
    pub fn make_layer(&self, name: &str, parent: &str, content: &str) -> Answer<()> {
        let key = format!("make {name}");
        let mounts = self.prepare(&key, parent)?;
        std::fs::write(upperdir_of_mounts(&mounts).join("file"), content).unwrap();
        self.commit(name, &key)
    }
}

/// Returns the directory that a prepared snapshot is written into.
pub fn upperdir_of_mounts(mounts: &[Mount]) -> PathBuf {
    let [mount] = mounts else { panic!("{mounts:?}") };
    let upperdir = mount.options.iter().find_map(|option| option.strip_prefix("upperdir="));
    match mount.r#type.as_str() {
        "bind" => mount.source.clone().into(),
        _ => upperdir.unwrap_or_else(|| panic!("{mount:?}")).into(),
    }
}

/// Returns the backing directory of a snapshot, by its label; `None` for a view that shows only its parents.
pub fn upperdir(info: &api::Info) -> Option<PathBuf> {
    info.labels.get(UPPERDIR).map(PathBuf::from)
}

/// Returns the names that `l/` must have, from the labels of all snapshots.
pub fn layer_names(all: &[api::Info]) -> Vec<String> {
    let name = |path: PathBuf| path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    // A set, because snapshots may share a layer.
    all.iter().filter_map(upperdir).map(name).collect::<BTreeSet<String>>().into_iter().collect()
}

pub fn label_map(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
