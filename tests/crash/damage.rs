//! Pools as crashes and lost files leave them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use leasehold::store::Column;
use leasehold::types::{Labels, LeaseId, Member, MemberKind, Namespace, SnapshotKey};

use crate::common::client::{Client, upperdir};
use crate::common::daemon::Site;
use crate::common::damage::{change, change_bytes};
use crate::common::history::{History, Op};
use crate::common::tools::run;

/// A stopped pool, and what must be in it after the next start.
pub struct Template {
    pub site: Site,
    pub history: History,
}

/// A file in directories that no record names.
pub const WITHOUT_RECORD: &str = "without a record";
/// Files on top of a lost layer.
pub const ON_LOST: [&str; 2] = ["committed on what is lost", "active on what is lost"];

pub fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").args([from, to]));
}

/// What crashes leave: unfinished and forgotten directories, a removal half done, and, after a power cut, active
/// snapshots without their directories.
pub fn pool_with_leftovers(site: Site) -> Template {
    let daemon = site.start();
    let client = Client::new(&daemon);
    let mut history = History::of(
        &client,
        [
            Op::prepare("one", ""),
            Op::write("one", "in the base"),
            Op::commit("base", "one", ""),
            Op::prepare("kept", "base"),
            Op::write("kept", "kept"),
            Op::prepare("lost", "base"),
            Op::view("lost view", ""),
            Op::prepare("removed", "base"),
        ],
    );
    for key in ["lost", "lost view"] {
        remove_dir(&client, key);
    }
    assert!(daemon.stop().success());
    leave_garbage(site.root());
    change(site.root(), |txn| {
        let kind = MemberKind::Snapshots("leasehold".into());
        txn.remove(&kind, &SnapshotKey::parse("removed").unwrap(), None).unwrap();
    });
    history.state.remove("removed");
    Template { site, history }
}

/// A committed snapshot without its directory, with others on top of it, and records that contradict each other.
pub fn damaged_pool(site: Site) -> Template {
    let daemon = site.start();
    let client = Client::new(&daemon);
    let mut history = History::of(
        &client,
        [
            Op::prepare("one", ""),
            Op::write("one", "in the base"),
            Op::commit("base", "one", ""),
            Op::prepare("kept", "base"),
            Op::write("kept", "kept"),
            Op::prepare("two", "base"),
            Op::commit("lost", "two", ""),
            Op::prepare("three", "lost"),
            Op::write("three", ON_LOST[0]),
            Op::commit("on it", "three", ""),
            Op::prepare("active", "on it"),
            Op::write("active", ON_LOST[1]),
            Op::view("view", "lost"),
        ],
    );
    remove_dir(&client, "lost");
    assert!(daemon.stop().success());
    leave_garbage(site.root());
    change(site.root(), |txn| txn.repair_child(7, 4711, true));
    damage_leases(site.root());
    history.state.retain(|key, _| ["base", "kept"].contains(&key.as_str()));
    Template { site, history }
}

/// Returns what the files say that were set aside.
pub fn set_aside(site: &Site) -> BTreeSet<String> {
    let dirs = fs::read_dir(site.root().join("lost+found")).unwrap();
    dirs.filter_map(|dir| fs::read_to_string(dir.unwrap().path().join("fs/file")).ok()).collect()
}

/// Leaves a member that only one side has, and a lease that nobody can read.
fn damage_leases(root: &Path) {
    change(root, |txn| {
        let namespace = Namespace::parse("default").unwrap();
        for id in ["one", "two"] {
            let (id, labels) = (LeaseId::parse(id).unwrap(), Labels::default());
            txn.create_lease(&namespace, &id, labels, None).unwrap().unwrap();
            txn.add_member(&namespace, &id, &Member::parse("images", "i").unwrap()).unwrap();
        }
    });
    change_bytes(root, |txn| {
        txn.delete(Column::Leased, b"default\0images\0i\0one".to_vec());
        txn.put(Column::Leases, b"default\0two".to_vec(), b"\xff\xff\xff".to_vec());
    });
}

fn remove_dir(client: &Client, key: &str) {
    let layer = upperdir(&client.stat(key).unwrap()).unwrap();
    fs::remove_dir_all(layer.parent().unwrap()).unwrap();
}

/// Makes directories that no record names. Only what is empty in `l` can be of a crashed creation.
fn leave_garbage(root: &Path) {
    for name in ["staging/zz1/fs/sub", "trash/zz2/fs/sub", "l/zz4/fs"] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("file"), WITHOUT_RECORD).unwrap();
    }
    for name in ["l/zz3/fs", "l/zz3/work"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
}
