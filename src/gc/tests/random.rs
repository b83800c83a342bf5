//! Random graphs, with everything that labels can say: the marks are those of the naive implementation.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::naive::{Naive, name_of};
use super::world::{Body, Thing, builder, is_marked, rfc3339, written};
use crate::gc::{Barrier, EdgeKind, Graph, HashKey, Hold, ResourceType, Types};

/// Keys of one type in one namespace. Few enough that most of what is referred to exists in a large graph, and many
/// enough that some does not.
const KEYS: u32 = 400;

fn key() -> impl Strategy<Value = String> {
    (0..KEYS).prop_map(|key| format!("k{key}"))
}

/// Mostly none.
fn some_key() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 2 => key()]
}

fn snapshotter() -> impl Strategy<Value = String> {
    select(vec!["overlay", "btrfs"]).prop_map(str::to_owned)
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![8 => (-10_i64..10).prop_map(|hours| rfc3339(hours * 3600)), 1 => Just("never".to_owned())]
}

fn member() -> impl Strategy<Value = (ResourceType, String)> {
    prop_oneof![
        (snapshotter(), key()).prop_map(|(sn, key)| (ResourceType::SNAPSHOT, format!("{sn}/{key}"))),
        key().prop_map(|key| (ResourceType::CONTENT, key)),
        key().prop_map(|key| (ResourceType::IMAGE, key)),
        key().prop_map(|key| (ResourceType::INGEST, key)),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let expires = prop_oneof![3 => Just(None), 1 => (-5_i64..5).prop_map(Some)];
    prop_oneof![
        2 => (key(), prop::collection::vec(member(), 0..4)).prop_map(|(id, members)| Body::Lease(id, members)),
        20 => (snapshotter(), key(), some_key()).prop_map(|(sn, key, parent)| Body::Snapshot(sn, key, parent)),
        20 => key().prop_map(Body::Content),
        3 => (key(), some_key(), expires).prop_map(|(key, expected, at)| Body::Ingest(key, expected, at)),
        5 => (key(), key()).prop_map(|(name, target)| Body::Image(name, target)),
        1 => (key(), prop_oneof![snapshotter(), Just(String::new())], key())
            .prop_map(|(id, sn, key)| Body::Container(id, sn, key)),
        1 => key().prop_map(Body::Sandbox),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let one = (select(vec!["<", ">", "=", "<="]), -8_i64..8, select(vec!["h", "m", "d", ""]));
    let one = one.prop_map(|(op, number, unit)| format!("usedat{op}{number}{unit}"));
    prop::collection::vec(one, 1..3).prop_map(|all| all.join(","))
}

/// A label without the prefix that all of them have.
fn label() -> impl Strategy<Value = (String, String)> {
    let directions = select(vec!["ref", "bref"]);
    let types = select(vec!["content", "image", "container", "lease"]);
    let suffixes = select(vec!["", ".0", "/x", ".", "bad", "-bad"]);
    prop_oneof![
        20 => (directions.clone(), types, suffixes.clone(), key())
            .prop_map(|(direction, ty, suffix, key)| (format!("{direction}.{ty}{suffix}"), key)),
        12 => (directions, snapshotter(), suffixes.clone(), key())
            .prop_map(|(direction, sn, suffix, key)| (format!("{direction}.snapshot.{sn}{suffix}"), key)),
        1 => suffixes.clone().prop_map(|suffix| (format!("root{suffix}"), "x".to_owned())),
        12 => time().prop_map(|time| ("expire".to_owned(), time)),
        4 => Just(("flat".to_owned(), String::new())),
        8 => (select(vec![".", "/", "", "./."]), snapshotter(), suffixes.clone(), condition(), key()).prop_map(
            |(dot, sn, suffix, condition, key)| (format!("cond.snapshot{dot}{sn}{suffix}"), format!("{condition}|{key}"))
        ),
        8 => (suffixes, time()).prop_map(|(suffix, time)| (format!("cond.value-usedat{suffix}"), time)),
    ]
}

fn thing() -> impl Strategy<Value = Thing> {
    let namespace = select(vec!["ns1", "ns2", "ns3"]);
    (namespace, body(), prop::collection::btree_map("[a-z]", label(), 0..4)).prop_map(|(namespace, body, labels)| {
        let labels = labels.into_values().map(|(key, value)| (format!("containerd.io/gc.{key}"), value));
        // As in a record: sorted, and each key once.
        let labels: std::collections::BTreeMap<String, String> = labels.collect();
        Thing { namespace: namespace.to_owned(), body, labels: labels.into_iter().collect() }
    })
}

/// Things with different names.
fn things(most: usize) -> impl Strategy<Value = Vec<Thing>> {
    prop::collection::vec(thing(), 0..most).prop_map(|mut things| {
        let mut names = BTreeSet::new();
        things.retain(|thing| names.insert(name_of(thing)));
        things
    })
}

/// All that exists or is referred to.
fn everything(things: &[Thing], naive: &Naive) -> BTreeSet<String> {
    let ends = naive.edges.iter().flat_map(|(from, to)| [from.0.clone(), to.0.clone()]);
    things.iter().map(name_of).chain(ends).collect()
}

/// Checks that a chain is one: from a root, along edges that there are, to the resource.
fn check_chain(graph: &Graph, naive: &Naive, resource: &str) {
    let types = Types::default();
    let chain = graph.why(&super::world::parse(&types, resource).as_resource()).expect(resource);
    let mut at = (written(&types, &chain.root, Hold::Full), false);
    assert!(naive.roots.contains(&at.0), "{at:?} is no root");
    for link in chain.links {
        let next = (written(&types, &link.resource, Hold::Full), at.1 || link.kind == EdgeKind::FlatMember);
        assert!(naive.edges.contains(&(at.clone(), next.clone())), "{at:?} does not hold {next:?}");
        at = next;
    }
    assert_eq!(at.0, resource);
}

fn compare(things: &[Thing], shaded: &[usize]) {
    let naive = Naive::new(things);
    let all: Vec<String> = everything(things, &naive).into_iter().collect();
    let key = HashKey::random();
    let mut barrier = Barrier::new(key.clone());
    let graph = builder(&Types::default(), &key, things).finish().unwrap();
    let reasons = graph.clone();
    let mut marks = graph.mark();

    let held =
        |shaded: &[String]| -> BTreeSet<String> { naive.held(shaded).into_iter().map(|(name, _)| name).collect() };
    let before = held(&[]);
    for resource in &all {
        assert_eq!(is_marked(&marks, resource), before.contains(resource), "{resource}");
    }
    assert_eq!(marks.count(), before.len());
    // Each chain is a search of its own: a few of them.
    let (kept, gone): (Vec<_>, Vec<_>) = all.iter().partition(|resource| before.contains(*resource));
    kept.iter().step_by(kept.len() / 16 + 1).for_each(|resource| check_chain(&reasons, &naive, resource));
    for resource in gone.iter().step_by(gone.len() / 8 + 1) {
        assert_eq!(reasons.why(&super::world::parse(&Types::default(), resource).as_resource()), None, "{resource}");
    }

    let mut names: Vec<String> = shaded.iter().filter_map(|index| all.get(index % all.len().max(1)).cloned()).collect();
    names.push("ns1 content created meanwhile".to_owned());
    for name in &names {
        barrier.shade(&super::world::parse(&Types::default(), name).as_resource());
    }
    marks.absorb(barrier.take());
    let after = held(&names);
    for resource in all.iter().chain(&names) {
        assert_eq!(is_marked(&marks, resource), after.contains(resource), "{resource} after {names:?} were shaded");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn marks_of_large_graphs_are_those_of_the_naive_implementation(
        things in things(5000),
        shaded in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        compare(&things, &shaded);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, max_shrink_iters: 5000, ..ProptestConfig::default() })]

    #[test]
    fn marks_of_small_graphs_are_those_of_the_naive_implementation(
        things in things(60),
        shaded in prop::collection::vec(any::<usize>(), 0..3),
        close in 1_u32..6,
    ) {
        // Few keys, so that most things have to do with each other.
        let things = draw_together(things, close);
        compare(&things, &shaded);
    }
}

/// Renames keys so that there are only a few.
fn draw_together(things: Vec<Thing>, keys: u32) -> Vec<Thing> {
    let few = |key: &mut String| {
        let start = key.rfind(|char: char| !char.is_ascii_digit()).map_or(0, |at| at + 1);
        let is_key = key.get(..start).is_some_and(|head| head.ends_with('k'));
        if let (true, Ok(number)) = (is_key, key[start..].parse::<u32>()) {
            key.replace_range(start.., &(number % keys).to_string());
        }
    };
    let mut names = BTreeSet::new();
    let mut things = things;
    for thing in &mut things {
        match &mut thing.body {
            Body::Lease(id, members) => {
                few(id);
                members.iter_mut().for_each(|(_, key)| few(key));
            }
            Body::Snapshot(_, a, b) | Body::Ingest(a, b, _) | Body::Image(a, b) | Body::Container(a, _, b) => {
                few(a);
                few(b);
            }
            Body::Content(id) | Body::Sandbox(id) => few(id),
        }
        thing.labels.iter_mut().for_each(|(_, value)| few(value));
    }
    things.retain(|thing| names.insert(name_of(thing)));
    things
}
