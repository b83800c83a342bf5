//! What clients do with images and blobs works with leasehold as the content store, too: push, commit, convert, save, load,
//! and `ctr content`. Nothing is left of it afterwards.

mod common;

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use common::containerd::{Client, Release, Session, Unpack};
use common::images::{Image, Kind};
use common::node::Node;
use common::tools::ready;
use common::wait_for;
use sha2::{Digest as _, Sha256};

/// How long containerd may collect.
const COLLECTION: Duration = Duration::from_secs(30);

fn images_are_made_and_pushed(release: Release) {
    let node = Node::start_with_content(release, Unpack::Sequential);
    let image = node.image(Kind::Full);
    let here = node.containerd.session("here");
    here.pull(Client::Nerdctl, &image);

    let [pushed, committed, zstd] =
        ["pushed", "committed", "zstd"].map(|tag| node.registry.reference(&format!("test:{tag}")));
    // nerdctl leaves this and pushing to containerd's transfer service, which containerd 1.6 does not have.
    here.ctr(&["images", "tag", &image.reference, &pushed]);
    here.start_container("writer", &image.reference);
    here.exec_script("writer", "echo new > /new").unwrap();
    here.nerdctl(&["commit", "writer", &committed]);
    here.nerdctl(&["rm", "-f", "writer"]);
    here.nerdctl(&["image", "convert", "--zstd", "--oci", &image.reference, &zstd]);
    for reference in [&pushed, &committed, &zstd] {
        match release {
            Release::V1 => here.ctr(&["images", "push", "--plain-http", reference]),
            Release::V2 => here.nerdctl(&["push", reference]),
        };
    }
    here.nerdctl(&["system", "prune", "-af"]);
    node.expect_empty_pool();

    let there = node.containerd.session("there");
    let of = |reference: &str| Image { reference: reference.to_owned(), ..image.clone() };
    for (reference, check) in
        [(&pushed, image.check()), (&committed, "test $(cat /new) = new".into()), (&zstd, image.check())]
    {
        there.pull(Client::Nerdctl, &of(reference));
        there.run_script(reference, &check).unwrap();
    }
    let manifest = there.ctr(&["content", "get", &target(&there, &zstd)]);
    assert!(manifest.contains("tar+zstd"), "{manifest}");
    node.expect_whole_pool();
    there.nerdctl(&["system", "prune", "-af"]);
    node.expect_empty_pool();
}

fn images_are_saved_and_loaded(release: Release) {
    let node = Node::start_with_content(release, Unpack::Sequential);
    let image = node.image(Kind::Full);
    let session = node.containerd.session("archive");
    session.pull(Client::Nerdctl, &image);
    let archive = node.containerd.dir().join("saved.tar").display().to_string();
    // nerdctl leaves both to containerd's transfer service, which containerd 1.6 does not have.
    let by_ctr = release == Release::V1;
    if by_ctr {
        session.ctr(&["images", "export", &archive, &image.reference]);
    } else {
        session.nerdctl(&["save", "-o", &archive, &image.reference]);
    }
    session.nerdctl(&["system", "prune", "-af"]);
    node.expect_empty_pool();
    if by_ctr {
        session.ctr(&["images", "import", "--snapshotter", session.snapshotter, &archive]);
    } else {
        session.nerdctl(&["load", "-i", &archive]);
    }
    session.run_script(&image.reference, &image.check()).unwrap();
    session.nerdctl(&["system", "prune", "-af"]);
    node.expect_empty_pool();
}

fn content_commands_work(release: Release) {
    let node = Node::start_with_content(release, Unpack::Sequential);
    let image = node.image(Kind::Plain);
    let session = node.containerd.session("content");
    session.ctr(&["content", "fetch", "--plain-http", &image.reference]);
    let digests = digests(&session);
    // Manifest, configuration, layers; an index where there is one.
    assert!(digests.len() >= image.layers.len() + 2, "{digests:?}");
    assert_eq!(digests.len(), node.blobs());
    for digest in &digests {
        assert_eq!(hash(&get(&session, digest)), *digest);
    }

    let data = b"a blob of our own".repeat(100_000);
    let own = hash(&data);
    let refused = ingest(&session, &hash(b"something else"), &data).unwrap_err();
    assert!(refused.contains(&own), "{refused}");
    // Under the same ref, so that nothing of the first try is left. What nothing holds may be collected before its label.
    wait_for("a label on a new blob", COLLECTION, || {
        drop(ingest(&session, &own, &data));
        session.try_ctr(&["content", "label", &own, "containerd.io/gc.root=true"]).is_ok()
    });
    assert_eq!(get(&session, &own), data);
    assert!(session.ctr(&["content", "ls"]).contains("containerd.io/gc.root=true"));
    assert_eq!(node.site.ingest_files(), Vec::<String>::new());
    session.ctr(&["content", "rm", &own]);
    assert!(!self::digests(&session).contains(&own));

    // A namespace whose images are gone keeps nothing of another's from going.
    session.ctr(&["images", "rm", "--sync", &image.reference]);
    for digest in self::digests(&session) {
        session.ctr(&["content", "rm", &digest]);
    }
    let other = node.containerd.session("other");
    other.pull(Client::CtrLocal, &image);
    other.ctr(&["images", "rm", "--sync", &image.reference]);
    node.expect_empty_pool();
}

/// Returns the digest that an image's name stands for.
fn target(session: &Session, reference: &str) -> String {
    let listed = session.ctr(&["images", "ls"]);
    let row = listed.lines().find(|line| line.split_whitespace().next() == Some(reference)).unwrap();
    row.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned()
}

fn digests(session: &Session) -> Vec<String> {
    session.ctr(&["content", "ls", "-q"]).split_whitespace().map(str::to_owned).collect()
}

fn get(session: &Session, digest: &str) -> Vec<u8> {
    let got = session.ctr_command(&["content", "get", digest]).output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    got.stdout
}

fn ingest(session: &Session, digest: &str, data: &[u8]) -> Result<(), String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let args = ["content", "ingest", "--expected-digest", digest, "--expected-size", &data.len().to_string(), "ref"];
    let ended = session.ctr_command(&args).stdin(Stdio::from(file)).output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stderr).into_owned();
    if ended.status.success() { Ok(()) } else { Err(printed) }
}

fn hash(data: &[u8]) -> String {
    let hash = Sha256::digest(data);
    hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn privileged_images_are_made_and_pushed_with_containerd_1() {
    if ready("images_are_made_and_pushed_with_containerd_1") {
        images_are_made_and_pushed(Release::V1);
    }
}

#[test]
fn privileged_images_are_made_and_pushed_with_containerd_2() {
    if ready("images_are_made_and_pushed_with_containerd_2") {
        images_are_made_and_pushed(Release::V2);
    }
}

#[test]
fn privileged_images_are_saved_and_loaded_with_containerd_1() {
    if ready("images_are_saved_and_loaded_with_containerd_1") {
        images_are_saved_and_loaded(Release::V1);
    }
}

#[test]
fn privileged_images_are_saved_and_loaded_with_containerd_2() {
    if ready("images_are_saved_and_loaded_with_containerd_2") {
        images_are_saved_and_loaded(Release::V2);
    }
}

#[test]
fn privileged_content_commands_work_with_containerd_1() {
    if ready("content_commands_work_with_containerd_1") {
        content_commands_work(Release::V1);
    }
}

#[test]
fn privileged_content_commands_work_with_containerd_2() {
    if ready("content_commands_work_with_containerd_2") {
        content_commands_work(Release::V2);
    }
}
