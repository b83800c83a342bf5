//! Diff: what a snapshot changes becomes a blob of its namespace, or nothing happens.

mod common;

use std::fs;

use common::client::{Client, upperdir_of_mounts};
use common::content::sha256;
use common::daemon::{Daemon, Site};
use common::diff::{TAR, TAR_GZIP, TAR_ZSTD, bind};
use common::is_root;
use leasehold::grpc::proto::containerd::services::diff::v1::DiffRequest;
use leasehold::grpc::proto::containerd::types::{Descriptor, Mount};
use tonic::{Code, Status};

const UNCOMPRESSED: &str = "containerd.io/uncompressed";

fn diff(client: &Client, request: DiffRequest) -> Result<Descriptor, Status> {
    let mut service = client.diff();
    client.answer(async move { service.diff(request).await }).map(|answer| answer.diff.unwrap())
}

/// Makes a committed snapshot and one on top of it, and returns the mounts of both sides.
fn sides(client: &Client) -> (Vec<Mount>, Vec<Mount>) {
    client.make_layer("base", "", "below").unwrap();
    let right = client.prepare("active", "base").unwrap();
    fs::write(upperdir_of_mounts(&right).join("new"), "new").unwrap();
    (client.view("view", "base").unwrap(), right)
}

fn request(left: &[Mount], right: &[Mount], media_type: &str) -> DiffRequest {
    let (left, right, media_type) = (left.to_vec(), right.to_vec(), media_type.into());
    DiffRequest { left, right, media_type, ..DiffRequest::default() }
}

fn start() -> (Site, Daemon) {
    let site = Site::with_settings("[diff]\ncontainerd_socket = \"\"\n");
    let daemon = site.start();
    (site, daemon)
}

#[test]
fn privileged_a_layer_is_a_blob_of_its_namespace() {
    if !is_root("a_layer_is_a_blob_of_its_namespace") {
        return;
    }
    let (site, daemon) = start();
    let client = Client::api(&daemon, "a");
    client.create_lease("l", &[]).unwrap();
    let client = client.leased("l");
    let (left, right) = sides(&client);
    let plain = diff(&client, request(&left, &right, TAR)).unwrap();
    let tar = client.read_blob(&plain.digest).unwrap();
    // One entry, its data and the end.
    assert_eq!((plain.size, tar.len(), &tar[..3]), (2048, 2048, &b"new"[..]));
    for media_type in [TAR, TAR_GZIP, TAR_ZSTD, ""] {
        let labels = [("a".to_owned(), "b".to_owned())].into();
        let named = DiffRequest { labels, r#ref: "ref".into(), ..request(&left, &right, media_type) };
        let made = diff(&client, named.clone()).unwrap();
        let blob = client.read_blob(&made.digest).unwrap();
        assert_eq!((made.digest.clone(), made.size), (sha256(&blob), blob.len() as i64));
        assert_eq!(made.media_type, if media_type.is_empty() { TAR_GZIP } else { media_type });
        let info = client.blob(&made.digest).unwrap();
        assert_eq!(info.labels.get(UNCOMPRESSED), Some(&sha256(&tar)));
        assert_eq!(info.labels.contains_key("a"), media_type != TAR, "labels are those of who was first");
        // Again, it is there.
        assert_eq!(diff(&client, named).unwrap(), made);
    }
    let leased = client.resources("l").unwrap();
    assert_eq!(leased.iter().filter(|(kind, _)| kind == "content").count(), 3, "{leased:?}");
    assert_eq!(client.refs(), Vec::<String>::new());
    assert_eq!(Client::api(&daemon, "b").blobs(), Vec::<String>::new());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_a_blob_that_was_there_is_told_what_it_is() {
    if !is_root("a_blob_that_was_there_is_told_what_it_is") {
        return;
    }
    let (_site, daemon) = start();
    let client = Client::api(&daemon, "a");
    client.create_lease("l", &[]).unwrap();
    let client = client.leased("l");
    let (left, right) = sides(&client);
    let made = diff(&client, request(&left, &right, TAR_GZIP)).unwrap();
    let diff_id = client.blob(&made.digest).unwrap().labels[UNCOMPRESSED].clone();
    client.update_blob(&made.digest, &[], &["labels"]).unwrap();
    assert_eq!(diff(&client, request(&left, &right, TAR_GZIP)).unwrap(), made);
    assert_eq!(client.blob(&made.digest).unwrap().labels[UNCOMPRESSED], diff_id);
    // What was said by somebody else stays.
    client.update_blob(&made.digest, &[(UNCOMPRESSED, "x")], &["labels"]).unwrap();
    diff(&client, request(&left, &right, TAR_GZIP)).unwrap();
    assert_eq!(client.blob(&made.digest).unwrap().labels[UNCOMPRESSED], "x");
}

#[test]
fn privileged_what_is_not_supported_leaves_nothing() {
    if !is_root("what_is_not_supported_leaves_nothing") {
        return;
    }
    let (site, daemon) = start();
    let client = Client::api(&daemon, "a");
    client.create_lease("l", &[]).unwrap();
    let client = client.leased("l");
    let (left, right) = sides(&client);
    let code = |client: &Client, request| diff(client, request).unwrap_err().code();
    let elsewhere = [bind(site.dir())];
    assert_eq!(code(&client, request(&left, &elsewhere, TAR)), Code::Unimplemented);
    assert_eq!(code(&client, request(&[], &right, TAR)), Code::Unimplemented);
    assert_eq!(code(&client, request(&left, &right, "application/x-tar")), Code::Unimplemented);
    assert_eq!(code(&client.leased("none"), request(&left, &right, TAR)), Code::NotFound);
    let long = [("k".to_owned(), "v".repeat(5000))].into();
    assert_eq!(code(&client, DiffRequest { labels: long, ..request(&left, &right, TAR) }), Code::InvalidArgument);
    // Whoever asks through containerd gets containerd's own differ.
    assert_eq!(code(&Client::new(&daemon), request(&left, &right, TAR)), Code::Unimplemented);
    assert_eq!(code(&Client::new(&daemon).in_namespace("a"), request(&left, &right, TAR)), Code::Unimplemented);
    // Found only when a part of it was written.
    let path = upperdir_of_mounts(&right).join("redirected");
    fs::create_dir(&path).unwrap();
    let (name, flags) = ("trusted.overlay.redirect", rustix::fs::XattrFlags::empty());
    rustix::fs::lsetxattr(&path, name, b"/x", flags).unwrap();
    assert_eq!(code(&client, request(&left, &right, TAR)), Code::Unimplemented);
    // Gone.
    client.remove("active").unwrap();
    client.cleanup().unwrap();
    assert_eq!(code(&client, request(&left, &right, TAR)), Code::NotFound);
    assert_eq!((client.refs(), client.blobs()), (Vec::new(), Vec::new()));
    assert_eq!((site.ingest_files(), site.blob_files()), (Vec::new(), Vec::new()));
}
