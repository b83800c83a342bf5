//! `leasehold content import` takes over the blobs of another store: all that are what they should be, however often it is
//! broken off, and it changes nothing there.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::{Child, Stdio};
use std::time::Duration;

use common::cli::Said;
use common::client::Client;
use common::content::{random_data, sha256};
use common::daemon::{Daemon, Site};
use common::filesystem::{FileSystem, free_bytes, privileged};
use common::foreign::Foreign;
use common::random::Random;
use common::{is_root, wait_for};
use leasehold::grpc::proto::leasehold::admin::v1::ImportRequest;
use leasehold::grpc::proto::leasehold::admin::v1::blobs_client::BlobsClient;
use serde_json::{Value, json};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);
const MEBIBYTE: u64 = 1 << 20;
const KILLS: usize = 8;

fn import(site: &Site, from: &Foreign, args: &[&str]) -> Said {
    site.cli(&[&["content", "import", "--json", from.name()], args].concat())
}

/// Returns the report of an import that ends with `code`.
fn report(said: Said, code: i32) -> Value {
    assert!(said.code == code && said.err.is_empty(), "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

fn counts(report: &Value) -> [u64; 4] {
    let count = |name: &str| report[name].as_u64().unwrap();
    [count("linked"), count("cloned") + count("copied"), count("known"), count("missing")]
}

/// Makes a store with blobs of so many bytes.
fn foreign(site: &Site, sizes: &[usize]) -> (Foreign, Vec<Vec<u8>>) {
    let foreign = Foreign::new(site.dir().join("foreign"));
    let mut random = Random::new();
    let blobs: Vec<Vec<u8>> = sizes.iter().map(|size| random_data(&mut random, *size)).collect();
    blobs.iter().for_each(|blob| drop(foreign.store(blob)));
    (foreign, blobs)
}

fn expect_all(site: &Site, daemon: &Daemon, blobs: &[Vec<u8>]) {
    let client = Client::new(daemon);
    for blob in blobs {
        assert!(client.read_blob(&sha256(blob)).unwrap() == *blob);
        assert_eq!(client.blob(&sha256(blob)).unwrap().size, blob.len() as i64);
    }
    assert_eq!(client.blobs().len(), blobs.len());
    assert_eq!(site.ingest_files(), Vec::<String>::new());
    site.cli(&["fsck", "--content"]).ok();
}

/// Imports, `serve` being whether a daemon serves meanwhile.
fn blobs_are_taken_over(serve: bool) {
    let site = Site::new();
    let (foreign, mut blobs) = foreign(&site, &[0, 1, 3 << 20, (1 << 20) + 7, 100]);
    // One that somebody could still write to.
    let open = b"writable".to_vec();
    foreign.store_as(&sha256(&open), &open, 0o644);
    blobs.push(open);
    let daemon = serve.then(|| site.start());
    let bytes: usize = blobs.iter().map(Vec::len).sum();

    let planned = report(import(&site, &foreign, &["--dry-run"]), 0);
    assert_eq!((counts(&planned), &planned["bytes"]), ([5, 1, 0, 6], &json!(bytes)));
    assert_eq!(site.blob_files(), Vec::<String>::new());
    let modes =
        |blob: &Vec<u8>| fs::metadata(foreign.file(&sha256(blob))).map(|file| (file.mode(), file.ino())).unwrap();
    let before: Vec<_> = blobs.iter().map(modes).collect();
    let imported = report(import(&site, &foreign, &[]), 0);
    assert_eq!((counts(&imported), &imported["bytes"]), ([5, 1, 0, 0], &json!(bytes)));
    assert_eq!(imported["skipped"], json!([]));
    let text = site.cli(&["content", "import", foreign.name(), "--jobs", "1"]).ok();
    let all = format!("all blobs of {} are in the pool\n", foreign.name());
    assert!(
        text.starts_with("imported 0 blobs, 0 B") && text.contains("; 6 were there") && text.ends_with(&all),
        "{text}"
    );

    let daemon = daemon.unwrap_or_else(|| site.start());
    expect_all(&site, &daemon, &blobs);
    let inode = |path| fs::metadata(path).unwrap().ino();
    for blob in &blobs {
        let digest = sha256(blob);
        let is_shared = inode(site.blob_file(&digest)) == inode(foreign.file(&digest));
        assert_eq!(is_shared, blob != blobs.last().unwrap());
        assert_eq!(fs::metadata(site.blob_file(&digest)).unwrap().mode() & 0o7777, 0o444);
    }
    // What is deleted here stays there.
    let client = Client::new(&daemon);
    blobs.iter().for_each(|blob| client.delete_blob(&sha256(blob)).unwrap());
    wait_for("the end of trash", LIMIT, || site.trash_dirs().is_empty());
    assert_eq!(site.blob_files(), Vec::<String>::new());
    blobs.iter().for_each(|blob| assert!(fs::read(foreign.file(&sha256(blob))).unwrap() == *blob));
    assert_eq!(blobs.iter().map(modes).collect::<Vec<_>>(), before);
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_blobs_are_taken_over_while_requests_are_served() {
    if is_root("blobs_are_taken_over_while_requests_are_served") {
        blobs_are_taken_over(true);
    }
}

#[test]
fn privileged_blobs_are_taken_over_without_a_daemon() {
    if is_root("blobs_are_taken_over_without_a_daemon") {
        blobs_are_taken_over(false);
    }
}

#[test]
fn what_is_no_blob_is_told_and_the_others_are_brought() {
    let site = Site::new();
    let daemon = site.start();
    let (foreign, blobs) = foreign(&site, &[1000, 2000]);
    let [directory, link, pipe, damaged] = ["directory", "link", "pipe", "damaged"].map(|name| sha256(name.as_bytes()));
    fs::create_dir(foreign.file(&directory)).unwrap();
    symlink(foreign.file(&sha256(&blobs[0])), foreign.file(&link)).unwrap();
    nix::unistd::mkfifo(&foreign.file(&pipe), nix::sys::stat::Mode::S_IRUSR).unwrap();
    foreign.store_as(&damaged, b"something else", 0o444);
    for name in ["README", "ABC", &"A".repeat(64)] {
        fs::write(foreign.path().join("blobs/sha256").join(name), "").unwrap();
    }
    fs::create_dir(foreign.path().join("blobs/md5")).unwrap();
    let found = report(import(&site, &foreign, &[]), 1);
    assert_eq!(found["linked"].as_u64().unwrap() + counts(&found)[1], 2);
    // Those whose names are digests.
    assert_eq!(found["missing"], 4);
    let skipped = found["skipped"].as_array().unwrap();
    let mut reasons: Vec<(String, &str)> =
        skipped.iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one["reason"].as_str().unwrap())).collect();
    reasons.sort();
    let name = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
    let mut expected = vec![
        (name(&directory), "no-file"),
        (name(&link), "no-file"),
        (name(&pipe), "no-file"),
        (name(&damaged), "damaged"),
        ("blobs/sha256/README".into(), "no-digest"),
        ("blobs/sha256/ABC".into(), "no-digest"),
        (format!("blobs/sha256/{}", "A".repeat(64)), "no-digest"),
        ("blobs/md5".into(), "no-digest"),
    ];
    expected.sort();
    assert_eq!(reasons, expected);
    let what = skipped.iter().find(|one| one["reason"] == "damaged").unwrap()["what"].as_str().unwrap();
    assert_eq!(what, format!("it is damaged: its digest is {}", sha256(b"something else")));
    expect_all(&site, &daemon, &blobs);
    let planned = report(import(&site, &foreign, &["--dry-run"]), 1);
    assert_eq!(planned["skipped"].as_array().unwrap().len(), 7, "a dry run reads no blob");
}

#[test]
fn where_there_is_no_store_it_is_said_what_there_is() {
    let site = Site::new();
    let daemon = site.start();
    let said = |path: &str| site.cli(&["content", "import", path]).fails(1);
    let dir = site.dir().to_str().unwrap();
    assert!(said(&format!("{dir}/missing")).contains("missing does not exist"));
    fs::write(site.dir().join("file"), "").unwrap();
    assert!(said(&format!("{dir}/file")).contains("file is not a directory"));
    assert!(said(dir).contains("is no content store: it has no directory `blobs`"));
    assert!(said(site.root().to_str().unwrap()).contains("is the pool's own"));
    symlink(site.root(), site.dir().join("link")).unwrap();
    assert!(said(&format!("{dir}/link")).contains("is the pool's own"));
    // The command line makes paths absolute; other clients may not.
    let client = Client::new(&daemon);
    let channel = client.run(leasehold::grpc::client(daemon.api_socket())).unwrap();
    let status = client.run(async move {
        let request = ImportRequest { directory: "foreign".into(), ..Default::default() };
        let mut stream = BlobsClient::new(channel).import(request).await?.into_inner();
        stream.message().await.map(drop)
    });
    let status = status.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "directory: foreign is not an absolute path")
    );
    assert!(daemon.stop().success());
    assert!(said(site.root().to_str().unwrap()).contains("is the pool's own"));
}

#[test]
fn privileged_blobs_of_another_file_system_are_copied() {
    privileged("blobs_of_another_file_system_are_copied", || {
        let (site, other) = (Site::new(), FileSystem::tmpfs(64 * MEBIBYTE));
        let foreign = Foreign::new(other.path().join("content"));
        let blobs: Vec<Vec<u8>> = (1..30_u8).map(|n| vec![n; 100_000 * usize::from(n)]).collect();
        blobs.iter().for_each(|blob| drop(foreign.store(blob)));
        let daemon = site.start();
        let found = report(import(&site, &foreign, &[]), 0);
        assert_eq!((&found["copied"], &found["linked"]), (&json!(blobs.len()), &json!(0)));
        expect_all(&site, &daemon, &blobs);
    });
}

#[test]
fn privileged_a_full_disk_ends_it_and_what_was_brought_stays() {
    privileged("a_full_disk_ends_it_and_what_was_brought_stays", || {
        let (small, other) = (FileSystem::ext4(256 * MEBIBYTE), FileSystem::tmpfs(64 * MEBIBYTE));
        let site = Site::with_settings("[limits]\nmin_free = \"32MiB\"\n").with_root(&small.path().join("pool"));
        let foreign = Foreign::new(other.path().join("content"));
        let blobs: Vec<Vec<u8>> = (1..=20_u8).map(|n| vec![n; MEBIBYTE as usize]).collect();
        blobs.iter().for_each(|blob| drop(foreign.store(blob)));
        let daemon = site.start();
        let filler = small.fill_but(40 * MEBIBYTE);
        let said = import(&site, &foreign, &[]).fails(1);
        let there = Client::new(&daemon).blobs().len();
        assert!((1..20).contains(&there), "{there}");
        let problem = format!("no space: {there} of 20 blobs are in the pool now, and stay; ");
        assert!(said.contains(&problem), "{said}, and not {problem}");
        // Each thread may have had its last piece allowed by the same look.
        assert!(free_bytes(small.path()) >= 24 * MEBIBYTE);
        assert_eq!((site.ingest_files(), site.fsck(false)), (Vec::new(), Vec::<String>::new()));
        drop(filler);
        assert_eq!(counts(&report(import(&site, &foreign, &[]), 0))[2], there as u64);
        expect_all(&site, &daemon, &blobs);
    });
}

#[test]
fn blobs_that_go_meanwhile_are_told() {
    let site = Site::new();
    let _daemon = site.start();
    let (foreign, blobs) = foreign(&site, &[5000; 400]);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| blobs.iter().for_each(|blob| fs::remove_file(foreign.file(&sha256(blob))).unwrap()));
        let said = import(&site, &foreign, &["--jobs", "1"]);
        assert!(said.err.is_empty(), "{said:?}");
        let code = said.code;
        let found: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(code == 0, found["skipped"] == json!([]));
        found
    });
    for one in found["skipped"].as_array().unwrap() {
        assert_eq!(one["reason"], "vanished");
        let digest = one["name"].as_str().unwrap().trim_start_matches("blobs/").replace('/', ":");
        assert!(!site.blob_files().contains(&digest));
    }
    // What was opened in time is there, whole.
    site.cli(&["fsck", "--content"]).ok();
}

/// An import under way. Dropping it kills it.
struct Import(Child);

impl Import {
    fn start(site: &Site, from: &Foreign) -> Import {
        let mut command = site.command();
        command.args(["content", "import", from.name()]);
        Import(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn broken_off_at_any_moment_the_next_one_goes_on() {
    let site = Site::new();
    let (foreign, blobs) = foreign(&site, &[60_000; 300]);
    // Half of them have to be copied.
    for blob in blobs.iter().step_by(2) {
        fs::remove_file(foreign.file(&sha256(blob))).unwrap();
        foreign.store_as(&sha256(blob), blob, 0o644);
    }
    let mut random = Random::new();
    let mut daemon = site.start();
    for kill in 0..KILLS {
        let begun = site.blob_files().len();
        let import = Import::start(&site, &foreign);
        let more = begun + random.below(40) as usize;
        wait_for("some blobs", LIMIT, || site.blob_files().len() >= more.min(blobs.len()));
        if kill % 2 == 0 {
            daemon.kill();
            daemon = site.start();
        } else {
            drop(import);
        }
        wait_for("the end of what was broken off", LIMIT, || site.fsck(false).is_empty());
        let client = Client::new(&daemon);
        for digest in client.blobs() {
            assert_eq!(sha256(&fs::read(site.blob_file(&digest)).unwrap()), digest);
        }
    }
    report(import(&site, &foreign, &[]), 0);
    expect_all(&site, &daemon, &blobs);
    wait_for("the end of trash", LIMIT, || site.trash_dirs().is_empty());
}

#[test]
fn two_imports_and_uploads_of_the_same_blobs_agree() {
    let site = Site::new();
    let daemon = site.start();
    let (foreign, blobs) = foreign(&site, &[30_000; 60]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| report(import(&site, &foreign, &[]), 0));
        }
        for n in 0..3 {
            let (daemon, blobs) = (&daemon, &blobs);
            scope.spawn(move || {
                let client = Client::new(daemon);
                blobs.iter().skip(n).step_by(3).for_each(|blob| drop(client.store(&format!("ref {n}"), blob)));
            });
        }
    });
    let client = Client::new(&daemon);
    for name in client.refs() {
        client.abort(&name).unwrap();
    }
    expect_all(&site, &daemon, &blobs);
}
