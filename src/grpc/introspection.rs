//! containerd's Introspection service: what a client can use on the API socket.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::snapshotter::Snapshotter;
use crate::types::{Adaptor, Filter};
use crate::{Error, Resource, Result};

use super::proto::containerd::services::introspection::v1::introspection_server::Introspection;
use super::proto::containerd::services::introspection::v1::{
    Plugin, PluginInfoRequest, PluginInfoResponse, PluginsRequest, PluginsResponse, ServerResponse,
};
use super::proto::containerd::types::Platform;
use super::request::{blocking, span};

/// containerd's type of a snapshotter.
const SNAPSHOTTER_TYPE: &str = "io.containerd.snapshotter.v1";
/// containerd's type of a differ.
const DIFFER_TYPE: &str = "io.containerd.differ.v1";
/// containerd's type of a service, and those that the API socket has.
const SERVICE_TYPE: &str = "io.containerd.grpc.v1";
const SERVICES: [&str; 7] = ["diff", "healthcheck", "introspection", "leases", "namespaces", "snapshots", "version"];

/// The service over one pool.
pub(super) struct IntrospectionService {
    snapshotter: Arc<Snapshotter>,
    plugins: Vec<Plugin>,
}

impl IntrospectionService {
    pub fn new(snapshotter: Arc<Snapshotter>) -> IntrospectionService {
        let root = snapshotter.layout().root().to_string_lossy().into_owned();
        let own = Plugin {
            r#type: SNAPSHOTTER_TYPE.into(),
            id: snapshotter.name().into(),
            platforms: vec![platform()],
            exports: BTreeMap::from([("root".into(), root)]),
            ..Plugin::default()
        };
        let differ = Plugin {
            r#type: DIFFER_TYPE.into(),
            id: snapshotter.name().into(),
            platforms: vec![platform()],
            ..Plugin::default()
        };
        let service = |id: &str| Plugin { r#type: SERVICE_TYPE.into(), id: id.into(), ..Plugin::default() };
        let plugins = [own, differ].into_iter().chain(SERVICES.map(service)).collect();
        IntrospectionService { snapshotter, plugins }
    }
}

#[tonic::async_trait]
impl Introspection for IntrospectionService {
    async fn plugins(&self, request: Request<PluginsRequest>) -> Result<Response<PluginsResponse>, Status> {
        let span = span("Introspection/Plugins", request.metadata(), "");
        let filters = request.into_inner().filters;
        let all = self.plugins.clone();
        blocking(&self.snapshotter, "Introspection/Plugins", span, move |_| {
            let filter = Filter::parse_all(&filters)?;
            Ok(PluginsResponse { plugins: all.into_iter().filter(|plugin| filter.matches(plugin)).collect() })
        })
        .await
        .map(Response::new)
    }

    async fn server(&self, request: Request<()>) -> Result<Response<ServerResponse>, Status> {
        let span = span("Introspection/Server", request.metadata(), "");
        blocking(&self.snapshotter, "Introspection/Server", span, |snapshotter| {
            Ok(ServerResponse {
                uuid: snapshotter.metadata().pool().into(),
                pid: std::process::id().into(),
                pidns: pid_namespace(),
                deprecations: Vec::new(),
            })
        })
        .await
        .map(Response::new)
    }

    async fn plugin_info(&self, request: Request<PluginInfoRequest>) -> Result<Response<PluginInfoResponse>, Status> {
        let span = span("Introspection/PluginInfo", request.metadata(), &request.get_ref().id);
        let PluginInfoRequest { r#type, id, options } = request.into_inner();
        let found = self.plugins.iter().find(|plugin| plugin.r#type == r#type && plugin.id == id).cloned();
        blocking(&self.snapshotter, "Introspection/PluginInfo", span, move |_| match found {
            None => Err(Error::NotFound(Resource::Plugin(format!("{type}.{id}")))),
            Some(_) if options.is_some() => Err(Error::Unsupported(format!("a question to {id:?}"))),
            plugin => Ok(PluginInfoResponse { plugin, extra: None }),
        })
        .await
        .map(Response::new)
    }
}

impl Adaptor for Plugin {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match *path.first()? {
            "type" => Some(self.r#type.as_str().into()),
            "id" => Some(self.id.as_str().into()),
            _ => None,
        }
    }
}

/// The platform of this build, as Go names it.
fn platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform { os: "linux".into(), architecture: architecture.into(), ..Platform::default() }
}

/// Inode of this process's PID namespace, 0 where there is no /proc.
fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}
