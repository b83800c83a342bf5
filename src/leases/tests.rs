use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::store::Durability;

fn open(dir: &Path) -> Leases {
    let metadata = Metadata::open(dir.join("meta"), Durability::Written).unwrap();
    Leases::new(Arc::new(metadata), Arc::default())
}

fn namespace() -> Namespace {
    Namespace::parse("one").unwrap()
}

fn id(id: &str) -> LeaseId {
    LeaseId::parse(id).unwrap()
}

fn create(leases: &Leases, name: &str, expire: Option<&str>) -> Result<Info> {
    let expire = expire.map(|end| (crate::types::label::GC_EXPIRE.to_owned(), end.to_owned()));
    leases.create(&namespace(), id(name), Labels::parse(expire).unwrap())
}

fn ids(leases: &Leases) -> Vec<String> {
    let all = Filter::parse_all::<&str>(&[]).unwrap();
    leases.list(&namespace(), &all).unwrap().into_iter().map(|info| info.id.to_string()).collect()
}

#[test]
fn leases_end_when_their_label_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let leases = open(dir.path());
    let end = |name, label| create(&leases, name, label).unwrap().lease.expires_at;
    let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(end("never", None), None);
    assert_eq!(end("unreadable", Some("in a minute")), None);
    assert_eq!(end("late", Some("1970-01-01T01:00:20+01:00")), at(20));
    assert_eq!(end("early", Some("1970-01-01T00:00:10.5Z")), at(10).map(|at| at + Duration::from_millis(500)));
    assert!(leases.changes().wait(Duration::ZERO).expiry);
    assert_eq!(leases.delete_expired(at(10).unwrap(), 9).unwrap(), 0);
    assert_eq!(leases.delete_expired(at(20).unwrap(), 9).unwrap(), 1);
    assert_eq!(ids(&leases), ["late", "never", "unreadable"]);
    assert_eq!(leases.delete_expired(SystemTime::now(), 9).unwrap(), 1);
    assert_eq!(ids(&leases), ["never", "unreadable"]);
}

#[test]
fn whoever_takes_a_hold_away_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let leases = open(dir.path());
    let dirty = || leases.changes().wait(Duration::ZERO).dirty;
    create(&leases, "a", None).unwrap();
    leases.add(&namespace(), &id("a"), "images", "x").unwrap();
    assert_eq!(dirty(), 0);
    leases.remove(&namespace(), &id("a"), "images", "x").unwrap();
    assert_eq!(dirty(), 1);
    leases.delete(&namespace(), &id("a"), Wait::Collected).unwrap();
    assert_eq!(dirty(), 2);
    leases.delete(&namespace(), &id("a"), Wait::Collected).unwrap_err();
    assert_eq!(dirty(), 2);
}

#[test]
fn an_interrupted_deletion_is_finished_by_whoever_comes() {
    let dir = tempfile::tempdir().unwrap();
    let leases = open(dir.path());
    let interrupt = |name: &str| {
        create(&leases, name, None).unwrap();
        let mut txn = leases.metadata.write(SystemTime::now()).unwrap();
        for number in 0..2_000 {
            let member = Member::parse("ingests", format!("{number}")).unwrap();
            txn.add_member(&namespace(), &id(name), &member).unwrap();
        }
        txn.commit().unwrap();
        let mut txn = leases.metadata.write(SystemTime::now()).unwrap();
        txn.delete_lease(&namespace(), &id(name)).unwrap();
        txn.commit().unwrap();
        assert!(ids(&leases).is_empty());
    };
    interrupt("made again");
    create(&leases, "made again", None).unwrap();
    assert!(leases.members(&namespace(), &id("made again")).unwrap().is_empty());
    leases.delete(&namespace(), &id("made again"), Wait::No).unwrap();

    interrupt("expired");
    assert_eq!(leases.delete_expired(SystemTime::now(), 9).unwrap(), 1);
    assert_eq!(leases.delete_expired(SystemTime::now(), 9).unwrap(), 0);

    interrupt("with its namespace");
    leases.delete_all(&namespace()).unwrap();
    assert_eq!(leases.metadata.next_expiry().unwrap(), None);
}
