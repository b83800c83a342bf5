//! Namespaces on the API socket: the service, and that they do not see each other.

mod common;

use std::collections::BTreeMap;

use common::client::Client;
use common::daemon::Site;
use common::is_root;
use leasehold::grpc::proto::containerd::services::snapshots::v1 as api;
use tonic::Code;

/// Nothing holds most of the snapshots of these tests, which are to be there until the end.
const LATE_COLLECTION: &str = "[gc]\nstartup_delay = \"10m\"\nschedule_delay = \"10m\"\n";

fn code<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> Code {
    answer.unwrap_err().code()
}

fn keys(client: &Client) -> String {
    let infos = client.list(&[]).unwrap();
    infos.into_iter().map(|info| info.name).collect::<Vec<_>>().join(" ")
}

#[test]
fn privileged_namespaces_exist_once_they_are_created_or_used() {
    if !is_root("namespaces") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::connect(daemon.api_socket()).unwrap();
    let created = client.create_namespace("created", &[("k", "v"), ("empty", "")]).unwrap();
    assert_eq!(created.labels, BTreeMap::from([("k".to_owned(), "v".to_owned())]));
    assert_eq!(code(client.create_namespace("created", &[])), Code::AlreadyExists);
    client.in_namespace("leased").create_lease("l", &[]).unwrap();
    client.in_namespace("used").prepare("key", "").unwrap();
    client.in_namespace("listed").list(&[]).unwrap();
    assert_eq!(client.namespaces(), "created leased used");

    for name in ["", "a/b", "..", "a b"] {
        assert_eq!(code(client.create_namespace(name, &[])), Code::InvalidArgument, "{name:?}");
        assert_eq!(code(client.namespace_labels(name)), Code::InvalidArgument, "{name:?}");
        assert_eq!(code(client.delete_namespace(name)), Code::InvalidArgument, "{name:?}");
    }
    assert_eq!(code(client.create_namespace("long", &[("k", &"v".repeat(4_096))])), Code::InvalidArgument);
    // As in containerd, what does not exist has no labels.
    assert!(client.namespace_labels("none").unwrap().is_empty());
}

#[test]
fn privileged_labels_of_namespaces_change() {
    if !is_root("namespaces") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::connect(daemon.api_socket()).unwrap();
    client.create_namespace("one", &[("a", "1"), ("b", "2")]).unwrap();
    let labels = |name: &str| {
        let labels = client.namespace_labels(name).unwrap();
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    client.update_namespace("one", &[("a", "3"), ("c", "4")], &["labels.a", "labels.b"]).unwrap();
    assert_eq!(labels("one"), "a=3");
    client.update_namespace("one", &[("c", "4"), ("d", "")], &[]).unwrap();
    assert_eq!(labels("one"), "c=4");
    for path in ["labels", "name", "labels."] {
        assert_eq!(code(client.update_namespace("one", &[("c", "5")], &[path])), Code::InvalidArgument, "{path}");
    }
    assert_eq!(labels("one"), "c=4");
    client.update_namespace("new", &[("a", "1")], &["labels.a"]).unwrap();
    assert_eq!([client.namespaces(), labels("new")], ["new one", "a=1"]);
}

#[test]
fn privileged_a_namespace_is_deleted_with_its_leases_but_not_with_snapshots() {
    if !is_root("namespaces") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    assert_eq!(code(client.delete_namespace("one")), Code::NotFound);
    client.create_lease("l", &[]).unwrap();
    client.leased("l").prepare("key", "").unwrap();
    client.in_namespace("on").create_lease("l", &[]).unwrap();
    let refused = client.delete_namespace("one").unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("snapshots"), "{refused}");
    assert_eq!(client.lease_ids(&[]), "l");
    client.remove("key").unwrap();
    client.delete_namespace("one").unwrap();
    assert_eq!([client.namespaces(), client.lease_ids(&[])], ["on", ""]);
    assert_eq!(client.in_namespace("on").lease_ids(&[]), "l");
}

#[test]
fn privileged_snapshots_of_namespaces_and_of_containerd_do_not_see_each_other() {
    if !is_root("namespaces") {
        return;
    }
    let site = Site::with_settings(LATE_COLLECTION);
    let daemon = site.start();
    let (one, containerd) = (Client::api(&daemon, "one"), Client::new(&daemon));
    let two = one.in_namespace("two");
    for client in [&one, &two, &containerd] {
        client.make_layer("base", "", "content").unwrap();
        client.prepare_with("key", "base", &[("containerd.io/gc.root", "now"), ("any", "label")]).unwrap();
    }
    one.prepare("more", "base").unwrap();
    assert_eq!([&one, &two, &containerd].map(keys), ["base key more", "base key", "base key"]);
    let stat = two.stat("key").unwrap();
    assert_eq!((stat.name.as_str(), stat.parent.as_str(), stat.labels.len()), ("key", "base", 2));
    assert_eq!(code(two.stat("more")), Code::NotFound);
    assert_eq!(code(two.prepare("x", "more")), Code::NotFound);
    assert_eq!(one.usage("base").unwrap().inodes, 2);
    one.update("key", &[("any", "other")], &["labels.any"]).unwrap();
    assert_eq!(two.stat("key").unwrap().labels["any"], "label");
    one.remove("key").unwrap();
    assert_eq!(code(one.remove("base")), Code::FailedPrecondition);
    assert_eq!([&one, &two, &containerd].map(keys), ["base more", "base key", "base key"]);
    assert_eq!(one.list(&["parent==base"]).unwrap().len(), 1);
    let nowhere = Client::connect(daemon.api_socket()).unwrap();
    assert_eq!(code(nowhere.list(&[])), Code::FailedPrecondition);
    assert_eq!(code(nowhere.in_namespace("a/b").prepare("x", "")), Code::InvalidArgument);
    one.cleanup().unwrap();
    drop(daemon);
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_the_api_socket_has_one_snapshotter() {
    if !is_root("namespaces") {
        return;
    }
    let site = Site::with_settings(LATE_COLLECTION);
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    let prepare = |snapshotter: &str| {
        let request =
            api::PrepareSnapshotRequest { snapshotter: snapshotter.into(), key: "key".into(), ..Default::default() };
        client.call(async |mut client| client.prepare(request).await)
    };
    assert_eq!(code(prepare("overlayfs")), Code::InvalidArgument);
    prepare("leasehold").unwrap();
    assert_eq!(code(prepare("")), Code::AlreadyExists);
}
