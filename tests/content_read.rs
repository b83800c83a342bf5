//! Blobs are read, listed, labelled and deleted as containerd's are.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::client::{Client, label_map};
use common::content::{commit, random_data, sha256, stat};
use common::daemon::{Daemon, Site};
use common::random::Random;
use common::wait_for;
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use tonic::{Code, Response, Status};

const CHUNK: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(60);

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

#[test]
fn a_part_is_what_was_asked_for_and_ends_with_the_blob() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let data = random_data(&mut Random::new(), 3 * CHUNK + 7);
    let digest = client.store("ref", &data).unwrap();
    let end = data.len() as i64;
    for (offset, size, expected) in [
        (0, 0, 0..data.len()),
        (-5, -5, 0..data.len()),
        (0, 1, 0..1),
        (5, 10, 5..15),
        (end - 1, 0, data.len() - 1..data.len()),
        (end - 1, 9, data.len() - 1..data.len()),
        (end, 0, data.len()..data.len()),
        (1, i64::MAX, 1..data.len()),
        (CHUNK as i64 - 1, CHUNK as i64 + 2, CHUNK - 1..2 * CHUNK + 1),
    ] {
        let chunks = client.read_chunks(&digest, offset, size).unwrap();
        let mut at = 0;
        for chunk in &chunks {
            assert!((1..=CHUNK).contains(&chunk.data.len()), "{offset} {size}");
            assert_eq!(chunk.offset, at, "counted from the first byte of {offset} {size}");
            at += chunk.data.len() as i64;
        }
        let read: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.data).collect();
        assert!(read == data[expected], "{offset} {size}");
    }
    assert_eq!(code(client.read_part(&digest, end + 1, 0)), Some(Code::OutOfRange));
    assert_eq!(code(client.read_part(&digest, i64::MAX, i64::MAX)), Some(Code::OutOfRange));
    assert_eq!(code(client.read_blob(&sha256(b"unknown"))), Some(Code::NotFound));
}

#[test]
fn labels_change_by_mask() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let digest = client.store("ref", b"foobar").unwrap();
    let created = client.blob(&digest).unwrap();
    let updated = client.update_blob(&digest, &[("a", "1"), ("b", "2")], &[]).unwrap();
    assert_eq!(updated.labels, label_map(&[("a", "1"), ("b", "2")]));
    assert_eq!(updated.created_at, created.created_at);
    assert_ne!(updated.updated_at, created.updated_at);
    let updated = client.update_blob(&digest, &[("b", "3"), ("c", "4")], &["labels.b", "labels.a"]).unwrap();
    assert_eq!(updated.labels, label_map(&[("b", "3")]));
    assert_eq!(code(client.update_blob(&digest, &[], &["size"])), Some(Code::InvalidArgument));
    assert_eq!(code(client.update_blob(&sha256(b""), &[("a", "1")], &[])), Some(Code::NotFound));
    daemon.kill();
    assert_eq!(Client::new(&site.start()).blob(&digest).unwrap(), updated);
}

#[test]
fn a_listing_has_what_matches_page_by_page() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let mut digests: Vec<String> =
        (0..150).map(|n: u32| client.store(&format!("ref {n}"), &n.to_le_bytes()).unwrap()).collect();
    digests.sort();
    let pages = client.blob_pages(&[]).unwrap();
    assert!(pages.len() > 1 && pages.iter().all(|page| !page.is_empty()));
    assert_eq!(client.blobs(), digests);
    client.update_blob(&digests[7], &[("kind", "seventh"), ("a.b/c", "d")], &[]).unwrap();
    let listed = |filters: &[&str]| -> Vec<String> {
        client.blob_pages(filters).unwrap().concat().into_iter().map(|info| info.digest).collect()
    };
    let exactly = format!("digest=={}", digests[9]);
    for (filters, expected) in [
        (vec![r#"labels.kind==seventh"#], vec![7]),
        (vec![r#"labels."a.b/c"==d"#], vec![7]),
        (vec!["labels.kind"], vec![7]),
        (vec!["labels.kind==seventh", &exactly], vec![7, 9]),
        (vec!["labels.kind==eighth"], vec![]),
        // No field in containerd either, which takes it for one that is absent.
        (vec!["size==4"], vec![]),
    ] {
        let expected: Vec<String> = expected.into_iter().map(|n: usize| digests[n].clone()).collect();
        assert_eq!(listed(&filters), expected, "{filters:?}");
    }
    assert_eq!(code(client.blob_pages(&["=="])), Some(Code::InvalidArgument));
}

#[test]
fn uploads_are_listed_by_their_refs() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    for name in ["default/1/layer-a", "default/2/layer-b", "other/3/manifest"] {
        client.begin(name).unwrap().write(0, name.as_bytes()).unwrap();
    }
    let listed = |filters: &[&str]| -> Vec<String> {
        client.statuses(filters).unwrap().into_iter().map(|status| status.r#ref).collect()
    };
    assert_eq!(listed(&[]).len(), 3);
    assert_eq!(listed(&["ref~=/layer/"]), ["default/1/layer-a", "default/2/layer-b"]);
    assert_eq!(listed(&["ref==other/3/manifest"]), ["other/3/manifest"]);
    assert_eq!(listed(&["expected==x"]), Vec::<String>::new());
    assert_eq!(code(client.statuses(&["=="])), Some(Code::InvalidArgument));
    let manifest = &client.statuses(&["ref~=manifest"]).unwrap()[0];
    assert_eq!(manifest.offset, "other/3/manifest".len() as i64);
}

#[test]
fn a_deleted_blob_is_gone_and_who_reads_it_reads_on() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let data = random_data(&mut Random::new(), 8 * CHUNK);
    let digest = client.store("ref", &data).unwrap();
    let mut content = client.content();
    let request = api::ReadContentRequest { digest: digest.clone(), offset: 0, size: 0 };
    let mut reading = client.answer(async move { content.read(request).await }).unwrap();
    let first = client.run(reading.message()).unwrap().unwrap();
    client.delete_blob(&digest).unwrap();
    assert_eq!(site.blob_files(), Vec::<String>::new());
    for answer in [client.delete_blob(&digest), client.blob(&digest).map(drop), client.read_blob(&digest).map(drop)] {
        assert_eq!(code(answer), Some(Code::NotFound));
    }
    let rest = client.answer(async move {
        let mut rest = first.data.to_vec();
        while let Some(chunk) = reading.message().await? {
            rest.extend_from_slice(&chunk.data);
        }
        Ok(Response::new(rest))
    });
    assert!(rest.unwrap() == data);
    // It can come again.
    assert_eq!(client.store("ref", &data).unwrap(), digest);
    wait_for("the end of the deleted one", LIMIT, || site.trash_dirs().is_empty());
    assert!(client.read_blob(&digest).unwrap() == data);
}

#[test]
fn a_blob_that_is_deleted_and_comes_again_at_a_time_never_loses_its_file() {
    let site = Site::new();
    let daemon = site.start();
    let data = b"always the same";
    let digest = sha256(data);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 0..2 {
            let (daemon, done, digest) = (&daemon, &done, &digest);
            scope.spawn(move || {
                let client = Client::new(daemon);
                while !done.load(Ordering::SeqCst) {
                    let mut upload = client.begin(&format!("ref {n}")).unwrap();
                    upload.write(0, data).unwrap();
                    let answer = code(upload.commit(data.len(), digest));
                    assert!([None, Some(Code::AlreadyExists)].contains(&answer), "{answer:?}");
                }
            });
        }
        let deleting = scope.spawn(|| {
            let client = Client::new(&daemon);
            let mut deleted = 0;
            while deleted < 500 {
                match code(client.delete_blob(&digest)) {
                    None => deleted += 1,
                    Some(code) => assert_eq!(code, Code::NotFound),
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let client = Client::new(&daemon);
        while !done.load(Ordering::SeqCst) && !deleting.is_finished() {
            match client.read_blob(&digest) {
                Ok(read) => assert_eq!(read, data),
                Err(status) => assert_eq!(status.code(), Code::NotFound, "{status}"),
            }
        }
    });
    let client = Client::new(&daemon);
    drop(client.store("ref", data));
    assert_eq!(client.read_blob(&digest).unwrap(), data);
    wait_for("the end of the deleted ones", LIMIT, || site.trash_dirs().is_empty());
    assert_eq!(site.blob_files(), [digest]);
    assert_eq!(site.ingest_files(), Vec::<String>::new());
}

/// Returns how much memory the daemon has to itself, in bytes.
fn memory(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn who_does_not_take_what_was_asked_for_costs_little() {
    const READERS: usize = 40;
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let data = vec![7; 64 * CHUNK];
    let digest = client.store("ref", &data).unwrap();
    let before = memory(&daemon);
    let mut stuck = Vec::new();
    for _ in 0..READERS {
        let mut content = client.content();
        let request = api::ReadContentRequest { digest: digest.clone(), offset: 0, size: 0 };
        stuck.push(client.answer(async move { content.read(request).await }).unwrap());
    }
    // Others are served meanwhile, those that read included.
    assert!(Client::new(&daemon).read_blob(&digest).unwrap() == data);
    let each = memory(&daemon).saturating_sub(before) / READERS;
    assert!(each < 6 * CHUNK, "{each} bytes for each of them");
}

#[test]
fn a_large_blob_comes_back_as_it_was() {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    // Beyond the distance at which what is there is made durable.
    let data = random_data(&mut Random::new(), 150 * CHUNK + 3);
    let digest = sha256(&data);
    let (mut upload, _) = client.open(api::WriteContentRequest { total: data.len() as i64, ..stat("ref") }).unwrap();
    let mut offset = 0;
    for piece in data.chunks(8 << 20) {
        offset += piece.len();
        assert_eq!(upload.write(offset - piece.len(), piece).unwrap().offset, offset as i64);
    }
    upload.send(commit(offset, offset, &digest)).unwrap();
    assert!(client.read_blob(&digest).unwrap() == data);
    assert!(std::fs::read(site.blob_file(&digest)).unwrap() == data);
}
