//! What leases name: many resources, changes at the same time, restarts, and the header that adds snapshots.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::client::Client;
use common::daemon::Site;
use common::is_root;
use tonic::Code;

const MANY: usize = 10_000;

fn snapshots(client: &Client, lease: &str) -> String {
    let named = client.resources(lease).unwrap();
    assert!(named.iter().all(|(kind, _)| kind.starts_with("snapshots/lease")), "{named:?}");
    named.into_iter().map(|(_, id)| id).collect::<Vec<_>>().join(", ")
}

#[test]
fn privileged_a_lease_can_name_ten_thousand_resources() {
    if !is_root("leases") {
        return;
    }
    let site = Site::with_settings("[durability]\nsync_records = false\n");
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    client.create_lease("big", &[]).unwrap();
    client.create_lease("small", &[]).unwrap();
    client.add_resource("small", "images", "0042").unwrap();
    for number in 0..MANY {
        client.add_resource("big", "images", &format!("{number:04}")).unwrap();
    }
    let named = client.resources("big").unwrap();
    assert_eq!((named.len(), named[42].1.as_str()), (MANY, "0042"));
    client.delete_lease("big").unwrap();
    assert_eq!(client.resources("big").unwrap_err().code(), Code::NotFound);
    client.create_lease("big", &[]).unwrap();
    assert_eq!(client.resources("big").unwrap(), []);
    assert_eq!(client.resources("small").unwrap().len(), 1);
    assert!(daemon.stop().success());
}

#[test]
fn privileged_a_lease_that_is_deleted_while_it_is_added_to_leaves_nothing() {
    if !is_root("leases") {
        return;
    }
    let site = Site::with_settings("[durability]\nsync_records = false\n");
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    for round in 0..20 {
        client.create_lease("l", &[]).unwrap();
        let (gone, started) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (client, gone, started) = (Client::api(&daemon, "one"), &gone, &started);
                scope.spawn(move || {
                    for number in 0.. {
                        let was_gone = gone.load(Ordering::SeqCst);
                        match client.add_resource("l", "ingests", &format!("{thread}-{number}")) {
                            Ok(()) => assert!(!was_gone, "added to a lease that was deleted"),
                            Err(status) => {
                                assert_eq!(status.code(), Code::NotFound, "{status}");
                                return;
                            }
                        }
                        started.store(true, Ordering::SeqCst);
                    }
                });
            }
            while !started.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            client.delete_lease("l").unwrap();
            gone.store(true, Ordering::SeqCst);
        });
        client.create_lease("l", &[]).unwrap();
        assert_eq!(client.resources("l").unwrap(), [], "in round {round}");
        client.delete_lease("l").unwrap();
    }
}

#[test]
fn privileged_everything_survives_a_kill() {
    if !is_root("leases") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    client.create_lease("kept", &[("containerd.io/gc.expire", "2099-01-01T00:00:00Z")]).unwrap();
    client.create_lease("deleted", &[]).unwrap();
    client.create_namespace("two", &[("k", "v")]).unwrap();
    client.add_resource("kept", "images", "i").unwrap();
    client.add_resource("kept", "images", "dropped").unwrap();
    client.delete_resource("kept", "images", "dropped").unwrap();
    client.leased("kept").prepare("key", "").unwrap();
    client.delete_lease("deleted").unwrap();
    let before = (client.leases(&[]).unwrap(), client.resources("kept").unwrap(), client.namespaces());
    daemon.kill();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    let after = (client.leases(&[]).unwrap(), client.resources("kept").unwrap(), client.namespaces());
    assert_eq!(before, after);
    assert_eq!((after.0.len(), after.1.len(), after.2.as_str()), (1, 2, "one two"));
    assert_eq!(client.namespace_labels("two").unwrap().len(), 1);
}

#[test]
fn privileged_snapshots_made_for_a_lease_are_named_by_it() {
    if !is_root("leases") {
        return;
    }
    // No collection comes before the end: what no lease names would go with it.
    let site = Site::with_settings("[gc]\nstartup_delay = \"10m\"\n");
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    client.create_lease("l", &[]).unwrap();
    client.create_lease("other", &[]).unwrap();
    let leased = client.leased("l");
    leased.prepare("a", "").unwrap();
    leased.prepare("b", "").unwrap();
    leased.commit("base", "a").unwrap();
    leased.view("v", "base").unwrap();
    client.prepare("without", "base").unwrap();
    assert_eq!(snapshots(&client, "l"), "b, base, v");
    // What exists already is named as well, by its key or by what is to be made of it.
    let other = client.leased("other");
    assert_eq!(other.prepare("b", "").unwrap_err().code(), Code::AlreadyExists);
    let target = [("containerd.io/snapshot.ref", "base")];
    assert_eq!(other.prepare_with("extract-1", "", &target).unwrap_err().code(), Code::AlreadyExists);
    client.prepare("c", "").unwrap();
    assert_eq!(client.leased("other").commit("base", "c").unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(snapshots(&client, "other"), "b, base");
    // Removing for a lease ends that; removing without one leaves the name, which keeps nothing.
    leased.remove("v").unwrap();
    client.remove("b").unwrap();
    assert_eq!([snapshots(&client, "l"), snapshots(&client, "other")], ["b, base", "b, base"]);

    let unknown = client.leased("unknown");
    for refused in [unknown.prepare("x", "").map(drop), unknown.view("x", "base").map(drop), unknown.commit("x", "c")] {
        let status = refused.unwrap_err();
        assert!(status.code() == Code::NotFound && status.message().contains("unknown"), "{status}");
    }
    assert_eq!(client.stat("x").unwrap_err().code(), Code::NotFound);
    assert_eq!(client.stat("c").unwrap().kind, 2);
    assert_eq!(client.in_namespace("two").leased("l").prepare("x", "").unwrap_err().code(), Code::NotFound);
}

#[test]
fn privileged_what_containerd_makes_for_an_operators_lease_is_named_by_it() {
    if !is_root("leases") {
        return;
    }
    let site = Site::with_settings("[snapshotter]\nname = \"lease.hold\"\n");
    let daemon = site.start();
    let operator = Client::api(&daemon, "k8s.io");
    operator.create_lease("pin", &[]).unwrap();
    // The header's namespace may be absent: that in the key counts.
    let containerd = Client::new(&daemon);
    let leased = containerd.leased("pin");
    leased.prepare("k8s.io/1/extract-7 sha256:ab", "").unwrap();
    leased.prepare("default/2/extract-7 sha256:ab", "").unwrap();
    leased.prepare("no form of containerd's", "").unwrap();
    assert_eq!(snapshots(&operator, "pin"), "extract-7 sha256:ab");
    leased.commit("k8s.io/3/sha256:ab", "k8s.io/1/extract-7 sha256:ab").unwrap();
    assert_eq!(snapshots(&operator, "pin"), "sha256:ab");
    // The name is that of the configuration.
    assert_eq!(operator.resources("pin").unwrap()[0].0, "snapshots/lease.hold");
    // containerd's own leases are unknown here.
    containerd.leased("of containerd").prepare("k8s.io/4/x", "k8s.io/3/sha256:ab").unwrap();
    assert_eq!(containerd.leased("pin").prepare("k8s.io/4/x", "").unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(snapshots(&operator, "pin"), "sha256:ab");
}
