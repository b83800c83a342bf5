//! Collections of a real store in which everything is held: how long, how much memory, and what a writer feels of it.
//!
//! Each image has a chain of snapshots, a container's snapshot, and a lease that names both ends. A resource is a lease or a
//! snapshot. Writers sync their records, as in service. The sizes can be given in `LEASEHOLD_BENCH_SIZES`. Where
//! `LEASEHOLD_TOOLS` has `refcollect`, containerd's own collector follows with the same objects, on the same file system.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use leasehold::content::{self, Content, Files, Neighbour};
use leasehold::gc::{Collectible, Collector, Schedule};
use leasehold::leases::Leases;
use leasehold::metadata::{CommitActive, CreateSnapshot, Kind, Metadata};
use leasehold::overlay::{LayerDirs, Layout, MountOptions};
use leasehold::snapshotter::{Reuse, Settings, Snapshotter};
use leasehold::store::Durability;
use leasehold::types::{Labels, LayerId, LeaseId, Namespace, Scope, SnapshotKey, SnapshotLease, label};

const CHAIN: usize = 18;
/// Chain, container and lease.
const PER_IMAGE: usize = CHAIN + 2;
/// Collections of each size, of which the median counts.
const ROUNDS: usize = 5;
/// How many calls of a writer are timed at least.
const CALLS: usize = 2_000;

fn namespace() -> Namespace {
    Namespace::parse("bench").unwrap()
}

fn key(text: String) -> SnapshotKey {
    SnapshotKey::parse_in(Scope::Api(namespace()), text).unwrap()
}

fn chain_id(image: usize, layer: usize) -> String {
    format!("sha256:{image:032x}{layer:032x}")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::parse(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).unwrap()
}

/// There are no blobs, and nothing that makes room for them.
struct Alone;

impl Neighbour for Alone {
    fn reclaim(&self, _: LayerId) {}

    fn retained(&self) {}

    fn look_for_expired(&self) {}

    fn expect_space(&self) -> leasehold::Result<()> {
        Ok(())
    }

    fn require_space(&self) -> leasehold::Result<()> {
        Ok(())
    }
}

struct Pool {
    snapshotter: Arc<Snapshotter>,
    collectible: Arc<Collectible>,
    _dir: tempfile::TempDir,
}

fn pool(resources: usize) -> Pool {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("pool")).unwrap();
    layout.create().unwrap();
    let metadata = Metadata::open(layout.meta(), Durability::Synced).unwrap();
    let dirs = LayerDirs::open(&layout).unwrap();
    let settings = Settings {
        name: "leasehold".into(),
        mounts: MountOptions::default(),
        upperdir_label: false,
        sync_layers_on_commit: false,
        waiting_for_space: 0,
        retention: None,
        reuse: Reuse { enabled: true, per_namespace: false, fetch: false },
        min_free: 0,
        reclaim_workers: 1,
        reclaim_per_second: 0,
        cleanup_wait: Duration::ZERO,
    };
    // Before the records are made: recovery would miss their directories.
    let (metadata, files) = (Arc::new(metadata), Arc::new(Files::open(&layout).unwrap()));
    let blobs = content::recover(&metadata, &files).unwrap();
    let (snapshotter, _) = Snapshotter::start(metadata.clone(), layout, dirs, settings).unwrap();
    let settings = content::Settings { max_ingests: 0, sharing: content::Sharing::Shared, retention: None };
    let content = Content::start(metadata, files, settings, blobs, Box::new(Alone)).unwrap();
    let snapshotter = Arc::new(snapshotter);
    (0..resources / PER_IMAGE).for_each(|number| image(snapshotter.metadata(), number));
    snapshotter.metadata().sync().unwrap();
    let leases = Arc::new(Leases::new(snapshotter.metadata().clone(), Arc::default()));
    let collectible = Arc::new(Collectible::new(snapshotter.clone(), content, leases));
    Pool { snapshotter, collectible, _dir: dir }
}

/// Makes the records of one image, in two transactions: a commit changes what was prepared before.
fn image(metadata: &Metadata, number: usize) {
    let id = LeaseId::parse(format!("{number}-lease")).unwrap();
    let lease = SnapshotLease { id: id.clone(), snapshotter: "leasehold".into() };
    let mut parent = None;
    let mut txn = metadata.write(SystemTime::now()).unwrap();
    txn.create_lease(&namespace(), &id, labels(&[(label::GC_EXPIRE, "2100-01-01T00:00:00Z")]), None).unwrap();
    for layer in 0..CHAIN {
        let name = key(chain_id(number, layer));
        let active = key(format!("extract-{number}-{layer}"));
        let labels = labels(&[(label::SNAPSHOT_REF, name.as_str())]);
        let create = CreateSnapshot {
            kind: Kind::Active,
            key: active.clone(),
            parent: parent.clone(),
            labels: labels.clone(),
            lease: None,
        };
        txn.create(create, Some(metadata.allocate_layer())).unwrap();
        let lease = (layer + 1 == CHAIN).then(|| lease.clone());
        let commit = CommitActive { name: name.clone(), key: active, parent: None, labels, lease };
        txn.commit_active(&commit, None).unwrap();
        parent = Some(name);
    }
    let container = key(format!("{number:064x}"));
    let create =
        CreateSnapshot { kind: Kind::Active, key: container, parent, labels: Labels::default(), lease: Some(lease) };
    txn.create(create, Some(metadata.allocate_layer())).unwrap();
    txn.commit_unsynced().unwrap();
}

/// Prepares snapshots for as long as it is told to, and returns how long each call took, sorted.
fn prepare_while(snapshotter: &Snapshotter, prefix: &str, go_on: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut took = Vec::new();
    while go_on(took.len()) {
        let key = key(format!("{prefix}-{}", took.len()));
        // Held, so that a collection has no more to do than before.
        let labels = labels(&[("containerd.io/gc.root", "x")]);
        let began = Instant::now();
        snapshotter.create(CreateSnapshot { kind: Kind::Active, key, parent: None, labels, lease: None }).unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Reads a line of this process's status, in MB. `VmHWM` is the most memory since it was reset.
fn status(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t']).split(' ').next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// How long the collector's thread had a processor: on a busy machine, less than the time that went by.
fn processor_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let is_collector = |path: &std::path::PathBuf| fs::read_to_string(path.join("comm")).unwrap().trim() == "collect";
    let collector = tasks.into_iter().find(is_collector).unwrap();
    let times = fs::read_to_string(collector.join("schedstat")).unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

/// What containerd's own collector takes for a resource, in nanoseconds, and how long its writers wait meanwhile.
fn measure_reference(resources: usize, ours: f64) {
    let Some(tools) = std::env::var_os("LEASEHOLD_TOOLS") else { return };
    let program = std::path::Path::new(&tools).join("bin/refcollect");
    let output = std::process::Command::new(&program).args(["-resources", &resources.to_string()]).output().unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figure = |name: &str| report[name].as_f64().unwrap();
    let micros = |name: &str| Duration::from_secs_f64(figure(name) / 1e6);
    let each = figure("nanos_each");
    println!(
        "{resources} resources, containerd: {each:.0} ns each, {:.1} times as many; Prepare idle p50 {:.2?}, p99 {:.2?}; \
         during back-to-back collections p50 {:.2?}, p99 {:.2?}",
        each / ours,
        micros("idle_p50"),
        micros("idle_p99"),
        micros("collecting_p50"),
        micros("collecting_p99"),
    );
}

fn measure(resources: usize) {
    let pool = pool(resources);
    let collector = Collector::start(pool.collectible.clone(), Schedule::default()).unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    // Past the one at the start, whose memory counts and whose time does not.
    let before = status("VmRSS");
    pool.collectible.collect().unwrap();
    let processor = processor_time();
    let mut runs: Vec<_> = (0..ROUNDS).map(|_| pool.collectible.collect().unwrap()).collect();
    let memory = status("VmHWM") - before;
    let processor = (processor_time() - processor) / ROUNDS as u32;
    assert!(runs.iter().all(|run| run.is_empty() && run.statistics.objects as usize == resources), "{runs:?}");
    let total = |run: &leasehold::gc::Collected| run.statistics.read + run.statistics.mark + run.statistics.sweep;
    runs.sort_unstable_by_key(total);
    let (median, all) = (&runs[ROUNDS / 2].statistics, total(&runs[ROUNDS / 2]));
    let each = all.as_nanos() as f64 / resources as f64;
    println!(
        "{resources} resources: {each:.0} ns each ({all:?}: read {:?}, mark {:?}, sweep {:?}), {:.0} ns of processor time; \
         {memory:.0} MB more at most",
        median.read,
        median.mark,
        median.sweep,
        processor.as_nanos() as f64 / resources as f64,
    );
    let idle = prepare_while(&pool.snapshotter, "idle", |calls| calls < CALLS);
    let (stop, collecting) = (AtomicBool::new(false), &pool.collectible);
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                collecting.collect().unwrap();
            }
        });
        let busy = prepare_while(&pool.snapshotter, "busy", |calls| calls < CALLS);
        stop.store(true, Ordering::Relaxed);
        busy
    });
    let show = |took: &[Duration]| format!("p50 {:.2?}, p99 {:.2?}", percentile(took, 50), percentile(took, 99));
    println!("{resources} resources: Prepare idle {}; during back-to-back collections {}", show(&idle), show(&busy));
    collector.stop();
    pool.snapshotter.stop();
    drop(pool);
    measure_reference(resources, each);
}

fn main() {
    let sizes = std::env::var("LEASEHOLD_BENCH_SIZES").unwrap_or_else(|_| "10000 100000 1000000".to_owned());
    sizes.split_whitespace().for_each(|size| measure(size.parse().unwrap()));
}
