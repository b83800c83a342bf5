//! Staging known layers, and what counts as known.

use super::*;
use crate::types::{Namespace, Scope};

#[test]
fn a_known_layer_is_staged_and_kept_for_as_long_as_somebody_has_it() {
    let pool = Pool::new();
    assert!(!pool.unpack("a/1/one", "", &archive("x")));
    let layer = pool.layer("a/1/one");
    assert!(pool.unpack("b/2/one", "", &archive("x")));
    assert!(pool.unpack("c/3/one", "", &archive("x")));
    assert_eq!([pool.layer("b/2/one"), pool.layer("c/3/one")], [layer; 2]);
    assert_eq!(pool.references(layer), 3);
    pool.check(1);
    pool.remove("a/1/one");
    pool.remove("c/3/one");
    assert_eq!(fs::read_to_string(pool.fs("b/2/one").join("x")).unwrap(), "x");
    assert_eq!(pool.references(layer), 1);
    let pool = pool.reopened();
    assert!(pool.unpack("d/4/one", "", &archive("x")), "forgotten at the stop");
    pool.remove("b/2/one");
    pool.remove("d/4/one");
    pool.check(0);
    assert!(!pool.unpack("e/5/one", "", &archive("x")), "known without its last reference");
    pool.check(1);
}

#[test]
fn a_staged_layer_is_shown_and_given_back() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("base"));
    pool.unpack("top", "base", &archive("top"));
    let (base, top) = (pool.layer("base"), pool.layer("top"));
    pool.prepare("a/1/extract-2 top", "base");
    assert!(pool.apply("a/1/extract-2 top", &archive("top")));
    assert_eq!(pool.references(top), 2);

    let [mount] = &pool.snapshotter.mounts(&key("a/1/extract-2 top")).unwrap()[..] else { panic!("one mount") };
    let layout = pool.snapshotter.layout();
    let lowerdir = format!("lowerdir={}:{}", layout.upperdir(top), layout.upperdir(base));
    assert!(mount.options.contains(&lowerdir), "{mount:?}");
    let usage = |name| pool.snapshotter.usage(&key(name)).unwrap();
    let empty = overlay::disk_usage(&pool.fs("a/1/extract-2 top")).unwrap();
    assert_eq!(usage("a/1/extract-2 top").size, usage("top").size + empty.size);

    pool.remove("a/1/extract-2 top");
    assert_eq!(pool.references(top), 1);
    pool.check(2);

    pool.prepare("a/2/extract-3 top", "base");
    assert!(pool.apply("a/2/extract-3 top", &archive("top")));
    pool.remove("top");
    let pool = pool.reopened();
    pool.check(3);
    pool.commit("a/3/top", "a/2/extract-3 top", "");
    assert_eq!((pool.layer("a/3/top"), pool.references(top)), (top, 1));
    pool.check(2);
    pool.prepare("a/4/extract-4 top", "base");
    assert!(pool.apply("a/4/extract-4 top", &archive("top")));
    pool.remove("a/3/top");
    pool.remove("a/4/extract-4 top");
    pool.check(1);
}

#[test]
fn a_staged_layer_without_parents_is_shown_below_an_empty_one() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("base"));
    pool.prepare("extract-1 other", "");
    assert!(pool.apply("extract-1 other", &archive("base")));
    let [mount] = &pool.snapshotter.mounts(&key("extract-1 other")).unwrap()[..] else { panic!("one mount") };
    assert_eq!(mount.kind, "overlay");
    let lowerdir = format!("lowerdir={}", pool.snapshotter.layout().upperdir(pool.layer("base")));
    assert!(mount.options.contains(&lowerdir), "{mount:?}");
}

#[test]
fn what_was_written_into_beside_a_staged_layer_is_not_committed() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("base"));
    pool.prepare("a/1/extract-1 base", "");
    assert!(pool.apply("a/1/extract-1 base", &archive("base")));
    pool.snapshotter.mounts(&key("a/1/extract-1 base")).unwrap();
    fs::write(pool.fs("a/1/extract-1 base").join("more"), "").unwrap();
    let result = pool.try_commit("a/2/base", "a/1/extract-1 base", "");
    assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
    fs::remove_file(pool.fs("a/1/extract-1 base").join("more")).unwrap();
    pool.commit("a/2/base", "a/1/extract-1 base", "");
    pool.check(1);
}

#[test]
fn what_somebody_may_have_written_to_is_not_known() {
    let pool = Pool::new();
    type Write<'a> = (&'a str, &'a dyn Fn(&str));
    let writes: [Write<'_>; 7] = [
        // Who asked for the mounts may have used them.
        ("extract-1 mounted", &|name| {
            pool.apply(name, &archive("x"));
            pool.snapshotter.mounts(&key(name)).unwrap();
        }),
        ("extract-1 mounted meanwhile", &|name| {
            let turn = pool.begin(name).unwrap();
            pool.snapshotter.mounts(&key(name)).unwrap();
            pool.extract(turn, &archive("x"));
        }),
        ("extract-1 written to before", &|name| {
            fs::write(pool.fs(name).join("before"), "").unwrap();
            assert!(!pool.begin(name).unwrap().is_fresh());
            pool.apply(name, &archive("x"));
        }),
        ("extract-1 applied to twice", &|name| {
            pool.apply(name, &archive("x"));
            pool.apply(name, &archive("y"));
        }),
        ("extract-1 applied to twice, in vain", &|name| {
            pool.apply(name, &archive("x"));
            let turn = pool.begin(name).unwrap();
            fs::write(turn.upperdir().join("part of y"), "").unwrap();
        }),
        ("extract-1 left to another differ", &|name| {
            pool.apply(name, &archive("x"));
            pool.snapshotter.expect_writing(pool.fs(name).to_str().unwrap()).unwrap();
        }),
        ("extract-1 left to another differ meanwhile", &|name| {
            let turn = pool.begin(name).unwrap();
            pool.snapshotter.expect_writing(pool.fs(name).to_str().unwrap()).unwrap();
            pool.extract(turn, &archive("x"));
        }),
    ];
    for (name, write) in writes {
        pool.prepare(name, "");
        write(name);
        pool.commit(&format!("committed {name}"), name, "");
    }
    for name in ["x", "y"] {
        pool.prepare(&format!("extract-2 {name}"), "");
        assert!(!pool.apply(&format!("extract-2 {name}"), &archive(name)), "{name}");
    }
    // Whiteouts leave nothing behind on a bind mount.
    pool.prepare("bound", "");
    assert!(!pool.apply("bound", &archive("z")));
    pool.commit("z", "bound", "");
    // What nobody committed may still change.
    for name in ["extract-2 z", "extract-3 z"] {
        pool.prepare(name, "");
        assert!(!pool.apply(name, &archive("z")), "{name}");
    }
    pool.check(12);
}

#[test]
fn privileged_what_was_mounted_after_it_was_applied_is_not_known() {
    if !is_root() {
        return;
    }
    let pool = Pool::new();
    pool.unpack("base", "", &archive("base"));
    let mounts = pool.prepare_with("extract-1 top", "base", Labels::default());
    pool.apply("extract-1 top", &archive("x"));
    let target = tempfile::tempdir().unwrap();
    let options = std::ffi::CString::new(mounts[0].options.join(",")).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", target.path(), "overlay", flags, &*options).unwrap();
    fs::write(target.path().join("more"), "").unwrap();
    rustix::mount::unmount(target.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    pool.commit("top", "extract-1 top", "");
    assert!(pool.fs("top").join("more").exists());
    pool.prepare("extract-2 top", "base");
    assert!(!pool.apply("extract-2 top", &archive("x")));
}

#[test]
fn a_second_archive_onto_a_staged_layer_takes_it_back() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("x"));
    let layer = pool.layer("base");
    pool.prepare("extract-2 base", "");
    assert!(pool.apply("extract-2 base", &archive("x")));
    let turn = pool.begin("extract-2 base").unwrap();
    assert!(!turn.is_fresh());
    assert_eq!(turn.staged(), Some(&digest("x")));
    assert_eq!(pool.snapshotter.stage_known(&turn, &digest("x"), false).unwrap(), None);
    fs::write(turn.upperdir().join("x"), "x").unwrap();
    // Until what it holds is here, it stays.
    drop(turn);
    assert!(matches!(pool.try_commit("part", "extract-2 base", ""), Err(Error::WrongState { .. })));
    let mut turn = pool.begin("extract-2 base").unwrap();
    assert_eq!((turn.staged(), pool.references(layer)), (Some(&digest("x")), 2));
    let lists = Archive { implicit: vec!["usr"], whiteouts: vec!["gone"], opaque: vec!["etc"], ..archive("x") };
    pool.snapshotter.unstage(&mut turn, applied(&lists)).unwrap();
    assert_eq!((turn.staged(), pool.references(layer)), (None, 1));
    pool.extract(turn, &archive("y"));
    let kept = pool.snapshotter.metadata().applied(pool.layer("extract-2 base")).unwrap().unwrap();
    assert_eq!((kept.implicit.len(), kept.whiteouts.len(), kept.opaque.len()), (1, 1, 1), "of the first archive");
    fs::create_dir_all(pool.fs("extract-2 base").join("etc")).unwrap();
    pool.commit("both", "extract-2 base", "");
    assert_ne!(pool.layer("both"), layer);
    pool.prepare("extract-3 y", "");
    assert!(!pool.apply("extract-3 y", &archive("y")), "both were taken for one");
    pool.check(3);
}

#[test]
fn sharing_can_be_off_or_within_namespaces() {
    let pool = Pool::with(Reuse { enabled: false, per_namespace: false, fetch: false });
    assert!(!pool.unpack("a/1/one", "", &archive("x")));
    assert!(!pool.unpack("a/2/two", "", &archive("x")));
    pool.check(2);

    let pool = Pool::with(Reuse { enabled: true, per_namespace: true, fetch: false });
    assert!(!pool.unpack("a/1/one", "", &archive("x")));
    assert!(!pool.unpack("b/2/one", "", &archive("x")));
    assert!(pool.unpack("a/3/two", "", &archive("x")) && pool.unpack("b/4/two", "", &archive("x")));
    // Of no namespace.
    for name in ["extract-1 one", "extract-1 two"] {
        pool.prepare(name, "");
        assert!(!pool.apply(name, &archive("x")));
        pool.commit(&name.replace("extract-1", "in none"), name, "");
    }
    assert_ne!(pool.layer("a/1/one"), pool.layer("b/2/one"));
    // A client of the other socket is in a namespace as well.
    let own = SnapshotKey::parse_in(Scope::Api(Namespace::parse("a").unwrap()), "extract-9 own").unwrap();
    let create = |key| CreateSnapshot { kind: Kind::Active, key, parent: None, labels: Labels::default(), lease: None };
    pool.snapshotter.create(create(own.clone())).unwrap();
    let layer = pool.snapshotter.metadata().snapshot(&own).unwrap().layer.unwrap();
    let turn = pool.snapshotter.begin_apply(&pool.snapshotter.layout().upperdir(layer)).unwrap().unwrap();
    assert!(pool.snapshotter.stage_known(&turn, &digest("x"), false).unwrap().is_some());
    drop(turn);
    pool.remove("a/1/one");
    pool.remove("a/3/two");
    pool.check(5);
    pool.snapshotter.remove(&own).unwrap();
    pool.check(3);
}

#[test]
fn a_layer_is_found_by_its_blobs_and_by_what_is_in_them() {
    let pool = Pool::new();
    pool.unpack("one", "", &archive("x"));
    // Another compression of the same.
    pool.prepare("extract-2 two", "");
    let turn = pool.begin("extract-2 two").unwrap();
    assert!(pool.snapshotter.stage_known(&turn, &digest("X"), false).unwrap().is_none());
    pool.snapshotter.finish_apply(turn, Applied { blob: Some(digest("X")), ..applied(&archive("x")) }).unwrap();
    pool.commit("two", "extract-2 two", "");
    assert_eq!(pool.layer("two"), pool.layer("one"));
    for (number, blob) in ["x", "X", "-x"].into_iter().enumerate() {
        let name = format!("extract-3 {number}");
        pool.prepare(&name, "");
        let turn = pool.begin(&name).unwrap();
        assert!(pool.snapshotter.stage_known(&turn, &digest(blob), false).unwrap().is_some(), "{blob}");
    }
    pool.check(4);
}

#[test]
fn what_was_not_made_durable_is_not_used_after_the_machine_went_down() {
    let mut pool = Pool::new();
    pool.prepare("extract-1 one", "");
    let turn = pool.begin("extract-1 one").unwrap();
    pool.snapshotter.finish_apply(turn, Applied { durable: false, ..applied(&archive("x")) }).unwrap();
    pool.commit("one", "extract-1 one", "");
    assert!(pool.unpack("two", "", &archive("x")));
    pool.prepare("extract-1 three", "");
    let turn = pool.begin("extract-1 three").unwrap();
    pool.snapshotter.finish_apply(turn, Applied { durable: false, ..applied(&archive("y")) }).unwrap();
    pool.snapshotter.0.boot = "another".into();
    pool.commit("three", "extract-1 three", "");
    assert!(!pool.unpack("four", "", &archive("x")) && !pool.unpack("five", "", &archive("y")));
    // These are durable, and take the place of the others.
    assert!(pool.unpack("six", "", &archive("x")) && pool.unpack("seven", "", &archive("y")));
    assert_eq!((pool.layer("six"), pool.layer("seven")), (pool.layer("four"), pool.layer("five")));
    pool.check(4);
}

#[test]
fn a_known_layer_without_its_directory_is_not_staged() {
    let pool = Pool::new();
    pool.unpack("one", "", &archive("x"));
    fs::rename(pool.fs("one"), pool.fs("one").with_file_name("lost")).unwrap();
    pool.prepare("extract-2 one", "");
    assert!(!pool.apply("extract-2 one", &archive("x")));
}

#[test]
fn a_layer_that_is_to_be_durable_is_not_replaced_by_one_that_is_not() {
    let pool = Pool::new();
    pool.prepare("extract-1 one", "");
    let turn = pool.begin("extract-1 one").unwrap();
    pool.snapshotter.finish_apply(turn, Applied { durable: false, ..applied(&archive("x")) }).unwrap();
    pool.commit("one", "extract-1 one", "");
    pool.prepare("extract-1 two", "");
    let turn = pool.begin("extract-1 two").unwrap();
    assert_eq!(pool.snapshotter.stage_known(&turn, &digest("x"), true).unwrap(), None);
    pool.extract(turn, &archive("x"));
    pool.commit("two", "extract-1 two", "");
    assert_ne!(pool.layer("two"), pool.layer("one"));
    // It is the one that is found from now on, whatever is asked for.
    for (name, durable) in [("three", true), ("four", false)] {
        let active = active(name);
        pool.prepare(&active, "");
        let turn = pool.begin(&active).unwrap();
        assert!(pool.snapshotter.stage_known(&turn, &digest("x"), durable).unwrap().is_some());
        drop(turn);
        pool.commit(name, &active, "");
        assert_eq!(pool.layer(name), pool.layer("two"));
    }
    pool.check(2);
}

#[test]
fn what_was_recorded_of_an_empty_layer_can_be_forgotten() {
    let pool = Pool::new();
    pool.prepare("extract-1 one", "");
    let turn = pool.begin("extract-1 one").unwrap();
    pool.snapshotter.record_applied(&turn, applied(&archive("x"))).unwrap();
    pool.snapshotter.forget_applied(&turn).unwrap();
    drop(turn);
    assert!(pool.begin("extract-1 one").unwrap().is_fresh());
    pool.commit("one", "extract-1 one", "");
    pool.prepare("extract-2 one", "");
    assert!(!pool.apply("extract-2 one", &archive("x")), "an empty layer is taken for what was applied");
    pool.check(2);
}

#[test]
fn what_was_applied_otherwise_than_through_its_mounts_is_not_known_and_nothing_takes_its_place() {
    let pool = Pool::new();
    for name in ["one", "two"] {
        let active = active(name);
        pool.prepare(&active, "");
        let mut turn = pool.begin(&active).unwrap();
        turn.apply_otherwise();
        assert_eq!(pool.snapshotter.stage_known(&turn, &digest("x"), false).unwrap(), None);
        pool.extract(turn, &archive("x"));
        pool.commit(name, &active, "");
        pool.prepare("extract-2 x", "");
        assert_eq!(pool.apply("extract-2 x", &archive("x")), name == "two");
        // The second finds it known.
        pool.try_commit("known", "extract-2 x", "").ok();
        pool.snapshotter.remove(&key("extract-2 x")).ok();
    }
    assert_ne!(pool.layer("one"), pool.layer("known"));
    assert_ne!(pool.layer("two"), pool.layer("known"));
}

#[test]
fn a_layer_is_staged_only_for_who_unpacks_and_uses_no_mount() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("x"));
    pool.prepare("container", "");
    assert!(!pool.apply("container", &archive("x")));
    pool.prepare_with("named", "", labels(&[(label::SNAPSHOT_REF, "sha256:1")]));
    assert!(pool.apply("named", &archive("x")));
    pool.prepare("extract-1 mounted", "");
    // What the kernel leaves.
    fs::create_dir(pool.snapshotter.layout().workdir(pool.layer("extract-1 mounted")) + "/work").unwrap();
    assert!(!pool.apply("extract-1 mounted", &archive("x")));

    fs::set_permissions(pool.fs("named"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(pool.try_commit("name", "named", ""), Err(Error::WrongState { .. })));
    fs::set_permissions(pool.fs("named"), fs::Permissions::from_mode(0o755)).unwrap();
    pool.commit("name", "named", "");
    assert_eq!(pool.layer("name"), pool.layer("base"));
}
