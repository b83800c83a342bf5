//! Uploads do what containerd's do: offsets, checks, codes, and going on after a break.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use common::client::Client;
use common::content::{Upload, commit, random_data, sha256, sha384, sha512, stat};
use common::daemon::Site;
use common::random::Random;
use common::wait_for;
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use tonic::{Code, Status};

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const LIMIT: Duration = Duration::from_secs(60);

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

#[test]
fn every_answer_says_how_far_the_ingest_is() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let before = SystemTime::now();
    let (mut upload, reply) = client.open(api::WriteContentRequest { total: 6, ..stat("ref") }).unwrap();
    assert_eq!((reply.offset, reply.total, reply.digest.as_str()), (0, 6, EMPTY));
    assert_eq!(reply.action(), api::WriteAction::Stat);
    let time = |time: Option<prost_types::Timestamp>| SystemTime::try_from(time.unwrap()).unwrap();
    assert!((before..=SystemTime::now()).contains(&time(reply.started_at)));

    let written = upload.write(0, b"foo").unwrap();
    assert_eq!((written.offset, written.digest), (3, sha256(b"foo")));
    assert!(time(written.updated_at) > time(reply.updated_at));
    let status = client.status("ref").unwrap();
    assert_eq!((status.offset, status.total, status.started_at), (3, 6, written.started_at));
    assert_eq!(status.updated_at, written.updated_at);
    // A write of nothing asks as well.
    assert_eq!(upload.write(3, b"").unwrap().offset, 3);
    assert_eq!(upload.write(3, b"bar").unwrap().digest, sha256(b"foobar"));
    assert_eq!(client.refs(), ["ref"]);

    let digest = sha256(b"foobar");
    let mut last = commit(6, 6, &digest);
    last.labels = common::client::label_map(&[("a", "1"), ("none", "")]);
    let reply = upload.send(last).unwrap();
    assert_eq!((reply.offset, reply.digest.as_str(), reply.action()), (6, &*digest, api::WriteAction::Commit));
    let info = client.blob(&digest).unwrap();
    assert_eq!((info.digest.as_str(), info.size), (&*digest, 6));
    assert_eq!(info.labels, common::client::label_map(&[("a", "1")]));
    assert!((before..=SystemTime::now()).contains(&time(info.created_at)));
    assert_eq!(client.read_blob(&digest).unwrap(), b"foobar");
    assert_eq!(client.refs(), Vec::<String>::new());
    assert_eq!(code(client.status("ref")), Some(Code::NotFound));

    let file = std::fs::metadata(site.blob_file(&digest)).unwrap();
    assert_eq!((file.permissions().mode() & 0o7777, file.len()), (0o444, 6));
    assert_eq!(site.ingest_files(), Vec::<String>::new());
}

#[test]
fn a_stream_ends_with_its_commit() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let mut upload = client.begin("ref").unwrap();
    upload.write(0, b"foo").unwrap();
    upload.commit(3, "").unwrap();
    let message = api::WriteContentRequest { action: api::WriteAction::Write.into(), offset: 3, ..Default::default() };
    assert_eq!(upload.try_send(message).unwrap(), None);
    // All of it can be one message.
    let (mut upload, reply) = client
        .open(api::WriteContentRequest {
            r#ref: "ref".into(),
            data: b"all of it".as_slice().into(),
            ..commit(0, 9, &sha256(b"all of it"))
        })
        .unwrap();
    assert_eq!(reply.offset, 9);
    assert_eq!(upload.try_send(stat("")).unwrap(), None);
    assert_eq!(client.blobs().len(), 2);
}

#[test]
fn nothing_at_all_is_a_blob_as_well() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    client.begin("ref").unwrap().commit(0, EMPTY).unwrap();
    assert_eq!(client.blob(EMPTY).unwrap().size, 0);
    assert_eq!(client.read_blob(EMPTY).unwrap(), b"");
    daemon.kill();
    assert_eq!(Client::new(&site.start()).blobs(), [EMPTY]);
}

#[test]
fn an_ingest_goes_on_where_it_was() {
    let site = Site::new();
    let data = random_data(&mut Random::new(), 5 << 20);
    let first = api::WriteContentRequest { total: data.len() as i64, ..stat("ref") };
    let mut daemon = site.start();
    let mut started_at = None;
    let mut offset = 0;
    // Closed, vanished, stopped and killed in turn.
    for (turn, piece) in data.chunks(1 << 20).enumerate() {
        let client = Client::new(&daemon);
        let (mut upload, reply) = client.reopen(&first);
        assert_eq!((reply.offset, reply.digest), (offset as i64, sha256(&data[..offset])), "turn {turn}");
        assert_eq!(*started_at.get_or_insert(reply.started_at), reply.started_at);
        upload.write(offset, piece).unwrap();
        offset += piece.len();
        match turn {
            0 => upload.close(),
            1 => drop(upload),
            2 => {
                upload.close();
                drop(client);
                assert!(daemon.stop().success());
                daemon = site.start();
            }
            _ => {
                daemon.kill();
                daemon = site.start();
            }
        }
        let status = Client::new(&daemon).status("ref").unwrap();
        assert_eq!((status.offset, status.total), (offset as i64, data.len() as i64));
    }
    let client = Client::new(&daemon);
    let (mut upload, reply) = client.reopen(&first);
    assert_eq!(reply.digest, sha256(&data));
    upload.commit(data.len(), &sha256(&data)).unwrap();
    assert_eq!(client.read_blob(&sha256(&data)).unwrap(), data);
}

#[test]
fn a_write_is_where_the_ingest_is_or_begins_it_anew() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    for (offset, at) in [(4, "beyond"), (2, "before"), (-1, "below nothing")] {
        let (mut upload, reply) = client.reopen(&stat("ref"));
        if reply.offset == 0 {
            upload.write(0, b"foo").unwrap();
        }
        let message = api::WriteContentRequest {
            action: api::WriteAction::Write.into(),
            offset,
            data: b"x".as_slice().into(),
            ..Default::default()
        };
        assert_eq!(code(upload.send(message)), Some(Code::OutOfRange), "{at}");
    }
    let (mut upload, reply) = client.reopen(&stat("ref"));
    assert_eq!(reply.offset, 3);
    let reply = upload.write(0, b"anew").unwrap();
    assert_eq!((reply.offset, reply.digest), (4, sha256(b"anew")));
    upload.close();
    // Another size is another upload.
    let (mut upload, _) = client.reopen(&api::WriteContentRequest { total: 9, ..stat("sized") });
    upload.write(0, b"four").unwrap();
    upload.close();
    let (mut upload, reply) = client.reopen(&api::WriteContentRequest { total: 4, ..stat("sized") });
    assert_eq!((reply.offset, reply.digest.as_str()), (0, EMPTY));
    upload.write(0, b"4444").unwrap();
    upload.commit(4, &sha256(b"4444")).unwrap();
    assert_eq!(client.read_blob(&sha256(b"4444")).unwrap(), b"4444");
}

#[test]
fn a_commit_that_is_not_what_it_says_changes_nothing() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    client.begin("ref").unwrap().write(0, b"foobar").unwrap();
    let digest = sha256(b"foobar");
    for (total, expected) in [(5, ""), (7, digest.as_str()), (0, EMPTY), (6, &sha512(b"fooba"))] {
        let (mut upload, _) = client.reopen(&stat("ref"));
        let refused = upload.commit_at(6, total, expected).unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{total} {expected}: {refused}");
    }
    // A position that is not the end is no commit at all.
    let (mut upload, _) = client.reopen(&stat("ref"));
    assert_eq!(code(upload.commit_at(5, 6, &digest)), Some(Code::OutOfRange));
    assert_eq!(client.blobs(), Vec::<String>::new());
    let (mut upload, _) = client.reopen(&stat("ref"));
    upload.commit(6, &digest).unwrap();
    assert_eq!(client.blobs(), [digest]);
}

#[test]
fn what_is_there_is_not_uploaded_again() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let digest = client.store("first", b"foobar").unwrap();
    let expecting = api::WriteContentRequest { expected: digest.clone(), ..stat("second") };
    assert_eq!(code(client.open(expecting.clone())), Some(Code::AlreadyExists));
    // Whoever says it later has begun an ingest by then, of which nothing is left.
    let mut upload = client.begin("second").unwrap();
    upload.write(0, b"foo").unwrap();
    assert_eq!(
        code(upload.send(api::WriteContentRequest { r#ref: String::new(), ..expecting })),
        Some(Code::AlreadyExists)
    );
    assert_eq!(client.refs(), Vec::<String>::new());
    for (total, expected) in [(6, digest.as_str()), (6, ""), (0, "")] {
        let (mut upload, reply) = client.reopen(&stat("second"));
        assert_eq!(reply.offset, 0);
        upload.write(0, b"foobar").unwrap();
        assert_eq!(code(upload.commit_at(6, total, expected)), Some(Code::AlreadyExists));
        assert_eq!(client.refs(), Vec::<String>::new());
    }
    assert_eq!(client.blobs(), [digest]);
    wait_for("the end of what was uploaded again", LIMIT, || site.trash_dirs().is_empty());
    assert_eq!(site.ingest_files(), Vec::<String>::new());
}

#[test]
fn a_ref_has_one_stream_at_a_time() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let mut upload = client.begin("ref").unwrap();
    upload.write(0, b"foo").unwrap();
    assert_eq!(code(client.open(stat("ref"))), Some(Code::Unavailable));
    client.begin("other").unwrap().close();
    // Another client sees how far it is all the same.
    assert_eq!(Client::new(&daemon).status("ref").unwrap().offset, 3);
    upload.write(3, b"bar").unwrap();
    drop(upload);
    assert_eq!(client.reopen(&stat("ref")).1.offset, 6);
}

#[test]
fn an_ingest_that_is_given_up_is_gone_for_its_writer_too() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    assert_eq!(code(client.abort("unknown")), Some(Code::NotFound));
    for last in [api::WriteAction::Write, api::WriteAction::Commit] {
        let (mut upload, reply) = client.reopen(&stat("ref"));
        assert_eq!(reply.offset, 0);
        upload.write(0, b"foo").unwrap();
        client.abort("ref").unwrap();
        assert_eq!(code(client.abort("ref")), Some(Code::NotFound));
        assert_eq!(code(client.status("ref")), Some(Code::NotFound));
        let message = api::WriteContentRequest { action: last.into(), offset: 3, ..Default::default() };
        assert_eq!(code(upload.send(message)), Some(Code::NotFound), "{last:?}");
    }
    assert_eq!(client.blobs(), Vec::<String>::new());
    wait_for("the end of what was given up", LIMIT, || site.trash_dirs().is_empty());
    assert_eq!(site.ingest_files(), Vec::<String>::new());
}

#[test]
fn every_algorithm_of_containerd_is_known() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let long = random_data(&mut Random::new(), 3 << 20);
    for (digest, data) in [(sha384(&long), &long[..]), (sha512(b"foo"), b"foo"), (sha512(&long), &long)] {
        // Said at the start, or only at the end, as containerd does.
        let first = api::WriteContentRequest { expected: digest.clone(), ..stat("ref") };
        for first in [first, stat("ref")] {
            let (mut upload, reply) = client.reopen(&first);
            assert_eq!(
                reply.digest.split(':').next(),
                Some(if first.expected.is_empty() { "sha256" } else { &digest[..6] })
            );
            upload.write(0, data).unwrap();
            let reply = upload.commit(data.len(), &digest).unwrap();
            assert_eq!(reply.digest, digest);
            assert_eq!(client.read_blob(&digest).unwrap(), data);
            client.delete_blob(&digest).unwrap();
        }
    }
}

#[test]
fn two_who_upload_the_same_at_a_time_both_have_it() {
    let site = Site::new();
    let daemon = site.start();
    let mut random = Random::new();
    for round in 0..30 {
        let data = random_data(&mut random, 10_000);
        let digest = sha256(&data);
        let clients: Vec<Client> = (0..4).map(|_| Client::new(&daemon)).collect();
        let mut uploads: Vec<Upload<'_>> = clients
            .iter()
            .enumerate()
            .map(|(n, client)| {
                let mut upload = client.begin(&format!("{round} {n}")).unwrap();
                upload.write(0, &data).unwrap();
                upload
            })
            .collect();
        let answers: Vec<Option<Code>> = std::thread::scope(|scope| {
            let committing: Vec<_> =
                uploads.iter_mut().map(|upload| scope.spawn(|| code(upload.commit(data.len(), &digest)))).collect();
            committing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|code| code.is_none()).count(), 1, "{answers:?}");
        assert!(answers.iter().flatten().all(|code| *code == Code::AlreadyExists), "{answers:?}");
        assert_eq!(clients[0].read_blob(&digest).unwrap(), data);
    }
    wait_for("the end of what was uploaded again", LIMIT, || site.trash_dirs().is_empty());
    assert_eq!(site.ingest_files(), Vec::<String>::new());
    assert_eq!(site.blob_files().len(), 30);
}
