//! `leasehold config`: configuration for other programs.
//!
//! containerd reads what a proxy plugin can do from its own configuration and never asks the plugin. So what is
//! printed has to be right for this host, this configuration and this version of containerd.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::ValueEnum;

use crate::config::Config;
use crate::overlay::{HostFeatures, Layout, observe};

/// How many layers of all images together containerd may unpack at a time.
const MAX_CONCURRENT_UNPACKS: usize = 4;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print what containerd's configuration needs to use leasehold on this host.
    Containerd(ContainerdArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ContainerdArgs {
    /// Version of containerd's configuration: what the `version` line of /etc/containerd/config.toml says.
    #[arg(long, value_enum, default_value_t = StanzaVersion::V3, value_name = "VERSION")]
    version: StanzaVersion,
    /// Have leasehold keep the blobs of images as well. What is in containerd's own store is not seen any more then:
    /// take it over with `leasehold content import`.
    #[arg(long)]
    content: bool,
    /// Have leasehold unpack the layers of images as well. Needs containerd 1.7 or later.
    #[arg(long)]
    differ: bool,
}

/// What containerd leaves to leasehold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// Snapshots.
    Snapshots,
    /// Snapshots, and the blobs of images.
    SnapshotsAndContent,
}

/// Who unpacks the layers of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differ {
    /// containerd.
    Walking,
    /// leasehold, and containerd what leasehold does not.
    Leasehold,
}

/// Versions of containerd's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StanzaVersion {
    /// containerd 1.x, legacy: a file without a `version` line.
    #[value(name = "1")]
    V1,
    /// containerd 1.6 and 1.7.
    #[value(name = "2")]
    V2,
    /// containerd 2.0 and later. What is printed is right for a file of version 4 as well.
    #[value(name = "3", alias = "4")]
    V3,
}

/// What containerd may ask of the snapshotter on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCapabilities {
    /// Whether layers can be mounted with other owners.
    pub remap_ids: bool,
    /// Whether containerd must not change owners by copying files instead.
    pub only_remap_ids: bool,
    /// Whether the parent of a snapshot may be set when it is committed.
    pub rebase: bool,
}

impl HostCapabilities {
    /// Derives the capabilities from what was probed and configured.
    pub fn new(config: &Config, host: &HostFeatures) -> HostCapabilities {
        HostCapabilities {
            remap_ids: host.idmapped,
            only_remap_ids: !config.snapshotter.slow_chown,
            // Extraction without a parent makes whiteouts, which a user namespace does not allow.
            rebase: !host.userns,
        }
    }

    fn names(self) -> Vec<&'static str> {
        let all = [("remap-ids", self.remap_ids), ("only-remap-ids", self.only_remap_ids), ("rebase", self.rebase)];
        all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
    }
}

pub(super) fn run(config: &Config, command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Containerd(args) = command;
    let stores = if args.content { Stores::SnapshotsAndContent } else { Stores::Snapshots };
    let differ = if args.differ { Differ::Leasehold } else { Differ::Walking };
    if args.version == StanzaVersion::V1 && stores == Stores::SnapshotsAndContent {
        anyhow::bail!(CONTENT_NEEDS_V2);
    }
    if args.version == StanzaVersion::V1 && differ == Differ::Leasehold {
        anyhow::bail!(DIFFER_NEEDS_V2);
    }
    let host = HostCapabilities::new(config, &observe(&Layout::new(&config.root)?)?);
    print!("{}", containerd_stanza(args.version, config, &host, stores, differ));
    Ok(ExitCode::SUCCESS)
}

/// Returns what containerd's configuration needs to use leasehold, as TOML with comments for the operator.
/// Of version 1, where there is no content store and no differ but containerd's own, that without them.
pub fn containerd_stanza(
    version: StanzaVersion,
    config: &Config,
    host: &HostCapabilities,
    stores: Stores,
    differ: Differ,
) -> String {
    let (disabled, mut others) = match stores {
        Stores::Snapshots => (String::new(), String::new()),
        Stores::SnapshotsAndContent => (DISABLED.to_owned(), content_plugin(config)),
    };
    if differ == Differ::Leasehold {
        others += &diff_plugin(config, stores);
    }
    // Only the transfer service of containerd 2.2 and later rebases, and only version 3 configures it.
    let without_rebase = HostCapabilities { rebase: false, ..*host };
    match version {
        StanzaVersion::V1 => {
            [V1, &proxy_plugin(version, config, without_rebase), &cri(config, "plugins.cri.containerd")].concat()
        }
        StanzaVersion::V2 => [
            V2,
            &disabled,
            &proxy_plugin(version, config, without_rebase),
            &others,
            &cri(config, r#"plugins."io.containerd.grpc.v1.cri".containerd"#),
            &match differ {
                Differ::Walking => String::new(),
                Differ::Leasehold => DIFFER_NEEDS_1_7.to_owned() + &diff_service(config),
            },
        ]
        .concat(),
        StanzaVersion::V3 => [
            V3,
            &disabled,
            &proxy_plugin(version, config, *host),
            &others,
            &cri(config, "plugins.'io.containerd.cri.v1.images'"),
            CRI_SYNC,
            &transfer(config, *host, differ),
            &match differ {
                Differ::Walking => CLIENT_SYNC.to_owned(),
                Differ::Leasehold => diff_service(config) + WALKING_SYNC,
            },
        ]
        .concat(),
    }
}

const V1: &str = "\
# leasehold in the configuration of containerd 1.x, legacy version: for a file without a `version` line.
# Prefer version 2, which containerd has read since 1.3.
#
# Printed by `leasehold config containerd --version 1` for one host and one configuration of leasehold. Print it again
# when either has changed. Merge it into /etc/containerd/config.toml, where no table may be twice; then restart
# containerd.
";

const V2: &str = "\
# leasehold in the configuration of containerd 1.6 and 1.7, version 2. containerd 2.x reads this as well, but its
# transfer service then knows nothing of leasehold, and most pulls fail: use version 3 there.
#
# Printed by `leasehold config containerd --version 2` for one host and one configuration of leasehold. Print it again
# when either has changed. Merge it into /etc/containerd/config.toml, where no table may be twice; then restart
# containerd. In a file of its own, named by `imports`, the table of CRI would replace all other settings of CRI in
# containerd 1.x.

version = 2
";

const V3: &str = "\
# leasehold in the configuration of containerd 2.0 and later, version 3. It can be part of a file of version 4, too.
#
# Printed by `leasehold config containerd --version 3` for one host and one configuration of leasehold. Print it again
# when either has changed. Merge it into /etc/containerd/config.toml, where no table may be twice, or save it as a file
# that is named by `imports` there; then restart containerd.

version = 3
";

const CONTENT_NEEDS_V2: &str = "\
containerd has no other content store than its own where its configuration has version 1: disabling that one would take
the content service of clients with it. Convert the file to version 2, and use `--version 2` here";

const DIFFER_NEEDS_V2: &str = "\
leasehold's differ needs containerd 1.7 or later, which has no need of a configuration of version 1. Convert the file to
version 2, and use `--version 2` here";

const DIFFER_NEEDS_1_7: &str = "
# containerd 1.6 has no differ but its own, and does not start with what follows: leave it and the plugin out there.";

const WALKING_SYNC: &str =
    "  # containerd's own differ is to sync what it unpacks, too. leasehold does unless `sync` in its [diff] is off.
  sync_fs = true
";

const DISABLED: &str = "
# containerd has one content store, and this takes its own out of the way. Add it to the list where there is one. Blobs
# in that store are not seen any more: `leasehold content import` takes them over, before containerd is restarted.
disabled_plugins = [\"io.containerd.content.v1.content\"]
";

const CRI_SYNC: &str = "  # A layer is on disk before it is committed, so that a power cut leaves no empty files in it.
  image_pull_with_sync_fs = true
";

const CLIENT_SYNC: &str = "
# The same for pulls that a client unpacks, like `ctr images pull --local`. The transfer service has no such setting:
# `sync_layers_on_commit` in leasehold's configuration covers it.
[plugins.'io.containerd.service.v1.diff-service']
  sync_fs = true
";

fn proxy_plugin(version: StanzaVersion, config: &Config, capabilities: HostCapabilities) -> String {
    let name = &config.snapshotter.name;
    let table = key(name);
    let address = quoted(&config.plugin.socket.to_string_lossy());
    let root = quoted(&config.root.to_string_lossy());
    let since = |versions: &str, indent: usize| match version {
        StanzaVersion::V1 | StanzaVersion::V2 => {
            format!("# Read since containerd {versions}, ignored before.\n{:indent$}", "")
        }
        StanzaVersion::V3 => String::new(),
    };
    let exports_since = since("1.6.32 and 1.7.16", 4);
    let capabilities_since = since("1.7.23", 2);
    let capabilities = match capabilities.names() {
        names if names.is_empty() => String::new(),
        names => format!(
            "  # What this host can do.
  {capabilities_since}capabilities = {names:?}
"
        ),
    };
    format!(
        "
# Clients choose the snapshotter by this name: ctr and nerdctl with `--snapshotter {name}`, or with
# CONTAINERD_SNAPSHOTTER={name} in their environment.
[proxy_plugins.{table}]
  type = \"snapshot\"
  # `socket` in the section [plugin] of leasehold's configuration.
  address = {address}
{capabilities}
  [proxy_plugins.{table}.exports]
    # Where the layers are. CRI tells the kubelet how full this file system is.
    {exports_since}root = {root}
"
    )
}

fn content_plugin(config: &Config) -> String {
    let table = key(&format!("{}-content", config.snapshotter.name));
    let address = quoted(&config.plugin.socket.to_string_lossy());
    let root = quoted(&config.root.to_string_lossy());
    format!(
        "
# The blobs of images: what is pulled, pushed and imported.
[proxy_plugins.{table}]
  type = \"content\"
  address = {address}

  [proxy_plugins.{table}.exports]
    root = {root}
"
    )
}

fn diff_plugin(config: &Config, stores: Stores) -> String {
    let table = key(&differ_name(config));
    let address = quoted(&config.plugin.socket.to_string_lossy());
    let blobs = match (stores, &config.diff.content_root) {
        (Stores::SnapshotsAndContent, _) => String::new(),
        (Stores::Snapshots, None) => "\n# `content_root` in the section [diff] of leasehold's configuration is empty: \
            without --content it then unpacks\n# nothing."
            .to_owned(),
        (Stores::Snapshots, Some(root)) => format!(
            " It reads blobs where containerd keeps them,\n# which is `content_root` in the section [diff] of its \
             configuration: {}",
            root.display()
        ),
    };
    format!(
        "
# The differ: leasehold unpacks the layers of images.{blobs}
[proxy_plugins.{table}]
  type = \"diff\"
  address = {address}
"
    )
}

fn diff_service(config: &Config) -> String {
    let differ = quoted(&differ_name(config));
    format!(
        "
# Who unpacks layers, in pulls that a client or CRI does: what the first cannot do, such as encrypted layers and other
# snapshotters' mounts, the next does. Where the erofs snapshotter is used, put \"erofs\" first.
[plugins.'io.containerd.service.v1.diff-service']
  default = [{differ}, \"walking\"]
"
    )
}

/// Names of plugins are keys of one table, whatever type they have.
fn differ_name(config: &Config) -> String {
    format!("{}-diff", config.snapshotter.name)
}

fn cri(config: &Config, table: &str) -> String {
    let snapshotter = quoted(&config.snapshotter.name);
    format!(
        "
# Kubernetes (CRI). Images that are already there have been unpacked for another snapshotter: drain the node first, and
# remove them, so that they are pulled again. Leave this table out to keep CRI as it is.
[{table}]
  snapshotter = {snapshotter}
"
    )
}

fn transfer(config: &Config, host: HostCapabilities, differ: Differ) -> String {
    let snapshotter = quoted(&config.snapshotter.name);
    let differ = match differ {
        Differ::Walking => quoted("walking"),
        Differ::Leasehold => quoted(&differ_name(config)),
    };
    let unpacks = if host.rebase {
        format!(
            "  # How many layers are unpacked at a time. More than one needs the capability `rebase`. Read since
  # containerd 2.2; before, it is reported as an unknown key and ignored.
  max_concurrent_unpacks = {MAX_CONCURRENT_UNPACKS}

"
        )
    } else {
        String::new()
    };
    format!(
        "
# Pulls that containerd does itself: `ctr images pull`, and nerdctl since its 2.3. CRI would do so, too, since
# containerd 2.1; because of `image_pull_with_sync_fs` it pulls in its own way, and warns of that at start.
[plugins.'io.containerd.transfer.v1.local']
{unpacks}  # Without this entry, pulls fail with \"no unpack platforms defined\". `linux` means Linux on this machine's
  # architecture.
  [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
    platform = \"linux\"
    snapshotter = {snapshotter}
    differ = {differ}

  # Entries replace containerd's defaults, so overlayfs is named again for clients that choose no snapshotter. Leave
  # it out where that plugin is disabled: with a snapshotter that is missing the transfer service does not start.
  [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
    platform = \"linux\"
    snapshotter = \"overlayfs\"
    differ = \"walking\"
"
    )
}

/// Quotes a string for TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Returns one part of a key, quoted where TOML needs it.
fn key(part: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if part.bytes().all(is_bare) { part.to_owned() } else { quoted(part) }
}
