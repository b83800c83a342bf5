//! The mount builder: from a record's layers to the options that containerd gets.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use leasehold::overlay::{LayerKind, Layout, MountOptions, MountPlan, mounts};
use leasehold::types::LayerId;

fn build(c: &mut Criterion) {
    let layout = Layout::new("/var/lib/leasehold").unwrap();
    let options = MountOptions { overlay: vec!["index=off".into()], ..MountOptions::default() };
    let mut group = c.benchmark_group("mounts");
    for layers in [1, 10, 128] {
        // Nearest first, as chains are: the newest layer has the highest number.
        let parents: Vec<LayerId> = (0..layers).rev().map(|n| LayerId::new(10_000 + n)).collect();
        group.bench_with_input(BenchmarkId::from_parameter(layers), &parents, |b, parents| {
            let plan = MountPlan {
                kind: LayerKind::Active,
                id: LayerId::new(20_000),
                parents,
                uid_mapping: None,
                gid_mapping: None,
                extraction: false,
            };
            b.iter(|| mounts(black_box(&plan), &layout, &options));
        });
    }
    group.finish();
}

criterion_group!(benches, build);
criterion_main!(benches);
