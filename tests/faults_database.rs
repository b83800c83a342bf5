//! A damaged database: the start is refused with what to do and changes nothing, or everything that was answered is
//! there. Where RocksDB cannot tell damage from the end of a file and goes on with less, no layer is deleted.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::client::{Client, UPPERDIR_SETTING};
use common::daemon::{Daemon, Site};
use common::filesystem::{FileSystem, privileged};
use common::history::{History, Op, check_pool, found};

/// So small that the database lays out no logs, which would move records from the log at any time.
const SIZE: u64 = 64 << 20;

/// A pool of which a part of the records is in sorted files and the rest in the log, as a kill leaves it.
struct Pool {
    site: Site,
    history: History,
    // Last: unmounted when nothing is used any more.
    _filesystem: FileSystem,
}

fn pool() -> Pool {
    let filesystem = FileSystem::tmpfs(SIZE);
    let settings = format!("{UPPERDIR_SETTING}[limits]\nmin_free = 0\n");
    let site = Site::with_settings(&settings).with_root(&filesystem.path().join("pool"));
    let mut history = History::default();
    let daemon = site.start();
    make_layers(&Client::new(&daemon), &mut history, "old");
    assert!(daemon.stop().success());
    let daemon = site.start();
    make_layers(&Client::new(&daemon), &mut history, "new");
    daemon.kill();
    Pool { site, history, _filesystem: filesystem }
}

fn make_layers(client: &Client, history: &mut History, name: &str) {
    for number in 0..20 {
        let key = format!("{name} {number}");
        for op in [Op::prepare("key", ""), Op::write("key", &key), Op::commit(&key, "key", "")] {
            history.run(client, &op).unwrap();
        }
    }
}

/// Returns the files of the database whose names begin and end like this, the newest last.
fn files(meta: &Path, begin: &str, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(meta)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(begin) && name.ends_with(end)
        })
        .collect();
    files.sort();
    files
}

/// Returns the log that the killed daemon wrote to: the one that holds the last layer.
fn last_log(meta: &Path) -> PathBuf {
    let holds_last = |path: &PathBuf| fs::read(path).unwrap().windows(6).any(|window| window == b"new 19");
    files(meta, "", ".log").into_iter().find(holds_last).unwrap()
}

fn truncate(path: &Path, len: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn truncate_to_half(path: &Path) {
    truncate(path, path.metadata().unwrap().len() / 2);
}

/// Changes some bytes in the middle.
fn garble(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].iter_mut().take(16).for_each(|byte| *byte ^= 0xff);
    fs::write(path, bytes).unwrap();
}

/// Reads the database's files but its lock and its own logbook, and the names of all layers.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let meta = files(&root.join("meta"), "", "").into_iter();
    let kept = meta.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("LO"));
    let layers = files(&root.join("l"), "", "").into_iter().map(|path| (path, Vec::new()));
    kept.map(|path| (path.clone(), fs::read(path).unwrap())).chain(layers).collect()
}

/// Damages a pool and starts a daemon on it: refused with all of `words`, or nothing is deleted.
fn check(damage: impl Fn(&Path), words: &[&str]) {
    let Pool { site, history, _filesystem } = pool();
    damage(&site.root().join("meta"));
    let before = contents(site.root());
    match site.try_start() {
        Err(message) => {
            for word in words {
                assert!(message.contains(word), "{word:?} is not in: {message}");
            }
            let after = contents(site.root());
            for (path, bytes) in &before {
                assert!(after.get(path) == Some(bytes), "{path:?} was changed by a start that was refused: {message}");
            }
        }
        Ok(daemon) => check_nothing_deleted(&site, &history, &daemon),
    }
}

/// Checks that all layers that were answered are there, or set aside with a word about each.
fn check_nothing_deleted(site: &Site, history: &History, daemon: &Daemon) {
    let found = found(&check_pool(site, &Client::new(daemon)));
    let aside = fs::read_dir(site.root().join("lost+found")).unwrap();
    let aside: Vec<String> =
        aside.map(|dir| fs::read_to_string(dir.unwrap().path().join("fs/file")).unwrap()).collect();
    for content in history.state.values().filter_map(|snapshot| snapshot.content.as_ref()) {
        assert!(
            found.values().any(|one| one.content.as_ref() == Some(content)) || aside.contains(content),
            "{content}"
        );
    }
    let said = fs::read_to_string(site.log()).unwrap();
    assert_eq!(said.matches("the record of a layer was lost; set aside").count(), aside.len(), "{said}");
}

const CORRUPTED: [&str; 3] = ["corrupted", "Nothing was changed", "aside"];

#[test]
fn privileged_a_damaged_manifest_is_reported() {
    privileged("a_damaged_manifest_is_reported", || {
        let manifest = |meta: &Path| files(meta, "MANIFEST", "").pop().unwrap();
        check(|meta| truncate(&manifest(meta), 0), &CORRUPTED);
        check(|meta| truncate_to_half(&manifest(meta)), &CORRUPTED);
        check(|meta| garble(&manifest(meta)), &CORRUPTED);
        check(|meta| fs::remove_file(manifest(meta)).unwrap(), &CORRUPTED);
    });
}

#[test]
fn privileged_a_damaged_pointer_to_the_manifest_is_reported() {
    privileged("a_damaged_pointer_to_the_manifest_is_reported", || {
        check(|meta| truncate(&meta.join("CURRENT"), 0), &CORRUPTED);
        check(|meta| fs::write(meta.join("CURRENT"), "MANIFEST-999999\n").unwrap(), &CORRUPTED);
        check(|meta| fs::write(meta.join("CURRENT"), "garbage").unwrap(), &CORRUPTED);
    });
}

#[test]
fn privileged_a_pool_that_lost_its_database_is_not_taken_for_a_new_one() {
    privileged("a_pool_that_lost_its_database_is_not_taken_for_a_new_one", || {
        let words = ["no metadata database", "Nothing was changed", "aside"];
        check(|meta| fs::remove_file(meta.join("CURRENT")).unwrap(), &words);
        check(|meta| fs::remove_dir_all(meta).and_then(|()| fs::create_dir(meta)).unwrap(), &words);
        check(|meta| fs::remove_dir_all(meta).unwrap(), &words);
    });
}

#[test]
fn privileged_a_damaged_sorted_file_is_reported() {
    privileged("a_damaged_sorted_file_is_reported", || {
        let largest = |meta: &Path| {
            let holds_records = |path: &PathBuf| fs::read(path).unwrap().windows(4).any(|window| window == b"old ");
            files(meta, "", ".sst").into_iter().find(holds_records).unwrap()
        };
        check(|meta| truncate(&largest(meta), 0), &CORRUPTED);
        check(|meta| truncate_to_half(&largest(meta)), &CORRUPTED);
        check(|meta| fs::remove_file(largest(meta)).unwrap(), &CORRUPTED);
        check(|meta| files(meta, "", ".sst").iter().for_each(|path| garble(path)), &CORRUPTED);
    });
}

#[test]
fn privileged_a_torn_end_of_the_log_costs_nothing_but_itself() {
    privileged("a_torn_end_of_the_log_costs_nothing_but_itself", || {
        let Pool { site, mut history, _filesystem } = pool();
        let daemon = site.start();
        let before = history.clone();
        history.run(&Client::new(&daemon), &Op::prepare("torn", "")).unwrap();
        daemon.kill();
        let log = files(&site.root().join("meta"), "", ".log")
            .into_iter()
            .find(|path| fs::read(path).unwrap().windows(4).any(|window| window == b"torn"));
        let log = log.unwrap();
        let bytes = fs::read(&log).unwrap();
        let at = bytes.windows(4).rposition(|window| window == b"torn").unwrap();
        truncate(&log, at as u64);
        let daemon = site.start();
        let mut history = before;
        history.settle(&found(&check_pool(&site, &Client::new(&daemon))));
    });
}

/// The log is overwritten in place, so that its end cannot be told from damage: records after that are lost. What they
/// named is not.
#[test]
fn privileged_what_loses_its_record_to_a_damaged_log_is_set_aside() {
    privileged("what_loses_its_record_to_a_damaged_log_is_set_aside", || {
        let Pool { site, history, _filesystem } = pool();
        let log = last_log(&site.root().join("meta"));
        let mut bytes = fs::read(&log).unwrap();
        let at = bytes.windows(6).position(|window| window == b"new 10").unwrap();
        bytes[at] ^= 0xff;
        fs::write(log, bytes).unwrap();
        check_nothing_deleted(&site, &history, &site.start());
    });
}
