//! A node: a registry, leasehold, and a containerd that uses it.

use std::time::Duration;

use super::cli::Said;
use super::client::Client;
use super::containerd::{Containerd, Release, Unpack};
use super::daemon::{Daemon, Site};
use super::images::{Image, Kind};
use super::registry::Registry;
use super::tools::run;
use super::wait_for;

/// How long a collection and the deletion of layers may take on a loaded machine.
const COLLECTION: Duration = Duration::from_secs(30);

/// Everything that a test of containers needs.
pub struct Node {
    // The order of dropping: who uses comes before who is used.
    pub containerd: Containerd,
    daemon: Option<Daemon>,
    pub site: Site,
    pub registry: Registry,
}

impl Node {
    /// Starts everything and waits until it serves.
    pub fn start(release: Release, unpack: Unpack) -> Node {
        Node::start_with(release, unpack, "", &[])
    }

    /// Like [`start`](Self::start), with leasehold as the content store, too.
    pub fn start_with_content(release: Release, unpack: Unpack) -> Node {
        Node::start_with(release, unpack, "", &["--content"])
    }

    /// Like [`start`](Self::start), with more settings of leasehold, as TOML sections.
    pub fn start_with_settings(release: Release, unpack: Unpack, settings: &str) -> Node {
        Node::start_with(release, unpack, settings, &[])
    }

    /// Like [`start`](Self::start), with leasehold as the differ, too, and with `options` of the command that prints
    /// containerd's configuration. Blobs are read where this containerd keeps its own.
    pub fn start_with_differ(release: Release, unpack: Unpack, settings: &str, options: &[&str]) -> Node {
        let (registry, site) = (Registry::start(), Site::new());
        // It does not look for leasehold before it is needed.
        let options = [&["--differ"], options].concat();
        let containerd = Containerd::start(release, &stanzas(&site, release, unpack, &options));
        let (content, socket) = (containerd.content_store(), containerd.socket());
        let content = format!("[diff]\ncontent_root = {content:?}\ncontainerd_socket = {socket:?}\n");
        let site = site.set_settings(&(content + settings));
        let daemon = site.start();
        Node { containerd, daemon: Some(daemon), site, registry }
    }

    fn start_with(release: Release, unpack: Unpack, settings: &str, options: &[&str]) -> Node {
        let registry = Registry::start();
        let site = Site::with_settings(settings);
        let daemon = site.start();
        let containerd = Containerd::start(release, &stanzas(&site, release, unpack, options));
        Node { containerd, daemon: Some(daemon), site, registry }
    }

    /// Restarts containerd with leasehold as its content store.
    pub fn switch_content(&mut self, unpack: Unpack) {
        let stanzas = stanzas(&self.site, self.containerd.release(), unpack, &["--content"]);
        self.containerd.restart(&stanzas);
    }

    /// Kills leasehold, as the out-of-memory killer would.
    pub fn kill_daemon(&mut self) {
        self.daemon.take().expect("leasehold runs").kill();
    }

    /// Stops leasehold, as an operator would.
    pub fn stop_daemon(&mut self) {
        assert!(self.daemon.take().expect("leasehold runs").stop().success());
    }

    /// Starts leasehold again and waits until it serves.
    pub fn start_daemon(&mut self) {
        assert!(self.daemon.is_none(), "leasehold runs already");
        self.daemon = Some(self.site.start());
    }

    /// Connects to leasehold as an operator, in a namespace.
    pub fn operator(&self, namespace: &str) -> Client {
        Client::connect(&self.site.api_socket()).unwrap().in_namespace(namespace)
    }

    /// Runs `leasehold <args>` as an operator would, who has told where containerd is.
    pub fn cli(&self, namespace: &str, args: &[&str]) -> Said {
        self.site.cli_with(args, |command| {
            command.env("CONTAINERD_NAMESPACE", namespace).env("CONTAINERD_ADDRESS", self.containerd.socket())
        })
    }

    /// Returns how many snapshots leasehold has for containerd.
    pub fn snapshots(&self) -> usize {
        Client::connect(&self.site.plugin_socket()).unwrap().list(&[]).unwrap().len()
    }

    /// Returns how many blobs leasehold has for containerd.
    pub fn blobs(&self) -> usize {
        Client::connect(&self.site.plugin_socket()).unwrap().blobs().len()
    }

    /// Makes an image and pushes it.
    pub fn image(&self, kind: Kind) -> Image {
        Image::push(&self.registry, kind)
    }

    /// Waits until the pool holds nothing, and checks that it holds together.
    pub fn expect_empty_pool(&self) {
        wait_for("the end of the last layer", COLLECTION, || {
            let content = [self.site.blob_files(), self.site.ingest_files()].concat();
            self.site.layer_dirs().is_empty() && content.is_empty() && self.site.trash_dirs().is_empty()
        });
        self.expect_whole_pool();
    }

    /// Checks that records and directories agree.
    pub fn expect_whole_pool(&self) {
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.site.log()).unwrap_or_default();
            eprintln!("--- leasehold's log\n{log}");
        }
    }
}

/// Returns what `leasehold config containerd` prints for a site.
pub fn printed_stanzas(site: &Site, release: Release, options: &[&str]) -> String {
    let version = release.config_version().to_string();
    run(site.command().args(["config", "containerd", "--version", &version]).args(options))
}

fn stanzas(site: &Site, release: Release, unpack: Unpack, options: &[&str]) -> String {
    let printed = printed_stanzas(site, release, options);
    match unpack {
        Unpack::Parallel => printed,
        Unpack::Sequential => printed.replace("max_concurrent_unpacks = 4", "max_concurrent_unpacks = 1"),
    }
}
