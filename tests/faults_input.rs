//! Whatever a client sends gets containerd's code, and never a path outside of the layers.

mod common;

use common::client::Client;
use common::daemon::Site;
use leasehold::grpc::proto::containerd::services::snapshots::v1 as api;
use tonic::{Code, Request};

fn code<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> Code {
    answer.expect_err("refused").code()
}

#[test]
fn privileged_odd_keys_are_keys_and_never_paths() {
    if !common::is_root("odd keys") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    assert_eq!(code(client.prepare("", "")), Code::InvalidArgument);
    assert_eq!(code(client.prepare(&"k".repeat(32_769), "")), Code::InvalidArgument);
    assert_eq!(code(client.stat("")), Code::InvalidArgument);
    assert_eq!(code(client.prepare("a", &"p".repeat(32_769))), Code::InvalidArgument);
    let long = "k".repeat(10_240);
    let odd = ["../../escape", "/etc/passwd", "a b", "n\0ul", "line\nbreak", "..", ".", "l/1/fs", "ü\u{202e}", &long];
    for key in odd {
        client.prepare(key, "").unwrap();
        assert_eq!(client.stat(key).unwrap().name, key);
        client.commit(&format!("{key} committed"), key).unwrap();
    }
    assert_eq!(site.layer_dirs().len(), odd.len());
    let outside: Vec<_> = std::fs::read_dir(site.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let known = ["blobs", "ingests", "l", "lock", "lost+found", "meta", "staging", "trash"];
    assert!(outside.iter().all(|name| known.iter().any(|known| name == known)), "{outside:?}");
    for key in odd {
        client.remove(&format!("{key} committed")).unwrap();
    }
    client.cleanup().unwrap();
    assert_eq!(site.layer_dirs(), Vec::<String>::new());
}

#[test]
fn privileged_bad_labels_masks_filters_and_mappings_are_invalid_arguments() {
    if !common::is_root("bad arguments") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let long = "v".repeat(4_096);
    assert_eq!(code(client.prepare_with("a", "", &[("l", &long)])), Code::InvalidArgument);
    client.prepare_with("a", "", &[("l", &long[1..])]).unwrap();
    assert_eq!(code(client.update("a", &[("l", &long)], &["labels.l"])), Code::InvalidArgument);
    assert_eq!(code(client.commit_with("b", "a", "", &[("l", &long)])), Code::InvalidArgument);
    for path in ["name", "kind", "created_at", "labels.", ""] {
        assert_eq!(code(client.update("a", &[], &[path])), Code::InvalidArgument, "{path:?}");
    }
    for filter in ["name=", "name==\"", "~=x", "name==a,,", "labels.\"x", "name=~x"] {
        assert_eq!(code(client.list(&["kind==active", filter])), Code::InvalidArgument, "{filter:?}");
    }
    for map in ["x", "0:1000", "0:-1:5", "1:1000:1", "0:4294967295:1"] {
        let labels = [("containerd.io/snapshot/uidmapping", map), ("containerd.io/snapshot/gidmapping", "0:1000:10")];
        assert_eq!(code(client.prepare_with("m", "", &labels)), Code::InvalidArgument, "{map:?}");
    }
    let missing = api::UpdateSnapshotRequest::default();
    assert_eq!(code(client.call(async |mut client| client.update(missing).await)), Code::InvalidArgument);
    // Nothing of it left anything behind.
    assert_eq!(client.list(&[]).unwrap().len(), 1);
    assert_eq!(site.layer_dirs().len(), 1);
}

#[test]
fn privileged_a_mapped_root_directory_belongs_to_the_mapped_root_user() {
    use std::os::unix::fs::MetadataExt;
    if !common::is_root("mapped owners") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let labels =
        [("containerd.io/snapshot/uidmapping", "0:1000:65536"), ("containerd.io/snapshot/gidmapping", "0:2000:65536")];
    let mounts = client.prepare_with("a", "", &labels).unwrap();
    let root = std::fs::metadata(&mounts[0].source).unwrap();
    assert_eq!((root.uid(), root.gid()), (1000, 2000));
}

#[test]
fn privileged_oversize_messages_and_unknown_leases_do_no_harm() {
    if !common::is_root("oversize messages") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let labels = (0..5_000).map(|n| (format!("l{n}"), "v".repeat(4_000))).collect();
    let huge = api::PrepareSnapshotRequest { key: "huge".into(), labels, ..Default::default() };
    assert_eq!(code(client.call(async |mut client| client.prepare(huge).await)), Code::OutOfRange);
    let mut request = Request::new(api::PrepareSnapshotRequest { key: "leased".into(), ..Default::default() });
    request.metadata_mut().insert("containerd-lease", "no-such-lease".parse().unwrap());
    request.metadata_mut().insert("containerd-namespace", "k8s.io".parse().unwrap());
    client.call(async |mut client| client.prepare(request).await).unwrap();
    assert_eq!(client.list(&[]).unwrap().len(), 1);
}
