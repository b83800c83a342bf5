//! Random prepares, applies, commits and removals against a model: what every snapshot shows, and what is shared.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// How many keys of active snapshots and names of committed ones there are.
const NAMES: usize = 6;
const ARCHIVES: [&str; 4] = ["k", "l", "m", "n"];

#[derive(Clone, Debug)]
enum Op {
    /// On a committed snapshot, or on nothing.
    Prepare(usize, Option<usize>),
    Apply(usize, usize),
    Mounts(usize),
    Write(usize),
    /// Names the parent if it has none yet.
    Commit(usize, usize, Option<usize>),
    Remove(bool, usize),
    Cleanup,
    Reopen,
}

fn any_op() -> impl Strategy<Value = Op> {
    let name = || 0..NAMES;
    prop_oneof![
        4 => (name(), prop::option::of(name())).prop_map(|(active, parent)| Op::Prepare(active, parent)),
        6 => (name(), 0..ARCHIVES.len()).prop_map(|(active, archive)| Op::Apply(active, archive)),
        1 => name().prop_map(Op::Mounts),
        1 => name().prop_map(Op::Write),
        6 => (name(), name(), prop::option::of(name())).prop_map(|(to, active, parent)| Op::Commit(to, active, parent)),
        3 => (any::<bool>(), name()).prop_map(|(active, name)| Op::Remove(active, name)),
        1 => Just(Op::Cleanup),
        1 => Just(Op::Reopen),
    ]
}

/// A snapshot as it should be.
#[derive(Clone, Debug)]
struct Modelled {
    parent: Option<usize>,
    /// Names of files in its own layer.
    files: BTreeSet<String>,
    /// The only archive that was applied to it, and nothing else was done.
    pure: Option<usize>,
    staged: bool,
    touched: bool,
    has_children: bool,
}

#[derive(Default)]
struct Model {
    active: BTreeMap<usize, Modelled>,
    committed: BTreeMap<usize, Modelled>,
}

fn active_key(number: usize) -> String {
    format!("ns/1/extract-{number} x")
}

fn name(number: usize) -> String {
    format!("ns/2/name-{number}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_snapshots_show_agrees_with_a_model(operations in prop::collection::vec(any_op(), 1..60)) {
        let (mut pool, mut model) = (Pool::new(), Model::default());
        for operation in &operations {
            pool = model.run(pool, operation);
            model.check(&pool);
        }
        pool.snapshotter.cleanup();
        let layers: BTreeSet<LayerId> = model.layers(&pool);
        pool.check(layers.len());
    }
}

impl Model {
    fn run(&mut self, pool: Pool, operation: &Op) -> Pool {
        match operation {
            Op::Prepare(active, parent) => {
                let parent = parent.filter(|parent| self.committed.contains_key(parent));
                if !self.active.contains_key(active) {
                    pool.prepare(&active_key(*active), &parent.map(name).unwrap_or_default());
                    let (files, pure) = (BTreeSet::new(), None);
                    let made = Modelled { parent, files, pure, staged: false, touched: false, has_children: false };
                    self.active.insert(*active, made);
                    self.count_children();
                }
            }
            Op::Apply(active, archive) => self.apply(&pool, *active, *archive),
            Op::Mounts(active) if self.active.contains_key(active) => {
                pool.snapshotter.mounts(&key(&active_key(*active))).unwrap();
                let it = self.active.get_mut(active).unwrap();
                if !it.staged && it.pure.is_some() {
                    it.pure = None;
                    it.touched = true;
                }
            }
            Op::Write(active) if self.active.contains_key(active) => {
                pool.snapshotter.mounts(&key(&active_key(*active))).unwrap();
                fs::write(pool.fs(&active_key(*active)).join("written"), "").unwrap();
                let it = self.active.get_mut(active).unwrap();
                it.files.insert("written".to_owned());
                it.touched = true;
            }
            Op::Commit(to, active, parent) => self.commit(&pool, *to, *active, *parent),
            Op::Remove(true, active) => {
                let result = pool.snapshotter.remove(&key(&active_key(*active)));
                assert_eq!(result.is_ok(), self.active.remove(active).is_some());
            }
            Op::Remove(false, number) => {
                let result = pool.snapshotter.remove(&key(&name(*number)));
                let removable = self.committed.get(number).is_some_and(|it| !it.has_children);
                assert_eq!(result.is_ok(), removable);
                if removable {
                    self.committed.remove(number);
                }
            }
            Op::Cleanup => pool.snapshotter.cleanup(),
            Op::Reopen => {
                let reopened = pool.reopened();
                self.count_children();
                return reopened;
            }
            Op::Mounts(_) | Op::Write(_) => {}
        }
        self.count_children();
        pool
    }

    fn apply(&mut self, pool: &Pool, active: usize, archive: usize) {
        let Some(it) = self.active.get_mut(&active) else { return };
        let mut turn = pool.begin(&active_key(active)).unwrap();
        let fresh = it.files.is_empty() && it.pure.is_none() && !it.touched;
        assert_eq!(turn.is_fresh(), fresh);
        if pool.snapshotter.stage_known(&turn, &digest(ARCHIVES[archive]), false).unwrap().is_some() {
            assert!(fresh);
            it.staged = true;
            it.pure = Some(archive);
            it.files.insert(ARCHIVES[archive].to_owned());
            return;
        }
        if let Some(blob) = turn.staged().cloned() {
            assert!(it.staged);
            let before = (0..ARCHIVES.len()).find(|number| digest(ARCHIVES[*number]) == blob).unwrap();
            fs::write(turn.upperdir().join(ARCHIVES[before]), ARCHIVES[before]).unwrap();
            pool.snapshotter.unstage(&mut turn, applied(&archive_of(before))).unwrap();
        }
        pool.extract(turn, &archive_of(archive));
        it.pure = fresh.then_some(archive);
        it.touched |= !fresh;
        it.staged = false;
        it.files.insert(ARCHIVES[archive].to_owned());
    }

    fn commit(&mut self, pool: &Pool, to: usize, active: usize, parent: Option<usize>) {
        let Some(it) = self.active.get(&active).cloned() else { return };
        let parent = parent.filter(|parent| it.parent.is_none() && self.committed.contains_key(parent));
        let result = pool.try_commit(&name(to), &active_key(active), &parent.map(name).unwrap_or_default());
        if self.committed.contains_key(&to) {
            assert!(matches!(result, Err(Error::AlreadyExists(_))), "{result:?}");
            return;
        }
        if it.staged && it.touched {
            assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
            return;
        }
        result.unwrap();
        self.active.remove(&active);
        let committed = Modelled { parent: it.parent.or(parent), pure: it.pure.filter(|_| !it.touched), ..it };
        self.committed.insert(to, committed);
    }

    fn count_children(&mut self) {
        let parents: BTreeSet<usize> =
            self.active.values().chain(self.committed.values()).filter_map(|it| it.parent).collect();
        for (number, it) in &mut self.committed {
            it.has_children = parents.contains(number);
        }
    }

    fn layers(&self, pool: &Pool) -> BTreeSet<LayerId> {
        let keys = self.active.keys().map(|it| active_key(*it)).chain(self.committed.keys().map(|it| name(*it)));
        let own: BTreeSet<LayerId> = keys.map(|key| pool.layer(&key)).collect();
        let staged = own.iter().filter_map(|layer| pool.snapshotter.metadata().applied(*layer).unwrap()?.staged);
        own.iter().copied().chain(staged).collect()
    }

    /// Every snapshot shows what it should, and what holds the same is one.
    fn check(&self, pool: &Pool) {
        let mut of_archive: BTreeMap<usize, LayerId> = BTreeMap::new();
        for (number, it) in &self.committed {
            let fs = pool.fs(&name(*number));
            let files: BTreeSet<String> =
                fs::read_dir(fs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert_eq!(files, it.files, "{number}");
            if let Some(archive) = it.pure {
                let layer = pool.layer(&name(*number));
                assert_eq!(*of_archive.entry(archive).or_insert(layer), layer, "one archive, two layers");
            }
        }
        for (number, it) in self.active.iter().filter(|(_, it)| it.staged) {
            let staged = pool.snapshotter.metadata().applied(pool.layer(&active_key(*number))).unwrap().unwrap().staged;
            let mut files: BTreeSet<String> = fs::read_dir(pool.snapshotter.layout().upperdir(staged.unwrap()))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.extend(it.touched.then(|| "written".to_owned()));
            assert_eq!(files, it.files, "{number}");
        }
        let problems = pool.snapshotter.fsck(false).unwrap().problems;
        assert!(problems.is_empty(), "{problems:?}");
    }
}

fn archive_of(number: usize) -> Archive {
    archive(ARCHIVES[number])
}
