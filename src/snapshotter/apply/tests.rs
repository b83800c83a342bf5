use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Reuse, Settings, Snapshotter};
use super::*;
use crate::metadata::{CommitActive, CreateSnapshot, Kind, Metadata};
use crate::overlay::{LayerDirs, Layout, Mount, MountOptions};
use crate::store::Durability;
use crate::types::Labels;

mod commit;
mod damage;
mod fetch;
mod model;
mod share;

/// A pool without a daemon, where layers are made by hand.
struct Pool {
    snapshotter: Running,
    dir: tempfile::TempDir,
}

/// One that is stopped in the end.
struct Running(Snapshotter);

impl std::ops::Deref for Running {
    type Target = Snapshotter;

    fn deref(&self) -> &Snapshotter {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What an archive has: a file, directories without an entry, whiteouts.
#[derive(Clone, Default)]
struct Archive {
    name: &'static str,
    implicit: Vec<&'static str>,
    whiteouts: Vec<&'static str>,
    opaque: Vec<&'static str>,
}

fn archive(name: &'static str) -> Archive {
    Archive { name, ..Archive::default() }
}

/// A digest that is as long as one.
fn digest(of: &str) -> Digest {
    let hex: String = of.bytes().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(format!("sha256:{hex:0<64}")).unwrap()
}

fn key(key: &str) -> SnapshotKey {
    SnapshotKey::parse(key).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::parse(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).unwrap()
}

fn settings(reuse: Reuse) -> Settings {
    Settings {
        name: "leasehold".into(),
        mounts: MountOptions::default(),
        upperdir_label: false,
        sync_layers_on_commit: false,
        min_free: 0,
        waiting_for_space: 0,
        retention: None,
        reuse,
        reclaim_workers: 1,
        reclaim_per_second: 0,
        cleanup_wait: Duration::from_secs(60),
    }
}

fn start(dir: &Path, reuse: Reuse) -> Running {
    let layout = Layout::new(dir.join("pool")).unwrap();
    layout.create().unwrap();
    let metadata = Metadata::open(layout.meta(), Durability::Written).unwrap();
    let dirs = LayerDirs::open(&layout).unwrap();
    Running(Snapshotter::start(Arc::new(metadata), layout, dirs, settings(reuse)).unwrap().0)
}

impl Pool {
    fn new() -> Pool {
        Pool::with(Reuse { enabled: true, per_namespace: false, fetch: false })
    }

    fn with(reuse: Reuse) -> Pool {
        let dir = tempfile::tempdir().unwrap();
        Pool { snapshotter: start(dir.path(), reuse), dir }
    }

    /// Stops and starts again.
    fn reopened(self) -> Pool {
        let Pool { snapshotter, dir } = self;
        let reuse = snapshotter.settings.reuse;
        drop(snapshotter);
        Pool { snapshotter: start(dir.path(), reuse), dir }
    }

    fn prepare_with(&self, name: &str, parent: &str, labels: Labels) -> Vec<Mount> {
        let parent = SnapshotKey::parse_parent(parent.into()).unwrap();
        self.snapshotter
            .create(CreateSnapshot { kind: Kind::Active, key: key(name), parent, labels, lease: None })
            .unwrap()
    }

    fn prepare(&self, name: &str, parent: &str) {
        self.prepare_with(name, parent, Labels::default());
    }

    fn layer(&self, name: &str) -> LayerId {
        self.snapshotter.metadata().snapshot(&key(name)).unwrap().layer.unwrap()
    }

    fn fs(&self, name: &str) -> PathBuf {
        self.snapshotter.layout().upperdir(self.layer(name)).into()
    }

    fn begin(&self, name: &str) -> Result<ApplyTurn<'_>> {
        let upperdir = self.snapshotter.layout().upperdir(self.layer(name));
        self.snapshotter.begin_apply(&upperdir).map(|turn| turn.unwrap())
    }

    /// Does what the differ does with an archive: stages it, or extracts it. Returns whether it was staged.
    fn apply(&self, name: &str, archive: &Archive) -> bool {
        let turn = self.begin(name).unwrap();
        if let Some(known) = self.snapshotter.stage_known(&turn, &digest(archive.name), false).unwrap() {
            assert_eq!(known, KnownLayer { diff_id: digest(&format!("-{}", archive.name)), size: 7 });
            return true;
        }
        self.extract(turn, archive);
        false
    }

    fn extract(&self, turn: ApplyTurn<'_>, archive: &Archive) {
        let fs = turn.upperdir();
        for path in archive.implicit.iter().chain(&archive.opaque) {
            fs::create_dir_all(fs.join(path)).unwrap();
        }
        for path in &archive.opaque {
            set_xattr(&fs.join(path), "trusted.overlay.opaque", b"y");
        }
        for path in &archive.whiteouts {
            fs::create_dir_all(fs.join(path).parent().unwrap()).unwrap();
            whiteout(&fs.join(path));
        }
        fs::write(fs.join(archive.name), archive.name).unwrap();
        self.snapshotter.finish_apply(turn, applied(archive)).unwrap();
    }

    fn try_commit(&self, name: &str, active: &str, parent: &str) -> Result<()> {
        let parent = SnapshotKey::parse_parent(parent.into()).unwrap();
        self.snapshotter.commit(CommitActive {
            name: key(name),
            key: key(active),
            parent,
            labels: Labels::default(),
            lease: None,
        })
    }

    fn commit(&self, name: &str, active: &str, parent: &str) {
        self.try_commit(name, active, parent).unwrap();
    }

    /// Unpacks a layer on a parent that is named when it is prepared. Returns whether it was staged.
    fn unpack(&self, name: &str, parent: &str, archive: &Archive) -> bool {
        let active = active(name);
        self.prepare(&active, parent);
        let staged = self.apply(&active, archive);
        self.commit(name, &active, "");
        staged
    }

    /// Unpacks a layer on a parent that is named when it is committed. Returns whether it was staged.
    fn rebase(&self, name: &str, parent: &str, archive: &Archive) -> bool {
        let active = active(name);
        self.prepare(&active, "");
        let staged = self.apply(&active, archive);
        self.commit(name, &active, parent);
        staged
    }

    fn remove(&self, name: &str) {
        self.snapshotter.remove(&key(name)).unwrap();
    }

    fn references(&self, layer: LayerId) -> u32 {
        self.snapshotter.metadata().layer(layer).unwrap().map_or(0, |layer| layer.references)
    }

    /// Checks that everything agrees, and that so many layers are there when all trash is gone.
    fn check(&self, layers: usize) {
        self.snapshotter.cleanup();
        let problems = self.snapshotter.fsck(false).unwrap().problems;
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(fs::read_dir(self.snapshotter.layout().layers()).unwrap().count(), layers);
    }
}

/// Returns the key of the extraction of a layer.
fn active(name: &str) -> String {
    match name.rsplit_once('/') {
        Some((namespace, name)) => format!("{namespace}/extract-1 {name}"),
        None => format!("extract-1 {name}"),
    }
}

fn applied(archive: &Archive) -> Applied {
    let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect();
    Applied {
        blob: Some(digest(archive.name)),
        diff_id: digest(&format!("-{}", archive.name)),
        size: 7,
        usage: Some(overlay::Usage { size: 4096, inodes: 2 }),
        implicit: paths(&archive.implicit),
        whiteouts: paths(&archive.whiteouts),
        opaque: paths(&archive.opaque),
        durable: true,
    }
}

/// Whether a test can be done. One that cannot says so, not by `eprintln!`, which is silent in a test that passes.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let test = std::thread::current();
        let _ = writeln!(std::io::stderr(), "SKIPPED needs root: {}", test.name().unwrap_or_default());
    }
    is_root
}

fn whiteout(path: &Path) {
    let (file, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
    rustix::fs::mknodat(rustix::fs::CWD, path, file, mode, 0).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, OsStr::new(name), value, rustix::fs::XattrFlags::empty()).unwrap();
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::getxattr(path, OsStr::new(name), &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn only_active_layers_of_ours_are_applied_to_and_by_one_at_a_time() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("a"));
    let committed = pool.snapshotter.layout().upperdir(pool.layer("base"));
    assert!(matches!(pool.snapshotter.begin_apply(&committed), Err(Error::WrongState { .. })));
    for foreign in ["", "/", "/var/lib/containerd/snapshots/1/fs", &committed.replace("/l/", "/x/")] {
        assert!(pool.snapshotter.begin_apply(foreign).unwrap().is_none(), "{foreign}");
    }
    let gone = pool.snapshotter.layout().upperdir(LayerId::new(77));
    assert!(matches!(pool.snapshotter.begin_apply(&gone), Err(Error::NotFound(_))));

    pool.prepare("two", "base");
    let turn = pool.begin("two").unwrap();
    assert_eq!((turn.upperdir(), turn.parents()), (pool.fs("two"), vec![pool.fs("base")]));
    assert!(turn.is_fresh() && turn.has_parent() && turn.staged().is_none() && !turn.is_removed());
    assert!(matches!(pool.begin("two"), Err(Error::Locked(_))));
    assert!(matches!(
        pool.try_commit("name", "two", ""),
        Err(Error::WrongState { problem: "is being applied to", .. })
    ));
    drop(turn);
    assert!(pool.begin("two").unwrap().is_fresh());
    pool.commit("name", "two", "");
    pool.check(2);
}

#[test]
fn a_layer_that_is_removed_while_it_is_applied_to_is_deleted_after_that() {
    let pool = Pool::new();
    pool.prepare("one", "");
    let turn = pool.begin("one").unwrap();
    let layer = turn.layer();
    let gone = pool.snapshotter.layout().trashed(layer);
    pool.remove("one");
    assert!(turn.is_removed() && gone.exists());
    pool.snapshotter.cleanup();
    assert!(gone.exists(), "deleted below an extraction");
    let result = pool.snapshotter.finish_apply(turn, applied(&archive("a")));
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
    pool.check(0);
    assert!(!gone.exists());
}

#[test]
fn what_a_commit_may_have_to_do_is_bounded_where_the_parent_is_named_there() {
    let pool = Pool::new();
    pool.unpack("base", "", &archive("x"));
    let many = |length: usize, number: usize| -> Vec<PathBuf> {
        (0..number).map(|number| format!("{}{number}", "d/".repeat(length / 2)).into()).collect()
    };
    for (number, many) in [many(1000, 10_000), many(6, 40_000)].into_iter().enumerate() {
        let (none, few) = (Vec::new(), many[..10].to_vec());
        for (case, whiteouts, implicit, on_base, as_base) in [
            ("few", &few, &few, true, true),
            ("whiteouts", &many, &few, true, false),
            ("implicit", &few, &many, false, true),
            ("both", &many, &many, false, false),
            ("none", &none, &none, true, true),
        ] {
            let applied =
                Applied { whiteouts: whiteouts.clone(), implicit: implicit.clone(), ..applied(&archive("z")) };
            for (parent, expected) in [("base", on_base), ("", as_base)] {
                let case = format!("{case} {number} {parent}");
                let active = format!("extract-1 {case}");
                pool.prepare(&active, "");
                // Like anything that was not unpacked into an empty layer, it is not known.
                let mut turn = pool.begin(&active).unwrap();
                turn.apply_otherwise();
                pool.snapshotter.finish_apply(turn, applied.clone()).unwrap();
                let kept = pool.snapshotter.metadata().applied(pool.layer(&active)).unwrap().unwrap();
                assert!(kept.implicit.len() + kept.whiteouts.len() <= 20, "{case}");
                let result = pool.try_commit(&case, &active, parent);
                assert_eq!(result.is_ok(), expected, "{case}: {result:?}");
                assert!(matches!(result, Ok(()) | Err(Error::WrongState { .. })), "{case}: {result:?}");
                pool.remove(if expected { &case } else { &active });
            }
        }
    }
    let many = many(6, 40_000);
    let applied = Applied { whiteouts: many.clone(), implicit: many, ..applied(&archive("y")) };
    pool.prepare("extract-1 b", "base");
    pool.snapshotter.finish_apply(pool.begin("extract-1 b").unwrap(), applied).unwrap();
    let kept = pool.snapshotter.metadata().applied(pool.layer("extract-1 b")).unwrap().unwrap();
    assert_eq!((kept.whiteouts.len(), kept.implicit.len()), (1, 1));
    assert!(kept.hides() && kept.has_implicit_directories() && !kept.has_implicit_root());
    assert!(!kept.implicit_unlisted && !kept.hiding_unlisted);
    pool.commit("b", "extract-1 b", "");
    pool.check(2);
}

#[test]
fn a_view_is_not_applied_to() {
    let pool = Pool::new();
    let (kind, key) = (Kind::View, key("view"));
    pool.snapshotter
        .create(CreateSnapshot { kind, key, parent: None, labels: Labels::default(), lease: None })
        .unwrap();
    assert!(matches!(pool.begin("view"), Err(Error::WrongState { .. })));
}
