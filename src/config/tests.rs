//! Defaults, accepted values, and the wording of every mistake.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;

use super::settings::Settings;
use super::{Config, LogFormat, Reuse, SharedBy};

const SHIPPED: &str = include_str!("../../plugin-config/config.toml");

fn mistakes(text: &str) -> String {
    Config::parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(Config::parse("").unwrap(), Config::default());
    assert_eq!(Config::parse("# nothing\n[limits]\n").unwrap(), Config::default());
}

#[test]
fn every_setting_can_be_set() {
    let config = Config::parse(
        r#"
        root = "/srv/pool"
        plugin = { socket = "/run/p.sock", group = "containerd" }
        api = { socket = "/run/a.sock", group = 998 }
        [snapshotter]
        name = "lease.hold-2"
        upperdir_label = true
        slow_chown = true
        mount_options = ["volatile", "xino=off"]
        [durability]
        sync_records = false
        sync_layers_on_commit = true
        [reclaim]
        workers = 0x10
        max_per_second = 5_000
        cleanup_wait = "0s"
        [gc]
        pause_threshold = 0.02
        deletion_threshold = 7
        mutation_threshold = 0
        schedule_delay = "5ms"
        startup_delay = "1s"
        [retention]
        after_remove = "7days"
        max_bytes = "20GiB"
        min_free = "2GiB"
        [diff]
        content_root = "/srv/containerd/content"
        reuse = "off"
        share = "namespace"
        sync = false
        max_concurrent_applies = 3
        max_layer_size = "10GiB"
        max_ratio = 50
        max_entries = 1_000
        [limits]
        max_concurrent_requests = 1_000
        min_free = "1.5GiB"
        [log]
        level = "WARN"
        format = "json"
        [metrics]
        listen = "[::1]:9464"
        [daemon]
        shutdown_grace = "1m 500ms"
        "#,
    )
    .unwrap();
    assert_eq!(config.root, Path::new("/srv/pool"));
    assert_eq!(config.plugin.socket, Path::new("/run/p.sock"));
    assert_eq!(config.plugin.group.as_deref(), Some("containerd"));
    assert_eq!(config.api.socket, Path::new("/run/a.sock"));
    assert_eq!(config.api.group.as_deref(), Some("998"));
    assert_eq!(config.snapshotter.name, "lease.hold-2");
    assert!(config.snapshotter.upperdir_label);
    assert!(config.snapshotter.slow_chown);
    assert_eq!(config.snapshotter.mount_options, ["volatile", "xino=off"]);
    assert!(!config.durability.sync_records);
    assert!(config.durability.sync_layers_on_commit);
    assert_eq!((config.reclaim.workers, config.reclaim.max_per_second), (16, 5_000));
    assert_eq!(config.reclaim.cleanup_wait, Duration::ZERO);
    assert_eq!(config.gc.pause_threshold.as_f64(), 0.02);
    assert_eq!((config.gc.deletion_threshold, config.gc.mutation_threshold), (7, 0));
    assert_eq!(config.gc.schedule_delay, Duration::from_millis(5));
    assert_eq!(config.gc.startup_delay, Duration::from_secs(1));
    assert_eq!(config.retention.after_remove, Duration::from_secs(7 * 86_400));
    assert_eq!((config.retention.max_bytes, config.retention.min_free), (20 << 30, 2 << 30));
    assert_eq!(config.diff.content_root.as_deref(), Some(Path::new("/srv/containerd/content")));
    assert_eq!((config.diff.reuse, config.diff.share), (Reuse::Off, SharedBy::Namespace));
    assert!(!config.diff.sync);
    assert_eq!((config.diff.max_concurrent_applies, config.diff.max_entries), (3, 1000));
    assert_eq!((config.diff.max_layer_size, config.diff.max_ratio), (10 << 30, 50));
    assert_eq!(config.limits.max_concurrent_requests, 1000);
    assert_eq!(config.limits.min_free, 3 << 29);
    assert_eq!(config.log.level, "WARN");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.metrics.listen, "[::1]:9464".parse().ok());
    assert_eq!(config.daemon.shutdown_grace, Duration::from_millis(60_500));
}

#[test]
fn sizes_are_strings_or_bytes() {
    let min_free = |text: &str| Config::parse(&format!("limits.min_free = {text}")).unwrap().limits.min_free;
    assert_eq!(min_free("0"), 0);
    assert_eq!(min_free("4096"), 4096);
    assert_eq!(min_free(r#""64MB""#), 64_000_000);
    assert_eq!(min_free(r#""64 MiB""#), 64 << 20);
}

#[test]
fn log_directives_are_accepted() {
    for level in ["off", "info,leasehold::grpc=trace", "warn,h2=off", "leasehold[request]=debug"] {
        let config = Config::parse(&format!("log.level = {level:?}")).unwrap();
        assert_eq!(config.log.level, level);
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = r#"
root = "var/lib/leasehold"
workers = 4

[plugin]
socket = "/run/leasehold/plugin.sock"
gruop = "containerd"

[api]
socket = "/run/leasehold/plugin.sock"
group = ""

[snapshoter]
upperdir_label = true

[snapshotter]
upperdir_label = "yes"
mount_options = ["xino=off,index=off"]

[reclaim]
workers = 0
cleanup_wait = 10

[limits]
max_concurrent_requests = 1e3
min_free = "64 MiBs"
max_free = 3

[log]
level = "inof"
format = "xml"

[metrics]
listen = ":9464"

[daemon]
shutdown_grace = "1h"

[zebra]
"#;
    assert_snapshot!(mistakes(text), @r#"
    line 2: root: expected an absolute path, found "var/lib/leasehold"
    line 3: workers: unknown setting; did you mean reclaim.workers?
    line 7: plugin.gruop: unknown setting; did you mean plugin.group?
    line 10: api.socket: is the path of plugin.socket, too; each socket needs its own
    line 11: api.group: expected the name or number of a group, found ""
    line 14: snapshoter.upperdir_label: unknown setting; did you mean snapshotter.upperdir_label?
    line 17: snapshotter.upperdir_label: expected true or false, found "yes"
    line 18: snapshotter.mount_options: expected one mount option, such as "xino=off", found "xino=off,index=off"
    line 21: reclaim.workers: expected a number from 1 to 64, found 0
    line 22: reclaim.cleanup_wait: expected a duration up to "10m" such as "10s" or "500ms", found 10
    line 25: limits.max_concurrent_requests: expected a number from 1 to 1024, found 1e3
    line 26: limits.min_free: expected a size up to "1EiB" such as "64MiB", found "64 MiBs"
    line 27: limits.max_free: unknown setting; did you mean limits.min_free?
    line 30: log.level: expected one of off, error, warn, info, debug, trace, or directives such as "info,h2=warn", found "inof"
    line 31: log.format: expected "text" or "json", found "xml"
    line 34: metrics.listen: expected an address and port such as "127.0.0.1:9464", found ":9464"
    line 37: daemon.shutdown_grace: expected a duration up to "10m" such as "10s" or "500ms", found "1h"
    line 39: zebra: unknown setting
    "#);
}

#[test]
fn the_most_similar_setting_is_proposed() {
    let proposed = |key: &str| {
        let message = mistakes(&format!("{key} = 1"));
        message.split_once("did you mean ").map(|(_, key)| key.to_owned())
    };
    assert_eq!(proposed("plugn.socket").as_deref(), Some("plugin.socket?"));
    assert_eq!(proposed("ap.socket").as_deref(), Some("api.socket?"));
    assert_eq!(proposed("snapshotter.slow-chown").as_deref(), Some("snapshotter.slow_chown?"));
    assert_eq!(proposed("min_free").as_deref(), Some("limits.min_free?"));
    assert_eq!(proposed("rot").as_deref(), Some("root?"));
    assert_eq!(proposed("zebra.stripes"), None);
}

#[test]
fn paths_are_checked() {
    let long = "s".repeat(103);
    let text = format!(
        r#"
root = "/"
plugin.socket = "/run/{long}"
api.socket = "api.sock"
"#
    );
    assert_snapshot!(mistakes(&text), @r#"
    line 2: root: must be a directory of its own, and not /
    line 3: plugin.socket: is 108 bytes long, the path of a socket has at most 107 (sun_path)
    line 4: api.socket: expected an absolute path, found "api.sock"
    "#);
    assert!(Config::parse(&format!("plugin.socket = \"/run/{}\"", "s".repeat(102))).is_ok());
    assert_snapshot!(mistakes(r#"root = "/srv/../pool""#), @"line 1: root: must be without '..'");
    assert_snapshot!(mistakes(r#"root = "/srv/a,b""#), @r"line 1: root: must be without ':', ',' and '\', which separate overlayfs' mount options");
    assert_snapshot!(mistakes("root = \"/srv/a\\nb\""), @"line 1: root: must be without control characters");
}

#[test]
fn mount_options_are_checked() {
    let option = |list: &str| mistakes(&format!("snapshotter.mount_options = {list}"));
    assert_snapshot!(option(r#"["lowerdir=/a"]"#), @"line 1: snapshotter.mount_options: lowerdir is what the daemon itself sets");
    assert_snapshot!(option(r#"["xino=off", "ro"]"#), @"line 1: snapshotter.mount_options: ro would let containerd skip the extraction of layers");
    assert_snapshot!(option(r#"[""]"#), @r#"line 1: snapshotter.mount_options: expected one mount option, such as "xino=off", found """#);
    assert_snapshot!(option("[1]"), @"line 1: snapshotter.mount_options: expected a string, found 1");
    assert_snapshot!(option(r#""xino=off""#), @r#"line 1: snapshotter.mount_options: expected a list of mount options, found "xino=off""#);
}

#[test]
fn values_are_checked() {
    let mistake = |text: &str| mistakes(text).trim_start_matches("line 1: ").to_owned();
    assert_snapshot!(mistake("plugin.group = -1"), @"plugin.group: expected the name or number of a group, found -1");
    assert_snapshot!(mistake("snapshotter.name = 'lease/hold'"), @r#"snapshotter.name: "lease/hold" must be letters and digits, with single '.', '_' or '-' between them"#);
    assert_snapshot!(mistake("limits.min_free = -1"), @r#"limits.min_free: expected a size up to "1EiB" such as "64MiB", found -1"#);
    assert_snapshot!(mistake("limits.min_free = '2EiB'"), @r#"limits.min_free: expected a size up to "1EiB" such as "64MiB", found "2EiB""#);
    assert_snapshot!(mistake("reclaim.workers = 65"), @"reclaim.workers: expected a number from 1 to 64, found 65");
    assert_snapshot!(mistake("reclaim.workers = [1]"), @"reclaim.workers: expected a number from 1 to 64, found a list");
    for share in ["0.6", "-0.1", "1", "nan", "'0.1'"] {
        assert!(
            mistake(&format!("gc.pause_threshold = {share}")).contains("expected a number from 0 to 0.5"),
            "{share}"
        );
    }
    assert_eq!(Config::parse("gc.pause_threshold = 0").unwrap().gc.pause_threshold.as_f64(), 0.0);
    assert_snapshot!(mistake("log.level = 'info,=x=y'"), @r#"log.level: "info,=x=y": invalid filter directive"#);
    assert_snapshot!(mistake("diff.reuse = 'always'"), @r#"diff.reuse: expected "off", "apply" or "fetch", found "always""#);
    assert_snapshot!(mistake("diff.share = true"), @r#"diff.share: expected "all" or "namespace", found true"#);
    assert_snapshot!(mistake("diff.content_root = 'content'"), @r#"diff.content_root: expected an absolute path, found "content""#);
    assert_eq!(Config::parse("diff.content_root = ''").unwrap().diff.content_root, None);
    assert_snapshot!(mistake("log.level = 1979-05-27"), @"log.level: expected a string, found a date");
}

#[test]
fn limits_of_retention_need_something_to_limit() {
    assert_snapshot!(mistakes("[retention]\nmax_bytes = '1GiB'\nmin_free = '1GiB'"), @"
    line 2: retention.max_bytes: has no effect while retention.after_remove is not set: nothing is kept
    line 3: retention.min_free: has no effect while retention.after_remove is not set: nothing is kept
    ");
    let with = |settings: &str| format!("[retention]\nafter_remove = '24h'\n{settings}");
    assert_snapshot!(mistakes(&with("min_free = '64MiB'")), @"line 3: retention.min_free: must be more than limits.min_free (67108864), below which nothing new is made");
    assert_snapshot!(mistakes(&with("min_free = '1GiB'\n[limits]\nmin_free = '2GiB'")), @"line 3: retention.min_free: must be more than limits.min_free (2147483648), below which nothing new is made");
    assert_snapshot!(mistakes("retention.after_remove = '8761h'"), @r#"line 1: retention.after_remove: expected a duration up to "8760h" such as "24h" or "7days", found "8761h""#);
    for settings in ["", "max_bytes = '1GiB'", "min_free = '65MiB'", "min_free = 1\n[limits]\nmin_free = 0"] {
        assert!(Config::parse(&with(settings)).is_ok(), "{settings}");
    }
}

#[test]
fn sections_are_not_settings() {
    assert_snapshot!(mistakes("plugin = 3"), @"line 1: plugin: is a section of settings: write [plugin]");
    assert_snapshot!(mistakes("[root]\npath = '/srv'"), @"line 2: root.path: unknown setting");
    assert_snapshot!(mistakes("[snapshotter.mount_options]"), @"line 1: snapshotter.mount_options: expected a list of mount options, found a section");
}

#[test]
fn every_syntax_error_is_reported() {
    assert_snapshot!(mistakes("root = /srv\n[limits\nmin_free = \"1"), @"
    line 1: not TOML: string values must be quoted, expected literal string
    line 2: not TOML: unclosed table, expected `]`
    ");
}

#[test]
fn only_a_default_file_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    assert_eq!(Config::load_or_default(&path).unwrap(), Config::default());
    let message = |result: Result<Config, super::ConfigErrors>| {
        result.unwrap_err().to_string().replace(dir.path().to_str().unwrap(), "/etc")
    };
    assert_snapshot!(message(Config::load(&path)), @"/etc/config.toml: cannot be read: No such file or directory (os error 2)");

    std::fs::write(&path, "\nroot = 1\n").unwrap();
    assert_snapshot!(message(Config::load(&path)), @"/etc/config.toml:2: root: expected an absolute path, found 1");
    assert_snapshot!(message(Config::load_or_default(&path)), @"/etc/config.toml:2: root: expected an absolute path, found 1");

    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("gone", &path).unwrap();
    assert!(Config::load_or_default(&path).is_err());
}

/// Lines of the shipped file that set something when they are uncommented: `#key = value`, without a space.
fn is_setting(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|ch: char| ch.is_ascii_lowercase()))
}

#[test]
fn the_shipped_file_shows_every_setting_with_its_default() {
    assert_eq!(Config::parse(SHIPPED).unwrap(), Config::default());

    let uncommented: String =
        SHIPPED.lines().map(|line| if is_setting(line) { &line[1..] } else { line }.to_owned() + "\n").collect();
    let mut config = Config::parse(&uncommented).unwrap();
    // These have no default; the file shows an example.
    assert_eq!(config.plugin.group.take().as_deref(), Some("containerd"));
    assert_eq!(config.api.group.take().as_deref(), Some("leasehold"));
    assert_eq!(config.metrics.listen.take(), "127.0.0.1:9464".parse().ok());
    assert_eq!(config, Config::default());

    let mut settings = Settings::parse("").unwrap();
    Config::read(&mut settings);
    let known: BTreeSet<&str> = settings.known().iter().copied().collect();
    let given = Settings::parse(&uncommented).unwrap().into_keys();
    assert_eq!(given.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}
