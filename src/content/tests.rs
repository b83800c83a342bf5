//! The store over real records and files, at any time and after any crash.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::Error;
use crate::metadata::{CommitIngest, Ingest};
use crate::overlay::Layout;
use crate::store::Durability;
use crate::types::{Digest, FileId, Filter, IngestRef, Labels, LayerId, LeaseId, Member, Namespace, Scope};

struct Pool {
    dir: tempfile::TempDir,
}

struct Opened {
    metadata: Arc<Metadata>,
    content: Arc<Content>,
    reclaimed: Arc<Mutex<Vec<LayerId>>>,
}

impl Pool {
    fn new() -> Pool {
        Pool { dir: tempfile::tempdir().unwrap() }
    }

    fn layout(&self) -> Layout {
        let layout = Layout::new(self.dir.path().join("pool")).unwrap();
        layout.create().unwrap();
        layout
    }

    fn metadata(&self) -> Arc<Metadata> {
        Arc::new(Metadata::open(self.layout().meta(), Durability::Written).unwrap())
    }

    fn files(&self) -> Files {
        Files::open(&self.layout()).unwrap()
    }

    fn open(&self) -> Opened {
        let (metadata, files) = (self.metadata(), self.files());
        let report = recover(&metadata, &files).unwrap();
        let reclaimed: Arc<Mutex<Vec<LayerId>>> = Arc::default();
        let list = reclaimed.clone();
        let (settings, trash) =
            (Settings { max_ingests: 10, sharing: Sharing::Shared, retention: None }, Box::new(Trash(list)));
        let content = Content::start(metadata.clone(), Arc::new(files), settings, report, trash).unwrap();
        Opened { metadata, content, reclaimed }
    }

    /// Returns all names in `ingests`, `blobs` and `trash`.
    fn names(&self) -> BTreeSet<String> {
        let root = self.layout().root().to_owned();
        let dirs = ["ingests", "blobs/sha256", "blobs/sha384", "blobs/sha512", "trash"];
        let names = |dir: &str| {
            let names = fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().file_name());
            names.map(|name| format!("{dir}/{}", name.to_str().unwrap())).collect::<Vec<_>>()
        };
        dirs.iter().flat_map(|dir| names(dir)).collect()
    }
}

impl Opened {
    fn write(&self, name: &IngestRef, data: &'static [u8]) {
        let session = self.content.open_session(name.clone(), None, &message(Action::Stat, 0, b"")).unwrap();
        let Step { reply, session } = self.content.handle(session, message(Action::Stat, 0, b"")).unwrap();
        let message = message(Action::Write, reply.offset as i64, data);
        let step = self.content.handle(session.unwrap(), message).unwrap();
        self.content.close_session(step.session.unwrap());
    }

    fn commit(&self, name: &IngestRef, offset: i64) -> Result<Digest> {
        let session = self.content.open_session(name.clone(), None, &message(Action::Stat, 0, b""))?;
        let step = self.content.handle(session, message(Action::Commit, offset, b""))?;
        assert!(step.session.is_none(), "a commit ends the session");
        Ok(step.reply.digest)
    }

    fn store(&self, name: &str, data: &'static [u8]) -> Digest {
        self.write(&ingest(name), data);
        self.commit(&ingest(name), data.len() as i64).unwrap()
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut reader = self.content.read(&Scope::Plugin, digest.clone(), 0, 0)?;
        let mut data = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            data.extend_from_slice(&chunk);
        }
        Ok(data)
    }

    fn stop(self) {
        self.content.stop();
    }
}

/// Notes what is to be deleted; has space for everything.
struct Trash(Arc<Mutex<Vec<LayerId>>>);

impl Neighbour for Trash {
    fn retained(&self) {}

    fn reclaim(&self, number: LayerId) {
        self.0.lock().unwrap().push(number);
    }

    fn expect_space(&self) -> Result<()> {
        Ok(())
    }

    fn require_space(&self) -> Result<()> {
        Ok(())
    }

    fn look_for_expired(&self) {}
}

fn message(action: Action, offset: i64, data: &'static [u8]) -> Message {
    let labels = Labels::default();
    Message { action, total: 0, expected: None, offset, data: Bytes::from_static(data), labels }
}

fn ingest(name: &str) -> IngestRef {
    IngestRef::parse_in(Scope::Plugin, name).unwrap()
}

fn hashed(data: &[u8]) -> Digest {
    let mut hasher = hasher::Hasher::new(crate::types::Algorithm::Sha256);
    hasher.update(data);
    hasher.digest().unwrap()
}

#[test]
fn an_ingest_is_given_up_a_day_after_it_was_last_written_to() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let pool = Pool::new();
    let opened = pool.open();
    opened.write(&ingest("old"), b"foo");
    opened.write(&ingest("in use"), b"foo");
    let using = opened.content.open_session(ingest("in use"), None, &message(Action::Stat, 0, b"")).unwrap();
    let now = SystemTime::now();
    assert_eq!(opened.content.expire(now + DAY - Duration::from_secs(60)).unwrap(), 0);
    assert_eq!(opened.content.ingests_open(), 2);
    assert_eq!(opened.content.expire(now + DAY + Duration::from_secs(60)).unwrap(), 1);
    assert!(matches!(opened.content.status(ingest("old")), Err(Error::NotFound(_))));
    assert_eq!(opened.content.status(ingest("in use")).unwrap().offset, 3);
    assert_eq!((opened.content.ingests_open(), opened.reclaimed.lock().unwrap().len()), (1, 1));
    // Written to by somebody who was killed before he could say so.
    opened.content.close_session(using);
    let mut txn = opened.metadata.write(now).unwrap();
    let id = txn.ingest(&ingest("in use")).unwrap().id;
    txn.update_ingest(&ingest("in use"), id, |record| record.expires_at = Some(SystemTime::UNIX_EPOCH)).unwrap();
    txn.commit().unwrap();
    assert_eq!(opened.content.expire(now).unwrap(), 0);
    opened.stop();
}

#[test]
fn a_leased_ingest_is_not_given_up() {
    let pool = Pool::new();
    let opened = pool.open();
    opened.write(&ingest("default/7/layer a"), b"foo");
    opened.write(&ingest("other/7/layer a"), b"foo");
    let (namespace, lease) = (Namespace::parse("default").unwrap(), LeaseId::parse("keep").unwrap());
    let now = SystemTime::now();
    let later = now + Duration::from_secs(48 * 60 * 60);
    let end = Some(later + Duration::from_secs(60));
    let mut txn = opened.metadata.write(now).unwrap();
    txn.create_lease(&namespace, &lease, Labels::default(), end).unwrap();
    txn.add_member(&namespace, &lease, &Member::parse("ingests", "layer a").unwrap()).unwrap();
    txn.commit().unwrap();
    assert_eq!(opened.content.expire(later).unwrap(), 1);
    assert_eq!(opened.content.status(ingest("default/7/layer a")).unwrap().offset, 3);
    assert_eq!(opened.content.expire(later + Duration::from_secs(61)).unwrap(), 1);
    opened.stop();
}

#[test]
fn what_was_not_durable_is_sent_again_after_a_power_cut() {
    let pool = Pool::new();
    let opened = pool.open();
    for (name, synced) in [("durable", 6), ("in part", 2), ("not at all", 0)] {
        opened.write(&ingest(name), b"foobar");
        let mut txn = opened.metadata.write(SystemTime::now()).unwrap();
        let id = txn.ingest(&ingest(name)).unwrap().id;
        txn.update_ingest(&ingest(name), id, |record| (record.synced, record.boot) = (synced, "another".into()))
            .unwrap();
        txn.commit().unwrap();
    }
    opened.write(&ingest("since then"), b"foobar");
    opened.stop();
    let opened = pool.open();
    for (name, offset) in [("durable", 6), ("in part", 2), ("not at all", 0), ("since then", 6)] {
        assert_eq!(opened.content.status(ingest(name)).unwrap().offset, offset, "{name}");
    }
    opened.write(&ingest("in part"), b"x");
    let digest = opened.commit(&ingest("in part"), 3).unwrap();
    assert_eq!((&digest, opened.read(&digest).unwrap().as_slice()), (&hashed(b"fox"), b"fox".as_slice()));
    opened.stop();
}

/// Makes an ingest whose data is there, and returns what its commit needs.
fn prepared(opened: &Opened, name: &str, data: &'static [u8]) -> CommitIngest {
    opened.write(&ingest(name), data);
    CommitIngest {
        name: ingest(name),
        file: opened.metadata.ingest(&ingest(name)).unwrap().id,
        digest: hashed(data),
        size: data.len() as u64,
        labels: Labels::default(),
        linked: true,
        lease: None,
    }
}

fn record(metadata: &Metadata, commit: CommitIngest) {
    let mut txn = metadata.write(SystemTime::now()).unwrap();
    txn.commit_ingest(commit).unwrap();
    txn.commit().unwrap();
}

#[test]
fn a_blob_is_found_wherever_a_crash_left_its_file() {
    let pool = Pool::new();
    let opened = pool.open();
    // The name was lost in a power cut, the record was not.
    let first_name = prepared(&opened, "first name", b"first name");
    record(&opened.metadata, first_name.clone());
    // Both names are there.
    let both = prepared(&opened, "both", b"both");
    assert!(pool.files().link(both.file, &both.digest).unwrap());
    record(&opened.metadata, both.clone());
    // Its removal was lost, its move was not.
    let moved = opened.store("moved", b"moved");
    let id = opened.metadata.blob_file(&moved).unwrap().unwrap().id;
    assert!(pool.files().trash_blob(&moved, id).unwrap());
    opened.stop();
    let opened = pool.open();
    for data in [b"first name".as_slice(), b"both", b"moved"] {
        assert_eq!(opened.read(&hashed(data)).unwrap(), data);
    }
    assert_eq!(pool.names().len(), 3, "{:?}", pool.names());
    opened.stop();
}

#[test]
fn an_ingest_goes_on_when_only_its_record_of_a_blob_is_missing() {
    let pool = Pool::new();
    let opened = pool.open();
    let commit = prepared(&opened, "ref", b"foobar");
    assert!(pool.files().link(commit.file, &commit.digest).unwrap());
    opened.stop();
    let opened = pool.open();
    assert_eq!(opened.content.status(ingest("ref")).unwrap().offset, 6);
    // The name goes in the background, also when the commit comes first.
    let digest = opened.commit(&ingest("ref"), 6).unwrap();
    assert_eq!(opened.read(&digest).unwrap(), b"foobar");
    opened.stop();
    let blobs: Vec<String> = pool.names().into_iter().filter(|name| !name.starts_with("trash/")).collect();
    assert_eq!(blobs, [format!("blobs/sha256/{}", digest.hex())]);
}

#[test]
fn what_no_record_names_is_reclaimed() {
    let pool = Pool::new();
    let opened = pool.open();
    opened.stop();
    let root = pool.layout().root().to_owned();
    let orphan = hashed(b"orphan");
    fs::write(root.join("blobs/sha256").join(orphan.hex()), "orphan").unwrap();
    fs::write(root.join("ingests/zz9"), "upload").unwrap();
    for foreign in ["blobs/sha256/README", "ingests/README"] {
        fs::write(root.join(foreign), "somebody's").unwrap();
    }
    let opened = pool.open();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while opened.reclaimed.lock().unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the orphan stays");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    opened.content.stop();
    let names = pool.names();
    for foreign in ["blobs/sha256/README", "ingests/README"] {
        assert!(names.contains(foreign), "{names:?}");
    }
    let in_trash: Vec<&String> = names.iter().filter(|name| name.starts_with("trash/")).collect();
    assert_eq!((names.len(), in_trash.len()), (4, 2), "{names:?}");
    assert!(names.contains("trash/zz9"));
    // Numbers go on behind the one that was found.
    let seen = FileId::from_name("zz9").unwrap();
    assert!(opened.metadata.allocate_file() > seen);
    for name in in_trash {
        let number = LayerId::from_dir_name(name.trim_start_matches("trash/")).unwrap();
        assert!(opened.metadata.is_trash(number).unwrap(), "{name}");
    }
    opened.stop();
}

#[test]
fn an_ingest_without_its_file_is_begun_again() {
    let pool = Pool::new();
    let opened = pool.open();
    let now = SystemTime::now();
    opened.write(&ingest("ref"), b"foo");
    fs::remove_file(pool.layout().ingests().join(opened.metadata.ingest(&ingest("ref")).unwrap().id.to_string()))
        .unwrap();
    opened.write(&ingest("ref"), b"bar");
    assert_eq!(opened.content.status(ingest("ref")).unwrap().offset, 3);
    assert_eq!(opened.content.ingests_open(), 1);
    let lost = Ingest {
        id: opened.metadata.allocate_file(),
        total: 0,
        expected: None,
        started_at: now,
        updated_at: now,
        labels: Labels::default(),
        expires_at: None,
        synced: 0,
        boot: "".into(),
        hash: None,
        shared: false,
    };
    let mut txn = opened.metadata.write(now).unwrap();
    txn.create_ingest(&ingest("lost"), &lost, None).unwrap();
    txn.commit().unwrap();
    opened.stop();
    let opened = pool.open();
    let all = opened.content.statuses(&Scope::Plugin, &Filter::parse_all::<&str>(&[]).unwrap()).unwrap();
    assert_eq!(all.iter().map(|status| status.name.as_str()).collect::<Vec<_>>(), ["ref"]);
    opened.stop();
}

#[test]
fn a_blob_whose_file_was_lost_is_whole_again_when_it_is_uploaded_again() {
    let pool = Pool::new();
    let opened = pool.open();
    let digest = opened.store("ref", b"foobar");
    fs::remove_file(pool.layout().blobs_of(digest.algorithm()).join(digest.hex())).unwrap();
    assert!(matches!(opened.read(&digest), Err(Error::Corrupt(_))));
    opened.write(&ingest("again"), b"foobar");
    assert!(matches!(opened.commit(&ingest("again"), 6), Err(Error::AlreadyExists(_))));
    assert_eq!(opened.read(&digest).unwrap(), b"foobar");
    opened.content.delete(&Scope::Plugin, &digest).unwrap();
    opened.stop();
    assert!(pool.names().iter().all(|name| name.starts_with("trash/")), "{:?}", pool.names());
}
