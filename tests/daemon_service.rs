//! What the daemon owes a service manager, an operator and a monitor.

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use common::client::Client;
use common::daemon::{Daemon, Site};
use common::metrics::Metrics;
use leasehold::grpc::proto::containerd::services::snapshots::v1 as api;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn privileged_sigterm_ends_it_with_success_and_without_its_sockets() {
    if !common::is_root("the stop") {
        return;
    }
    let site = Site::with_settings("[daemon]\nshutdown_grace = \"2s\"\n");
    let daemon = site.start();
    for socket in [site.plugin_socket(), site.api_socket()] {
        assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // A client that keeps its connection and no longer reads from it holds up the end for the grace period only.
    let client = Client::new(&daemon);
    client.prepare("a", "").unwrap();
    assert!(daemon.stop().success());
    assert!(!site.plugin_socket().exists() && !site.api_socket().exists());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_systemd_is_told_that_it_is_ready_and_alive() {
    if !common::is_root("notification") {
        return;
    }
    let site = Site::new();
    let path = site.dir().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(LIMIT)).unwrap();
    let daemon = site.start_with(|command| {
        // Half of the period passes between two signs of life.
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    });
    let mut heard = String::new();
    while heard.matches("WATCHDOG=1").count() < 3 || !heard.contains("READY=1") {
        let mut message = [0; 1024];
        let length = systemd.recv(&mut message).expect("READY and WATCHDOG");
        heard.push_str(std::str::from_utf8(&message[..length]).unwrap());
    }
    assert!(daemon.stop().success());
    let mut rest = [0; 1024];
    systemd.set_nonblocking(true).unwrap();
    while let Ok(length) = systemd.recv(&mut rest) {
        heard.push_str(std::str::from_utf8(&rest[..length]).unwrap());
    }
    assert!(heard.contains("STOPPING=1"), "{heard}");
}

/// Starts a daemon that is passed a socket, as systemd does it.
fn spawn_with_socket(site: &Site, name: &str, listener: &UnixListener) -> Daemon {
    let fd = listener.as_raw_fd();
    // Passed on; the first passed descriptor is number 3.
    rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    site.spawn(|command| {
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
        // bash, because other shells redirect single digits only. It knows its process number, and keeps it when it executes the daemon.
        let daemon = std::mem::replace(command, std::process::Command::new("/bin/bash"));
        let script = format!("export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&{fd}");
        command.arg("-c").arg(script).arg(daemon.get_program()).args(daemon.get_args());
        command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stderr(std::fs::File::create(site.log()).unwrap());
    })
}

#[test]
fn privileged_sockets_of_systemd_are_taken_over_and_left_in_place() {
    if !common::is_root("socket activation") {
        return;
    }
    let site = Site::new();
    let passed = site.dir().join("passed.sock");
    let listener = UnixListener::bind(&passed).unwrap();
    let daemon = spawn_with_socket(&site, "plugin", &listener);
    let client = Client::connect(&passed).unwrap();
    client.prepare("a", "").unwrap();
    assert!(!site.plugin_socket().exists(), "the configured socket is not needed");
    drop(client);
    assert!(daemon.stop().success());
    assert!(passed.exists(), "it belongs to systemd");
    assert!(!std::fs::read_to_string(site.log()).unwrap().contains("no effect"));
}

#[test]
fn privileged_a_group_that_has_no_effect_is_warned_of() {
    if !common::is_root("socket activation") {
        return;
    }
    // Behind the path of the socket, in the section [api].
    let site = Site::with_settings("group = 0\n");
    let passed = site.dir().join("passed.sock");
    let listener = UnixListener::bind(&passed).unwrap();
    let daemon = spawn_with_socket(&site, "api", &listener);
    Client::connect(&passed).unwrap().in_namespace("default").names();
    assert!(daemon.stop().success());
    let log = std::fs::read_to_string(site.log()).unwrap();
    assert_eq!(log.matches("api.group has no effect on a socket that systemd passed").count(), 1, "{log}");
}

#[test]
fn privileged_health_metrics_and_logs_tell_what_goes_on() {
    if !common::is_root("monitoring") {
        return;
    }
    let metrics = Metrics::somewhere();
    let settings = "[log]\nlevel = \"debug\"\nformat = \"json\"\n";
    let site = Site::with_settings(&format!("{}{settings}", metrics.settings()));
    let daemon = site.start();
    let client = Client::new(&daemon);

    let mut request = Request::new(api::RemoveSnapshotRequest { key: "k8s.io/7/absent".into(), ..Default::default() });
    request.metadata_mut().insert("containerd-namespace", "k8s.io".parse().unwrap());
    request.metadata_mut().insert("containerd-lease", "some-lease".parse().unwrap());
    client.call(async |mut client| client.remove(request).await).unwrap_err();
    let line = || {
        let log = std::fs::read_to_string(site.log()).unwrap();
        log.lines().find(|line| line.contains("request refused")).map(str::to_owned)
    };
    common::wait_for("the log line", LIMIT, || line().is_some());
    let line: serde_json::Value = serde_json::from_str(&line().unwrap()).unwrap();
    let span = &line["span"];
    assert_eq!(
        (&span["namespace"], &span["lease"], &span["key"]),
        (&"k8s.io".into(), &"some-lease".into(), &"k8s.io/7/absent".into()),
        "{line}"
    );

    common::wait_for("the metrics", LIMIT, || {
        let text = metrics.read();
        text.contains("leasehold_request_seconds_count{method=\"Remove\",code=\"NOT_FOUND\"} 1")
            && text.contains("leasehold_free_bytes")
    });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for socket in [site.plugin_socket(), site.api_socket()] {
            let mut health = HealthClient::new(leasehold::grpc::client(&socket).await.unwrap());
            let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
            assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
        }
    });
}

#[test]
fn privileged_info_and_stanzas_work_with_the_daemon_and_without() {
    if !common::is_root("the command line") {
        return;
    }
    let site = Site::new();
    let info = || {
        let output = site.command().args(["info", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let stanza = |version| {
        let output = site.command().args(["config", "containerd", "--version", version]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(info()["running"], false);
    assert!(stanza("3").contains("leasehold"));
    assert!(!site.root().exists(), "asking makes no pool");
    // Nor does it change one that nobody serves.
    for dir in ["staging", "trash"] {
        std::fs::create_dir_all(site.root().join(dir)).unwrap();
    }
    let modified = || std::fs::metadata(site.root().join("staging")).unwrap().modified().unwrap();
    let before = modified();
    let without = info();
    let tried = without["host"].as_array().unwrap().iter().filter(|row| row["value"] == "not tried").count();
    assert_eq!((modified(), std::fs::read_dir(site.root()).unwrap().count(), tried), (before, 2, 2));
    let daemon = site.start();
    assert_eq!(info()["running"], true);
    assert!(info()["host"].as_array().is_some_and(|host| host.len() > 5));
    for version in ["1", "2", "3"] {
        assert!(stanza(version).contains(site.plugin_socket().to_str().unwrap()), "{version}");
    }
    assert!(daemon.stop().success());
}
