//! What is lost behind our back: nothing is committed that is not there.

use super::*;

/// Repairs everything, and checks that nothing is wrong after that.
fn repair(pool: &Pool) -> Vec<String> {
    let problems = pool.snapshotter.fsck(true).unwrap().problems;
    pool.snapshotter.cleanup();
    // One repair may be the reason for another.
    pool.snapshotter.fsck(true).unwrap();
    let left = pool.snapshotter.fsck(false).unwrap().problems;
    assert!(left.is_empty(), "{left:?} after {problems:?}");
    problems.iter().map(|problem| problem.kind.code().to_owned()).collect()
}

/// Loses the directory of a layer.
fn lose(pool: &Pool, layer: LayerId) {
    fs::remove_dir_all(pool.snapshotter.layout().layer(layer)).unwrap();
}

#[test]
fn a_snapshot_goes_with_the_layer_that_was_staged_for_it() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("x"));
    let layer = pool.layer("base");
    pool.prepare("extract-2 base", "");
    assert!(pool.apply("extract-2 base", &archive("x")));
    pool.prepare("other", "");
    lose(&pool, layer);
    assert_eq!(repair(&pool), ["missing-directory"]);
    assert!(matches!(pool.try_commit("again", "extract-2 base", ""), Err(Error::NotFound(_))));
    assert!(matches!(pool.snapshotter.stat(key("base")), Err(Error::NotFound(_))));
    pool.commit("else", "other", "");
    assert!(!pool.unpack("base", "", &archive("x")));

    // The same where its record is lost.
    let layer = pool.layer("base");
    pool.prepare("extract-2 base", "");
    assert!(pool.apply("extract-2 base", &archive("x")));
    pool.remove("base");
    let mut txn = pool.snapshotter.metadata().write(std::time::SystemTime::now()).unwrap();
    txn.repair_references(layer, 0).unwrap();
    txn.commit().unwrap();
    let found = repair(&pool);
    assert!(found.contains(&"staged-without-layer".to_owned()), "{found:?}");
    assert!(matches!(pool.try_commit("again", "extract-2 base", ""), Err(Error::NotFound(_))));
}

#[test]
fn an_extracted_layer_that_was_lost_is_not_known() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("x"));
    for name in ["extract-2 x", "extract-2 y"] {
        pool.prepare(name, "");
        let archive = archive(if name.ends_with("x") { "x" } else { "y" });
        assert_eq!(pool.apply(name, &archive), archive.name == "x");
        lose(&pool, pool.layer(name));
    }
    let pool = pool.reopened();
    pool.commit("staged", "extract-2 x", "");
    assert_eq!(pool.layer("staged"), pool.layer("base"));
    pool.commit("lost", "extract-2 y", "");
    pool.prepare("extract-3 y", "");
    assert!(!pool.apply("extract-3 y", &archive("y")), "an empty layer is taken for what it was");
    pool.check(3);

    // And where fsck makes the directory again.
    pool.prepare("extract-4 z", "");
    pool.apply("extract-4 z", &archive("z"));
    lose(&pool, pool.layer("extract-4 z"));
    assert_eq!(repair(&pool), ["missing-directory"]);
    pool.commit("lost as well", "extract-4 z", "");
    pool.prepare("extract-5 z", "");
    assert!(!pool.apply("extract-5 z", &archive("z")));
}
