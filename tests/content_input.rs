//! Whatever a client sends to the Content service, the answer says what is wrong, and the next request is served.

mod common;

use common::client::{Client, label_map};
use common::content::{MAX_MESSAGE, commit, sha256, stat};
use common::daemon::Site;
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use tonic::{Code, Status};

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

#[test]
fn what_is_no_digest_is_refused_everywhere() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let long = "9".repeat(1 << 20);
    for digest in ["", "sha256", "sha256:", "sha256:../../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e", &long]
    {
        let answers = [
            client.blob(digest).map(drop),
            client.update_blob(digest, &[], &[]).map(drop),
            client.delete_blob(digest),
            client.read_blob(digest).map(drop),
        ];
        for answer in answers {
            assert_eq!(code(answer), Some(Code::InvalidArgument), "{digest:.60}");
        }
        if digest.is_empty() {
            continue;
        }
        let expecting = |message| api::WriteContentRequest { expected: digest.into(), ..message };
        assert_eq!(code(client.open(expecting(stat("ref")))), Some(Code::InvalidArgument), "{digest:.60}");
        let name = format!("ref {digest:.60}");
        let mut upload = client.begin(&name).unwrap();
        upload.write(0, b"foo").unwrap();
        assert_eq!(code(upload.commit(3, digest)), Some(Code::InvalidArgument), "{digest:.60}");
        // A mistake costs nobody what was uploaded.
        assert_eq!(client.status(&name).unwrap().offset, 3);
    }
    assert_eq!(client.blobs(), Vec::<String>::new());
}

#[test]
fn a_ref_is_there_and_not_too_long() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    for name in ["", &"r".repeat(32_769)] {
        assert_eq!(code(client.open(stat(name))), Some(Code::InvalidArgument));
        assert_eq!(code(client.status(name)), Some(Code::InvalidArgument));
        assert_eq!(code(client.abort(name)), Some(Code::InvalidArgument));
    }
    let odd = ["../../../etc/passwd", "a/b c", "\0", "\u{1f980}", &"r".repeat(32_768)];
    for name in odd {
        client.begin(name).unwrap().write(0, b"foo").unwrap();
        assert_eq!(client.status(name).unwrap().offset, 3, "{name:.60}");
    }
    let mut refs = client.refs();
    refs.sort();
    let mut expected = odd.map(str::to_owned);
    expected.sort();
    assert_eq!(refs, expected);
    for name in odd {
        client.abort(name).unwrap();
    }
}

#[test]
fn a_message_that_makes_no_sense_ends_its_stream_and_nothing_else() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let labels = |len: usize| label_map(&[("label", &"v".repeat(len))]);
    let many = (0..40).map(|n| (format!("{n}"), "v".repeat(4000))).collect();
    let wrong = [
        api::WriteContentRequest { action: 3, ..Default::default() },
        api::WriteContentRequest { action: -1, ..Default::default() },
        api::WriteContentRequest { labels: labels(5000), ..commit(3, 3, "") },
        api::WriteContentRequest { labels: many, ..commit(3, 3, "") },
    ];
    for (n, message) in wrong.into_iter().enumerate() {
        let name = format!("ref {n}");
        let first = api::WriteContentRequest { r#ref: format!("first {n}"), ..message.clone() };
        assert_eq!(code(client.open(first)), Some(Code::InvalidArgument), "{n}");
        let mut upload = client.begin(&name).unwrap();
        upload.write(0, b"foo").unwrap();
        assert_eq!(code(upload.send(message)), Some(Code::InvalidArgument), "{n}");
        assert_eq!(client.status(&name).unwrap().offset, 3);
    }
    assert_eq!(client.blobs(), Vec::<String>::new());
    let digest = client.store("ref", b"foo").unwrap();
    assert_eq!(code(client.update_blob(&digest, &[("l", &"v".repeat(5000))], &[])), Some(Code::InvalidArgument));
    let mut content = client.content();
    let without_info = client.answer(async move { content.update(api::UpdateRequest::default()).await });
    assert_eq!(code(without_info), Some(Code::InvalidArgument));
}

#[test]
fn a_message_is_as_long_as_containerds_at_most() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let mut upload = client.begin("ref").unwrap();
    let most = vec![7; MAX_MESSAGE - 64];
    upload.write(0, &most).unwrap();
    assert_eq!(code(upload.write(most.len(), &vec![7; MAX_MESSAGE + 1])), Some(Code::OutOfRange));
    // The stream is lost, the upload is not.
    assert_eq!(client.status("ref").unwrap().offset, most.len() as i64);
    assert_eq!(client.store("other", b"foo").unwrap(), sha256(b"foo"));
}

#[test]
fn uploads_in_progress_are_counted() {
    let site = Site::with_settings("[content]\nmax_ingests = 3\n");
    let mut daemon = site.start();
    for _ in ["started", "started again"] {
        let client = Client::new(&daemon);
        for name in ["a", "b", "c"] {
            client.begin(name).unwrap().close();
        }
        let refused = client.begin("d").err().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("max_ingests"), "{refused}");
        daemon.kill();
        daemon = site.start();
    }
    let client = Client::new(&daemon);
    client.abort("a").unwrap();
    client.store("d", b"foo").unwrap();
    let mut upload = client.begin("e").unwrap();
    upload.write(0, b"foo").unwrap();
    assert_eq!(code(upload.commit(3, "")), Some(Code::AlreadyExists));
    client.begin("f").unwrap();
    assert_eq!(code(client.begin("g").map(drop)), Some(Code::ResourceExhausted));
}
