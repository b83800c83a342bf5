//! Commit of what was applied: linking, directories that are fitted, whiteouts of base layers.

use std::sync::Barrier;

use super::*;

#[test]
fn eight_at_once_end_with_one_directory() {
    let pool = Pool::new();
    let names: Vec<String> = (0..8).map(|number| format!("ns{number}/1/layer")).collect();
    for name in &names {
        pool.prepare(&active(name), "");
        assert!(!pool.apply(&active(name), &archive("x")));
    }
    let start = Barrier::new(names.len());
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                start.wait();
                pool.commit(name, &active(name), "");
            });
        }
    });
    let layer = pool.layer(&names[0]);
    assert!(names.iter().all(|name| pool.layer(name) == layer));
    assert_eq!(pool.references(layer), 8);
    pool.check(1);
    names.iter().for_each(|name| pool.remove(name));
    pool.check(0);
}

#[test]
fn usage_is_known_at_once_and_what_is_linked_has_that_of_the_other() {
    let pool = Pool::new();
    pool.unpack("one", "", &archive("x"));
    let usage = pool.snapshotter.metadata().layer(pool.layer("one")).unwrap().unwrap().usage.unwrap();
    assert_eq!((usage.size, usage.inodes), (4096, 2), "not what the extraction counted");
    pool.unpack("two", "", &archive("x"));
    assert_eq!(pool.snapshotter.usage(&key("two")).unwrap(), usage);
}

#[test]
fn a_layer_with_implicit_directories_is_shared_on_the_same_layers_only() {
    let pool = Pool::new();
    pool.unpack("a/1/base", "", &archive("base"));
    pool.unpack("a/2/other", "", &archive("other"));
    let top = Archive { implicit: vec!["usr/lib"], ..archive("top") };
    assert!(!pool.unpack("a/3/top", "a/1/base", &top));
    assert!(pool.unpack("b/4/base", "", &archive("base")));
    assert!(pool.unpack("b/5/top", "b/4/base", &top), "on the same layers");
    assert!(!pool.unpack("a/6/top", "a/2/other", &top), "on another");
    assert!(!pool.unpack("a/7/top", "", &top), "on none");
    assert!(!pool.rebase("a/8/top", "a/1/base", &top), "who knows on what");
    // But then it turns out to be the same.
    assert_eq!(pool.layer("a/8/top"), pool.layer("a/3/top"));
    assert_eq!(pool.references(pool.layer("a/3/top")), 3);
    pool.check(5);
}

#[test]
fn an_implicit_root_is_shared_where_it_is_the_same() {
    let pool = Pool::new();
    for (name, mode) in [("usual", 0o755), ("closed", 0o555)] {
        pool.prepare(&active(name), "");
        let turn = pool.begin(&active(name)).unwrap();
        fs::set_permissions(turn.upperdir(), fs::Permissions::from_mode(mode)).unwrap();
        pool.extract(turn, &archive(name));
        pool.commit(name, &active(name), "");
    }
    let top = Archive { implicit: vec![""], ..archive("top") };
    assert!(!pool.unpack("a/1/top", "usual", &top));
    assert!(pool.unpack("b/2/top", "usual", &top));
    assert!(!pool.unpack("a/3/top", "closed", &top), "its root is another");
    assert_eq!(mode(&pool.fs("a/3/top")), 0o555);
    // Nobody knows yet that its root will be another. It is told when it is committed, and extracted the next time.
    pool.prepare("extract-4 top", "");
    assert!(pool.apply("extract-4 top", &top));
    assert!(matches!(pool.try_commit("a/4/top", "extract-4 top", "closed"), Err(Error::WrongState { .. })));
    pool.remove("extract-4 top");
    assert!(!pool.rebase("a/5/top", "closed", &top));
    assert_eq!(mode(&pool.fs("a/5/top")), 0o555);
    assert!(!pool.rebase("a/6/top", "usual", &top));
    assert_eq!((mode(&pool.fs("a/6/top")), pool.layer("a/6/top")), (0o755, pool.layer("a/1/top")));
    pool.check(5);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn privileged_a_rebase_gives_implicit_directories_what_is_below_them() {
    if !is_root() {
        return;
    }
    let pool = Pool::new();
    for (name, parent) in [("lowest", ""), ("middle", "lowest"), ("upper", "middle")] {
        pool.prepare(&active(name), parent);
        let turn = pool.begin(&active(name)).unwrap();
        let fs = turn.upperdir();
        // `usr` is in all three, `usr/lib` in the two lower ones, the rest in the lowest only.
        for dir in ["usr", "usr/lib", "var", "gone"] {
            if dir == "usr" || dir == "usr/lib" && name != "upper" || name == "lowest" {
                fs::create_dir_all(fs.join(dir)).unwrap();
                chown(fs.join(dir), Some(name.len() as u32), Some(dir.len() as u32)).unwrap();
                fs::set_permissions(fs.join(dir), fs::Permissions::from_mode(0o2701 + dir.len() as u32)).unwrap();
                set_xattr(&fs.join(dir), "user.of", name.as_bytes());
                set_xattr(&fs.join(dir), "trusted.overlay.opaque", b"y");
            }
        }
        if name == "upper" {
            whiteout(&fs.join("gone"));
            chown(&fs, Some(77), Some(78)).unwrap();
            fs::set_permissions(&fs, fs::Permissions::from_mode(0o1555)).unwrap();
        }
        pool.extract(turn, &archive(name));
        pool.commit(name, &active(name), "");
    }
    let implicit = vec!["", "usr", "usr/lib", "usr/lib/new", "var", "gone", "replaced"];
    let top = Archive { implicit, ..archive("top") };
    pool.prepare("extract-1 top", "");
    pool.extract(pool.begin("extract-1 top").unwrap(), &top);
    let fs = pool.fs("extract-1 top");
    fs::remove_dir(fs.join("replaced")).unwrap();
    fs::write(fs.join("replaced"), "").unwrap();
    pool.commit("top", "extract-1 top", "upper");
    let fs = pool.fs("top");
    for (dir, of) in [("usr", "upper"), ("usr/lib", "middle"), ("var", "lowest")] {
        let (ours, below) = (fs::metadata(fs.join(dir)).unwrap(), fs::metadata(pool.fs(of).join(dir)).unwrap());
        let attributes = |it: &fs::Metadata| (it.uid(), it.gid(), it.mode(), it.mtime(), it.mtime_nsec());
        assert_eq!(attributes(&ours), attributes(&below), "{dir}");
        assert_eq!(xattr(&fs.join(dir), "user.of").as_deref(), Some(of.as_bytes()), "{dir}");
        assert_eq!(xattr(&fs.join(dir), "trusted.overlay.opaque"), None, "{dir}");
    }
    for dir in ["usr/lib/new", "gone"] {
        let ours = fs::metadata(fs.join(dir)).unwrap();
        assert_eq!((ours.uid(), ours.mode() & 0o7777), (0, 0o755), "{dir}");
    }
    let root = fs::metadata(&fs).unwrap();
    assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (77, 78, 0o1555));
    pool.check(4);
}

#[test]
fn privileged_a_base_layer_has_no_whiteouts_and_is_not_shared() {
    if !is_root() {
        return;
    }
    let pool = Pool::new();
    let hiding = Archive { whiteouts: vec!["etc/gone", "gone"], opaque: vec!["opaque"], ..archive("x") };
    assert!(!pool.rebase("base", "", &hiding));
    let fs = pool.fs("base");
    assert!(fs.join("x").exists() && fs.join("opaque").exists() && fs.join("etc").exists());
    assert!(!fs.join("etc/gone").exists() && !fs.join("gone").exists());
    assert_eq!(xattr(&fs.join("opaque"), "trusted.overlay.opaque"), None);
    // On a parent they stay, and it is shared, there alone.
    assert!(!pool.rebase("top", "base", &hiding));
    assert!(pool.fs("top").join("gone").exists());
    assert!(pool.unpack("a/1/top", "base", &hiding));
    assert!(!pool.unpack("a/2/base", "", &hiding));
    assert_ne!(pool.layer("a/2/base"), pool.layer("base"));
    assert!(!pool.fs("a/2/base").join("gone").exists());
    pool.check(3);
}

#[test]
fn privileged_the_times_of_a_directory_outlive_its_whiteouts() {
    if !is_root() {
        return;
    }
    let pool = Pool::new();
    let hiding = Archive { whiteouts: vec!["etc/gone"], ..archive("x") };
    pool.prepare("extract-1 base", "");
    pool.extract(pool.begin("extract-1 base").unwrap(), &hiding);
    let etc = pool.fs("extract-1 base").join("etc");
    let before = fs::metadata(&etc).unwrap();
    pool.commit("base", "extract-1 base", "");
    let after = fs::metadata(&etc).unwrap();
    assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()));
    assert!(!etc.join("gone").exists());
}

#[test]
fn privileged_labels_say_whether_something_will_be_below() {
    if !is_root() {
        return;
    }
    let pool = Pool::new();
    pool.unpack("base", "", &archive("base"));
    let hiding = Archive { whiteouts: vec!["gone"], ..archive("x") };
    pool.unpack("top", "base", &hiding);
    let diff_id = (label::DIFF_ID, "sha256:1");
    let above = labels(&[diff_id, (label::PARENT_CHAIN_ID, "sha256:2")]);
    pool.prepare_with("extract-1 a", "", above.clone());
    assert!(pool.apply("extract-1 a", &hiding));
    pool.commit("a", "extract-1 a", "base");
    assert_eq!(pool.layer("a"), pool.layer("top"));
    pool.prepare_with("extract-2 a", "", labels(&[diff_id]));
    assert!(!pool.apply("extract-2 a", &hiding));
    // A client that does not keep its word is told.
    pool.prepare_with("extract-3 a", "", above);
    assert!(pool.apply("extract-3 a", &hiding));
    assert!(matches!(pool.try_commit("b", "extract-3 a", ""), Err(Error::WrongState { .. })));
    pool.commit("b", "extract-3 a", "base");
    pool.check(3);
}

#[test]
fn privileged_what_was_made_a_base_stays_one() {
    if !is_root() {
        return;
    }
    let pool = Pool::new();
    pool.unpack("taken", "", &archive("y"));
    let hiding = Archive { whiteouts: vec!["gone"], ..archive("x") };
    pool.prepare("extract-1 a", "");
    assert!(!pool.apply("extract-1 a", &hiding));
    // What a crash between the two leaves.
    let metadata = pool.snapshotter.metadata();
    let layer = pool.layer("extract-1 a");
    let applied = AppliedLayer { base: true, ..metadata.applied(layer).unwrap().unwrap() };
    let mut txn = metadata.write(std::time::SystemTime::now()).unwrap();
    txn.set_applied(layer, &applied).unwrap();
    txn.commit().unwrap();
    assert!(matches!(pool.try_commit("a", "extract-1 a", "taken"), Err(Error::WrongState { .. })));
    pool.commit("a", "extract-1 a", "");
    assert!(!pool.fs("a").join("gone").exists());
    pool.check(2);
}

#[test]
fn a_commit_that_is_refused_changes_nothing() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("x"));
    pool.prepare("extract-2 base", "");
    assert!(pool.apply("extract-2 base", &archive("x")));
    assert!(matches!(pool.try_commit("base", "extract-2 base", ""), Err(Error::AlreadyExists(_))));
    assert!(matches!(pool.try_commit("b", "extract-2 base", "none"), Err(Error::NotFound(_))));
    assert_eq!(pool.references(pool.layer("base")), 2);
    pool.check(2);
    pool.remove("extract-2 base");
    pool.check(1);
}

#[test]
fn one_layer_may_be_in_a_chain_twice() {
    let pool = Pool::new();
    pool.unpack("one", "", &archive("x"));
    assert!(pool.unpack("two", "one", &archive("x")));
    assert!(pool.unpack("three", "two", &archive("x")));
    pool.prepare("container", "three");
    let [mount] = &pool.snapshotter.mounts(&key("container")).unwrap()[..] else { panic!("one mount") };
    let lowerdir = format!("lowerdir={}", pool.snapshotter.layout().upperdir(pool.layer("one")));
    assert!(mount.options.contains(&lowerdir), "{mount:?}");
    for name in ["container", "three", "two"] {
        pool.remove(name);
    }
    pool.check(1);
}
