use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::types::{Labels, MemberKind, Namespace, Scope, SnapshotKey};
use crate::{Error, Resource};

fn open(dir: &tempfile::TempDir) -> Metadata {
    Metadata::open(dir.path().join("meta"), Durability::Synced).unwrap()
}

fn key(key: &str) -> SnapshotKey {
    SnapshotKey::parse(key).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn create(metadata: &Metadata, kind: Kind, name: &str, parent: &str) -> Result<Snapshot> {
    let layer = metadata.allocate_layer();
    let mut txn = metadata.write(at(1))?;
    let snapshot = txn.create(
        CreateSnapshot {
            kind,
            key: key(name),
            parent: SnapshotKey::parse_parent(parent.into())?,
            labels: Labels::default(),
            lease: None,
        },
        Some(layer),
    )?;
    txn.commit()?;
    Ok(snapshot)
}

fn commit(metadata: &Metadata, name: &str, from: &str, parent: &str) -> Result<Snapshot> {
    let mut txn = metadata.write(at(2))?;
    let parent = SnapshotKey::parse_parent(parent.into())?;
    let commit = CommitActive { name: key(name), key: key(from), parent, labels: Labels::default(), lease: None };
    let committed = txn.commit_active(&commit, None)?;
    txn.commit()?;
    Ok(done(committed))
}

/// Returns the snapshot of a commit before which nothing had to be settled.
fn done(commit: Commit) -> Snapshot {
    match commit {
        Commit::Done(committed) => committed.snapshot,
        Commit::Unsettled(unsettled) => panic!("{unsettled:?}"),
    }
}

fn remove(metadata: &Metadata, name: &str) -> Result<Removed> {
    let mut txn = metadata.write(at(3))?;
    let removed = txn.remove(&MemberKind::Snapshots("leasehold".into()), &key(name), None)?;
    txn.commit()?;
    Ok(removed)
}

#[test]
fn a_chain_lists_its_layers_nearest_first() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let base = create(&metadata, Kind::Active, "a", "").unwrap().layer.unwrap();
    commit(&metadata, "base", "a", "").unwrap();
    let middle = create(&metadata, Kind::Active, "b", "base").unwrap().layer.unwrap();
    commit(&metadata, "middle", "b", "").unwrap();
    assert_eq!(create(&metadata, Kind::Active, "c", "middle").unwrap().parent_layers, [middle, base]);
}

#[test]
fn a_rebase_takes_the_parent_named_at_commit() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let base = create(&metadata, Kind::Active, "a", "").unwrap().layer.unwrap();
    create(&metadata, Kind::Active, "b", "").unwrap();
    create(&metadata, Kind::Active, "c", "").unwrap();
    assert!(
        matches!(commit(&metadata, "top", "b", "base"), Err(Error::NotFound(Resource::Snapshot(name))) if name == "base")
    );
    assert!(matches!(commit(&metadata, "top", "b", "c"), Err(Error::WrongState { .. })));
    commit(&metadata, "base", "a", "").unwrap();
    assert_eq!(commit(&metadata, "top", "b", "base").unwrap().parent_layers, [base]);
    assert!(matches!(remove(&metadata, "base"), Err(Error::HasChildren(_))));
    create(&metadata, Kind::Active, "d", "top").unwrap();
    assert!(matches!(commit(&metadata, "other", "d", "base"), Err(Error::Invalid { .. })));
    commit(&metadata, "same", "d", "top").unwrap();
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    create(&metadata, Kind::Active, "a", "").unwrap();
    create(&metadata, Kind::View, "v", "").unwrap();
    assert!(matches!(create(&metadata, Kind::Active, "a", ""), Err(Error::AlreadyExists(_))));
    assert!(matches!(create(&metadata, Kind::Active, "b", "none"), Err(Error::NotFound(_))));
    assert!(matches!(create(&metadata, Kind::Active, "b", "a"), Err(Error::Invalid { .. })));
    assert!(matches!(commit(&metadata, "c", "v", ""), Err(Error::WrongState { .. })));
    assert!(matches!(commit(&metadata, "c", "none", ""), Err(Error::NotFound(_))));
    assert!(matches!(commit(&metadata, "v", "a", ""), Err(Error::AlreadyExists(_))));
    assert!(matches!(remove(&metadata, "none"), Err(Error::NotFound(_))));
    assert!(matches!(metadata.snapshot(&key("b")), Err(Error::NotFound(_))));
    assert_eq!(metadata.snapshot(&key("a")).unwrap().kind, Kind::Active);
}

#[test]
fn removal_puts_the_layer_into_trash_until_it_is_reclaimed() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let layer = create(&metadata, Kind::Active, "a", "").unwrap().layer.unwrap();
    assert_eq!(remove(&metadata, "a").unwrap().trashed, [layer]);
    assert_eq!(metadata.layer(layer).unwrap(), None);
    assert!(metadata.is_trash(layer).unwrap());
    let mut txn = metadata.write(at(4)).unwrap();
    txn.reclaimed(layer);
    txn.commit_unsynced().unwrap();
    assert!(!metadata.is_trash(layer).unwrap());
}

#[test]
fn numbers_are_not_given_out_again_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut highest = (0, 0);
    for run in 0..3 {
        let metadata = open(&dir);
        let snapshot = create(&metadata, Kind::Active, &format!("a{run}"), "").unwrap();
        let numbers = (snapshot.layer.unwrap().get(), snapshot.id);
        assert!(numbers.0 > highest.0 && numbers.1 > highest.1, "{numbers:?} after {highest:?}");
        highest = numbers;
    }
}

/// Copies the database of a pool with an older schema.
fn fixture(schema: u32) -> tempfile::TempDir {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/schema-{schema}"));
    let dir = tempfile::tempdir().unwrap();
    let meta = dir.path().join("meta");
    std::fs::create_dir(&meta).unwrap();
    for entry in std::fs::read_dir(fixture).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), meta.join(entry.file_name())).unwrap();
    }
    dir
}

fn count_trash(metadata: &Metadata) -> usize {
    let mut trash = 0;
    let count = |_| {
        trash += 1;
        Ok(())
    };
    metadata.read(|records| records.each_trash(count)).unwrap();
    trash
}

#[test]
fn a_pool_of_the_first_schema_keeps_its_snapshots() {
    let dir = fixture(1);
    for _ in ["migrated", "opened again"] {
        let metadata = open(&dir);
        assert_eq!(metadata.pool(), "42edf495-446b-4099-a845-46dabe3ee636");
        let all = metadata.snapshots(&Scope::Plugin, None, 10).unwrap().snapshots;
        let all: Vec<_> = all.iter().map(|(key, snapshot)| (key.as_str(), snapshot.kind)).collect();
        assert_eq!(
            all,
            [
                ("default/2/base", Kind::Committed),
                ("default/3/container", Kind::Active),
                ("default/4/view", Kind::View)
            ]
        );
        assert!(metadata.namespaces().unwrap().is_empty());
        assert_eq!(count_trash(&metadata), 1);
    }
}

#[test]
fn a_pool_of_the_second_schema_keeps_its_leases_and_what_they_hold() {
    let dir = fixture(2);
    let namespace = Namespace::parse("default").unwrap();
    for _ in ["migrated", "opened again"] {
        let metadata = open(&dir);
        assert_eq!(metadata.pool(), "252226e3-935e-4c13-ba08-4fe6deb10dde");
        let names = |scope| {
            let all = metadata.snapshots(&scope, None, 10).unwrap().snapshots;
            all.into_iter().map(|(key, _)| key.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(Scope::Plugin), ["default/2/base", "default/3/container"]);
        assert_eq!(names(Scope::Api(namespace.clone())), ["own"]);
        let retained = metadata.retained_names(None, 10).unwrap();
        assert_eq!(retained, [(namespace.clone(), "kept".to_owned())]);
        let kind = MemberKind::Snapshots("leasehold".into());
        let holder = metadata.retained_by(&kind, &retained[0], at(9_000_000_000)).unwrap();
        assert_eq!(holder.unwrap().as_str(), "keep");
        assert_eq!(count_trash(&metadata), 1);
        assert!(metadata.blobs(&Scope::Plugin, None, 10).unwrap().blobs.is_empty());
    }
}

#[test]
fn a_newer_schema_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let store = Store::open(dir.path().join("meta"), Durability::Synced).unwrap();
    let mut txn = store.write().unwrap();
    let newer = (SCHEMA_VERSION + 1).to_be_bytes().to_vec();
    txn.put(crate::store::Column::Meta, schema::meta::SCHEMA.to_vec(), newer);
    txn.commit().unwrap();
    drop(store);
    let Err(Error::Pool(text)) = Metadata::open(dir.path().join("meta"), Durability::Synced) else { panic!("opened") };
    assert!(text.contains("newer leasehold") && text.contains("another root"), "{text}");
}

mod content;
mod leases;
mod policy;
mod repairs;
mod reuse;
mod sweep;

#[test]
fn labels_are_replaced_merged_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    create(&metadata, Kind::Active, "a", "").unwrap();
    let labels = |pairs: &[(&str, &str)]| {
        Labels::parse(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).unwrap()
    };
    let update = |update| {
        let mut txn = metadata.write(at(9)).unwrap();
        let snapshot = txn.update(&key("a"), update).unwrap();
        txn.commit().unwrap();
        assert_eq!(metadata.snapshot(&key("a")).unwrap(), snapshot);
        snapshot
    };
    assert_eq!(
        update(LabelUpdate::Replace(labels(&[("x", "1"), ("y", "2")]))).labels,
        labels(&[("x", "1"), ("y", "2")])
    );
    let merged = update(LabelUpdate::Merge(vec![("x".into(), None), ("z".into(), Some("3".into()))]));
    assert_eq!(merged.labels, labels(&[("y", "2"), ("z", "3")]));
    assert_eq!((merged.created_at, merged.updated_at), (at(1), at(9)));
}
