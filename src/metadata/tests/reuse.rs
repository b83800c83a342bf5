//! Known layers: how they come to be known, who may have them, and that nothing finds them without their last reference.

use super::*;
use crate::store::Column;
use crate::types::{Digest, LeaseId, Member};

fn digest(char: &str) -> Digest {
    Digest::parse(format!("sha256:{}", char.repeat(64))).unwrap()
}

fn known(char: &str) -> Known {
    Known {
        diff_id: digest(char),
        size: 7,
        // The letter after that.
        blobs: vec![digest(if char == "a" { "b" } else { "d" })],
        variant: Variant::any(),
        namespace: "".into(),
        implicit_root: false,
        hides: false,
        boot: "".into(),
        only_on_known: false,
    }
}

fn applied(known: &Known) -> AppliedLayer {
    AppliedLayer {
        diff_id: known.diff_id.clone(),
        size: known.size,
        blob: known.blobs.first().cloned(),
        usage: None,
        implicit: Vec::new(),
        whiteouts: Vec::new(),
        opaque: Vec::new(),
        staged: None,
        verified: true,
        boot: "".into(),
        base: false,
        implicit_unlisted: false,
        hiding_unlisted: false,
    }
}

fn change<T>(metadata: &Metadata, work: impl FnOnce(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
    let mut txn = metadata.write(at(5))?;
    let answer = work(&mut txn)?;
    txn.commit()?;
    Ok(answer)
}

fn apply(metadata: &Metadata, active: &str, known: &Known) -> LayerId {
    let layer = metadata.snapshot(&key(active)).unwrap().layer.unwrap();
    change(metadata, |txn| txn.set_applied(layer, &applied(known))).unwrap();
    layer
}

fn request(name: &str, active: &str, parent: &str) -> CommitActive {
    let parent = SnapshotKey::parse_parent(parent.into()).unwrap();
    CommitActive { name: key(name), key: key(active), parent, labels: Labels::default(), lease: None }
}

/// Commits with what there is to settle settled like this.
fn settle(metadata: &Metadata, commit: &CommitActive, known: &Known, other: Option<(LayerId, bool)>) -> Commit {
    let answer = change(metadata, |txn| txn.commit_active(commit, None)).unwrap();
    let Commit::Unsettled(of) = answer else { panic!("{answer:?}") };
    let settled = Settled { of: *of, known: Some(known.clone()), other, usage: Some(Usage { size: 5, inodes: 2 }) };
    change(metadata, |txn| txn.commit_active(commit, Some(&settled))).unwrap()
}

/// Makes a committed snapshot of a known layer.
fn make_known(metadata: &Metadata, name: &str, known: &Known) -> LayerId {
    let active = format!("{name}-active");
    create(metadata, Kind::Active, &active, "").unwrap();
    let layer = apply(metadata, &active, known);
    let committed = settle(metadata, &request(name, &active, ""), known, None);
    assert!(matches!(&committed, Commit::Done(done) if done.snapshot.layer == Some(layer)), "{committed:?}");
    layer
}

/// Prepares an active snapshot for which a layer is staged.
fn make_staged(metadata: &Metadata, active: &str, layer: LayerId, known: &Known) -> LayerId {
    let own = create(metadata, Kind::Active, active, "").unwrap().layer.unwrap();
    assert_eq!(change(metadata, |txn| txn.stage(own, layer, known, None)).unwrap(), Some(()));
    own
}

/// How many records there are of what was applied, and of both ways to find layers.
fn entries(metadata: &Metadata) -> [usize; 3] {
    let columns = [Column::Applied, Column::LayersByDiff, Column::LayersByBlob];
    columns.map(|column| metadata.store.page(column, &[], None, 99).unwrap().len())
}

fn references(metadata: &Metadata, layer: LayerId) -> u32 {
    metadata.layer(layer).unwrap().map_or(0, |layer| layer.references)
}

fn faults(metadata: &Metadata) -> Vec<ReuseFault> {
    let check = metadata.read(|records| records.check_reuse()).unwrap();
    assert!(check.damaged.is_empty(), "{:?}", check.damaged);
    check.faults
}

/// Changes a layer's record as damage does.
fn damage(metadata: &Metadata, id: LayerId, change: impl FnOnce(&mut Layer)) {
    let mut layer = metadata.layer(id).unwrap().unwrap_or_default();
    change(&mut layer);
    let mut txn = metadata.store.write().unwrap();
    txn.put(Column::Layers, schema::layer(id), layer.encode());
    txn.commit().unwrap();
}

#[test]
fn a_pool_of_the_third_schema_knows_who_writes_to_its_layers() {
    let dir = fixture(3);
    for _ in ["migrated", "opened again"] {
        let metadata = open(&dir);
        assert_eq!(metadata.pool(), "77d9b07b-082b-4282-b8df-a20a859b1e57");
        let own = SnapshotKey::parse_in(Scope::Api(Namespace::parse("default").unwrap()), "own").unwrap();
        for active in [key("default/3/container"), own] {
            let snapshot = metadata.snapshot(&active).unwrap();
            let txn = metadata.write(at(1)).unwrap();
            let found = txn.active_layer(snapshot.layer.unwrap()).unwrap();
            assert_eq!(found, ActiveLayer { key: active, snapshot, applied: None });
        }
        let base = metadata.snapshot(&key("default/2/base")).unwrap().layer.unwrap();
        assert!(matches!(metadata.write(at(1)).unwrap().active_layer(base), Err(Error::WrongState { .. })));
        assert_eq!(metadata.layer(base).unwrap().unwrap().known, None);
        let namespace = Namespace::parse("default").unwrap();
        assert_eq!(metadata.retained_names(None, 9).unwrap(), [(namespace.clone(), "kept".to_owned())]);
        assert_eq!(metadata.blobs(&Scope::Plugin, None, 9).unwrap().blobs.len(), 1);
        assert_eq!(metadata.blobs(&Scope::Api(namespace), None, 9).unwrap().blobs.len(), 1);
        assert_eq!(count_trash(&metadata), 1);
        assert_eq!((entries(&metadata), faults(&metadata)), ([0; 3], Vec::new()));
    }
}

#[test]
fn a_layer_is_active_from_prepare_to_commit() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let layer = create(&metadata, Kind::Active, "a", "").unwrap().layer.unwrap();
    let view = create(&metadata, Kind::View, "v", "").unwrap().layer.unwrap();
    let active = |id| metadata.write(at(1)).unwrap().active_layer(id);
    assert_eq!(active(layer).unwrap().key, key("a"));
    assert!(matches!(active(view), Err(Error::WrongState { .. })));
    commit(&metadata, "b", "a", "").unwrap();
    assert!(matches!(active(layer), Err(Error::WrongState { .. })));
    assert_eq!(metadata.layer(layer).unwrap().unwrap().active, None);
    // The key goes to another.
    let other = create(&metadata, Kind::Active, "a", "").unwrap().layer.unwrap();
    assert_eq!(active(other).unwrap().key, key("a"));
    remove(&metadata, "a").unwrap();
    assert!(matches!(active(other), Err(Error::NotFound(_))));
}

#[test]
fn a_known_layer_is_found_until_its_last_reference_goes() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let (kind, namespace) = (MemberKind::Snapshots("leasehold".into()), Namespace::parse("one").unwrap());
    let retained = (namespace.clone(), "x".to_owned());
    let lease = |metadata: &Metadata| {
        let id = LeaseId::parse("l").unwrap();
        change(metadata, |txn| {
            txn.create_lease(&namespace, &id, Labels::default(), None)?;
            txn.add_member(&namespace, &id, &Member::new(kind.clone(), "x")?)
        })
        .unwrap();
    };
    let unlease = |metadata: &Metadata| {
        change(metadata, |txn| txn.delete_lease(&namespace, &LeaseId::parse("l").unwrap())).unwrap();
    };
    type Way<'a> = (&'a str, &'a dyn Fn(&Metadata, LayerId) -> Vec<LayerId>);
    let ways: [Way<'_>; 5] = [
        ("remove", &|metadata, _| remove(metadata, "one/1/x").unwrap().trashed),
        ("drop damaged", &|metadata, _| change(metadata, |txn| txn.drop_damaged(&key("one/1/x"))).unwrap()),
        ("repair references", &|metadata, layer| {
            let unnamed = change(metadata, |txn| txn.repair_references(layer, 0)).unwrap();
            change(metadata, |txn| txn.drop_damaged(&key("one/1/x"))).unwrap();
            unnamed
        }),
        ("give up", &|metadata, _| {
            lease(metadata);
            assert!(remove(metadata, "one/1/x").unwrap().trashed.is_empty());
            assert_eq!(entries(metadata), [0, 1, 1], "retained, it is of use");
            unlease(metadata);
            let removed_at = metadata.retained(&retained.0, &retained.1).unwrap().unwrap().removed_at;
            let gone = |txn: &mut Transaction<'_>| txn.give_up_retained(&kind, &retained, removed_at, txn.trees_seen());
            let GivenUp::Gone(layers) = change(metadata, gone).unwrap() else { panic!("kept") };
            layers
        }),
        ("evict", &|metadata, _| {
            let hour = Retention::new(Duration::from_secs(3_600));
            let removed = |txn: &mut Transaction<'_>| txn.remove(&kind, &key("one/1/x"), hour.as_ref());
            assert!(change(metadata, removed).unwrap().by_policy);
            let removed_at = metadata.retained(&retained.0, &retained.1).unwrap().unwrap().removed_at;
            change(metadata, |txn| txn.evict(&kind, &retained, removed_at, txn.trees_seen())).unwrap().unwrap()
        }),
    ];
    for (way, give_up) in ways {
        let layer = make_known(&metadata, "one/1/x", &known("a"));
        assert_eq!(entries(&metadata), [0, 1, 1], "{way}");
        assert_eq!(metadata.known_layer("", &digest("a"), &[Variant::any()]).unwrap().unwrap().0, layer);
        assert_eq!(metadata.diff_id_of(&known("a").blobs[0]).unwrap(), digest("a"));
        assert_eq!(give_up(&metadata, layer), [layer], "{way}");
        assert_eq!((entries(&metadata), references(&metadata, layer)), ([0; 3], 0), "{way}");
        assert_eq!(metadata.known_layer("", &digest("a"), &[Variant::any()]).unwrap(), None, "{way}");
        assert_eq!(metadata.diff_id_of(&known("a").blobs[0]).unwrap(), known("a").blobs[0], "{way}");
    }
}

#[test]
fn a_staged_layer_is_given_back_whatever_ends_the_active_one() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let known = known("a");
    let layer = make_known(&metadata, "x", &known);
    let own = make_staged(&metadata, "active", layer, &known);
    assert_eq!((references(&metadata, layer), entries(&metadata)), (2, [1, 1, 1]));
    assert_eq!(remove(&metadata, "active").unwrap().trashed, [own]);
    assert_eq!((references(&metadata, layer), entries(&metadata)), (1, [0, 1, 1]));

    let own = make_staged(&metadata, "active", layer, &known);
    assert_eq!(change(&metadata, |txn| txn.drop_damaged(&key("active"))).unwrap(), [own]);
    assert_eq!((references(&metadata, layer), entries(&metadata)), (1, [0, 1, 1]));

    let own = make_staged(&metadata, "active", layer, &known);
    assert!(change(&metadata, |txn| txn.drop_applied(own)).unwrap().is_empty());
    assert_eq!((references(&metadata, layer), entries(&metadata)), (1, [0, 1, 1]));
    assert!(!metadata.layer(own).unwrap().unwrap().applied);
    remove(&metadata, "active").unwrap();

    // The last one to have it.
    let own = make_staged(&metadata, "active", layer, &known);
    assert!(remove(&metadata, "x").unwrap().trashed.is_empty());
    assert_eq!(references(&metadata, layer), 1);
    assert_eq!(remove(&metadata, "active").unwrap().trashed, [own, layer]);
    assert!(metadata.is_trash(own).unwrap() && metadata.is_trash(layer).unwrap());
    assert_eq!(entries(&metadata), [0; 3]);
}

#[test]
fn a_collection_gives_a_staged_layer_back() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let known = known("a");
    let layer = make_known(&metadata, "x", &known);
    let api = SnapshotKey::parse_in(Scope::Api(Namespace::parse("one").unwrap()), "active").unwrap();
    let create =
        CreateSnapshot { kind: Kind::Active, key: api.clone(), parent: None, labels: Labels::default(), lease: None };
    let own = metadata.allocate_layer();
    let snapshot = change(&metadata, |txn| txn.create(create, Some(own))).unwrap();
    assert!(change(&metadata, |txn| txn.stage(own, layer, &known, None)).unwrap().is_some());
    remove(&metadata, "x").unwrap();
    let updated_at = super::super::record::nanos(snapshot.updated_at);
    let unheld = Unheld { key: api, id: snapshot.id, updated_at, depth: 0 };
    let swept = change(&metadata, |txn| txn.sweep(&MemberKind::Snapshots("leasehold".into()), &unheld)).unwrap();
    assert_eq!(swept, Swept::Removed(vec![own, layer]));
    assert!(metadata.is_trash(own).unwrap() && metadata.is_trash(layer).unwrap());
}

#[test]
fn what_was_seen_is_looked_at_again_when_it_is_staged() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let known_a = known("a");
    let layer = make_known(&metadata, "x", &known_a);
    let own = create(&metadata, Kind::Active, "active", "").unwrap().layer.unwrap();
    let stage = |layer, known: &Known| change(&metadata, |txn| txn.stage(own, layer, known, None));
    assert_eq!(stage(layer, &known("c")).unwrap(), None, "it holds something else");
    remove(&metadata, "x").unwrap();
    assert_eq!(stage(layer, &known_a).unwrap(), None, "it is gone");
    assert_eq!(stage(own, &known_a).unwrap(), None, "it is not known");
    assert_eq!(entries(&metadata), [0; 3]);
    let layer = make_known(&metadata, "x", &known_a);
    assert!(stage(layer, &known_a).unwrap().is_some());
    assert_eq!(stage(layer, &known_a).unwrap(), None, "something was applied");
    assert_eq!(references(&metadata, layer), 2);
    remove(&metadata, "active").unwrap();
    assert!(matches!(stage(layer, &known_a), Err(Error::NotFound(_))));
}

#[test]
fn what_was_settled_counts_for_what_was_looked_at_only() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let known = known("a");
    for name in ["one", "two", "three"] {
        create(&metadata, Kind::Active, name, "").unwrap();
        apply(&metadata, name, &known);
    }
    create(&metadata, Kind::Active, "p", "").unwrap();
    commit(&metadata, "parent", "p", "").unwrap();
    // Where another parent is named, or more was applied.
    let one = request("a", "one", "");
    let answer = change(&metadata, |txn| txn.commit_active(&one, None)).unwrap();
    let Commit::Unsettled(of) = answer else { panic!("{answer:?}") };
    let settled = Settled { of: *of, known: Some(known.clone()), other: None, usage: None };
    let again = change(&metadata, |txn| txn.commit_active(&request("a", "one", "parent"), Some(&settled))).unwrap();
    assert!(matches!(&again, Commit::Unsettled(now) if now.rebased), "{again:?}");
    let layer = apply(&metadata, "one", &Known { size: 8, ..known.clone() });
    let again = change(&metadata, |txn| txn.commit_active(&one, Some(&settled))).unwrap();
    assert!(matches!(&again, Commit::Unsettled(now) if now.applied.size == 8), "{again:?}");
    assert!(metadata.snapshot(&key("one")).is_ok() && metadata.snapshot(&key("a")).is_err());
    settle(&metadata, &one, &known, None);
    assert_eq!(metadata.layer(layer).unwrap().unwrap().usage, Some(Usage { size: 5, inodes: 2 }));

    // By then another one holds the same, which nobody compared.
    let two = request("b", "two", "");
    assert!(matches!(settle(&metadata, &two, &known, None), Commit::Unsettled(_)));
    assert!(matches!(settle(&metadata, &two, &known, Some((LayerId::new(99), true))), Commit::Unsettled(_)));
    let Commit::Done(done) = settle(&metadata, &two, &known, Some((layer, true))) else { panic!("not done") };
    assert_eq!((done.snapshot.layer, done.trashed.len()), (Some(layer), 1));
    // One that differs stays what it is, for itself.
    let Commit::Done(done) = settle(&metadata, &request("c", "three", ""), &known, Some((layer, false))) else {
        panic!("not done")
    };
    let own = done.snapshot.layer.unwrap();
    assert!(own != layer && done.trashed.is_empty());
    assert_eq!(metadata.layer(own).unwrap().unwrap().known, None);
    assert_eq!((references(&metadata, layer), entries(&metadata), faults(&metadata)), (2, [0, 1, 1], Vec::new()));
}

#[test]
fn so_many_blobs_of_a_layer_are_remembered_and_not_more() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let known = known("a");
    let layer = make_known(&metadata, "x", &known);
    for number in 0..20 {
        let blob = Digest::parse(format!("sha256:{number:064x}")).unwrap();
        let own = create(&metadata, Kind::Active, "active", "").unwrap().layer.unwrap();
        change(&metadata, |txn| txn.stage(own, layer, &known, Some(&blob))).unwrap().unwrap();
        settle(&metadata, &request(&format!("{number}"), "active", ""), &known, None);
    }
    assert_eq!(entries(&metadata), [0, 1, Known::MAX_BLOBS]);
    assert_eq!((references(&metadata, layer), faults(&metadata)), (21, Vec::new()));
}

#[test]
fn every_disagreement_is_found_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let known_a = known("a");
    let layer = make_known(&metadata, "x", &known_a);
    let own = make_staged(&metadata, "active", layer, &known_a);
    assert_eq!(faults(&metadata), []);
    let lose = |column, key: Vec<u8>| {
        let mut txn = metadata.store.write().unwrap();
        txn.delete(column, key);
        txn.commit().unwrap();
    };
    let repair = |fault: &ReuseFault| change(&metadata, |txn| txn.repair_reuse(fault)).unwrap();
    for (column, entry) in [
        (Column::LayersByDiff, schema::reuse::by_diff_of(&known_a)),
        (Column::LayersByBlob, schema::reuse::by_blob(&known_a.blobs[0], layer)),
    ] {
        lose(column, entry.clone());
        assert_eq!(faults(&metadata), [ReuseFault::MissingEntry(layer)]);
        assert!(repair(&ReuseFault::MissingEntry(layer)).is_empty());
        assert_eq!(faults(&metadata), []);
        damage(&metadata, layer, |layer| layer.known = None);
        let wrong = |column, key: &[u8]| ReuseFault::WrongEntry(column, key.into());
        assert_eq!(faults(&metadata).len(), 2);
        assert!(faults(&metadata).contains(&wrong(column, &entry)));
        // By then it is right again.
        damage(&metadata, layer, |layer| layer.known = Some(known_a.clone()));
        repair(&wrong(column, &entry));
        assert_eq!((faults(&metadata), entries(&metadata)), (Vec::new(), [1, 1, 1]));
        damage(&metadata, layer, |layer| layer.known = None);
        faults(&metadata).iter().for_each(|fault| drop(repair(fault)));
        assert_eq!((faults(&metadata), entries(&metadata)), (Vec::new(), [1, 0, 0]));
        damage(&metadata, layer, |layer| layer.known = Some(known_a.clone()));
        repair(&ReuseFault::MissingEntry(layer));
    }
    // Two that hold the same: one is found, and the other is nobody's but its own.
    let twin = create(&metadata, Kind::Active, "t", "").unwrap().layer.unwrap();
    commit(&metadata, "twin", "t", "").unwrap();
    damage(&metadata, twin, |layer| layer.known = Some(known_a.clone()));
    assert_eq!(faults(&metadata), [ReuseFault::MissingEntry(twin)]);
    repair(&ReuseFault::MissingEntry(twin));
    assert_eq!((faults(&metadata), entries(&metadata)), (Vec::new(), [1, 1, 1]));
    assert_eq!(metadata.layer(twin).unwrap().unwrap().known, None);

    damage(&metadata, own, |layer| layer.applied = false);
    assert_eq!(faults(&metadata), [ReuseFault::StaleApplied(own)]);
    assert!(repair(&ReuseFault::StaleApplied(own)).is_empty());
    assert_eq!((faults(&metadata), references(&metadata, layer)), (Vec::new(), 1));
    damage(&metadata, own, |layer| layer.applied = true);
    assert_eq!(faults(&metadata), [ReuseFault::MissingApplied(own)]);
    repair(&ReuseFault::MissingApplied(own));
    assert_eq!(faults(&metadata), []);
    change(&metadata, |txn| txn.stage(own, layer, &known_a, None)).unwrap().unwrap();
    lose(Column::Layers, schema::layer(layer));
    let found = faults(&metadata);
    assert!(found.contains(&ReuseFault::StagedWithoutLayer(own, layer)) && found.len() == 3, "{found:?}");
}

#[test]
fn entries_that_cannot_be_read_are_named_and_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let mut txn = metadata.store.write().unwrap();
    txn.put(Column::LayersByBlob, b"no digest".to_vec(), Vec::new());
    txn.put(Column::LayersByDiff, b"some digest".to_vec(), b"no".to_vec());
    txn.commit().unwrap();
    let check = metadata.read(|records| records.check_reuse()).unwrap();
    assert_eq!((check.damaged.len(), check.faults.len()), (2, 0));
    for record in check.damaged {
        assert!(record.can_be_set_aside());
        assert_eq!(change(&metadata, |txn| txn.set_aside(&record)).unwrap(), Some("deleted"));
    }
    assert_eq!(entries(&metadata), [0; 3]);
}
