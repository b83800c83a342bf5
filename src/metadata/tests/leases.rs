//! Leases, what they name, and namespaces.

use super::*;
use crate::types::{LeaseId, Member, MemberKind, Namespace, SnapshotLease};

pub(super) fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).unwrap()
}

pub(super) fn id(id: &str) -> LeaseId {
    LeaseId::parse(id).unwrap()
}

fn of_request(name: &str) -> SnapshotLease {
    SnapshotLease { id: id(name), snapshotter: "lease.hold".into() }
}

pub(super) fn image(name: &str) -> Member {
    Member::parse("images", name).unwrap()
}

/// Makes one change and commits it.
pub(super) fn change<T>(metadata: &Metadata, work: impl FnOnce(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
    let mut txn = metadata.write(at(1))?;
    let answer = work(&mut txn)?;
    txn.commit()?;
    Ok(answer)
}

pub(super) fn lease(metadata: &Metadata, ns: &str, name: &str, end: Option<u64>) {
    let made = change(metadata, |txn| txn.create_lease(&namespace(ns), &id(name), Labels::default(), end.map(at)));
    assert!(made.unwrap().is_some());
}

pub(super) fn add(metadata: &Metadata, ns: &str, name: &str, member: &Member) {
    change(metadata, |txn| txn.add_member(&namespace(ns), &id(name), member)).unwrap();
}

pub(super) fn members(metadata: &Metadata, ns: &str, name: &str) -> Vec<Member> {
    let mut all = Vec::new();
    let mut push = |member| {
        all.push(member);
        Ok(())
    };
    metadata.read(|records| records.each_member_of(&namespace(ns), &id(name), &mut push)).unwrap();
    all
}

pub(super) fn holder(metadata: &Metadata, ns: &str, resource: &str, now: u64) -> Option<String> {
    let held = metadata.held_by(&namespace(ns), &MemberKind::Images, resource, at(now)).unwrap();
    let txn = metadata.write(at(now)).unwrap();
    assert_eq!(txn.held_by(&namespace(ns), &MemberKind::Images, resource, at(now)).unwrap(), held);
    held.map(|id| id.to_string())
}

pub(super) fn entries(metadata: &Metadata) -> [usize; 4] {
    use crate::store::Column::{Expiry, Leased, Leases, Members};
    [Leases, Members, Leased, Expiry].map(|column| metadata.store.page(column, &[], None, 1 << 20).unwrap().len())
}

#[test]
fn the_first_unexpired_lease_holds() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    for (name, end) in [("a", Some(5)), ("b", Some(9)), ("c", None)] {
        lease(&metadata, "one", name, end);
        add(&metadata, "one", name, &image("x"));
    }
    for (now, expected) in [(5, "a"), (6, "b"), (9, "b"), (10, "c")] {
        assert_eq!(holder(&metadata, "one", "x", now).as_deref(), Some(expected), "at {now}");
    }
    assert_eq!(holder(&metadata, "two", "x", 1), None);
    assert_eq!(holder(&metadata, "one", "xx", 1), None);
    assert_eq!(holder(&metadata, "one", "x\0a", 1), None);
    change(&metadata, |txn| txn.remove_member(&namespace("one"), &id("c"), &image("x"))).unwrap();
    assert_eq!(holder(&metadata, "one", "x", 10), None);
}

#[test]
fn many_expired_leases_hide_no_unexpired_one() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    for number in 0..50 {
        lease(&metadata, "one", &format!("old{number}"), Some(1));
        add(&metadata, "one", &format!("old{number}"), &image("x"));
    }
    assert_eq!(holder(&metadata, "one", "x", 2), None);
    lease(&metadata, "one", "young", None);
    add(&metadata, "one", "young", &image("x"));
    assert_eq!(holder(&metadata, "one", "x", 2).as_deref(), Some("young"));
}

#[test]
fn leases_are_due_in_the_order_of_their_ends() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    for (name, end) in [("late", Some(30)), ("early", Some(10)), ("never", None), ("middle", Some(20))] {
        lease(&metadata, "one", name, end);
    }
    let due = |now| {
        let due = metadata.expired(at(now), 10).unwrap();
        due.into_iter().map(|due| due.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(metadata.next_expiry().unwrap(), Some(at(10)));
    assert_eq!([due(10), due(11), due(31)], ["", "early", "early middle late"]);
    assert_eq!(metadata.expired(at(31), 2).unwrap().len(), 2);
    for name in ["early", "middle", "late", "never"] {
        assert_eq!(change(&metadata, |txn| txn.delete_lease(&namespace("one"), &id(name))).unwrap(), Deletion::Done);
    }
    assert_eq!(metadata.next_expiry().unwrap(), None);
    assert_eq!(entries(&metadata), [0; 4]);
}

#[test]
fn a_lease_of_many_members_is_gone_at_once_and_its_members_soon() {
    let dir = tempfile::tempdir().unwrap();
    let (ns, big) = (namespace("one"), id("big"));
    {
        let metadata = open(&dir);
        lease(&metadata, "one", "big", Some(1_000));
        change(&metadata, |txn| (0..1_200).try_for_each(|n| txn.add_member(&ns, &big, &image(&format!("{n}")))))
            .unwrap();
        assert_eq!(entries(&metadata), [1, 1_200, 1_200, 1]);
        let left = change(&metadata, |txn| txn.delete_lease(&ns, &big)).unwrap();
        assert!(matches!(left, Deletion::MembersAfter(_)));
    }
    // Killed here: what is left to do is found again.
    let metadata = open(&dir);
    assert!(matches!(metadata.lease(&ns, &big), Err(Error::NotFound(_))));
    assert!(metadata.leases(&ns, None, 10).unwrap().leases.is_empty());
    assert_eq!(holder(&metadata, "one", "999", 1), None);
    let [due] = &metadata.expired(at(1), 10).unwrap()[..] else { panic!("not due") };
    assert!(due.state == DueState::Deleted && due.id == big);
    // Neither comes back to life.
    assert!(matches!(change(&metadata, |txn| txn.add_member(&ns, &big, &image("x"))), Err(Error::NotFound(_))));
    assert!(matches!(change(&metadata, |txn| txn.delete_lease(&ns, &big)), Err(Error::NotFound(_))));
    assert_eq!(change(&metadata, |txn| txn.create_lease(&ns, &big, Labels::default(), None)).unwrap(), None);
    assert!(!change(&metadata, |txn| txn.delete_namespace(&ns)).unwrap());

    let mut rest = None;
    while let Deletion::MembersAfter(last) =
        change(&metadata, |txn| txn.drop_members(&ns, &big, rest.as_ref())).unwrap()
    {
        rest = Some(last);
    }
    assert_eq!(entries(&metadata), [0; 4]);
    lease(&metadata, "one", "big", None);
    assert_eq!(change(&metadata, |txn| txn.drop_members(&ns, &big, None)).unwrap(), Deletion::Done);
    assert!(metadata.lease(&ns, &big).is_ok(), "a new lease is not what was deleted");
}

#[test]
fn pages_of_leases_are_those_of_one_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    for name in ["a", "b", "c"] {
        lease(&metadata, "one", name, None);
        lease(&metadata, "on", name, None);
    }
    let first = metadata.leases(&namespace("one"), None, 2).unwrap();
    let second = metadata.leases(&namespace("one"), first.next.as_ref(), 2).unwrap();
    let ids: Vec<_> = first.leases.iter().chain(&second.leases).map(|(id, _)| id.as_str()).collect();
    assert_eq!((ids, second.next), (vec!["a", "b", "c"], None));
    let names: Vec<_> = metadata.namespaces().unwrap().into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["on", "one"]);
}

#[test]
fn a_snapshot_is_named_by_the_lease_of_its_request() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    lease(&metadata, "one", "l", None);
    let make = |key: SnapshotKey, lease: &str| {
        change(&metadata, |txn| {
            let labels = Labels::default();
            txn.create(
                CreateSnapshot { kind: Kind::Active, key, parent: None, labels, lease: Some(of_request(lease)) },
                None,
            )
        })
    };
    let api = |ns: &str, key: &str| SnapshotKey::parse_in(Scope::Api(namespace(ns)), key).unwrap();
    make(key("one/7/of containerd"), "l").unwrap();
    make(key("two/8/other namespace"), "l").unwrap();
    make(key("one/9/unknown lease"), "containerd's own").unwrap();
    make(key("no namespace"), "l").unwrap();
    make(key("one/10/with\0nul"), "l").unwrap();
    make(api("one", "own"), "l").unwrap();
    assert!(matches!(make(api("two", "own"), "l"), Err(Error::NotFound(Resource::Lease(_)))));
    assert!(matches!(make(api("one", "with\0nul"), "l"), Err(Error::Invalid { .. })));
    assert!(metadata.namespace(&namespace("two")).unwrap().is_none(), "nothing was made there");
    let named = |name: &str| Member::parse("snapshots/lease.hold", name).unwrap();
    assert_eq!(members(&metadata, "one", "l"), [named("of containerd"), named("own")]);

    let commit = |key: SnapshotKey, name: SnapshotKey| {
        let (parent, labels) = (None, Labels::default());
        change(&metadata, |txn| {
            txn.commit_active(&CommitActive { name, key, parent, labels, lease: Some(of_request("l")) }, None)
        })
    };
    commit(key("one/7/of containerd"), key("one/11/sha256:ab")).unwrap();
    commit(api("one", "own"), api("one", "name")).unwrap();
    assert_eq!(members(&metadata, "one", "l"), [named("name"), named("sha256:ab")]);
}

#[test]
fn scopes_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let scopes = [Scope::Plugin, Scope::Api(namespace("one")), Scope::Api(namespace("two"))];
    for scope in &scopes {
        let key = SnapshotKey::parse_in(scope.clone(), "same").unwrap();
        let create = CreateSnapshot { kind: Kind::Active, key, parent: None, labels: Labels::default(), lease: None };
        change(&metadata, |txn| txn.create(create, Some(metadata.allocate_layer()))).unwrap();
    }
    for scope in &scopes {
        let page = metadata.snapshots(scope, None, 10).unwrap().snapshots;
        assert!(page.len() == 1 && page[0].0.scope() == scope);
    }
    let mut all = 0;
    let count = |_| {
        all += 1;
        Ok(())
    };
    metadata.read(|records| records.each_snapshot(count)).unwrap();
    assert_eq!(all, 3);
    assert!(matches!(change(&metadata, |txn| txn.delete_namespace(&namespace("one"))), Err(Error::WrongState { .. })));
    assert!(matches!(change(&metadata, |txn| txn.delete_namespace(&namespace("three"))), Err(Error::NotFound(_))));
}

#[test]
fn a_target_that_exists_on_the_api_socket_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let api = |key: &str| SnapshotKey::parse_in(Scope::Api(namespace("one")), key).unwrap();
    let create = |key: SnapshotKey| {
        let labels = Labels::parse([(crate::types::label::SNAPSHOT_REF.to_owned(), "chain".to_owned())]).unwrap();
        CreateSnapshot { kind: Kind::Active, key, parent: None, labels, lease: None }
    };
    change(&metadata, |txn| txn.create(create(api("extract-1")), None)).unwrap();
    let (parent, labels, lease) = (None, Labels::default(), None);
    let commit = CommitActive { name: api("chain"), key: api("extract-1"), parent, labels, lease };
    change(&metadata, |txn| txn.commit_active(&commit, None)).unwrap();
    let again = create(api("extract-2"));
    assert!(
        matches!(metadata.check_create(&again), Err(Error::AlreadyExists(Resource::Snapshot(name))) if name == "chain")
    );
    assert!(matches!(change(&metadata, |txn| txn.create(again, None)), Err(Error::AlreadyExists(_))));
    change(&metadata, |txn| txn.create(create(key("one/1/extract-3")), None)).unwrap();
}

/// A deletion that is slow goes on with a lease of the same id, which was made and deleted meanwhile.
#[test]
fn a_slow_deletion_leaves_no_members_of_a_later_lease_of_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let (ns, id) = (namespace("ns"), id("l"));
    let fill = |prefix: &str| {
        lease(&metadata, "ns", "l", None);
        change(&metadata, |txn| {
            (0..1500).try_for_each(|n| txn.add_member(&ns, &id, &image(&format!("{prefix}-{n:05}"))))
        })
        .unwrap();
    };
    let rest = |after: Option<&Member>| match change(&metadata, |txn| txn.drop_members(&ns, &id, after)).unwrap() {
        Deletion::Done => None,
        Deletion::MembersAfter(last) => Some(last),
    };
    fill("z");
    let Deletion::MembersAfter(slow) = change(&metadata, |txn| txn.delete_lease(&ns, &id)).unwrap() else { panic!() };
    // Somebody who creates a lease of this id finishes the deletion.
    let mut after = rest(None);
    while let Some(last) = after {
        after = rest(Some(&last));
    }
    fill("a");
    let Deletion::MembersAfter(second) = change(&metadata, |txn| txn.delete_lease(&ns, &id)).unwrap() else { panic!() };
    let mut after = Some(slow);
    while let Some(last) = after {
        after = rest(Some(&last));
    }
    assert_eq!(rest(Some(&second)), None);
    assert_eq!(entries(&metadata), [0, 0, 0, 0]);
}
