//! The content service of the API socket: containerd's, as its clients see it, each namespace by itself.

mod common;

use common::client::{Client, label_map};
use common::content::{commit, sha256, stat};
use common::daemon::{Daemon, Site};
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use tonic::{Code, Status};

/// Makes a site whose daemons collect nothing.
fn site() -> Site {
    Site::with_settings("[gc]\nstartup_delay = \"10m\"\n")
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

fn resources(client: &Client, lease: &str) -> Vec<String> {
    client.resources(lease).unwrap().into_iter().map(|(kind, id)| format!("{kind} {id}")).collect()
}

fn content(digest: &str) -> Vec<String> {
    vec![format!("content {digest}")]
}

/// Returns containerd, and clients in two namespaces.
fn clients(daemon: &Daemon) -> [Client; 3] {
    [Client::new(daemon), Client::api(daemon, "one"), Client::api(daemon, "two")]
}

/// Makes every call of the service.
fn every_call(client: &Client, digest: &str, name: &str) -> Vec<(&'static str, Option<Code>)> {
    vec![
        ("info", code(client.blob(digest))),
        ("update", code(client.update_blob(digest, &[("a", "b")], &[]))),
        ("list", code(client.blob_pages(&[]))),
        ("delete", code(client.delete_blob(digest))),
        ("read", code(client.read_blob(digest))),
        ("status", code(client.status(name))),
        ("statuses", code(client.statuses(&[]))),
        ("abort", code(client.abort(name))),
        ("write", code(client.begin("new").map(|upload| upload.close()))),
    ]
}

#[test]
fn a_namespace_sees_its_own_blobs_and_uploads_and_no_others() {
    let site = site();
    let daemon = site.start();
    let [containerd, one, two] = clients(&daemon);
    let digest = one.store("ref", b"foo").unwrap();
    one.begin("upload").unwrap().write(0, b"bar").unwrap();
    for (call, answer) in every_call(&two, &digest, "upload") {
        let expected = if ["list", "statuses", "write"].contains(&call) { None } else { Some(Code::NotFound) };
        assert_eq!(answer, expected, "{call}");
    }
    assert_eq!((two.blobs(), two.refs()), (vec![], vec!["new".to_owned()]));
    assert_eq!((containerd.blobs(), containerd.refs()), (Vec::<String>::new(), Vec::<String>::new()));
    assert_eq!((one.blobs(), one.refs()), (vec![digest], vec!["upload".to_owned()]));
    assert_eq!(one.status("upload").unwrap().offset, 3);
}

#[test]
fn a_request_needs_a_namespace() {
    let site = site();
    let daemon = site.start();
    let nowhere = Client::connect(daemon.api_socket()).unwrap();
    let answers = every_call(&nowhere, &sha256(b"foo"), "ref");
    assert!(answers.iter().all(|(_, code)| *code == Some(Code::FailedPrecondition)), "{answers:?}");
    let answers = every_call(&nowhere.in_namespace("a/b"), &sha256(b"foo"), "ref");
    assert!(answers.iter().all(|(_, code)| *code == Some(Code::InvalidArgument)), "{answers:?}");
    assert_eq!(nowhere.namespaces(), "");
}

#[test]
fn one_ref_is_an_upload_in_each_namespace() {
    let site = site();
    let daemon = site.start();
    let clients = clients(&daemon);
    let data: [&[u8]; 3] = [b"containerd's", b"of one", b"of the other"];
    let mut uploads = Vec::new();
    for (client, data) in clients.iter().zip(data) {
        let mut upload = client.begin("ref").unwrap();
        upload.write(0, data).unwrap();
        assert_eq!(code(client.begin("ref").map(drop)), Some(Code::Unavailable));
        uploads.push(upload);
    }
    assert_eq!(clients.each_ref().map(|client| client.status("ref").unwrap().offset), [12, 6, 12]);
    clients[1].abort("ref").unwrap();
    assert_eq!(code(clients[1].status("ref")), Some(Code::NotFound));
    for (upload, data) in uploads.iter_mut().zip(data) {
        let answer = upload.commit(data.len(), &sha256(data));
        assert_eq!(code(answer), (data.len() == 6).then_some(Code::NotFound));
    }
    assert_eq!(clients.map(|client| client.blobs()), [vec![sha256(data[0])], vec![], vec![sha256(data[2])]]);
}

#[test]
fn namespaces_share_a_file_and_nothing_else() {
    let site = site();
    let mut daemon = site.start();
    let [_, one, two] = clients(&daemon);
    let digest = one.store("ref", b"foo").unwrap();
    two.store("ref", b"foo").unwrap();
    one.update_blob(&digest, &[("a", "1"), ("b", "2")], &["labels.a"]).unwrap();
    two.update_blob(&digest, &[("b", "3")], &[]).unwrap();
    assert_eq!(site.blob_files(), std::slice::from_ref(&digest));
    daemon.kill();
    daemon = site.start();
    let [_, one, two] = clients(&daemon);
    let labels = |client: &Client| client.blob(&digest).unwrap().labels;
    assert_eq!((labels(&one), labels(&two)), (label_map(&[("a", "1")]), label_map(&[("b", "3")])));
    assert_eq!(one.blob_pages(&["labels.a==1"]).unwrap().concat().len(), 1);
    assert_eq!(two.blob_pages(&["labels.a==1"]).unwrap().concat().len(), 0);
    assert_eq!(code(one.delete_namespace("two")), Some(Code::FailedPrecondition));
    two.delete_blob(&digest).unwrap();
    assert_eq!(code(two.read_blob(&digest)), Some(Code::NotFound));
    assert_eq!(one.read_blob(&digest).unwrap(), b"foo");
    one.delete_blob(&digest).unwrap();
    assert_eq!(site.blob_files(), Vec::<String>::new());
    one.delete_namespace("two").unwrap();
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn the_lease_of_a_request_names_what_it_uploads() {
    let site = site();
    let daemon = site.start();
    let [_, one, _] = clients(&daemon);
    for lease in ["first", "second", "third"] {
        one.create_lease(lease, &[]).unwrap();
    }
    let digest = sha256(b"foo");
    let leased = one.leased("first");
    let mut upload = leased.begin("ref").unwrap();
    assert_eq!(resources(&one, "first"), ["ingests ref"]);
    upload.write(0, b"foo").unwrap();
    upload.commit(3, &digest).unwrap();
    assert_eq!(resources(&one, "first"), content(&digest));
    // What is there is named as well, whenever that turns out.
    let known = api::WriteContentRequest { expected: digest.clone(), ..stat("other") };
    assert_eq!(code(one.leased("second").open(known)), Some(Code::AlreadyExists));
    assert_eq!(resources(&one, "second"), content(&digest));
    let third = one.leased("third");
    for expected in ["", &digest] {
        let mut upload = third.begin("ref").unwrap();
        upload.write(0, b"foo").unwrap();
        assert_eq!(code(upload.commit(3, expected)), Some(Code::AlreadyExists));
        assert_eq!(resources(&one, "third"), content(&digest));
        one.delete_resource("third", "content", &digest).unwrap();
    }
    // Others see to their own leases.
    one.leased("second").delete_blob(&digest).unwrap();
    assert_eq!(resources(&one, "first"), content(&digest));
    assert_eq!(resources(&one, "second"), Vec::<String>::new());
}

#[test]
fn an_upload_that_goes_on_is_named_by_the_lease_that_it_goes_on_for() {
    let site = site();
    let daemon = site.start();
    let [_, one, _] = clients(&daemon);
    one.create_lease("first", &[]).unwrap();
    one.create_lease("second", &[]).unwrap();
    let (first, second) = (one.leased("first"), one.leased("second"));
    for client in [&one, &first, &second] {
        client.begin("ref").unwrap().close();
    }
    assert_eq!(resources(&one, "first"), ["ingests ref"]);
    assert_eq!(resources(&one, "second"), ["ingests ref"]);
    second.abort("ref").unwrap();
    assert_eq!(resources(&one, "first"), ["ingests ref"]);
    assert_eq!(resources(&one, "second"), Vec::<String>::new());
}

#[test]
fn a_lease_has_to_exist() {
    let site = site();
    let daemon = site.start();
    let [_, one, two] = clients(&daemon);
    two.create_lease("elsewhere", &[]).unwrap();
    let digest = one.store("ref", b"foo").unwrap();
    let known = api::WriteContentRequest { expected: digest.clone(), ..stat("other") };
    for lease in ["unknown", "elsewhere", ""] {
        let leased = one.leased(lease);
        assert_eq!(code(leased.begin("new")), Some(Code::NotFound), "{lease}");
        assert_eq!(code(leased.open(known.clone())), Some(Code::NotFound), "{lease}");
    }
    assert_eq!((one.refs(), site.ingest_files()), (vec![], vec![]));
    // One that is deleted meanwhile takes its upload along only when that is collected.
    one.create_lease("short", &[]).unwrap();
    let short = one.leased("short");
    let mut upload = short.begin("new").unwrap();
    upload.write(0, b"bar").unwrap();
    one.delete_lease("short").unwrap();
    assert_eq!(code(upload.commit(3, "")), Some(Code::NotFound));
    assert_eq!(one.blobs(), std::slice::from_ref(&digest));
    // For a removal it matters to nobody.
    one.leased("short").delete_blob(&digest).unwrap();
    assert_eq!(code(one.leased("short").abort("unknown")), Some(Code::NotFound));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let site = site();
    let daemon = site.start();
    let [_, one, _] = clients(&daemon);
    one.create_lease("lease", &[]).unwrap();
    let leased = one.leased("lease");
    // Uploads may have any name, what leases name has no NUL in it.
    assert_eq!(code(leased.begin("a\0b")), Some(Code::InvalidArgument));
    one.begin("a\0b").unwrap().close();
    for name in ["", &"r".repeat(32_769)] {
        for client in [&one, &leased] {
            assert_eq!(code(client.open(stat(name))), Some(Code::InvalidArgument));
            assert_eq!(code(client.status(name)), Some(Code::InvalidArgument));
            assert_eq!(code(client.abort(name)), Some(Code::InvalidArgument));
        }
    }
    for digest in ["", "sha256:", "sha256:../../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        for (call, answer) in every_call(&one, digest, "unknown") {
            if ["info", "update", "delete", "read"].contains(&call) {
                assert_eq!(answer, Some(Code::InvalidArgument), "{call} {digest}");
            }
        }
        if !digest.is_empty() {
            let expecting = api::WriteContentRequest { expected: digest.into(), ..stat("ref") };
            assert_eq!(code(leased.open(expecting)), Some(Code::InvalidArgument), "{digest}");
        }
    }
    let mut upload = leased.begin("ref").unwrap();
    upload.write(0, b"foo").unwrap();
    let labels = label_map(&[("label", &"v".repeat(5000))]);
    let wrong = api::WriteContentRequest { labels, ..commit(3, 3, "") };
    assert_eq!(code(upload.send(wrong)), Some(Code::InvalidArgument));
    assert_eq!(code(one.blob_pages(&["digest=="])), Some(Code::InvalidArgument));
    assert_eq!(code(one.statuses(&["ref=="])), Some(Code::InvalidArgument));
    assert_eq!(resources(&one, "lease"), ["ingests ref"]);
    assert_eq!((one.blobs(), one.status("ref").unwrap().offset), (vec![], 3));
    for (offset, expected, wrong) in
        [(2, "", Code::OutOfRange), (3, &*sha256(b"bar"), Code::FailedPrecondition), (4, "", Code::OutOfRange)]
    {
        let mut upload = leased.reopen(&stat("ref")).0;
        assert_eq!(code(upload.commit_at(offset, 3, expected)), Some(wrong));
    }
    leased.reopen(&stat("ref")).0.commit(3, &sha256(b"foo")).unwrap();
}
