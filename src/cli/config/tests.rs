//! The printed stanzas are the examples in `plugin-config/`, which show a host that has all capabilities.

use clap::Parser as _;
use insta::assert_snapshot;

use super::{Command, Differ, HostCapabilities, StanzaVersion, Stores};
use crate::config::Config;

const ALL: HostCapabilities = HostCapabilities { remap_ids: true, only_remap_ids: true, rebase: true };
const NONE: HostCapabilities = HostCapabilities { remap_ids: false, only_remap_ids: false, rebase: false };

const VERSIONS: [StanzaVersion; 3] = [StanzaVersion::V1, StanzaVersion::V2, StanzaVersion::V3];

/// As in the program: `--version` without a command prints leasehold's own.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn containerd_stanza(version: StanzaVersion, config: &Config, host: &HostCapabilities) -> String {
    super::containerd_stanza(version, config, host, Stores::Snapshots, Differ::Walking)
}

fn parse(stanza: &str) -> toml::Table {
    stanza.parse().unwrap_or_else(|err| panic!("{err}\n{stanza}"))
}

#[test]
fn the_version_is_that_of_containerds_configuration() {
    let version = |args: &[&str]| {
        let cli = Cli::try_parse_from([&["leasehold", "containerd"], args].concat()).ok()?;
        let Command::Containerd(args) = cli.command;
        Some(args.version)
    };
    assert_eq!(version(&[]), Some(StanzaVersion::V3));
    assert_eq!(version(&["--version", "1"]), Some(StanzaVersion::V1));
    assert_eq!(version(&["--version=2"]), Some(StanzaVersion::V2));
    assert_eq!(version(&["--version", "4"]), Some(StanzaVersion::V3));
    assert_eq!(version(&["--version", "5"]), None);
    assert_eq!(version(&["--version"]), None);
}

#[test]
fn the_examples_are_what_is_printed() {
    let stanza = |version| containerd_stanza(version, &Config::default(), &ALL);
    assert_eq!(stanza(StanzaVersion::V1), include_str!("../../../plugin-config/containerd-v1.toml"));
    assert_eq!(stanza(StanzaVersion::V2), include_str!("../../../plugin-config/containerd-v2.toml"));
    assert_eq!(stanza(StanzaVersion::V3), include_str!("../../../plugin-config/containerd-v3.toml"));
}

#[test]
fn stanzas_hold_what_containerd_reads() {
    let without_comments =
        |version, host: &HostCapabilities| parse(&containerd_stanza(version, &Config::default(), host));
    assert_snapshot!(without_comments(StanzaVersion::V1, &ALL), @r#"
    [plugins.cri.containerd]
    snapshotter = "leasehold"

    [proxy_plugins.leasehold]
    address = "/run/leasehold/plugin.sock"
    capabilities = ["remap-ids", "only-remap-ids"]
    type = "snapshot"

    [proxy_plugins.leasehold.exports]
    root = "/var/lib/leasehold"
    "#);
    assert_snapshot!(without_comments(StanzaVersion::V2, &ALL), @r#"
    version = 2

    [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "leasehold"

    [proxy_plugins.leasehold]
    address = "/run/leasehold/plugin.sock"
    capabilities = ["remap-ids", "only-remap-ids"]
    type = "snapshot"

    [proxy_plugins.leasehold.exports]
    root = "/var/lib/leasehold"
    "#);
    assert_snapshot!(without_comments(StanzaVersion::V3, &ALL), @r#"
    version = 3

    [plugins."io.containerd.cri.v1.images"]
    image_pull_with_sync_fs = true
    snapshotter = "leasehold"

    [plugins."io.containerd.service.v1.diff-service"]
    sync_fs = true

    [plugins."io.containerd.transfer.v1.local"]
    max_concurrent_unpacks = 4

    [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    differ = "walking"
    platform = "linux"
    snapshotter = "leasehold"

    [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    differ = "walking"
    platform = "linux"
    snapshotter = "overlayfs"

    [proxy_plugins.leasehold]
    address = "/run/leasehold/plugin.sock"
    capabilities = ["remap-ids", "only-remap-ids", "rebase"]
    type = "snapshot"

    [proxy_plugins.leasehold.exports]
    root = "/var/lib/leasehold"
    "#);
    assert_snapshot!(without_comments(StanzaVersion::V3, &NONE), @r#"
    version = 3

    [plugins."io.containerd.cri.v1.images"]
    image_pull_with_sync_fs = true
    snapshotter = "leasehold"

    [plugins."io.containerd.service.v1.diff-service"]
    sync_fs = true

    [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    differ = "walking"
    platform = "linux"
    snapshotter = "leasehold"

    [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    differ = "walking"
    platform = "linux"
    snapshotter = "overlayfs"

    [proxy_plugins.leasehold]
    address = "/run/leasehold/plugin.sock"
    type = "snapshot"

    [proxy_plugins.leasehold.exports]
    root = "/var/lib/leasehold"
    "#);
}

#[test]
fn stanzas_follow_the_configuration() {
    let config = Config::parse(
        r#"
        root = "/srv/a \"pool\""
        plugin.socket = "/run/it's.sock"
        snapshotter.name = "lease.hold"
        "#,
    )
    .unwrap();
    for version in VERSIONS {
        let stanza = parse(&containerd_stanza(version, &config, &ALL));
        let plugin = &stanza["proxy_plugins"]["lease.hold"];
        assert_eq!(plugin["type"].as_str(), Some("snapshot"));
        assert_eq!(plugin["address"].as_str(), Some("/run/it's.sock"));
        assert_eq!(plugin["exports"]["root"].as_str(), Some("/srv/a \"pool\""));
    }
    let stanza = parse(&containerd_stanza(StanzaVersion::V3, &config, &ALL));
    let transfer = &stanza["plugins"]["io.containerd.transfer.v1.local"];
    assert_eq!(transfer["unpack_config"][0]["snapshotter"].as_str(), Some("lease.hold"));
    assert_eq!(stanza["plugins"]["io.containerd.cri.v1.images"]["snapshotter"].as_str(), Some("lease.hold"));
}

#[test]
fn capabilities_follow_host_and_configuration() {
    let stanza = |host| parse(&containerd_stanza(StanzaVersion::V3, &Config::default(), host));
    let capabilities = |host| stanza(host)["proxy_plugins"]["leasehold"].get("capabilities").map(ToString::to_string);
    assert_eq!(capabilities(&ALL).as_deref(), Some(r#"["remap-ids", "only-remap-ids", "rebase"]"#));
    assert_eq!(capabilities(&HostCapabilities { rebase: true, ..NONE }).as_deref(), Some(r#"["rebase"]"#));
    assert_eq!(capabilities(&NONE), None);
}

#[test]
fn blobs_are_left_to_leasehold_where_that_is_asked_for() {
    let stanza = |version| {
        let with = |stores| super::containerd_stanza(version, &Config::default(), &ALL, stores, Differ::Walking);
        (with(Stores::Snapshots), parse(&with(Stores::SnapshotsAndContent)))
    };
    for version in [StanzaVersion::V2, StanzaVersion::V3] {
        let (without, mut with) = stanza(version);
        let disabled = with.remove("disabled_plugins").unwrap();
        assert_eq!(disabled.as_array().unwrap(), &["io.containerd.content.v1.content".into()]);
        let plugin = with["proxy_plugins"].as_table_mut().unwrap().remove("leasehold-content").unwrap();
        assert_eq!(plugin.as_table().unwrap().len(), 3, "{plugin}");
        assert_eq!(plugin["address"], "/run/leasehold/plugin.sock".into());
        assert_eq!((&plugin["type"], &plugin["exports"]["root"]), (&"content".into(), &"/var/lib/leasehold".into()));
        // Nothing else differs.
        assert_eq!(with, parse(&without));
    }
    // Version 1 disables by the last part of a name, which clients' service has, too.
    let (without, with) = stanza(StanzaVersion::V1);
    assert_eq!(with, parse(&without));
}

#[test]
fn version_1_says_why_it_cannot_have_another_content_store() {
    let command = |args: &[&str]| Cli::try_parse_from([&["leasehold", "containerd"], args].concat()).unwrap().command;
    let refused = super::run(&Config::default(), &command(&["--version", "1", "--content"])).unwrap_err();
    assert_snapshot!(refused, @r"
    containerd has no other content store than its own where its configuration has version 1: disabling that one would take
    the content service of clients with it. Convert the file to version 2, and use `--version 2` here
    ");
}

#[test]
fn layers_are_left_to_leasehold_where_that_is_asked_for() {
    for (stores, name) in [(Stores::Snapshots, "lease.hold"), (Stores::SnapshotsAndContent, "leasehold")] {
        let config = Config::parse(&format!("snapshotter.name = {name:?}")).unwrap();
        let stanza = |version, differ| super::containerd_stanza(version, &config, &ALL, stores, differ);
        let plugin = format!("{name}-diff");
        let order: toml::Value = vec![plugin.as_str(), "walking"].into();
        for version in [StanzaVersion::V2, StanzaVersion::V3] {
            let mut with = parse(&stanza(version, Differ::Leasehold));
            let mut without = parse(&stanza(version, Differ::Walking));
            let differ = with["proxy_plugins"].as_table_mut().unwrap().remove(&plugin).unwrap();
            assert_eq!(differ.as_table().unwrap().len(), 2, "{differ}");
            assert_eq!((&differ["type"], &differ["address"]), (&"diff".into(), &"/run/leasehold/plugin.sock".into()));
            let plugins = with["plugins"].as_table_mut().unwrap();
            let service = plugins.get_mut("io.containerd.service.v1.diff-service").unwrap().as_table_mut().unwrap();
            assert_eq!(service.remove("default").unwrap(), order);
            if service.is_empty() {
                plugins.remove("io.containerd.service.v1.diff-service");
            }
            if version == StanzaVersion::V3 {
                let entry = |stanza: &mut toml::Table, index: usize| {
                    let entry = &mut stanza["plugins"]["io.containerd.transfer.v1.local"]["unpack_config"][index];
                    entry.as_table_mut().unwrap().remove("differ").unwrap()
                };
                assert_eq!(entry(&mut with, 0), plugin.as_str().into());
                assert_eq!(entry(&mut without, 0), "walking".into());
                assert_eq!((entry(&mut with, 1), entry(&mut without, 1)), ("walking".into(), "walking".into()));
            }
            // Nothing else differs.
            assert_eq!(with, without);
        }
        let legacy = |differ| parse(&stanza(StanzaVersion::V1, differ));
        assert_eq!(legacy(Differ::Leasehold), legacy(Differ::Walking));
    }
}

#[test]
fn what_is_printed_says_where_blobs_come_from() {
    let stanza = |config: &str, stores| {
        let config = Config::parse(config).unwrap();
        super::containerd_stanza(StanzaVersion::V3, &config, &ALL, stores, Differ::Leasehold)
    };
    assert!(stanza("diff.content_root = '/srv/cd'", Stores::Snapshots).contains("configuration: /srv/cd\n"));
    assert!(!stanza("diff.content_root = '/srv/cd'", Stores::SnapshotsAndContent).contains("/srv/cd"));
    assert!(stanza("diff.content_root = ''", Stores::Snapshots).contains("is empty"));
}

#[test]
fn version_1_says_why_it_cannot_have_another_differ() {
    let args = ["leasehold", "containerd", "--version", "1", "--differ"];
    let command = Cli::try_parse_from(args).unwrap().command;
    let refused = super::run(&Config::default(), &command).unwrap_err();
    assert_snapshot!(refused, @r"
    leasehold's differ needs containerd 1.7 or later, which has no need of a configuration of version 1. Convert the file to
    version 2, and use `--version 2` here
    ");
}
