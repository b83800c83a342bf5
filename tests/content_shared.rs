//! What namespaces of the API socket have from each other's blobs, as containerd's policies say, and files that stay whole.

mod common;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use common::client::Client;
use common::content::{Upload, commit, random_data, sha256, stat};
use common::daemon::{Daemon, Site};
use common::random::Random;
use common::wait_for;
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use tonic::{Code, Status};

const ISOLATED: &str = "sharing_policy = \"isolated\"\n";
const SHAREABLE: &str = "containerd.io/namespace.shareable";
const LIMIT: Duration = Duration::from_secs(60);

/// Makes a site whose daemons collect only when they are asked to.
fn site(content: &str) -> Site {
    Site::with_settings(&format!("[gc]\nstartup_delay = \"10m\"\n[content]\n{content}"))
}

fn clients(daemon: &Daemon) -> [Client; 2] {
    ["one", "two"].map(|namespace| Client::api(daemon, namespace))
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

/// The first message of an upload of a blob of `total` bytes; 0 does not say how many.
fn announce(name: &str, digest: &str, total: usize) -> api::WriteContentRequest {
    api::WriteContentRequest { expected: digest.into(), total: total as i64, ..stat(name) }
}

/// Announces a blob that is to be there already.
fn shared<'c>(client: &'c Client, name: &str, data: &[u8]) -> Upload<'c> {
    let (upload, reply) = client.reopen(&announce(name, &sha256(data), data.len()));
    assert_eq!((reply.offset, reply.total), (data.len() as i64, data.len() as i64));
    assert_eq!(reply.digest, sha256(data));
    upload
}

/// Returns how many names the file of a blob has.
fn names(site: &Site, digest: &str) -> u64 {
    std::fs::metadata(site.blob_file(digest)).unwrap().nlink()
}

#[test]
fn what_one_namespace_has_another_only_has_to_name() {
    let site = site("");
    let daemon = site.start();
    let [one, two] = clients(&daemon);
    let digest = one.store("ref", b"foo").unwrap();
    two.create_lease("lease", &[]).unwrap();
    let leased = two.leased("lease");
    let mut upload = shared(&leased, "ref", b"foo");
    assert_eq!((names(&site, &digest), two.blobs()), (2, vec![]));
    let status = two.status("ref").unwrap();
    assert_eq!((status.offset, status.total, status.expected.as_str()), (3, 3, &*digest));
    assert_eq!(two.resources("lease").unwrap(), [("ingests".to_owned(), "ref".to_owned())]);
    assert_eq!(site.fsck(false), Vec::<String>::new());
    let reply = upload.send(commit(3, 3, &digest)).unwrap();
    assert_eq!((reply.offset, reply.digest.as_str()), (3, &*digest));
    assert_eq!(two.read_blob(&digest).unwrap(), b"foo");
    assert_eq!(two.resources("lease").unwrap(), [("content".to_owned(), digest.clone())]);
    wait_for("the end of the other name", LIMIT, || names(&site, &digest) == 1);
    assert_eq!((site.blob_files().len(), site.ingest_files().len()), (1, 0));
    one.delete_blob(&digest).unwrap();
    assert_eq!(two.read_blob(&digest).unwrap(), b"foo");
    // Whoever has it needs no second one.
    assert_eq!(code(two.open(announce("ref", &digest, 3))), Some(Code::AlreadyExists));
}

#[test]
fn what_containerd_has_is_shared_and_what_clients_have_is_not_containerds() {
    let site = site("");
    let daemon = site.start();
    let ([one, _], containerd) = (clients(&daemon), Client::new(&daemon));
    let digest = containerd.store("one/1/ref", b"foo").unwrap();
    shared(&one, "ref", b"foo").commit(3, "").unwrap();
    assert_eq!(one.read_blob(&digest).unwrap(), b"foo");
    one.store("ref", b"bar").unwrap();
    let (_, reply) = containerd.open(announce("one/2/ref", &sha256(b"bar"), 3)).unwrap();
    assert_eq!(reply.offset, 0);
}

#[test]
fn what_was_shared_once_stays_whoever_removes_it() {
    let site = site("");
    let mut daemon = site.start();
    let digest = sha256(b"foo");
    for killed in [false, true] {
        let [one, two] = clients(&daemon);
        one.store("ref", b"foo").unwrap();
        let upload = shared(&two, "ref", b"foo");
        one.delete_blob(&digest).unwrap();
        assert_eq!(site.blob_files(), Vec::<String>::new());
        one.collect().unwrap();
        drop(upload);
        if killed {
            daemon.kill();
            daemon = site.start();
        }
        let [_, two] = clients(&daemon);
        shared(&two, "ref", b"foo").commit(3, &digest).unwrap();
        assert_eq!(two.read_blob(&digest).unwrap(), b"foo");
        assert_eq!(site.blob_files(), std::slice::from_ref(&digest));
        two.delete_blob(&digest).unwrap();
        assert_eq!(site.fsck(false), Vec::<String>::new());
    }
}

#[test]
fn what_was_dropped_because_it_is_damaged_is_not_shared() {
    let site = site("");
    let daemon = site.start();
    let [one, two] = clients(&daemon);
    let digest = one.store("ref", b"foo").unwrap();
    let mut upload = shared(&two, "ref", b"foo");
    let file = site.blob_file(&digest);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, "bar").unwrap();
    one.delete_blob(&digest).unwrap();
    assert_eq!(code(upload.commit(3, &digest)), Some(Code::FailedPrecondition));
    assert_eq!((two.blobs(), site.blob_files()), (vec![], vec![]));
    two.abort("ref").unwrap();
    two.store("ref", b"foo").unwrap();
    assert_eq!(two.read_blob(&digest).unwrap(), b"foo");
}

#[test]
fn what_is_written_on_leaves_the_blob_alone() {
    let site = site("");
    let mut daemon = site.start();
    let data = random_data(&mut Random::new(), 5 << 20);
    let digest = clients(&daemon)[0].store("ref", &data).unwrap();
    for killed in [false, true] {
        let [one, two] = clients(&daemon);
        let mut upload = shared(&two, "ref", &data);
        let appended = [&data, b"more".as_slice()].concat();
        let reply = upload.write(data.len(), b"more").unwrap();
        assert_eq!((reply.offset, reply.digest), (appended.len() as i64, sha256(&appended)));
        assert_eq!(one.read_blob(&digest).unwrap(), data);
        wait_for("the end of the other name", LIMIT, || names(&site, &digest) == 1);
        assert_eq!(site.fsck(false), Vec::<String>::new());
        drop(upload);
        if killed {
            daemon.kill();
            daemon = site.start();
        }
        let [one, two] = clients(&daemon);
        let (mut upload, reply) = two.reopen(&stat("ref"));
        assert_eq!((reply.offset, reply.digest), (appended.len() as i64, sha256(&appended)));
        upload.commit(appended.len(), &sha256(&appended)).unwrap();
        assert_eq!(two.read_blob(&sha256(&appended)).unwrap(), appended);
        assert_eq!(code(two.blob(&digest)), Some(Code::NotFound));
        assert_eq!(one.read_blob(&digest).unwrap(), data);
        two.delete_blob(&sha256(&appended)).unwrap();
    }
}

#[test]
fn what_begins_anew_shares_nothing() {
    let site = site("");
    let daemon = site.start();
    let [one, two] = clients(&daemon);
    let digest = one.store("ref", b"foo").unwrap();
    // By writing at the beginning, by announcing something else, or nothing.
    let mut upload = shared(&two, "written", b"foo");
    assert_eq!(upload.write(0, b"quux").unwrap().digest, sha256(b"quux"));
    upload.commit(4, &sha256(b"quux")).unwrap();
    for (name, again) in [("another", announce("another", &sha256(b"else"), 0)), ("nothing", stat("nothing"))] {
        shared(&two, name, b"foo").close();
        let (mut upload, reply) = two.reopen(&again);
        assert_eq!((reply.offset, reply.digest), (0, sha256(b"")), "{name}");
        upload.write(0, name.as_bytes()).unwrap();
        upload.commit(name.len(), "").unwrap();
    }
    assert_eq!(two.blobs().len(), 3);
    assert_eq!((one.read_blob(&digest).unwrap(), names(&site, &digest)), (b"foo".to_vec(), 1));
    // Of another length it is not what was announced.
    let (_, reply) = two.open(announce("longer", &digest, 4)).unwrap();
    assert_eq!(reply.offset, 0);
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn a_commit_of_what_is_shared_is_checked_like_any_other() {
    let site = site("");
    let daemon = site.start();
    let [one, two] = clients(&daemon);
    let digest = one.store("ref", b"foo").unwrap();
    for (last, wrong) in [
        (commit(3, 4, &digest), Code::FailedPrecondition),
        (commit(3, 3, &sha256(b"bar")), Code::FailedPrecondition),
        (commit(3, 3, &common::content::sha512(b"foo")), Code::FailedPrecondition),
        (commit(2, 3, &digest), Code::OutOfRange),
    ] {
        assert_eq!(code(shared(&two, "ref", b"foo").send(last)), Some(wrong));
        assert_eq!(two.status("ref").unwrap().offset, 3);
    }
    two.abort("ref").unwrap();
    assert_eq!(code(two.status("ref")), Some(Code::NotFound));
    assert_eq!(one.read_blob(&digest).unwrap(), b"foo");
    // Somebody else of the namespace was faster.
    let mut upload = shared(&two, "ref", b"foo");
    two.store("other", b"foo").unwrap();
    assert_eq!(code(upload.commit(3, "")), Some(Code::AlreadyExists));
    assert_eq!((two.refs(), site.ingest_files()), (vec![], vec![]));
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn isolated_namespaces_share_files_alone() {
    let site = site(ISOLATED);
    let daemon = site.start();
    let ([one, two], containerd) = (clients(&daemon), Client::new(&daemon));
    for client in [&one, &containerd] {
        client.store("one/1/ref", b"foo").unwrap();
    }
    let digest = sha256(b"foo");
    let (mut upload, reply) = two.open(announce("ref", &digest, 3)).unwrap();
    assert_eq!((reply.offset, reply.digest), (0, sha256(b"")));
    assert_eq!(code(upload.commit_at(3, 3, &digest)), Some(Code::OutOfRange));
    let (mut upload, _) = two.reopen(&announce("ref", &digest, 3));
    upload.write(0, b"foo").unwrap();
    upload.commit(3, &digest).unwrap();
    assert_eq!(two.read_blob(&digest).unwrap(), b"foo");
    assert_eq!((site.blob_files(), site.fsck(false)), (vec![digest], vec![]));
}

#[test]
fn a_namespace_can_be_labelled_as_shareable() {
    let site = site(ISOLATED);
    let daemon = site.start();
    let [one, two] = clients(&daemon);
    let digest = one.store("ref", b"foo").unwrap();
    for (value, is_shared) in [("false", false), ("True", false), ("true", true)] {
        one.update_namespace("one", &[(SHAREABLE, value)], &[]).unwrap();
        let (upload, reply) = two.open(announce(value, &digest, 3)).unwrap();
        assert_eq!(reply.offset == 3, is_shared, "{value}");
        drop(upload);
    }
    // Not what others have that are not.
    two.store("ref", b"bar").unwrap();
    let three = one.in_namespace("three");
    assert_eq!(three.open(announce("bar", &sha256(b"bar"), 3)).unwrap().1.offset, 0);
    shared(&three, "foo", b"foo").commit(3, &digest).unwrap();
    assert_eq!(three.blobs(), [digest]);
}
