//! Asked to stop, the daemon finishes what is under way, takes nothing new, and never hangs.

mod common;

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::client::{Client, UPPERDIR_SETTING, upperdir_of_mounts};
use common::daemon::{Daemon, Site};
use common::{is_root, wait_for};
use leasehold::grpc::proto::containerd::services::snapshots::v1 as api;
use rustix::process::Signal;
use tonic::Status;

const LIMIT: Duration = Duration::from_secs(60);
const SNAPSHOTS: usize = 400;
/// With these labels the listing is over 6 MB, more than the windows of a client that does not read: 2 MiB for a stream
/// and 5 MiB for a connection (hyper), and what the socket holds.
const LABELS: [&str; 4] = ["a", "b", "c", "d"];

/// Makes snapshots whose listing is long.
fn make_snapshots(client: &Client) {
    let value = "x".repeat(4000);
    let labels = LABELS.map(|label| (label, value.as_str()));
    for number in 0..SNAPSHOTS {
        client.prepare_with(&format!("key {number}"), "", &labels).unwrap();
    }
}

fn begin_list(client: &Client) -> tonic::Streaming<api::ListSnapshotsResponse> {
    client.call(async |mut client| client.list(api::ListSnapshotsRequest::default()).await).unwrap()
}

fn wait_for_refusal(site: &Site) {
    wait_for("the end of listening", LIMIT, || UnixStream::connect(site.plugin_socket()).is_err());
}

fn ended_well(mut daemon: Daemon) {
    wait_for("the daemon's end", LIMIT, || daemon.try_wait().is_some());
    assert!(daemon.wait().success());
}

#[test]
fn privileged_a_listing_under_way_is_finished() {
    if !is_root("a_listing_under_way_is_finished") {
        return;
    }
    let listed = || {
        let site = Site::with_settings("[daemon]\nshutdown_grace = \"60s\"\n");
        let daemon = site.start();
        let client = Client::new(&daemon);
        make_snapshots(&client);
        let mut stream = begin_list(&client);
        let mut message = || Ok::<_, Status>(client.run(stream.message())?.map(|page| page.info.len()));
        let mut listed = message()?.unwrap();
        daemon.signal(Signal::TERM);
        wait_for_refusal(&site);
        while let Some(more) = message()? {
            listed += more;
        }
        ended_well(daemon);
        Ok::<usize, Status>(listed)
    };
    // Once all was sent the connection ends. A client that acknowledges just then, before it has read the rest, sees that
    // it cannot, and its library drops what it has not read yet. That is rare; a listing that is cut off is not.
    let mut attempts = Vec::new();
    while !matches!(attempts.last(), Some(Ok(SNAPSHOTS))) {
        assert!(attempts.len() < 3, "{attempts:?}");
        attempts.push(listed());
    }
}

#[test]
fn privileged_a_listing_that_nobody_reads_holds_up_the_end_for_the_grace_period_only() {
    if !is_root("a_listing_that_nobody_reads_holds_up_the_end_for_the_grace_period_only") {
        return;
    }
    let site = Site::with_settings("[daemon]\nshutdown_grace = \"1s\"\n");
    let daemon = site.start();
    let client = Client::new(&daemon);
    make_snapshots(&client);
    let _unread = begin_list(&client);
    let stopped = Instant::now();
    daemon.signal(Signal::TERM);
    ended_well(daemon);
    assert!(stopped.elapsed() >= Duration::from_secs(1), "it was not waited for");
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_a_cleanup_under_way_does_not_hold_up_the_end() {
    if !is_root("a_cleanup_under_way_does_not_hold_up_the_end") {
        return;
    }
    let site = Site::with_settings(&format!(
        "{UPPERDIR_SETTING}[reclaim]\ncleanup_wait = \"60s\"\n[daemon]\nshutdown_grace = \"60s\"\n"
    ));
    let daemon = site.start();
    let client = Client::new(&daemon);
    let layer = upperdir_of_mounts(&client.prepare("large", "").unwrap());
    for dir in 0..100 {
        let dir = layer.join(dir.to_string());
        fs::create_dir(&dir).unwrap();
        (0..200).for_each(|file| fs::write(dir.join(file.to_string()), "").unwrap());
    }
    client.remove("large").unwrap();
    std::thread::scope(|scope| {
        let waiting = Client::new(&daemon);
        let waiting = scope.spawn(move || waiting.cleanup());
        // Some moment of the deletion.
        wait_for("the beginning of the deletion", LIMIT, || site.layer_dirs().is_empty());
        daemon.signal(Signal::TERM);
        // Refused when it came too late, and answered when it did not: it does not hold up the end.
        drop(waiting.join().unwrap());
    });
    ended_well(daemon);
    let daemon = site.start();
    Client::new(&daemon).cleanup().unwrap();
    assert_eq!(site.trash_dirs(), Vec::<String>::new());
}

#[test]
fn privileged_sigint_ends_it_like_sigterm() {
    if !is_root("sigint_ends_it_like_sigterm") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    daemon.signal(Signal::INT);
    ended_well(daemon);
    assert!(!site.plugin_socket().exists() && !site.api_socket().exists());
}
