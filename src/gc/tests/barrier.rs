//! What writers use while a collection runs.

use super::world::{Thing, builder, content, image, is_marked, lease, rfc3339, snapshot};
use crate::gc::{Barrier, HashKey, Marks, Resource, ResourceType as Type, Types};

fn garbage() -> Vec<Thing> {
    vec![
        content("ns", "manifest", &[("ref.content.config", "config")]),
        content("ns", "config", &[("ref.snapshot.overlay", "sn2")]),
        snapshot("ns", "overlay", "sn2", "sn1", &[]),
        snapshot("ns", "overlay", "sn1", "", &[]),
        content("ns", "other", &[]),
        lease("ns", "expired", &[(Type::SNAPSHOT, "overlay/sn2")], &[("expire", &rfc3339(-1)), ("flat", "")]),
    ]
}

/// Marks what a database snapshot shows, while a barrier stands that was put up before.
fn collect(things: &[Thing]) -> (Barrier, Marks) {
    let key = HashKey::random();
    let barrier = Barrier::new(key.clone());
    (barrier, builder(&Types::default(), &key, things).finish().unwrap().mark())
}

fn all_marked(marks: &Marks, resources: &[&str]) -> bool {
    resources.iter().all(|resource| is_marked(marks, resource))
}

const TREE: [&str; 4] =
    ["ns content manifest", "ns content config", "ns snapshot overlay/sn2", "ns snapshot overlay/sn1"];

#[test]
fn what_is_shaded_is_marked_with_all_that_it_refers_to() {
    let (mut barrier, mut marks) = collect(&garbage());
    assert_eq!(marks.count(), 0);
    barrier.shade(&Resource::content("ns", "manifest"));
    barrier.shade(&Resource::content("ns", "manifest"));
    assert!(!is_marked(&marks, TREE[0]), "only the collector marks");
    marks.absorb(barrier.take());
    assert!(all_marked(&marks, &TREE));
    assert!(!is_marked(&marks, "ns content other"));
    assert!(barrier.take().is_empty());

    // The same without a barrier.
    let (_, mut marks) = collect(&garbage());
    marks.shade(&Resource::content("ns", "config"));
    assert!(all_marked(&marks, &TREE[1..]) && !is_marked(&marks, TREE[0]));
}

#[test]
fn what_came_to_be_meanwhile_is_known() {
    let (mut barrier, mut marks) = collect(&garbage());
    // A new image of an old blob, and a new blob that an old, unknown one refers to.
    let new = [
        image("ns", "new", "manifest", &[]),
        content("ns", "late", &[("ref.content", "also late"), ("cond.snapshot.overlay", "usedat<1h|sn7")]),
    ];
    for thing in &new {
        barrier.shade_object(&Types::default(), &thing.namespace, &thing.object(), thing.labels());
    }
    marks.absorb(barrier.take());
    assert!(all_marked(&marks, &TREE));
    assert!(all_marked(
        &marks,
        &["ns image new", "ns content late", "ns content also late", "ns snapshot overlay/sn7"]
    ));
    assert!(!is_marked(&marks, "ns image newer") && !is_marked(&marks, "other image new"));
}

#[test]
fn only_labels_that_count_are_shaded() {
    let (mut barrier, mut marks) = collect(&garbage());
    let ingest = super::world::thing(
        "ns",
        super::world::Body::Ingest("r".to_owned(), "d".to_owned(), None),
        &[("ref.content", "manifest")],
    );
    barrier.shade_object(&Types::default(), "ns", &ingest.object(), ingest.labels());
    marks.absorb(barrier.take());
    assert!(all_marked(&marks, &["ns ingest r", "ns content d"]));
    assert!(!is_marked(&marks, "ns content manifest"));
}

#[test]
fn a_lease_that_is_renewed_holds_its_members_again() {
    let (mut barrier, mut marks) = collect(&garbage());
    barrier.shade(&Resource::new("ns", Type::LEASE, "expired"));
    marks.absorb(barrier.take());
    assert!(all_marked(&marks, &["ns lease expired", "ns snapshot overlay/sn2", "ns snapshot overlay/sn1"]));
}

#[test]
fn what_was_held_flat_is_held_in_full_once_it_is_shaded() {
    let mut things = garbage();
    things.push(lease("ns", "flat", &[(Type::CONTENT, "manifest")], &[("flat", "")]));
    let (mut barrier, mut marks) = collect(&things);
    assert!(is_marked(&marks, TREE[0]) && !is_marked(&marks, TREE[1]));
    barrier.shade(&Resource::content("ns", "manifest"));
    marks.absorb(barrier.take());
    assert!(all_marked(&marks, &TREE));
}
