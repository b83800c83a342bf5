//! Layers that are applied, staged and committed, by a process of its own: the differ's part is played by hand.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use leasehold::Error;
use leasehold::metadata::{CommitActive, CreateSnapshot, Kind, Metadata};
use leasehold::overlay::{self, LayerDirs, Layout, MountOptions};
use leasehold::snapshotter::{Applied, ApplyTurn, Reuse, Settings, Snapshotter};
use leasehold::store::Durability;
use leasehold::types::{Digest, Labels, SnapshotKey, label};

use crate::common::client::{Client, upperdir};
use crate::common::daemon::Site;
use crate::points::{CrashAt, Outcome};

/// Where the process of the work finds its pool, and says what was done.
const ROOT: &str = "LEASEHOLD_TEST_REUSE_ROOT";
const ANSWERS: &str = "LEASEHOLD_TEST_REUSE_ANSWERS";

/// One call that a client waits for.
enum Step {
    Prepare(&'static str, &'static str),
    /// By hand, of this archive.
    Extract(&'static str, &'static str),
    Stage(&'static str, &'static str),
    /// Told that it need not be fetched.
    Fetch(&'static str, &'static str),
    Unstage(&'static str),
    Commit(&'static str, &'static str, &'static str),
    Remove(&'static str),
    Cleanup,
}

use Step::{Cleanup, Commit, Extract, Fetch, Prepare, Remove, Stage, Unstage};

/// Archives have a file of their name. `top` has a directory without an entry, and a whiteout; `hiding` has a whiteout.
const STEPS: [Step; 32] = [
    Prepare("a/1/extract-1 base", ""),
    Extract("a/1/extract-1 base", "base"),
    Commit("a/2/base", "a/1/extract-1 base", ""),
    Prepare("b/1/extract-1 base", ""),
    Stage("b/1/extract-1 base", "base"),
    Commit("b/2/base", "b/1/extract-1 base", ""),
    Fetch("f/1/base", "base"),
    // One that was not known yet when it was extracted.
    Prepare("c/1/extract-1 base", ""),
    Extract("c/1/extract-1 base", "base"),
    Commit("c/2/base", "c/1/extract-1 base", ""),
    Prepare("a/3/extract-1 top", ""),
    Extract("a/3/extract-1 top", "top"),
    Commit("a/4/top", "a/3/extract-1 top", "a/2/base"),
    Prepare("a/5/extract-1 hiding", ""),
    Extract("a/5/extract-1 hiding", "hiding"),
    Commit("a/6/hiding", "a/5/extract-1 hiding", ""),
    Prepare("a/7/extract-1 twice", ""),
    Stage("a/7/extract-1 twice", "base"),
    Unstage("a/7/extract-1 twice"),
    Extract("a/7/extract-1 twice", "twice"),
    Commit("a/8/twice", "a/7/extract-1 twice", ""),
    Prepare("a/9/extract-1 base", ""),
    Stage("a/9/extract-1 base", "base"),
    Remove("a/9/extract-1 base"),
    Prepare("d/1/extract-1 base", ""),
    Stage("d/1/extract-1 base", "base"),
    Remove("a/4/top"),
    Remove("a/2/base"),
    Remove("b/2/base"),
    Remove("c/2/base"),
    Remove("f/1/base"),
    Cleanup,
];

/// Does the work where the environment says so: a run of this test alone in a process that ends at a fail point.
#[test]
fn the_work_is_done_in_a_process_of_its_own() {
    let (Some(root), Some(answers)) = (std::env::var_os(ROOT), std::env::var_os(ANSWERS)) else { return };
    let mut answers = fs::File::options().append(true).create(true).open(answers).unwrap();
    let work = Work::open(Path::new(&root));
    for step in &STEPS {
        work.step(step);
        answers.write_all(b".").unwrap();
    }
    work.snapshotter.stop();
}

struct Work {
    snapshotter: Snapshotter,
}

impl Work {
    fn open(root: &Path) -> Work {
        let layout = Layout::new(root).unwrap();
        layout.create().unwrap();
        let metadata = Arc::new(Metadata::open(layout.meta(), Durability::Synced).unwrap());
        let dirs = LayerDirs::open(&layout).unwrap();
        let settings = Settings {
            name: "leasehold".into(),
            mounts: MountOptions::default(),
            upperdir_label: false,
            sync_layers_on_commit: false,
            min_free: 0,
            waiting_for_space: 0,
            retention: None,
            reuse: Reuse { enabled: true, per_namespace: false, fetch: true },
            reclaim_workers: 1,
            reclaim_per_second: 0,
            cleanup_wait: Duration::from_secs(60),
        };
        Work { snapshotter: Snapshotter::start(metadata, layout, dirs, settings).unwrap().0 }
    }

    fn begin(&self, name: &str) -> ApplyTurn<'_> {
        let layer = self.snapshotter.metadata().snapshot(&key(name)).unwrap().layer.unwrap();
        let upperdir = self.snapshotter.layout().upperdir(layer);
        self.snapshotter.begin_apply(&upperdir).unwrap().unwrap()
    }

    fn step(&self, step: &Step) {
        let (labels, lease) = (Labels::default(), None);
        match step {
            Prepare(name, parent) => {
                let (key, parent) = (key(name), SnapshotKey::parse_parent((*parent).into()).unwrap());
                drop(
                    self.snapshotter.create(CreateSnapshot { kind: Kind::Active, key, parent, labels, lease }).unwrap(),
                );
            }
            Extract(name, archive) => {
                let turn = self.begin(name);
                let applied = extract(&turn.upperdir(), archive);
                self.snapshotter.finish_apply(turn, applied).unwrap();
            }
            Stage(name, archive) => {
                let turn = self.begin(name);
                assert!(self.snapshotter.stage_known(&turn, &digest(archive), false).unwrap().is_some());
            }
            Fetch(name, archive) => {
                let diff_id = digest(&format!("-{archive}")).as_str().to_owned();
                let labels = [(label::SNAPSHOT_REF, "chain".to_owned()), (label::DIFF_ID, diff_id)];
                let labels = Labels::parse(labels.map(|(key, value)| (key.to_owned(), value))).unwrap();
                let create = CreateSnapshot { kind: Kind::Active, key: key(name), parent: None, labels, lease };
                assert!(matches!(self.snapshotter.create(create), Err(Error::AlreadyExists(_))));
            }
            Unstage(name) => {
                let mut turn = self.begin(name);
                let applied = extract(&turn.upperdir(), "base");
                self.snapshotter.unstage(&mut turn, applied).unwrap();
                assert!(turn.staged().is_none());
            }
            Commit(name, active, parent) => {
                let parent = SnapshotKey::parse_parent((*parent).into()).unwrap();
                let commit = CommitActive { name: key(name), key: key(active), parent, labels, lease };
                self.snapshotter.commit(commit).unwrap();
            }
            Remove(name) => self.snapshotter.remove(&key(name)).unwrap(),
            Cleanup => self.snapshotter.cleanup(),
        }
    }
}

fn key(name: &str) -> SnapshotKey {
    SnapshotKey::parse(name).unwrap()
}

fn digest(of: &str) -> Digest {
    let hex: String = of.bytes().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(format!("sha256:{hex:0<64}")).unwrap()
}

/// Makes what is in an archive durable in a layer.
fn extract(fs: &Path, archive: &str) -> Applied {
    let (mut implicit, mut whiteouts) = (Vec::new(), Vec::new());
    fs::write(fs.join(archive), archive).unwrap();
    if archive == "base" {
        fs::create_dir(fs.join("usr")).unwrap();
        fs::set_permissions(fs.join("usr"), fs::Permissions::from_mode(0o1777)).unwrap();
    }
    if archive == "top" {
        fs::create_dir(fs.join("usr")).unwrap();
        implicit = vec![PathBuf::new(), PathBuf::from("usr")];
    }
    if archive == "top" || archive == "hiding" {
        let (file, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
        rustix::fs::mknodat(rustix::fs::CWD, fs.join("gone"), file, mode, 0).unwrap();
        whiteouts = vec![PathBuf::from("gone")];
    }
    overlay::sync_file_system(fs).unwrap();
    Applied {
        blob: Some(digest(archive)),
        diff_id: digest(&format!("-{archive}")),
        size: 7,
        usage: Some(overlay::Usage { size: 4096, inodes: 2 }),
        implicit,
        whiteouts,
        opaque: Vec::new(),
        durable: true,
    }
}

/// Does the work to its end or a crash. Returns how many calls were answered, too.
pub fn run(site: &Site, at: &CrashAt) -> (usize, Outcome) {
    let answers = site.dir().join("answers");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "reuse::the_work_is_done_in_a_process_of_its_own", "--test-threads=1"]);
    command.env(ROOT, site.root()).env(ANSWERS, &answers);
    let outcome = at.run(&mut command);
    let answered = fs::read(&answers).map_or(0, |answers| answers.len());
    if let Outcome::Ended(_) = &outcome {
        assert_eq!(answered, STEPS.len(), "the work failed");
    }
    (answered, outcome)
}

/// Returns what is there after so many calls.
fn names_after(answered: usize) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    for step in STEPS.iter().take(answered) {
        match step {
            Prepare(name, _) | Fetch(name, _) => drop(names.insert(*name)),
            Commit(name, active, _) => {
                names.remove(active);
                names.insert(name);
            }
            Remove(name) => drop(names.remove(name)),
            Extract(..) | Stage(..) | Unstage(_) | Cleanup => {}
        }
    }
    names
}

/// Checks what a crash left: what was answered is there and whole, and all of it can go.
pub fn check(site: &Site, answered: usize) {
    let daemon = site.start();
    let client = Client::new(&daemon);
    let listed = client.list(&[]).unwrap();
    let names: BTreeSet<&str> = listed.iter().map(|info| info.name.as_str()).collect();
    let expected = [names_after(answered), names_after(answered + 1)];
    assert!(expected.contains(&names), "after {answered} calls: {names:?}");
    for info in listed.iter().filter(|info| !info.name.contains("extract")) {
        let (fs, archive) = (upperdir(info).unwrap(), info.name.rsplit('/').next().unwrap());
        assert_eq!(fs::read_to_string(fs.join(archive)).unwrap(), archive, "{}", info.name);
        let mode = || fs::metadata(fs.join("usr")).unwrap().mode() & 0o7777;
        match archive {
            "base" => assert_eq!(mode(), 0o1777),
            "top" => assert!(mode() == 0o1777 && fs.join("gone").symlink_metadata().is_ok()),
            "twice" => assert!(fs.join(archive).is_file()),
            _ => assert!(fs.join("gone").symlink_metadata().is_err(), "a whiteout of nothing"),
        }
    }
    // What was being made can be made still, where its layer is known.
    if names.contains("d/1/extract-1 base") {
        client.commit("d/2/base", "d/1/extract-1 base").unwrap();
    }
    let mut left: Vec<String> = client.list(&[]).unwrap().into_iter().map(|info| info.name).collect();
    left.sort_by_key(|name| name != "a/4/top");
    for name in left {
        client.remove(&name).unwrap();
    }
    client.cleanup().unwrap();
    assert_eq!(site.layer_dirs().len(), 0);
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
    assert_eq!(site.root().join("lost+found").read_dir().unwrap().count(), 0, "something was set aside");
}
