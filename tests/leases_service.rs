//! The Leases service does what containerd's does.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use common::client::Client;
use common::daemon::Site;
use common::is_root;
use tonic::Code;

const DIGEST: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn code<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> Code {
    answer.unwrap_err().code()
}

#[test]
fn privileged_leases_are_created_once_and_deleted_once() {
    if !is_root("leases") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    let before = SystemTime::now();
    let first = client.create_lease("tx1", &[("a", "b"), ("empty", "")]).unwrap();
    assert_eq!(first.labels.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "b".to_owned())]);
    let created = SystemTime::try_from(first.created_at.unwrap()).unwrap();
    assert!(before <= created && created <= SystemTime::now());
    assert_eq!(code(client.create_lease("tx1", &[])), Code::AlreadyExists);
    client.create_lease("tx2", &[]).unwrap();
    // Another namespace has leases of its own.
    let other = client.in_namespace("two");
    other.create_lease("tx1", &[]).unwrap();

    let listed = client.leases(&[]).unwrap();
    assert_eq!(listed.iter().map(|lease| &lease.id).collect::<Vec<_>>(), ["tx1", "tx2"]);
    assert_eq!(listed[0].created_at, first.created_at);
    client.delete_lease("tx1").unwrap();
    assert_eq!(code(client.delete_lease("tx1")), Code::NotFound);
    client.delete_lease_with("tx2", true).unwrap();
    assert_eq!([client.lease_ids(&[]), other.lease_ids(&[])], ["", "tx1"]);
}

#[test]
fn privileged_an_id_is_made_up_where_none_is_sent() {
    if !is_root("leases") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    let ids: BTreeSet<String> = (0..50).map(|_| client.create_lease("", &[]).unwrap().id).collect();
    assert_eq!(ids.len(), 50);
    assert_eq!(client.leases(&[]).unwrap().len(), 50);
}

#[test]
fn privileged_lists_are_filtered_by_id_and_labels() {
    if !is_root("leases") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    client.create_lease("lease1", &[("label1", "value1"), ("label3", "other")]).unwrap();
    client.create_lease("lease2", &[("label1", "value1"), ("label2", ""), ("label3", "other")]).unwrap();
    client.create_lease("lease3", &[("label1", "value2"), ("label2", "something"), ("x.y/z", "1")]).unwrap();
    for (filters, expected) in [
        (&[][..], "lease1 lease2 lease3"),
        (&[""], "lease1 lease2 lease3"),
        (&["id==lease1"], "lease1"),
        (&["id==lease1", "id==lease2"], "lease1 lease2"),
        (&["id!=lease1"], "lease2 lease3"),
        (&["id~=lease[23]"], "lease2 lease3"),
        (&["id==none"], ""),
        (&["id==lease1,labels.label1==value2"], ""),
        (&["labels.label1"], "lease1 lease2 lease3"),
        (&["labels.label1==value1"], "lease1 lease2"),
        (&["labels.label1==value2"], "lease3"),
        // A label without a value is no label.
        (&["labels.label2"], "lease3"),
        (&["labels.label2", "labels.label3"], "lease1 lease2 lease3"),
        (&["labels.\"x.y/z\"==1"], "lease3"),
        (&["name==lease1"], ""),
    ] {
        assert_eq!(client.lease_ids(filters), expected, "{filters:?}");
    }
}

#[test]
fn privileged_resources_are_of_the_types_that_containerd_knows() {
    if !is_root("leases") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    client.create_lease("l1", &[]).unwrap();
    for (lease, kind, id, expected) in [
        ("l1", "content", DIGEST, Code::Ok),
        ("l1", "ingests", "upload-1", Code::Ok),
        // Twice is once.
        ("l1", "ingests", "upload-1", Code::Ok),
        ("l1", "images", "docker.io/library/busybox:latest", Code::Ok),
        ("l1", "snapshots/overlayfs", "a key of another snapshotter", Code::Ok),
        ("l1", "snapshots/leasehold", "does/not exist", Code::Ok),
        ("l1", "leases", "l1", Code::Unimplemented),
        ("l1", "containers", "c1", Code::Unimplemented),
        ("l1", "", "x", Code::Unimplemented),
        ("l1", "snapshots", "k", Code::InvalidArgument),
        ("l1", "snapshots/", "k", Code::InvalidArgument),
        ("l1", "snapshots/overlayfs/type1", "k", Code::InvalidArgument),
        ("l1", "content/x", DIGEST, Code::InvalidArgument),
        ("l1", "images/x", "i", Code::InvalidArgument),
        ("l1", "content", "no digest", Code::InvalidArgument),
        ("l1", "content", "md5:d41d8cd98f00b204e9800998ecf8427e", Code::InvalidArgument),
        ("l1", "images", "", Code::InvalidArgument),
        ("l1", "images", "with\0nul", Code::InvalidArgument),
        ("none", "snapshots/overlayfs", "k", Code::NotFound),
        ("none", "snapshots", "k", Code::NotFound),
        ("", "images", "i", Code::NotFound),
    ] {
        let got = [client.add_resource(lease, kind, id), client.delete_resource(lease, kind, id)]
            .map(|answer| answer.map_or_else(|status| status.code(), |()| Code::Ok));
        assert_eq!(got, [expected; 2], "{lease} {kind} {id:?}");
        if expected == Code::Ok {
            client.add_resource(lease, kind, id).unwrap();
        }
    }
    let named = |kind: &str, id: &str| (kind.to_owned(), id.to_owned());
    let mut expected = vec![
        named("content", DIGEST),
        named("images", "docker.io/library/busybox:latest"),
        named("ingests", "upload-1"),
        named("snapshots/leasehold", "does/not exist"),
        named("snapshots/overlayfs", "a key of another snapshotter"),
    ];
    assert_eq!(client.resources("l1").unwrap(), expected);
    client.delete_resource("l1", "snapshots/overlayfs", "a key of another snapshotter").unwrap();
    client.delete_resource("l1", "images", "was never named").unwrap();
    expected.pop();
    assert_eq!(client.resources("l1").unwrap(), expected);
    assert_eq!(code(client.resources("none")), Code::NotFound);
    assert_eq!(code(client.in_namespace("two").resources("l1")), Code::NotFound);
    // A new lease of the same id names nothing.
    client.delete_lease("l1").unwrap();
    client.create_lease("l1", &[]).unwrap();
    assert_eq!(client.resources("l1").unwrap(), []);
}

#[test]
fn privileged_bad_input_is_refused_and_changes_nothing() {
    if !is_root("leases") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    let long = "x".repeat(40_000);
    for id in ["with\0nul", &long] {
        assert_eq!(code(client.create_lease(id, &[])), Code::InvalidArgument);
        assert_eq!(code(client.delete_lease(id)), Code::NotFound);
        assert_eq!(code(client.resources(id)), Code::NotFound);
    }
    assert_eq!(code(client.delete_lease("")), Code::NotFound);
    assert_eq!(code(client.create_lease("a", &[("k", &long)])), Code::InvalidArgument);
    assert_eq!(code(client.leases(&["id==", " ,"])), Code::InvalidArgument);
    let nowhere = Client::connect(daemon.api_socket()).unwrap();
    let missing = nowhere.create_lease("a", &[]).unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::FailedPrecondition, "namespace is required"));
    assert_eq!(code(nowhere.leases(&[])), Code::FailedPrecondition);
    for namespace in ["a/b", "..", &"n".repeat(77)] {
        assert_eq!(code(nowhere.in_namespace(namespace).create_lease("a", &[])), Code::InvalidArgument);
    }
    assert_eq!([client.lease_ids(&[]), client.namespaces()], ["", ""]);
    // Odd, but containerd takes it as well.
    for id in ["../../etc", "a b", "é", "\n"] {
        client.create_lease(id, &[]).unwrap();
        client.add_resource(id, "images", "i").unwrap();
        client.delete_lease(id).unwrap();
    }
    // Leases are for clients, and containerd has its own.
    let on_plugin_socket = Client::new(&daemon).in_namespace("one");
    assert_eq!(code(on_plugin_socket.create_lease("a", &[])), Code::Unimplemented);
}

#[test]
fn privileged_an_end_that_cannot_be_read_is_warned_of_once() {
    if !is_root("leases") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    client.create_lease("soon", &[("containerd.io/gc.expire", "soon")]).unwrap();
    client.create_lease("past", &[("containerd.io/gc.expire", "2001-02-03T04:05:06+07:00")]).unwrap();
    for _ in 0..3 {
        client.add_resource("soon", "images", "i").unwrap();
        assert!(client.lease_ids(&[]).contains("soon"));
    }
    assert!(daemon.stop().success());
    common::wait_for("the log", Duration::from_secs(5), || site.log().exists());
    let log = std::fs::read_to_string(site.log()).unwrap();
    assert_eq!(log.matches("the end of a lease cannot be read").count(), 1, "{log}");
}
