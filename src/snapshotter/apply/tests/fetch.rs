//! Snapshots that are made without their blobs.

use super::*;
use crate::types::{Namespace, Scope};

fn fetching() -> Pool {
    Pool::with(Reuse { enabled: true, per_namespace: false, fetch: true })
}

/// The labels of an unpacker.
fn of_unpacker(archive: &str, chain: &str, above: bool) -> Labels {
    let diff_id = digest(&format!("-{archive}"));
    let mut all = vec![(label::SNAPSHOT_REF, chain), (label::DIFF_ID, diff_id.as_str())];
    all.extend(above.then_some((label::PARENT_CHAIN_ID, "sha256:below")));
    labels(&all)
}

fn prepare(pool: &Pool, key: SnapshotKey, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
    let parent = SnapshotKey::parse_parent_in(key.scope().clone(), parent.into()).unwrap();
    pool.snapshotter.create(CreateSnapshot { kind: Kind::Active, key, parent, labels, lease: None })
}

#[test]
fn a_known_layer_is_not_fetched_again() {
    let pool = fetching();
    pool.unpack("a/1/base", "", &archive("base"));
    let top = Archive { implicit: vec!["usr"], ..archive("top") };
    pool.unpack("a/2/top", "a/1/base", &top);
    let made = |name: &str, parent: &str, labels: &Labels| {
        let result = prepare(&pool, key(name), parent, labels.clone());
        matches!(result, Err(Error::AlreadyExists(Resource::Snapshot(target))) if target.starts_with("chain"))
    };
    let base = of_unpacker("base", "chain of base", false);
    assert!(made("b/3/extract-1 base", "", &base));
    let snapshot = pool.snapshotter.metadata().snapshot(&key("b/3/extract-1 base")).unwrap();
    assert_eq!(
        (snapshot.kind, snapshot.layer, &snapshot.labels),
        (Kind::Committed, Some(pool.layer("a/1/base")), &base)
    );
    assert!(made("b/4/extract-1 top", "b/3/extract-1 base", &of_unpacker("top", "chain of top", true)));
    assert_eq!(pool.layer("b/4/extract-1 top"), pool.layer("a/2/top"));
    // On something else, before the parent is named, of something unknown, and where nobody says what it is.
    pool.unpack("a/5/other", "", &archive("other"));
    for (number, (parent, labels)) in [
        ("a/5/other", of_unpacker("top", "chain", true)),
        ("", of_unpacker("base", "chain", true)),
        ("", of_unpacker("unknown", "chain", false)),
        ("", labels(&[(label::SNAPSHOT_REF, "chain")])),
        ("", labels(&[(label::DIFF_ID, digest("-base").as_str())])),
        ("", labels(&[(label::SNAPSHOT_REF, "chain"), (label::DIFF_ID, "no digest")])),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(!made(&format!("c/{number}/extract-1 x"), parent, &labels), "{number}");
    }
    pool.check(3 + 6);
    for name in ["b/4/extract-1 top", "a/2/top", "b/3/extract-1 base", "a/1/base"] {
        pool.remove(name);
    }
    pool.check(1 + 6);
}

#[test]
fn a_client_of_the_api_socket_finds_it_under_its_name() {
    let pool = fetching();
    pool.unpack("a/1/base", "", &archive("base"));
    let scope = Scope::Api(Namespace::parse("own").unwrap());
    let key = |name: &str| SnapshotKey::parse_in(scope.clone(), name).unwrap();
    for _ in ["made", "there already"] {
        let result = prepare(&pool, key("extract-1 base"), "", of_unpacker("base", "chain", false));
        assert!(matches!(result, Err(Error::AlreadyExists(_))), "{result:?}");
        assert_eq!(pool.snapshotter.metadata().snapshot(&key("chain")).unwrap().kind, Kind::Committed);
    }
    assert_eq!(pool.references(pool.layer("a/1/base")), 2);
    pool.check(1);
}

#[test]
fn nobody_is_told_so_unless_it_is_configured() {
    let pool = Pool::new();
    pool.unpack("a/1/base", "", &archive("base"));
    prepare(&pool, key("b/2/extract-1 base"), "", of_unpacker("base", "chain", false)).unwrap();
    pool.check(2);
}
