use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::metadata::{EvictableName, Layer};
use crate::types::Namespace;

/// One MiB for layer 1, two for layer 2, and so on.
fn size(layer: LayerId) -> Usage {
    Usage { size: layer.get() << 20, inodes: layer.get() }
}

fn mib(size: u64) -> Usage {
    Usage { size: size << 20, inodes: 0 }
}

fn name(name: &str) -> EvictableName {
    EvictableName::Snapshot((Namespace::parse("default").unwrap(), name.to_owned()))
}

fn snapshot(id: &str, removed_at: u64, layers: &[u64]) -> Evictable {
    Evictable {
        name: name(id),
        removed_at: UNIX_EPOCH + Duration::from_secs(removed_at),
        layers: layers.iter().copied().map(LayerId::new).collect(),
    }
}

/// A stock; `others` are layers that something else needs, each with how many references it adds.
fn stock(snapshots: Vec<Evictable>, others: &[(u64, u32)]) -> Stock {
    let mut layers = HashMap::new();
    let mut refer = |layer: LayerId, times| {
        layers.entry(layer).or_insert(Layer::default()).references += times;
    };
    snapshots.iter().flat_map(|snapshot| &snapshot.layers).for_each(|layer| refer(*layer, 1));
    others.iter().for_each(|(layer, times)| refer(LayerId::new(*layer), *times));
    Stock::new(Evictables { all: snapshots, layers })
}

fn chosen(stock: &Stock, need: Usage) -> String {
    stock.choose(need, size).iter().map(|snapshot| snapshot.name.as_str().to_owned()).collect::<Vec<_>>().join(" ")
}

/// Two images on one base, removed from their tops: first the newer one.
fn two_images() -> Vec<Evictable> {
    vec![
        snapshot("base", 5, &[1]),
        snapshot("old top", 4, &[4, 2, 1]),
        snapshot("new top", 2, &[8, 1]),
        snapshot("old middle", 4, &[2, 1]),
    ]
}

#[test]
fn the_oldest_go_first_and_no_more_than_needed() {
    let stock = stock(two_images(), &[]);
    assert_eq!(stock.total(size), Usage { size: 15 << 20, inodes: 15 });
    for (need, expected) in [
        (mib(0), ""),
        (mib(1), "new top"),
        (mib(8), "new top"),
        (mib(9), "new top old top"),
        (mib(12), "new top old top"),
        (mib(13), "new top old top old middle"),
        (mib(15), "new top old top old middle base"),
        (mib(99), "new top old top old middle base"),
        (Usage { size: 0, inodes: 9 }, "new top old top"),
    ] {
        assert_eq!(chosen(&stock, need), expected, "{need:?}");
    }
}

#[test]
fn what_somebody_else_needs_gives_nothing_back() {
    // Of the old image only the top, because somebody uses its middle; of the base nothing.
    let stock = stock(two_images(), &[(1, 2), (2, 1)]);
    assert_eq!(stock.total(size).size, 12 << 20);
    assert_eq!(chosen(&stock, mib(99)), "new top old top");
    assert!(!stock.is_empty());
    assert!(super::Stock::new(Evictables::default()).is_empty());
    assert!(self::stock(vec![snapshot("shared", 1, &[1])], &[(1, 1)]).is_empty());
}

#[test]
fn a_snapshot_whose_layer_a_younger_one_needs_goes_when_that_helps() {
    // As it is after the top was pulled and removed once more.
    let stock = stock(vec![snapshot("base", 1, &[1]), snapshot("other", 2, &[4]), snapshot("top", 3, &[2, 1])], &[]);
    assert_eq!(chosen(&stock, mib(4)), "other");
    assert_eq!(chosen(&stock, mib(5)), "base other top");
}

#[test]
fn layers_without_a_record_count_for_nothing() {
    let (snapshots, layers) = (vec![snapshot("damaged", 1, &[1])], HashMap::new());
    assert!(Stock::new(Evictables { all: snapshots, layers }).is_empty());
}

proptest! {
    #[test]
    fn enough_comes_back_whenever_it_can(
        snapshots in prop::collection::vec((0_u64..9, prop::collection::hash_set(1_u64..12, 1..5)), 0..12),
        others in prop::collection::vec((1_u64..12, 1_u32..3), 0..6),
        need in 0_u64..80,
    ) {
        let snapshots: Vec<Evictable> = snapshots.iter().enumerate().map(|(number, (removed_at, layers))| {
            snapshot(&number.to_string(), *removed_at, &layers.iter().copied().collect::<Vec<_>>())
        }).collect();
        let stock = stock(snapshots.clone(), &others);
        let chosen = stock.choose(mib(need), size);
        // Counted anew: a layer comes back when nothing that is left names it.
        let comes_back = |chosen: &[Evictable]| {
            let all: HashSet<LayerId> = snapshots.iter().flat_map(|one| one.layers.clone()).collect();
            let left = snapshots.iter().filter(|one| !chosen.contains(one)).flat_map(|one| one.layers.clone());
            let left: HashSet<LayerId> = left.chain(others.iter().map(|(layer, _)| LayerId::new(*layer))).collect();
            all.difference(&left).map(|layer| layer.get()).sum::<u64>()
        };
        let total = comes_back(&snapshots);
        prop_assert_eq!(stock.total(size).size, total << 20);
        prop_assert!(comes_back(&chosen) >= need.min(total));
        // The last one chosen was needed.
        if let Some((_, all_but_last)) = chosen.split_last() {
            prop_assert!(comes_back(all_but_last) < need);
        }
        // Nobody stays for whom a younger one went, unless nothing would come back for it.
        let oldest_first = |one: &Evictable| stock.all.iter().position(|other| other == one);
        let places: Vec<_> = chosen.iter().map(oldest_first).collect();
        prop_assert!(places.is_sorted());
        let last = places.last().copied().flatten().map_or(0, |last| last + 1);
        for stays in stock.all.iter().take(last).filter(|one| !chosen.contains(one)) {
            let with = [chosen.clone(), vec![stays.clone()]].concat();
            prop_assert_eq!(comes_back(&with), comes_back(&chosen));
        }
    }
}
