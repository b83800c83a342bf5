//! Removing with a last look, and what is taken down for it.

use super::*;
use crate::types::{LeaseId, Member, Namespace};

fn namespace() -> Namespace {
    Namespace::parse("one").unwrap()
}

fn api(name: &str) -> SnapshotKey {
    SnapshotKey::parse_in(Scope::Api(namespace()), name).unwrap()
}

fn kind() -> MemberKind {
    MemberKind::Snapshots("leasehold".into())
}

/// Makes a committed snapshot of the API socket, or an active one.
fn make(metadata: &Metadata, name: &str, parent: &str, kind: Kind) -> Snapshot {
    let mut txn = metadata.write(at(1)).unwrap();
    let create = CreateSnapshot {
        kind: Kind::Active,
        key: api(&format!("make {name}")),
        parent: (!parent.is_empty()).then(|| api(parent)),
        labels: Labels::default(),
        lease: None,
    };
    let create = if kind == Kind::Active { CreateSnapshot { key: api(name), ..create } } else { create };
    let key = create.key.clone();
    let mut snapshot = txn.create(create, Some(metadata.allocate_layer())).unwrap();
    if kind == Kind::Committed {
        let commit = CommitActive { name: api(name), key, parent: None, labels: Labels::default(), lease: None };
        snapshot = done(txn.commit_active(&commit, None).unwrap());
    }
    txn.commit().unwrap();
    snapshot
}

fn seen(name: &str, snapshot: &Snapshot) -> Unheld {
    let updated_at = super::super::record::nanos(snapshot.updated_at);
    Unheld { key: api(name), id: snapshot.id, updated_at, depth: snapshot.parent_layers.len() }
}

fn sweep(metadata: &Metadata, unheld: &Unheld) -> Swept {
    let mut txn = metadata.write(at(9)).unwrap();
    let swept = txn.sweep(&kind(), unheld).unwrap();
    txn.commit().unwrap();
    swept
}

fn lease(metadata: &Metadata, id: &str, end: u64, member: &str) {
    let (id, mut txn) = (LeaseId::parse(id).unwrap(), metadata.write(at(1)).unwrap());
    txn.create_lease(&namespace(), &id, Labels::default(), Some(at(end))).unwrap().unwrap();
    txn.add_member(&namespace(), &id, &Member::new(kind(), member).unwrap()).unwrap();
    txn.commit().unwrap();
}

#[test]
fn only_what_still_is_what_was_seen_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let base = make(&metadata, "base", "", Kind::Committed);
    let child = make(&metadata, "child", "base", Kind::Active);
    let (base, child) = (seen("base", &base), seen("child", &child));
    assert_eq!((base.depth, child.depth), (0, 1));
    assert_eq!(sweep(&metadata, &base), Swept::Parent);
    assert_eq!(sweep(&metadata, &Unheld { id: 77, ..child.clone() }), Swept::Kept);
    assert_eq!(sweep(&metadata, &Unheld { updated_at: 7, ..child.clone() }), Swept::Kept);
    lease(&metadata, "ended", 8, "child");
    lease(&metadata, "ends", 9, "base");
    let Swept::Removed(layers) = sweep(&metadata, &child) else { panic!("an ended lease holds") };
    let [layer] = layers[..] else { panic!("{layers:?}") };
    assert!(metadata.is_trash(layer).unwrap() && metadata.layer(layer).unwrap().is_none());
    assert_eq!(sweep(&metadata, &child), Swept::Kept, "it is gone");
    assert_eq!(sweep(&metadata, &base), Swept::Kept, "a lease holds up to its end");
    let containerds = create(&metadata, Kind::Active, "one/1/base", "").unwrap();
    assert_eq!(sweep(&metadata, &Unheld { key: key("one/1/base"), ..seen("x", &containerds) }), Swept::Kept);
}

#[test]
fn what_clients_touch_is_taken_down_while_somebody_watches() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    make(&metadata, "before", "", Kind::Committed);
    let watch = metadata.watch().unwrap();
    let take = || watch.take(&metadata.write(at(1)).unwrap());
    assert_eq!(take(), []);
    create(&metadata, Kind::Active, "one/1/containerd's", "").unwrap();
    assert_eq!(take(), [], "what containerd makes is no matter of the collector");
    make(&metadata, "active", "before", Kind::Active);
    lease(&metadata, "lease", 9, "member");
    let touched = take();
    let [Touched::Snapshot { key, parent, .. }, Touched::Lease(_, id), Touched::Member(_, member)] = &touched[..]
    else {
        panic!("{touched:?}")
    };
    assert_eq!((key.as_str(), parent.as_ref().unwrap().as_str()), ("active", "before"));
    assert_eq!((id.as_str(), member.id()), ("lease", "member"));
    make(&metadata, "late", "", Kind::Committed);
    assert_eq!(take().len(), 2, "prepared and committed");
    make(&metadata, "later", "", Kind::Active);
    drop(watch);
    let watch = metadata.watch().unwrap();
    assert_eq!(watch.take(&metadata.write(at(1)).unwrap()), [], "a watch begins empty");
}
