//! `leasehold fsck` finds every disagreement between records and directories, and repairs it, with a daemon and without.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use common::client::{Client, UPPERDIR_SETTING, upperdir, upperdir_of_mounts};
use common::daemon::{Daemon, Site};
use common::damage;
use common::history::{History, Op, check_pool, found};
use common::is_root;
use leasehold::metadata::Transaction;
use leasehold::store::Column;
use leasehold::types::{LayerId, SnapshotKey};

/// A pool with snapshots of every kind.
struct Pool {
    site: Site,
    history: History,
    /// Set while one serves.
    daemon: Option<Daemon>,
}

impl Pool {
    fn new() -> Pool {
        let site = Site::with_settings(UPPERDIR_SETTING);
        let daemon = site.start();
        let client = Client::new(&daemon);
        let history = History::of(
            &client,
            [
                Op::prepare("one", ""),
                Op::write("one", "in the base"),
                Op::commit("base", "one", ""),
                Op::prepare("two", "base"),
                Op::write("two", "in the middle"),
                Op::commit("middle", "two", ""),
                Op::prepare("active", "middle"),
                Op::write("active", "active on the middle"),
                Op::view("view", "middle"),
                Op::view("empty view", ""),
                Op::prepare("other", "base"),
                Op::write("other", "on the base"),
            ],
        );
        Pool { site, history, daemon: Some(daemon) }
    }

    /// Stops the daemon where `running` is false.
    fn with_daemon(running: bool) -> Pool {
        let mut pool = Pool::new();
        if !running {
            assert!(pool.daemon.take().unwrap().stop().success());
        }
        pool
    }

    /// Returns the directory of a snapshot's layer.
    fn layer(&self, key: &str) -> PathBuf {
        // The daemon may be gone, so the content tells.
        let content = self.history.state[key].content.as_deref();
        let is_it = |layer: &PathBuf| fs::read_to_string(layer.join("fs/file")).ok().as_deref() == content;
        let layers = fs::read_dir(self.site.root().join("l")).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<_> = layers.filter(is_it).collect();
        assert_eq!(found.len(), 1, "{key}");
        found[0].clone()
    }

    fn dir(&self, path: &str) -> PathBuf {
        let dir = self.site.root().join(path);
        fs::create_dir_all(dir.join("fs")).unwrap();
        dir
    }

    /// Changes records behind the daemon's back.
    fn change(&mut self, change: impl FnOnce(&mut Transaction<'_>)) {
        self.change_offline(|root| damage::change(root, change));
    }

    /// Changes the bytes of a snapshot's record.
    fn change_record(&mut self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let key = [b"\0", key.as_bytes()].concat();
        self.change_offline(|root| {
            damage::change_bytes(root, |txn| {
                let mut record = txn.get(Column::Snapshots, &key).unwrap().unwrap_or_default();
                change(&mut record);
                txn.put(Column::Snapshots, key, record);
            });
        });
    }

    fn change_offline(&mut self, change: impl FnOnce(&Path)) {
        let running = self.daemon.take();
        let serve_again = running.is_some_and(|daemon| daemon.stop().success());
        change(self.site.root());
        if serve_again {
            self.daemon = Some(self.site.start());
        }
    }

    /// Checks that these kinds of problems are found, that looking changes nothing, that one repair is enough, and that
    /// the history is what is left.
    fn check(&mut self, expected: &[&str]) {
        let kinds = |problems: Vec<String>| -> BTreeSet<String> {
            problems.iter().map(|problem| problem.split(':').next().unwrap().to_owned()).collect()
        };
        let expected: BTreeSet<String> = expected.iter().map(|kind| (*kind).to_owned()).collect();
        for _ in 0..2 {
            assert_eq!(kinds(self.site.fsck(false)), expected);
        }
        assert_eq!(kinds(self.site.fsck(true)), expected);
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
        let daemon = self.daemon.take().unwrap_or_else(|| self.site.start());
        self.history.settle(&found(&check_pool(&self.site, &Client::new(&daemon))));
        assert!(daemon.stop().success());
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }

    /// Returns what the files in layers that were set aside say.
    fn set_aside(&self) -> BTreeSet<String> {
        let dirs = fs::read_dir(self.site.root().join("lost+found")).unwrap();
        dirs.map(|dir| fs::read_to_string(dir.unwrap().path().join("fs/file")).unwrap_or_default()).collect()
    }
}

fn key(key: &str) -> SnapshotKey {
    SnapshotKey::parse(key).unwrap()
}

fn id(layer: &Path) -> LayerId {
    LayerId::from_dir_name(layer.file_name().unwrap().to_str().unwrap()).unwrap()
}

/// Runs a test on a pool with a running daemon and on one without.
fn with_and_without_daemon(test: &str, body: impl Fn(Pool)) {
    if is_root(test) {
        for running in [true, false] {
            eprintln!("daemon running: {running}");
            body(Pool::with_daemon(running));
        }
    }
}

#[test]
fn privileged_a_whole_pool_has_no_problems() {
    with_and_without_daemon("a_whole_pool_has_no_problems", |mut pool| pool.check(&[]));
}

#[test]
fn privileged_an_empty_directory_without_a_record_is_reclaimed() {
    with_and_without_daemon("an_empty_directory_without_a_record_is_reclaimed", |mut pool| {
        let dir = pool.dir("l/zz1");
        pool.check(&["orphan-directory"]);
        assert!(!dir.exists());
        assert_eq!(pool.set_aside(), BTreeSet::new());
    });
}

#[test]
fn privileged_a_directory_without_a_record_in_which_something_is_is_set_aside() {
    with_and_without_daemon("a_directory_without_a_record_in_which_something_is_is_set_aside", |mut pool| {
        fs::write(pool.dir("l/zz1").join("fs/file"), "of unknown worth").unwrap();
        pool.check(&["orphan-directory"]);
        assert_eq!(pool.set_aside(), ["of unknown worth".to_owned()].into());
    });
}

#[test]
fn privileged_unfinished_directories_are_deleted() {
    with_and_without_daemon("unfinished_directories_are_deleted", |mut pool| {
        let dir = pool.dir("staging/zz1");
        pool.check(&["leftover-staging"]);
        assert!(!dir.exists());
    });
}

#[test]
fn privileged_trash_without_a_record_is_reclaimed() {
    with_and_without_daemon("trash_without_a_record_is_reclaimed", |mut pool| {
        let dir = pool.dir("trash/zz1");
        pool.check(&["orphan-trash"]);
        assert!(!dir.exists());
    });
}

#[test]
fn privileged_names_that_leasehold_did_not_give_are_reported_and_never_touched() {
    if !is_root("names_that_leasehold_did_not_give_are_reported_and_never_touched") {
        return;
    }
    for running in [true, false] {
        let pool = Pool::with_daemon(running);
        let names = ["l/Foreign", "l/01", "l/new-1", "staging/x y", "trash/-"];
        for name in names {
            fs::write(pool.dir(name).join("fs/file"), name).unwrap();
        }
        for repair in [false, true, false] {
            let problems = pool.site.fsck(repair);
            assert_eq!(problems.len(), names.len(), "{problems:?}");
            for name in names {
                assert!(problems.iter().any(|one| one.starts_with("unknown-name") && one.contains(name)), "{name}");
                assert_eq!(fs::read_to_string(pool.site.root().join(name).join("fs/file")).unwrap(), name);
            }
        }
    }
}

#[test]
fn privileged_a_lost_directory_of_an_active_snapshot_is_made_again_empty() {
    with_and_without_daemon("a_lost_directory_of_an_active_snapshot_is_made_again_empty", |mut pool| {
        fs::remove_dir_all(pool.layer("active")).unwrap();
        pool.history.state.get_mut("active").unwrap().content = None;
        pool.check(&["missing-directory"]);
    });
}

#[test]
fn privileged_a_lost_part_of_an_active_snapshots_directory_is_made_again_and_the_rest_kept() {
    with_and_without_daemon(
        "a_lost_part_of_an_active_snapshots_directory_is_made_again_and_the_rest_kept",
        |mut pool| {
            fs::remove_dir_all(pool.layer("active").join("work")).unwrap();
            pool.check(&["missing-directory"]);
        },
    );
}

#[test]
fn privileged_a_lost_directory_of_a_view_is_made_again() {
    with_and_without_daemon("a_lost_directory_of_a_view_is_made_again", |mut pool| {
        // The only layer without a file.
        fs::remove_dir_all(pool.layer("empty view")).unwrap();
        pool.check(&["missing-directory"]);
    });
}

#[test]
fn privileged_a_lost_committed_layer_takes_what_is_on_it_out_of_use_and_sets_it_aside() {
    with_and_without_daemon("a_lost_committed_layer_takes_what_is_on_it_out_of_use_and_sets_it_aside", |mut pool| {
        fs::remove_dir_all(pool.layer("middle")).unwrap();
        for key in ["middle", "active", "view"] {
            pool.history.state.remove(key);
        }
        pool.check(&["missing-directory"]);
        assert_eq!(pool.set_aside(), ["active on the middle".to_owned()].into());
    });
}

#[test]
fn privileged_a_lost_base_takes_everything_out_of_use_and_sets_it_aside() {
    with_and_without_daemon("a_lost_base_takes_everything_out_of_use_and_sets_it_aside", |mut pool| {
        fs::remove_dir_all(pool.layer("base").join("fs")).unwrap();
        pool.history.state.retain(|key, _| key == "empty view");
        pool.check(&["missing-directory"]);
        let aside: BTreeSet<String> =
            ["", "in the middle", "active on the middle", "on the base"].map(String::from).into();
        assert_eq!(pool.set_aside(), aside);
    });
}

#[test]
fn privileged_wrong_counts_of_references_are_corrected() {
    with_and_without_daemon("wrong_counts_of_references_are_corrected", |mut pool| {
        let layer = id(&pool.layer("base"));
        pool.change(|txn| drop(txn.repair_references(layer, 7).unwrap()));
        pool.check(&["wrong-references"]);
    });
}

#[test]
fn privileged_a_layer_that_no_snapshot_names_is_reclaimed() {
    with_and_without_daemon("a_layer_that_no_snapshot_names_is_reclaimed", |mut pool| {
        let dir = pool.dir("l/zz1");
        pool.change(|txn| drop(txn.repair_references(id(&dir), 1).unwrap()));
        pool.check(&["wrong-references"]);
        assert!(!dir.exists());
    });
}

#[test]
fn privileged_a_lost_record_of_a_layer_is_made_again() {
    with_and_without_daemon("a_lost_record_of_a_layer_is_made_again", |mut pool| {
        let layer = pool.layer("active");
        // Only the records of a pool that nobody serves: a start would take the directory for an orphan.
        pool.daemon = None;
        let key = id(&layer).get().to_be_bytes().to_vec();
        damage::change_bytes(pool.site.root(), |txn| txn.delete(Column::Layers, key));
        pool.check(&["missing-layer", "orphan-directory"]);
    });
}

#[test]
fn privileged_wrong_entries_of_children_are_corrected() {
    with_and_without_daemon("wrong_entries_of_children_are_corrected", |mut pool| {
        pool.change(|txn| txn.repair_child(4711, 4712, true));
        pool.check(&["stale-child"]);
    });
    with_and_without_daemon("wrong_entries_of_children_are_corrected", |mut pool| {
        // Numbers are given in order: the base is 1, what is on it 2.
        pool.change(|txn| txn.repair_child(1, 2, false));
        pool.check(&["missing-child"]);
    });
}

#[test]
fn privileged_a_lost_parent_takes_what_is_on_it_out_of_use_and_sets_it_aside() {
    with_and_without_daemon("a_lost_parent_takes_what_is_on_it_out_of_use_and_sets_it_aside", |mut pool| {
        pool.change(|txn| _ = txn.drop_damaged(&key("middle")).unwrap());
        for key in ["middle", "active", "view"] {
            pool.history.state.remove(key);
        }
        let problems: &[&str] = match pool.daemon {
            // The start has set aside the layer, which no record names.
            Some(_) => &["missing-parent"],
            None => &["missing-parent", "orphan-directory"],
        };
        pool.check(problems);
        let aside: BTreeSet<String> = ["in the middle", "active on the middle"].map(String::from).into();
        assert_eq!(pool.set_aside(), aside);
    });
}

#[test]
fn privileged_a_wrong_list_of_parent_layers_is_corrected() {
    with_and_without_daemon("a_wrong_list_of_parent_layers_is_corrected", |mut pool| {
        // One more element of the repeated field 6, as protobuf encodes it.
        pool.change_record("active", |record| record.extend([0x30, 0x63]));
        pool.check(&["wrong-parent-layers"]);
    });
}

#[test]
fn privileged_a_record_that_cannot_be_read_is_reported_and_kept() {
    if !is_root("a_record_that_cannot_be_read_is_reported_and_kept") {
        return;
    }
    let mut pool = Pool::with_daemon(false);
    pool.change_record("garbage", |record| record.extend(b"\xff\xff\xff"));
    for repair in [false, true, false] {
        let problems = pool.site.fsck(repair);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("unreadable-record"), "{problems:?}");
    }
    // All others can be used.
    let daemon = pool.site.start();
    let client = Client::new(&daemon);
    assert_eq!(upperdir(&client.stat("active").unwrap()).unwrap().file_name().unwrap(), "fs");
    client.prepare("new", "middle").unwrap();
    client.remove("new").unwrap();
}

#[test]
fn privileged_a_layer_whose_record_cannot_be_read_is_reported_and_nothing_else_suffers() {
    if !is_root("a_layer_whose_record_cannot_be_read_is_reported_and_nothing_else_suffers") {
        return;
    }
    let pool = Pool::with_daemon(false);
    let layer = LayerId::from_dir_name(pool.layer("other").file_name().unwrap().to_str().unwrap()).unwrap();
    damage::change_bytes(pool.site.root(), |txn| {
        txn.put(Column::Layers, layer.get().to_be_bytes().to_vec(), b"\xff\xff\xff".to_vec());
        // A key that is no number cannot be helped, and must not be in the way.
        txn.put(Column::Layers, b"no number".to_vec(), Vec::new());
        txn.put(Column::Trash, b"no number".to_vec(), Vec::new());
    });
    for repair in [false, true, false] {
        let problems = pool.site.fsck(repair);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("unreadable-record"), "{problems:?}");
    }
    let daemon = pool.site.start();
    let client = Client::new(&daemon);
    client.prepare("new", "middle").unwrap();
    client.remove("new").unwrap();
    client.cleanup().unwrap();
    assert!(daemon.stop().success());
    assert_eq!(fs::read_to_string(pool.layer("other").join("fs/file")).unwrap(), "on the base");
}

#[test]
fn privileged_parents_in_a_circle_end_no_check() {
    if !is_root("parents_in_a_circle_end_no_check") {
        return;
    }
    // The number of "middle", then one that it does not have.
    for parent_id in [2, 99] {
        let mut pool = Pool::with_daemon(false);
        // In a protobuf message the last value of a field counts: 4 is the parent's name, 5 its number.
        pool.change_record("base", |record| record.extend(b"\x22\x06middle\x28".iter().chain(&[parent_id])));
        assert!(!pool.site.fsck(false).is_empty());
        pool.site.fsck(true);
        let daemon = pool.site.start();
        let client = Client::new(&daemon);
        pool.site.fsck(true);
        client.prepare("new", "").unwrap();
        client.list(&[]).unwrap();
    }
}

#[test]
fn privileged_a_directory_made_again_has_the_owner_and_mode_it_had() {
    if !is_root("a_directory_made_again_has_the_owner_and_mode_it_had") {
        return;
    }
    let site = Site::with_settings(UPPERDIR_SETTING);
    let daemon = site.start();
    let client = Client::new(&daemon);
    let base = upperdir_of_mounts(&client.prepare("base", "").unwrap());
    chown(&base, Some(12), Some(34)).unwrap();
    fs::set_permissions(&base, fs::Permissions::from_mode(0o1750)).unwrap();
    client.commit("parent", "base").unwrap();
    let made = upperdir_of_mounts(&client.prepare("active", "parent").unwrap());
    let attributes = |dir: &Path| fs::metadata(dir).map(|one| (one.uid(), one.gid(), one.mode())).unwrap();
    let before = attributes(&made);
    let lose = || fs::remove_dir_all(made.parent().unwrap()).unwrap();
    lose();
    assert_eq!(site.fsck(true).len(), 1);
    assert_eq!(attributes(&made), before);
    lose();
    daemon.kill();
    let _daemon = site.start();
    assert_eq!(attributes(&made), before);
}

#[test]
fn privileged_a_check_makes_no_pool() {
    if !is_root("a_check_makes_no_pool") {
        return;
    }
    let site = Site::new();
    fs::create_dir_all(site.root()).unwrap();
    let output = site.command().arg("fsck").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no pool"), "{output:?}");
    assert_eq!(fs::read_dir(site.root()).unwrap().count(), 0);
}

#[test]
fn privileged_a_number_in_trash_is_not_given_to_a_new_layer() {
    if !is_root("a_number_in_trash_is_not_given_to_a_new_layer") {
        return;
    }
    let site = Site::with_settings(UPPERDIR_SETTING);
    assert!(site.start().stop().success());
    // As a crash leaves it: an orphan of the last number was recorded as trash and deleted, and not forgotten yet.
    let mut stored = None;
    damage::change_bytes(site.root(), |txn| stored = txn.get(Column::Meta, b"next_layer").unwrap());
    let next = stored.map_or(1, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    damage::change(site.root(), |txn| {
        // Many, so that some are still to be looked at when layers are made.
        for number in next..next + 100_000 {
            assert!(txn.trash_orphan(LayerId::new(number)).unwrap());
        }
    });
    let daemon = site.start();
    let client = Client::new(&daemon);
    let layers: Vec<_> = (0..8).map(|n| upperdir_of_mounts(&client.prepare(&n.to_string(), "").unwrap())).collect();
    client.cleanup().unwrap();
    assert!(layers.iter().all(|layer| layer.is_dir()), "{layers:?}");
    assert_eq!(site.fsck(false), Vec::<String>::new());
}
