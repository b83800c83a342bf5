//! The differ on an image, as the daemon calls it: what `scripts/bench-diff.sh` measures beside containerd's.
//!
//! A process is one round, so that its processor time and memory are those of the round. `fill` makes a pool that has the
//! blobs; `apply` prepares, applies and commits the layers of an image; `known` has them staged, again and again; `compare` makes a
//! layer of a small change on the image. Without arguments, as `cargo bench` calls it, nothing is done.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use leasehold::content::{self, Content, Event, Files, Import, Neighbour};
use leasehold::diff::{self, Apply, Begun, Compare, Differ, Uncompressed};
use leasehold::metadata::{CommitActive, Kind, Metadata};
use leasehold::overlay::{LayerDirs, Layout, Mount, MountOptions};
use leasehold::snapshotter::{Create, Reuse, Snapshotter};
use leasehold::store::Durability;
use leasehold::types::{Algorithm, Digest, Labels, LayerId, Scope, SnapshotKey};
use sha2::{Digest as _, Sha256};

/// How often a layer that is known is applied.
const CALLS: usize = 2_000;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Mode {
    Fill,
    Apply,
    Known,
    Compare,
}

#[derive(Parser)]
struct Arguments {
    mode: Option<Mode>,
    /// The pool's directory.
    #[arg(long, default_value = ".")]
    pool: PathBuf,
    /// A directory with the layers 0, 1 and so on; of `fill`, a content store.
    #[arg(long, default_value = ".")]
    image: PathBuf,
    /// Layers under way at a time. More than one is applied without a parent, as in a parallel unpack.
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    /// Makes each layer durable before the answer.
    #[arg(long)]
    sync: bool,
    /// Reads the blobs from this content store, and so checks their digests.
    #[arg(long)]
    content_root: Option<PathBuf>,
    /// A directory whose files are the change to be compared.
    #[arg(long)]
    change: Option<PathBuf>,
    /// What cargo adds; then nothing is done.
    #[arg(long)]
    bench: bool,
}

/// No blob goes from here.
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
    content: Arc<Content>,
    differ: Differ,
    /// Sets the keys of this round apart.
    round: u32,
}

struct Layer {
    digest: Digest,
    size: u64,
}

/// What a round took.
#[derive(Default)]
struct Spent {
    wall: Duration,
    cpu: f64,
}

impl Spent {
    fn add<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let result = work();
        self.wall += began.elapsed();
        self.cpu += cpu_seconds() - cpu;
        result
    }
}

fn main() {
    let arguments = Arguments::parse();
    let Some(mode) = arguments.mode.filter(|_| !arguments.bench) else { return };
    let pool = Pool::open(&arguments, mode == Mode::Known);
    if mode == Mode::Fill {
        pool.fill(&arguments.image);
    } else {
        let layers = layers(&arguments.image);
        let base = peak_mib();
        let mut spent = Spent::default();
        match mode {
            Mode::Fill => {}
            Mode::Apply => {
                let applied = pool.apply(&layers, arguments.parallel, &mut spent);
                report(&spent, base, &applied);
            }
            Mode::Known => pool.known(&layers),
            Mode::Compare => pool.compare(&layers, arguments.change.as_deref().unwrap(), base),
        }
    }
    pool.content.stop();
    pool.snapshotter.stop();
}

impl Pool {
    fn open(arguments: &Arguments, reuse: bool) -> Pool {
        let layout = Layout::new(arguments.pool.clone()).unwrap();
        layout.create().unwrap();
        let durability = if arguments.sync || arguments.mode == Some(Mode::Known) {
            Durability::Synced
        } else {
            Durability::Written
        };
        let metadata = Arc::new(Metadata::open(layout.meta(), durability).unwrap());
        let dirs = LayerDirs::open(&layout).unwrap();
        let files = Arc::new(Files::open(&layout).unwrap());
        let blobs = content::recover(&metadata, &files).unwrap();
        let settings = leasehold::snapshotter::Settings {
            name: "leasehold".into(),
            mounts: MountOptions::default(),
            upperdir_label: false,
            sync_layers_on_commit: false,
            waiting_for_space: 0,
            retention: None,
            reuse: Reuse { enabled: reuse, per_namespace: false, fetch: false },
            min_free: 0,
            reclaim_workers: 1,
            reclaim_per_second: 0,
            cleanup_wait: Duration::ZERO,
        };
        let (snapshotter, _) = Snapshotter::start(metadata.clone(), layout, dirs, settings).unwrap();
        let snapshotter = Arc::new(snapshotter);
        let settings = content::Settings { max_ingests: 0, sharing: content::Sharing::Shared, retention: None };
        let content = Content::start(metadata, files, settings, blobs, Box::new(Alone)).unwrap();
        let settings = diff::Settings {
            limits: diff::Limits { max_size: 64 << 30, max_ratio: 1000 },
            extraction: diff::extract::Limits::default(),
            sync: arguments.sync,
            userxattr: false,
            content_root: arguments.content_root.clone(),
        };
        let differ = Differ::new(snapshotter.clone(), content.clone(), settings);
        Pool { snapshotter, content, differ, round: std::process::id() }
    }

    fn fill(&self, image: &Path) {
        let import = Import { from: image, dry_run: false, threads: 2 };
        let mut problems = Vec::new();
        let mut note = |event: Event<content::Skipped>| {
            if let Event::Found(skipped) = event {
                problems.push(skipped.name);
            }
            std::ops::ControlFlow::Continue(())
        };
        self.content.import(import, &mut note).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
    }

    /// Applies all layers, each on those before it or all for themselves, and commits them. Only applying counts.
    fn apply(&self, layers: &[Layer], parallel: usize, spent: &mut Spent) -> Vec<Uncompressed> {
        if parallel == 1 {
            let mut applied = Vec::new();
            for (number, layer) in layers.iter().enumerate() {
                let mounts = self.prepare(number, self.parent(number));
                applied.push(spent.add(|| self.apply_one(layer, mounts)));
                self.commit(number, None);
            }
            return applied;
        }
        let mounts: Vec<_> = (0..layers.len()).map(|number| self.prepare(number, None)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut applied = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let (Some(layer), Some(mounts)) = (layers.get(number), mounts.get(number)) else { return applied };
                applied.push((number, self.apply_one(layer, mounts.clone())));
            }
        };
        let mut applied: Vec<_> = spent.add(|| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..parallel).map(|_| scope.spawn(work)).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            })
        });
        applied.sort_by_key(|(number, _)| *number);
        for number in 0..layers.len() {
            self.commit(number, self.parent(number));
        }
        applied.into_iter().map(|(_, applied)| applied).collect()
    }

    fn apply_one(&self, layer: &Layer, mounts: Vec<Mount>) -> Uncompressed {
        match self.differ.begin(request(layer, mounts)).unwrap() {
            Begun::Known(_) => panic!("it was known"),
            Begun::Work(job) => self.differ.apply(*job, &AtomicBool::new(false)).unwrap(),
        }
    }

    /// Applies layers that are there. Each is staged in a snapshot of its own, on the same parent as before.
    fn known(&self, layers: &[Layer]) {
        self.apply(layers, 1, &mut Spent::default());
        let mut calls = vec![Vec::with_capacity(CALLS); layers.len()];
        for call in 0..CALLS {
            let number = call % layers.len();
            let layer = &layers[number];
            let key = layers.len() + call;
            let mounts = self.prepare(key, self.parent(number));
            let request = request(layer, mounts);
            let began = Instant::now();
            let begun = self.differ.begin(request).unwrap();
            calls[number].push(began.elapsed());
            assert!(matches!(begun, Begun::Known(_)), "layer {number} is not known");
            self.snapshotter.remove(&self.active(key)).unwrap();
        }
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let quantile = |sorted: &[Duration], of: usize| ms(sorted[(sorted.len() * of / 1000).min(sorted.len() - 1)]);
        let p50: Vec<_> = calls
            .iter_mut()
            .map(|calls| {
                calls.sort();
                quantile(calls, 500)
            })
            .collect();
        let mut all = calls.concat();
        all.sort();
        let report = serde_json::json!({
            "p50_ms": quantile(&all, 500), "p99_ms": quantile(&all, 990), "longest_ms": quantile(&all, 1000),
            "calls": CALLS, "p50_ms_by_layer": p50,
        });
        println!("{report}");
    }

    /// Compares a small change with the image below it.
    fn compare(&self, layers: &[Layer], change: &Path, base: f64) {
        self.apply(layers, 1, &mut Spent::default());
        let number = layers.len();
        let right = self.prepare(number, self.parent(number));
        let upperdir = right[0].options.iter().find_map(|option| option.strip_prefix("upperdir=")).unwrap();
        assert!(
            std::process::Command::new("cp").arg("-a").arg(change.join(".")).arg(upperdir).status().unwrap().success()
        );
        let left = self.create(Kind::View, number + 1, self.parent(number));
        let request = Compare {
            scope: Scope::Plugin,
            lease: None,
            left,
            right,
            media_type: String::new(),
            name: format!("bench/1/{}", self.round),
            labels: Labels::default(),
            source_date_epoch: None,
        };
        let mut spent = Spent::default();
        let compared = spent.add(|| self.differ.compare(request, &|| false)).unwrap();
        let report = serde_json::json!({
            "seconds": spent.wall.as_secs_f64(), "cpu_seconds": spent.cpu, "peak_mib": peak_mib(), "base_mib": base,
            "bytes": compared.size, "layers": [compared.diff_id.as_str()],
        });
        println!("{report}");
    }

    fn active(&self, number: usize) -> SnapshotKey {
        key(format!("bench/{number}/extract-{number}-{} sha256:0", self.round))
    }

    fn name(&self, number: usize) -> SnapshotKey {
        key(format!("bench/{number}/sha256:{:032x}{number:032x}", self.round))
    }

    fn parent(&self, number: usize) -> Option<SnapshotKey> {
        number.checked_sub(1).map(|below| self.name(below))
    }

    fn prepare(&self, number: usize, parent: Option<SnapshotKey>) -> Vec<Mount> {
        self.create(Kind::Active, number, parent)
    }

    fn create(&self, kind: Kind, number: usize, parent: Option<SnapshotKey>) -> Vec<Mount> {
        let create = Create { kind, key: self.active(number), parent, labels: Labels::default(), lease: None };
        self.snapshotter.create(create).unwrap()
    }

    fn commit(&self, number: usize, parent: Option<SnapshotKey>) {
        let (name, key) = (self.name(number), self.active(number));
        self.snapshotter.commit(CommitActive { name, key, parent, labels: Labels::default(), lease: None }).unwrap();
    }
}

fn request(layer: &Layer, mounts: Vec<Mount>) -> Apply {
    Apply {
        scope: Scope::Plugin,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        digest: layer.digest.clone(),
        size: layer.size,
        mounts,
        sync: false,
    }
}

fn key(text: String) -> SnapshotKey {
    SnapshotKey::parse_in(Scope::Plugin, text).unwrap()
}

/// Finds out what the layers are, and has them in the page cache.
fn layers(image: &Path) -> Vec<Layer> {
    let count = fs::read_dir(image).unwrap().count();
    let layer = |number: usize| {
        let mut file = fs::File::open(image.join(number.to_string())).unwrap();
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
        loop {
            let read = file.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            size += read as u64;
        }
        Layer { digest: Digest::from_bytes(Algorithm::Sha256, &hash.finalize()).unwrap(), size }
    };
    (0..count).map(layer).collect()
}

fn report(spent: &Spent, base: f64, applied: &[Uncompressed]) {
    let diff_ids: Vec<_> = applied.iter().map(|applied| applied.diff_id.as_str()).collect();
    let bytes: u64 = applied.iter().map(|applied| applied.size).sum();
    let report = serde_json::json!({
        "seconds": spent.wall.as_secs_f64(), "cpu_seconds": spent.cpu, "peak_mib": peak_mib(), "base_mib": base,
        "bytes": bytes, "layers": diff_ids,
    });
    println!("{report}");
}

/// Processor time of all threads so far, those that ended included.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name may hold anything but ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
}
