//! What can be done to a daemon, made at random from few names, so that operations meet.

use proptest::prelude::*;

use crate::reference::Labels;

#[derive(Clone, Debug)]
pub enum Operation {
    Prepare { key: String, parent: String, labels: Labels },
    View { key: String, parent: String, labels: Labels },
    Commit { name: String, key: String, parent: String, labels: Labels },
    Remove { key: String },
    Update { key: String, labels: Labels, paths: Vec<String> },
    Mounts { key: String },
    Stat { key: String },
    Usage { key: String },
    List { filter: String },
    Cleanup,
    Stop,
    Kill,
}

/// Any operation; those that build something up are the most frequent.
pub fn any() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (name(), parent(), labels()).prop_map(|(key, parent, labels)| Operation::Prepare { key, parent, labels }),
        3 => (name(), parent(), labels()).prop_map(|(key, parent, labels)| Operation::View { key, parent, labels }),
        10 => (name(), name(), rebase(), labels())
            .prop_map(|(name, key, parent, labels)| Operation::Commit { name, key, parent, labels }),
        5 => name().prop_map(|key| Operation::Remove { key }),
        2 => (name(), labels(), paths()).prop_map(|(key, labels, paths)| Operation::Update { key, labels, paths }),
        3 => name().prop_map(|key| Operation::Mounts { key }),
        1 => name().prop_map(|key| Operation::Stat { key }),
        1 => name().prop_map(|key| Operation::Usage { key }),
        2 => filter().prop_map(|filter| Operation::List { filter }),
        1 => Just(Operation::Cleanup),
        1 => Just(Operation::Stop),
        1 => Just(Operation::Kill),
    ]
}

/// Few names for everything, with what keys may have in them.
const NAMES: [&str; 7] = ["ns/1/a", "ns/2/b", "ns/3/extract-1 sha256:c", "d d", "../e", "f/\u{0}/f", "ü"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(&NAMES[..]).prop_map(str::to_owned)
}

fn parent() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 3 => name()]
}

fn rebase() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => name()]
}

fn labels() -> impl Strategy<Value = Labels> {
    let value = prop_oneof![Just(""), Just("1"), Just("2")].prop_map(str::to_owned);
    prop::collection::btree_map(prop::sample::select(&["x", "y", "z.z"][..]).prop_map(str::to_owned), value, 0..3)
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    let path = prop_oneof![4 => Just("labels.x"), 2 => Just("labels.z.z"), 1 => Just("labels"), 1 => Just("parent")];
    prop::collection::vec(path.prop_map(str::to_owned), 0..3)
}

/// Filters that the model can evaluate without a parser.
fn filter() -> impl Strategy<Value = String> {
    prop::sample::select(
        &["kind==active", "kind==committed", "labels.x", "labels.x==1", "parent==\"\"", "name==\"d d\""][..],
    )
    .prop_map(str::to_owned)
}
