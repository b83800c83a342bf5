//! The collector's mark: from decoded objects to the set of what is held.
//!
//! Prints first how much memory the largest graph takes; the objects themselves are made one by one there.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use leasehold::gc::{Barrier, Builder, HashKey, Marks, Object, Resource, Types};

const NAMESPACE: &str = "k8s.io";
const SNAPSHOTTER: &str = "leasehold";
/// Resources that [`image`] makes.
const PER_IMAGE: usize = 40;
const LAYERS: usize = 12;
const GARBAGE: usize = 5;

/// An object as a record has it.
struct Record {
    kind: Kind,
    key: String,
    /// Parent, target or snapshot.
    other: String,
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Lease,
    Image,
    Content,
    Snapshot,
    Container,
}

fn digest(image: usize, what: &str, number: usize) -> String {
    // Different in the middle and the same at both ends, as long as real ones.
    format!("sha256:{image:016x}{what:0>8}{number:08x}{:032x}", 0)
}

/// Makes an image with its blobs, snapshots, a container and a lease, and as much garbage as a removed one leaves.
fn image(number: usize, mut make: impl FnMut(Record)) {
    let mut record = |kind, key: String, other: &str, labels: Vec<(String, String)>| {
        make(Record { kind, key, other: other.to_owned(), labels: labels.into_iter().collect() });
    };
    let source = || ("containerd.io/distribution.source.registry.example.com".to_owned(), "library/app".to_owned());
    let (manifest, config) = (digest(number, "ma", 0), digest(number, "c0", 0));
    record(Kind::Image, format!("registry.example.com/library/app-{number}:latest"), &manifest, Vec::new());
    let mut labels = vec![source(), ("containerd.io/gc.ref.content.config".to_owned(), config.clone())];
    for layer in 0..LAYERS {
        labels.push((format!("containerd.io/gc.ref.content.l.{layer}"), digest(number, "b", layer)));
        let uncompressed = ("containerd.io/uncompressed".to_owned(), digest(number, "d", layer));
        record(Kind::Content, digest(number, "b", layer), "", vec![source(), uncompressed]);
        let parent = if layer == 0 { String::new() } else { digest(number, "cc", layer - 1) };
        let chain = digest(number, "cc", layer);
        let labels = vec![("containerd.io/snapshot.ref".to_owned(), chain.clone())];
        record(Kind::Snapshot, chain, &parent, labels);
    }
    record(Kind::Content, manifest.clone(), "", labels);
    let top = digest(number, "cc", LAYERS - 1);
    let labels = vec![source(), (format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"), top.clone())];
    record(Kind::Content, config, "", labels);
    let container = format!("{number:064x}");
    record(Kind::Snapshot, container.clone(), &top, Vec::new());
    record(Kind::Container, container.clone(), &container, Vec::new());
    let expires = ("containerd.io/gc.expire".to_owned(), "2100-01-01T00:00:00Z".to_owned());
    record(Kind::Lease, format!("{number}-lease"), &manifest, vec![expires]);
    for old in 0..GARBAGE {
        let label = ("containerd.io/gc.ref.content.l.0".to_owned(), digest(number, "e", old + 1));
        record(Kind::Content, digest(number, "e", old), "", vec![source(), label]);
        record(Kind::Snapshot, digest(number, "f", old + 1), &digest(number, "f", old), Vec::new());
    }
}

fn add(builder: &mut Builder, record: &Record) {
    let (key, other) = (record.key.as_str(), record.other.as_str());
    let object = match record.kind {
        Kind::Lease => {
            builder.member(NAMESPACE, key, &Resource::content(NAMESPACE, other));
            Object::Lease { id: key }
        }
        Kind::Image => Object::Image { name: key, target: other },
        Kind::Content => Object::Content { digest: key },
        Kind::Snapshot => Object::Snapshot { snapshotter: SNAPSHOTTER, key, parent: Some(other) },
        Kind::Container => Object::Container { id: key, snapshotter: SNAPSHOTTER, snapshot_key: other },
    };
    builder.add(NAMESPACE, &object, record.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
}

fn builder() -> Builder {
    Builder::new(Types::default(), HashKey::random(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

fn marks(records: &[Record]) -> Marks {
    let mut builder = builder();
    records.iter().for_each(|record| add(&mut builder, record));
    builder.finish().unwrap().mark()
}

fn resource(record: &Record) -> Resource<'_> {
    match record.kind {
        Kind::Snapshot => Resource::snapshot(NAMESPACE, SNAPSHOTTER, &record.key),
        _ => Resource::content(NAMESPACE, &record.key),
    }
}

fn records(resources: usize) -> Vec<Record> {
    let mut records = Vec::with_capacity(resources);
    (0..resources / PER_IMAGE).for_each(|number| image(number, |record| records.push(record)));
    assert_eq!(records.len(), resources);
    records
}

fn mark(c: &mut Criterion) {
    for resources in [10_000, 100_000, 1_000_000] {
        let records = records(resources);
        let marks_of_all = marks(&records);
        // All but the garbage, and the two names of garbage that nothing has are not counted.
        assert_eq!(marks_of_all.count(), resources / PER_IMAGE * (PER_IMAGE - 2 * GARBAGE));

        let mut group = c.benchmark_group("mark");
        group.throughput(Throughput::Elements(resources as u64));
        group.sample_size(10);
        group.bench_with_input(BenchmarkId::new("build and mark", resources), &records, |b, records| {
            b.iter(|| marks(black_box(records)));
        });
        let mut builder = builder();
        records.iter().for_each(|record| add(&mut builder, record));
        let graph = builder.finish().unwrap();
        group.bench_with_input(BenchmarkId::new("mark alone", resources), &graph, |b, graph| {
            b.iter_batched(|| graph.clone(), |graph| graph.mark(), BatchSize::PerIteration);
        });
        group.bench_with_input(BenchmarkId::new("ask for each", resources), &records, |b, records| {
            b.iter(|| records.iter().filter(|record| marks_of_all.is_marked(&resource(record))).count());
        });
        group.finish();
    }
}

fn shade(c: &mut Criterion) {
    let mut barrier = Barrier::new(HashKey::random());
    let digests: Vec<String> = (0..4096).map(|number| digest(number, "b", 0)).collect();
    let mut next = digests.iter().cycle();
    c.bench_function("shade", |b| {
        b.iter(|| barrier.shade(&Resource::content(NAMESPACE, next.next().unwrap())));
    });
}

/// Reads a line of this process's status, in MB. `VmHWM` is the most memory that it ever had.
fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t']).split(' ').next().unwrap().parse::<f64>().unwrap() / 1024.0
}

fn print_memory() {
    let before = status("VmRSS");
    let began = Instant::now();
    let mut builder = builder();
    (0..1_000_000 / PER_IMAGE).for_each(|number| image(number, |record| add(&mut builder, &record)));
    let marks = builder.finish().unwrap().mark();
    let took = began.elapsed();
    println!(
        "1000000 resources, {} edges, {} marked: {:.0} MB at most, {:.0} MB in the end; {took:?} with making the objects",
        marks.graph().edges(),
        marks.count(),
        status("VmHWM") - before,
        status("VmRSS") - before,
    );
}

criterion_group!(benches, mark, shade);

fn main() {
    print_memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
