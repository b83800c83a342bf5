//! Records: prepare, commit, stat, list and remove, with 1,000 to 100,000 snapshots present; and removals that are
//! retained.
//!
//! Without syncs, because a disk's speed would hide everything else; `synced` is one transaction with its sync.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use leasehold::metadata::{
    AppliedLayer, Commit, CommitActive, CreateSnapshot, Kind, Known, Metadata, Retention, Settled, Variant,
};
use leasehold::store::Durability;
use leasehold::types::{Digest, Labels, LayerId, MemberKind, Scope, SnapshotKey};

fn key(prefix: &str, number: u64) -> SnapshotKey {
    SnapshotKey::parse(format!("bench/{number}/{prefix}-{number}")).unwrap()
}

/// Records with a base and `present` committed snapshots on it.
struct Pool {
    metadata: Metadata,
    next: Cell<u64>,
    _dir: tempfile::TempDir,
}

impl Pool {
    fn new(durability: Durability, present: u64) -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(dir.path().join("meta"), durability).unwrap();
        let pool = Pool { metadata, next: Cell::new(1), _dir: dir };
        pool.create("extract", 0, None);
        pool.commit(0);
        for _ in 0..present {
            let number = pool.number();
            pool.create("extract", number, Some(key("name", 0)));
            pool.commit(number);
        }
        pool
    }

    fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    fn create(&self, prefix: &str, number: u64, parent: Option<SnapshotKey>) {
        let layer = self.metadata.allocate_layer();
        let mut txn = self.metadata.write(SystemTime::now()).unwrap();
        let create = CreateSnapshot {
            kind: Kind::Active,
            key: key(prefix, number),
            parent,
            labels: Labels::default(),
            lease: None,
        };
        txn.create(create, Some(layer)).unwrap();
        txn.commit().unwrap();
    }

    fn commit(&self, number: u64) {
        let mut txn = self.metadata.write(SystemTime::now()).unwrap();
        let (name, key) = (key("name", number), key("extract", number));
        let commit = CommitActive { name, key, parent: None, labels: Labels::default(), lease: None };
        txn.commit_active(&commit, None).unwrap();
        txn.commit().unwrap();
    }

    fn remove(&self, key: &SnapshotKey, retention: Option<&Retention>) {
        let mut txn = self.metadata.write(SystemTime::now()).unwrap();
        txn.remove(&MemberKind::Snapshots("leasehold".into()), key, retention).unwrap();
        txn.commit().unwrap();
    }

    /// Commits what something was applied to.
    fn commit_applied(&self, number: u64, known: Option<Known>) {
        let (name, key) = (key("name", number), key("extract", number));
        let commit = CommitActive { name, key, parent: None, labels: Labels::default(), lease: None };
        let Commit::Unsettled(of) =
            self.metadata.write(SystemTime::now()).unwrap().commit_active(&commit, None).unwrap()
        else {
            panic!("nothing was applied")
        };
        let settled = Settled { of: *of, known, other: None, usage: None };
        let mut txn = self.metadata.write(SystemTime::now()).unwrap();
        txn.commit_active(&commit, Some(&settled)).unwrap();
        txn.commit().unwrap();
    }

    /// Makes a layer that is known.
    fn known(&self) -> (LayerId, Known) {
        let digest = |digit: &str| Digest::parse(format!("sha256:{}", digit.repeat(64))).unwrap();
        let known = Known {
            diff_id: digest("a"),
            size: 1,
            blobs: vec![digest("b")],
            variant: Variant::any(),
            namespace: "".into(),
            implicit_root: false,
            hides: false,
            boot: "".into(),
            only_on_known: false,
        };
        let applied = AppliedLayer {
            diff_id: known.diff_id.clone(),
            size: 1,
            blob: known.blobs.first().cloned(),
            usage: None,
            implicit: Vec::new(),
            whiteouts: Vec::new(),
            opaque: Vec::new(),
            staged: None,
            verified: true,
            boot: "".into(),
            base: false,
            implicit_unlisted: false,
            hiding_unlisted: false,
        };
        let number = self.prepared();
        let layer = self.metadata.snapshot(&key("extract", number)).unwrap().layer.unwrap();
        let mut txn = self.metadata.write(SystemTime::now()).unwrap();
        txn.set_applied(layer, &applied).unwrap();
        txn.commit().unwrap();
        self.commit_applied(number, Some(known.clone()));
        (layer, known)
    }

    /// Makes a chain of so many snapshots and returns its top.
    fn chain(&self, depth: u64) -> SnapshotKey {
        (0..depth).fold(key("name", 0), |parent, _| self.committed(parent))
    }

    /// Commits one on a parent.
    fn committed(&self, parent: SnapshotKey) -> SnapshotKey {
        let number = self.number();
        self.create("extract", number, Some(parent));
        self.commit(number);
        key("name", number)
    }

    /// Prepares one and returns its number.
    fn prepared(&self) -> u64 {
        let number = self.number();
        self.create("extract", number, Some(key("name", 0)));
        number
    }
}

fn operations(c: &mut Criterion) {
    for present in [1_000, 10_000, 100_000] {
        let pool = Pool::new(Durability::Written, present);
        let mut group = c.benchmark_group("metadata");
        let id = |name| BenchmarkId::new(name, present);
        group.bench_function(id("prepare"), |b| b.iter(|| pool.prepared()));
        group.bench_function(id("commit"), |b| {
            b.iter_batched(|| pool.prepared(), |number| pool.commit(number), BatchSize::SmallInput);
        });
        group.bench_function(id("remove"), |b| {
            b.iter_batched(
                || key("extract", pool.prepared()),
                |snapshot| pool.remove(&snapshot, None),
                BatchSize::SmallInput,
            );
        });
        let mut stat = 0;
        group.bench_function(id("stat"), |b| {
            b.iter(|| {
                // A fixed stride visits all of them in an order that no cache foresees.
                stat = (stat + 7_919) % present;
                pool.metadata.snapshot(&key("name", stat)).unwrap()
            });
        });
        group.bench_function(id("page of 100"), |b| {
            b.iter(|| {
                pool.metadata.snapshots(&Scope::Plugin, Some(&key("name", present / 2)), 100).unwrap().snapshots.len()
            });
        });
        group.finish();
    }
}

/// What a removal costs that is retained, on top of one that is not: for the top of an image, by its layers.
fn removals(c: &mut Criterion) {
    let day = Retention::new(Duration::from_secs(86_400));
    for depth in [1, 16, 64] {
        let pool = Pool::new(Durability::Written, 10);
        let parent = pool.chain(depth - 1);
        let mut group = c.benchmark_group("metadata");
        for (name, retention) in [("remove top", None), ("remove top, retained", day.as_ref())] {
            group.bench_function(BenchmarkId::new(name, depth), |b| {
                b.iter_batched(
                    || pool.committed(parent.clone()),
                    |snapshot| pool.remove(&snapshot, retention),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

/// What staging a known layer costs, and the commit of what it is staged for: the same for a layer of any size.
fn reuse(c: &mut Criterion) {
    for present in [1_000, 100_000] {
        let pool = Pool::new(Durability::Written, present);
        let metadata = &pool.metadata;
        let (layer, known) = pool.known();
        let namespace = known.namespace.clone();
        let mut group = c.benchmark_group("metadata");
        let stage = || {
            let own = metadata.snapshot(&key("extract", pool.prepared())).unwrap().layer.unwrap();
            let diff_id = metadata.diff_id_of(&known.blobs[0]).unwrap();
            let found = metadata.known_layer(&namespace, &diff_id, &[Variant::any()]).unwrap();
            assert_eq!(found.unwrap().0, layer);
            let mut txn = metadata.write(SystemTime::now()).unwrap();
            txn.stage(own, layer, &known, known.blobs.first()).unwrap().unwrap();
            txn.commit_unsynced().unwrap();
        };
        group.bench_function(BenchmarkId::new("prepare and stage", present), |b| b.iter(stage));
        group.bench_function(BenchmarkId::new("commit, staged", present), |b| {
            let prepared = || {
                stage();
                pool.next.get() - 1
            };
            b.iter_batched(prepared, |number| pool.commit_applied(number, None), BatchSize::SmallInput);
        });
        group.finish();
    }
}

fn synced(c: &mut Criterion) {
    let pool = Pool::new(Durability::Synced, 0);
    c.bench_function("metadata/prepare, synced", |b| b.iter(|| pool.prepared()));
}

fn settings() -> Criterion {
    Criterion::default().sample_size(30).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! { name = benches; config = settings(); targets = operations, removals, reuse, synced }
criterion_main!(benches);
