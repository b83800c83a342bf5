//! Policy leases, and giving up what only they hold.

use super::*;
use crate::types::{LeaseId, Member, Namespace, label};

fn one() -> Namespace {
    Namespace::parse("one").unwrap()
}

fn kind() -> MemberKind {
    MemberKind::Snapshots("leasehold".into())
}

fn hour() -> Retention {
    Retention::new(Duration::from_secs(3_600)).unwrap()
}

fn change<T>(metadata: &Metadata, now: u64, work: impl FnOnce(&mut Transaction<'_>) -> Result<T>) -> T {
    let mut txn = metadata.write(at(now)).unwrap();
    let answer = work(&mut txn).unwrap();
    txn.commit().unwrap();
    answer
}

/// Makes a chain of committed snapshots `one/<n>/<name>`, the first on nothing. Returns their layers.
fn chain(metadata: &Metadata, names: &[&str]) -> Vec<LayerId> {
    let mut parent = String::new();
    names
        .iter()
        .map(|name| {
            let layer = create(metadata, Kind::Active, &format!("one/1/make {name}"), &parent).unwrap().layer.unwrap();
            commit(metadata, &format!("one/2/{name}"), &format!("one/1/make {name}"), "").unwrap();
            parent = format!("one/2/{name}");
            layer
        })
        .collect()
}

fn remove_at(metadata: &Metadata, name: &str, now: u64, retention: Option<&Retention>) -> Removed {
    change(metadata, now, |txn| txn.remove(&kind(), &key(name), retention))
}

/// All leases with what they name, one a line.
fn leases(metadata: &Metadata) -> Vec<String> {
    metadata
        .read(|records| {
            let mut all = Vec::new();
            records.each_lease(|namespace, id, lease| {
                let mut names = Vec::new();
                records.each_member_of(&namespace, &id, |member| {
                    names.push(member.id().to_owned());
                    Ok(())
                })?;
                let policy = if lease.policy.is_some() { " of policy" } else { "" };
                all.push(format!("{namespace} {id}{policy}: {}", names.join(" ")));
                Ok(())
            })?;
            Ok(all)
        })
        .unwrap()
}

fn evictable(metadata: &Metadata, now: u64) -> Vec<Evictable> {
    metadata.read(|records| records.evictable(&kind(), &[], at(now))).unwrap().all
}

fn evict(metadata: &Metadata, now: u64, seen: &Evictable) -> Option<Vec<LayerId>> {
    let EvictableName::Snapshot(name) = &seen.name else { panic!("a blob") };
    change(metadata, now, |txn| txn.evict(&kind(), name, seen.removed_at, txn.trees_seen()))
}

#[test]
fn removals_of_one_stretch_share_a_lease_that_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    chain(&metadata, &["base", "top", "other"]);
    for (name, now) in [("one/2/other", 450), ("one/2/top", 674), ("one/2/base", 675)] {
        let removed = remove_at(&metadata, name, now, Some(&hour()));
        assert!(removed.by_policy && removed.trashed.is_empty());
    }
    assert_eq!(
        leases(&metadata),
        ["one retention-19700101T000730Z of policy: other top", "one retention-19700101T001115Z of policy: base",]
    );
    let id = LeaseId::parse("retention-19700101T000730Z").unwrap();
    let lease = metadata.lease(&one(), &id).unwrap();
    assert_eq!((lease.expires_at, lease.policy), (Some(at(675 + 3_600)), Some(Policy::Retention)));
    let label = |key| lease.labels.get(key);
    assert_eq!(label(label::GC_EXPIRE), Some("1970-01-01T01:11:15Z"));
    assert_eq!((label(label::POLICY), label(label::GC_FLAT)), (Some("retention"), Some("true")));
    assert!(metadata.namespace(&one()).unwrap().is_some(), "every lease has its namespace");
    assert_eq!(metadata.next_expiry().unwrap(), lease.expires_at);
}

#[test]
fn only_committed_snapshots_of_containerd_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    chain(&metadata, &["base"]);
    create(&metadata, Kind::Active, "one/3/container", "one/2/base").unwrap();
    create(&metadata, Kind::View, "one/4/view", "").unwrap();
    create(&metadata, Kind::Active, "x", "").unwrap();
    commit(&metadata, "without a namespace", "x", "").unwrap();
    create(&metadata, Kind::Active, "one/5/x", "").unwrap();
    commit(&metadata, "one/6/a\0b", "one/5/x", "").unwrap();
    for name in ["one/3/container", "one/4/view", "without a namespace", "one/6/a\0b"] {
        let removed = remove_at(&metadata, name, 9, Some(&hour()));
        assert!(!removed.by_policy && removed.held_by.is_none() && removed.trashed.len() == 1, "{name:?}: {removed:?}");
    }
    assert!(!remove_at(&metadata, "one/2/base", 9, None).by_policy);
    assert_eq!(leases(&metadata), Vec::<String>::new());
    assert!(metadata.namespaces().unwrap().is_empty());
}

#[test]
fn a_lease_that_is_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let id = |text: &str| LeaseId::parse(text).unwrap();
    let take = |name: &str| {
        let labels = Labels::default();
        change(&metadata, 1, |txn| txn.create_lease(&one(), &id(name), labels, Some(at(4_275)))).unwrap();
    };
    take("retention-19700101T000730Z");
    chain(&metadata, &["base", "top"]);
    remove_at(&metadata, "one/2/top", 450, Some(&hour()));
    // Another configuration, and a stretch that begins at the same moment.
    remove_at(&metadata, "one/2/base", 450, Retention::new(Duration::from_secs(2_400)).as_ref());
    assert_eq!(
        leases(&metadata),
        [
            "one retention-19700101T000730Z: ",
            "one retention-19700101T000730Z-2 of policy: top",
            "one retention-19700101T000730Z-3 of policy: base",
        ]
    );
    (4..=9).for_each(|number| take(&format!("retention-19700101T000730Z-{number}")));
    chain(&metadata, &["third"]);
    let day = Retention::new(Duration::from_secs(7_200));
    let held_by = remove_at(&metadata, "one/2/third", 450, day.as_ref()).held_by.unwrap();
    assert!(held_by.as_str().starts_with("retention-19700101T000730Z-") && held_by.as_str().len() > 32, "{held_by}");
}

#[test]
fn evicting_gives_back_layers_that_nothing_else_names() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let layers = chain(&metadata, &["base", "top"]);
    let usage = Usage { size: 7, inodes: 2 };
    change(&metadata, 2, |txn| txn.set_usage(layers[1], usage));
    remove_at(&metadata, "one/2/top", 5, Some(&hour()));
    remove_at(&metadata, "one/2/base", 900, Some(&hour()));
    let [base, top] = &evictable(&metadata, 901)[..] else { panic!("not two") };
    assert_eq!((top.name.as_str(), top.removed_at, &top.layers[..]), ("top", at(5), &[layers[1], layers[0]][..]));

    assert_eq!(evict(&metadata, 901, top), Some(vec![layers[1]]));
    assert_eq!(leases(&metadata), ["one retention-19700101T001500Z of policy: base"], "an empty lease goes");
    let mut trash = Vec::new();
    let mut note = |layer, usage| {
        trash.push((layer, usage));
        Ok(())
    };
    metadata.read(|records| records.each_trash_usage(&mut note)).unwrap();
    assert_eq!(trash, [(layers[1], Some(usage))]);
    assert_eq!(evict(&metadata, 901, top), None, "once is enough");
    assert_eq!(evict(&metadata, 901, base), Some(vec![layers[0]]));
    assert_eq!((leases(&metadata), metadata.next_expiry().unwrap()), (Vec::new(), None));
    assert!(metadata.retained_names(None, 9).unwrap().is_empty());
}

#[test]
fn what_somebody_else_leases_is_not_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    chain(&metadata, &["base"]);
    remove_at(&metadata, "one/2/base", 5, Some(&hour()));
    let [seen] = &evictable(&metadata, 6)[..] else { panic!("not one") };
    let keep = LeaseId::parse("keep").unwrap();
    let member = Member::new(kind(), "base").unwrap();
    change(&metadata, 6, |txn| txn.create_lease(&one(), &keep, Labels::default(), Some(at(100)))).unwrap();
    change(&metadata, 6, |txn| txn.add_member(&one(), &keep, &member));
    assert_eq!((evictable(&metadata, 100), evict(&metadata, 100, seen)), (Vec::new(), None));
    assert!(leases(&metadata).contains(&"one retention-19700101T000000Z of policy: base".to_owned()));
    // Its time counts from the removal all the same.
    assert_eq!(evictable(&metadata, 101), std::slice::from_ref(seen));
    assert_eq!(evictable(&metadata, 225 + 3_600), std::slice::from_ref(seen));
    assert_eq!(evictable(&metadata, 226 + 3_600), []);
    assert!(evict(&metadata, 101, seen).is_some());
}

#[test]
fn what_was_removed_anew_is_not_what_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    chain(&metadata, &["base"]);
    remove_at(&metadata, "one/2/base", 5, Some(&hour()));
    let first = evictable(&metadata, 6);
    let layers = chain(&metadata, &["base"]);
    // While it is there again, what was retained can go.
    assert_eq!(evictable(&metadata, 6), first);
    remove_at(&metadata, "one/2/base", 905, Some(&hour()));
    assert_eq!(evict(&metadata, 906, &first[0]), None);
    let second = evictable(&metadata, 906);
    assert_eq!(evict(&metadata, 906, &second[0]), Some(layers));
    assert_eq!(leases(&metadata), Vec::<String>::new(), "of both stretches");
}

#[test]
fn whether_anything_is_leased_is_known_after_opening() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member::new(kind(), "base").unwrap();
    let keep = LeaseId::parse("keep").unwrap();
    let may_be = |metadata: &Metadata| metadata.has_members.load(std::sync::atomic::Ordering::Relaxed);
    {
        let metadata = open(&dir);
        assert!(!may_be(&metadata));
        change(&metadata, 1, |txn| txn.create_lease(&one(), &keep, Labels::default(), None)).unwrap();
        assert!(!may_be(&metadata));
        change(&metadata, 1, |txn| txn.add_member(&one(), &keep, &member));
        assert!(may_be(&metadata));
        chain(&metadata, &["base"]);
    }
    let metadata = open(&dir);
    assert!(may_be(&metadata));
    assert_eq!(remove_at(&metadata, "one/2/base", 5, None).held_by, Some(keep.clone()));
    change(&metadata, 6, |txn| txn.delete_lease(&one(), &keep));
    drop(metadata);
    assert!(!may_be(&open(&dir)));
}

#[test]
fn a_damaged_lease_keeps_nothing_from_being_removed_or_kept() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    chain(&metadata, &["base", "top"]);
    remove_at(&metadata, "one/2/top", 5, Some(&hour()));
    let id = LeaseId::parse("retention-19700101T000000Z").unwrap();
    let mut txn = metadata.store.write().unwrap();
    txn.put(Column::Leases, schema::leases::lease(&one(), &id), vec![0xff]);
    txn.commit().unwrap();
    // Another one takes its place.
    let held_by = remove_at(&metadata, "one/2/base", 6, Some(&hour())).held_by.unwrap();
    assert_eq!(held_by.as_str(), "retention-19700101T000000Z-2");
    // And what it may hold is not taken for something that can go.
    let evictable = evictable(&metadata, 7);
    assert_eq!(evictable.iter().map(|snapshot| snapshot.name.as_str()).collect::<Vec<_>>(), ["base"]);
    // In the next stretch there is another lease.
    chain(&metadata, &["other"]);
    assert!(remove_at(&metadata, "one/2/other", 225, Some(&hour())).by_policy);
}
