use super::{Column, Durability, Store};
use crate::Error;

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path().join("meta"), Durability::Synced).unwrap()
}

fn put(store: &Store, key: &[u8], value: &[u8]) {
    let mut txn = store.write().unwrap();
    txn.put(Column::Meta, key.to_vec(), value.to_vec());
    txn.commit().unwrap();
}

#[test]
fn committed_writes_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(&dir), b"a", b"1");
    assert_eq!(open(&dir).get(Column::Meta, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_dropped_transaction_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut txn = store.write().unwrap();
    txn.put(Column::Meta, b"a".to_vec(), b"1".to_vec());
    drop(txn);
    assert_eq!(store.get(Column::Meta, b"a").unwrap(), None);
}

#[test]
fn a_transaction_reads_its_own_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    put(&store, b"a", b"1");
    let mut txn = store.write().unwrap();
    txn.delete(Column::Meta, b"a".to_vec());
    assert_eq!(txn.get(Column::Meta, b"a").unwrap(), None);
    txn.put(Column::Meta, b"a".to_vec(), b"2".to_vec());
    assert_eq!(txn.get(Column::Meta, b"a").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_read_transaction_does_not_see_later_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    put(&store, b"a", b"1");
    store
        .read(|txn| {
            put(&store, b"a", b"2");
            assert_eq!(txn.get(Column::Meta, b"a")?.as_deref(), Some(&b"1"[..]));
            Ok(())
        })
        .unwrap();
}

#[test]
fn pages_continue_after_the_last_key_and_stay_in_the_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for key in [&b"a"[..], b"b\xff", b"b\xff\x00", b"b\xff\xff", b"c"] {
        put(&store, key, b"");
    }
    let keys = |after: Option<&[u8]>| -> Vec<Box<[u8]>> {
        store.page(Column::Meta, b"b\xff", after, 2).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    let first = keys(None);
    assert_eq!(first, [b"b\xff"[..].into(), b"b\xff\x00"[..].into()]);
    assert_eq!(keys(first.last().map(|key| &key[..])), [b"b\xff\xff"[..].into()]);
    assert_eq!(store.page(Column::Meta, b"\xff", None, 2).unwrap(), []);
}

#[test]
fn a_second_open_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(&dir);
    let Err(Error::Pool(text)) = Store::open(dir.path().join("meta"), Durability::Synced) else {
        panic!("opened twice")
    };
    assert!(text.contains("another process"), "{text}");
}

#[test]
fn an_unknown_column_is_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let mut options = rocksdb::Options::default();
    options.create_missing_column_families(true);
    let names = Column::ALL.iter().map(|column| column.name()).chain(["default", "leases_v9"]);
    drop(rocksdb::DB::open_cf(&options, dir.path().join("meta"), names).unwrap());
    let Err(Error::Pool(text)) = Store::open(dir.path().join("meta"), Durability::Synced) else { panic!("opened") };
    assert!(text.contains("newer"), "{text}");
}

#[test]
fn corruption_is_reported_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(&dir), b"a", b"1");
    for entry in std::fs::read_dir(dir.path().join("meta")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST") {
            std::fs::write(path, b"not a manifest").unwrap();
        }
    }
    let Err(Error::Pool(text)) = Store::open(dir.path().join("meta"), Durability::Synced) else { panic!("opened") };
    assert!(text.contains("corrupted") && text.contains("aside"), "{text}");
}
