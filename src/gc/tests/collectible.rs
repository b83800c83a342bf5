//! What is collected, and resources of further types.

use super::world::{
    Thing, builder, container, content, graph, image, ingest, is_marked, lease, references, rfc3339, roots, snapshot,
};
use crate::gc::{HashKey, Hold, Resource, ResourceType as Type, Types};

/// The names of all that could be collected.
fn collectible(things: &[Thing]) -> Vec<String> {
    let names = things.iter().map(Thing::name).filter(|name| name.ty.is_collectible());
    names.map(|name| super::world::written(&Types::default(), &name, Hold::Full)).collect()
}

#[test]
fn all_but_holders_can_be_collected() {
    let things = [
        image("ns1", "image1", "d1", &[]),
        image("ns1", "image2", "d2", &[("ref.snapshot.overlay", "sn2")]),
        container("ns1", "container1", "overlay", "sn4", &[]),
        content("ns1", "d1", &[]),
        content("ns1", "d2", &[]),
        content("ns1", "d3", &[]),
        content("ns2", "d1", &[]),
        content("ns2", "d2", &[("root", "always")]),
        ingest("ns1", "ingest-1", "", None),
        ingest("ns2", "ingest-2", "", Some(-1)),
        snapshot("ns1", "overlay", "sn1", "", &[]),
        snapshot("ns1", "overlay", "sn2", "", &[]),
        snapshot("ns1", "overlay", "sn3", "", &[("root", "always")]),
        snapshot("ns1", "overlay", "sn4", "", &[]),
        snapshot("ns2", "overlay", "sn1", "", &[]),
        lease("ns1", "l1", &[], &[("expire", &rfc3339(3600))]),
        lease("ns2", "l2", &[], &[("expire", &rfc3339(-1))]),
    ];
    let all = collectible(&things);
    assert_eq!(all.len(), 16, "all but the container");
    let marks = graph(&things).mark();
    let swept: Vec<&String> = all.iter().filter(|resource| !is_marked(&marks, resource)).collect();
    assert_eq!(
        swept,
        [
            "ns1 content d3",
            "ns2 content d1",
            "ns1 ingest ingest-1",
            "ns2 ingest ingest-2",
            "ns1 snapshot overlay/sn1",
            "ns2 snapshot overlay/sn1",
            "ns2 lease l2",
        ]
    );
    // What remains is held, and a second collection finds nothing more.
    let remaining: Vec<Thing> =
        things.iter().filter(|thing| marks.is_marked(&thing.name().as_resource())).cloned().collect();
    let again = graph(&remaining).mark();
    assert!(remaining.iter().all(|thing| again.is_marked(&thing.name().as_resource())));
}

#[test]
fn further_types_are_referred_to_leased_and_in_use() {
    let mut types = Types::default();
    let test = types.register("test", Some("test")).unwrap();
    let things = [
        content("ns1", "d1", &[]),
        image("ns1", "image1", "d1", &[]),
        content("ns1", "d2", &[("ref.test", "test2")]),
        image("ns1", "image2", "d2", &[]),
        lease("ns1", "lease1", &[(test, "test3")], &[("expire", &rfc3339(3600)), ("flat", "")]),
        lease("ns1", "lease2", &[(test, "test4")], &[("expire", &rfc3339(-3600))]),
        container("ns1", "container1", "testsn", "sn1", &[]),
    ];
    let of = |key| Resource::new("ns1", test, key);
    let (image2, container1) =
        (Resource::new("ns1", Type::IMAGE, "image2"), Resource::new("ns1", Type::CONTAINER, "container1"));
    let mut builder = builder(&types, &HashKey::random(), &things);
    builder.root(&of("test1"));
    builder.refer(&image2, &of("test5"));
    builder.refer(&container1, &of("test5"));
    // What such a resource refers to by itself.
    builder.refer(&of("test3"), &Resource::content("ns1", "d6"));
    let graph = builder.finish().unwrap();

    assert_eq!(
        roots(&graph),
        [
            "ns1 container container1",
            "ns1 image image1",
            "ns1 image image2",
            "ns1 lease lease1",
            "ns1 test test1",
            "ns1 test test3",
        ]
    );
    let to = |resource: &Resource<'_>| references(&graph, resource, Hold::Full);
    assert_eq!(to(&Resource::content("ns1", "d1")), [""; 0]);
    assert_eq!(to(&Resource::content("ns1", "d2")), ["ns1 test test2"]);
    assert_eq!(to(&Resource::new("ns1", Type::IMAGE, "image1")), ["ns1 content d1"]);
    assert_eq!(to(&image2), ["ns1 content d2", "ns1 test test5"]);
    assert_eq!(to(&container1), ["ns1 snapshot testsn/sn1", "ns1 test test5"]);
    assert_eq!(to(&of("test3")), ["ns1 content d6"]);

    let marks = graph.mark();
    let held = |key| marks.is_marked(&of(key));
    assert_eq!(["test1", "test2", "test3", "test4", "test5"].map(held), [true, true, true, false, true]);
    assert!(is_marked(&marks, "ns1 content d6"), "through a flat lease");
    assert!(test.is_collectible());
}

#[test]
fn a_type_that_is_not_registered_has_no_labels() {
    let graph = graph(&[content("ns1", "d2", &[("ref.test", "test2"), ("root", "")])]);
    assert_eq!(references(&graph, &Resource::content("ns1", "d2"), Hold::Full), [""; 0]);
}

#[test]
fn all_that_can_be_reached_is_marked() {
    // The graphs of containerd's tests of its algorithm.
    let graph = |edges: &[(&str, &str)]| {
        let mut builder = builder(&Types::default(), &HashKey::random(), &[]);
        for (from, to) in edges {
            to.chars().for_each(|to| {
                builder.refer(&Resource::content("ns", from), &Resource::content("ns", &to.to_string()));
            });
        }
        ["A", "C"].iter().for_each(|root| builder.root(&Resource::content("ns", root)));
        builder.finish().unwrap().mark()
    };
    for edges in [
        vec![("A", "B"), ("B", "A"), ("C", "DFB"), ("E", "FG"), ("F", "H")],
        vec![("A", "B"), ("B", "A"), ("C", "DFB"), ("E", "FG"), ("F", "H"), ("G", "I")],
    ] {
        let marks = graph(&edges);
        let marked: String =
            ('A'..='I').filter(|name| marks.is_marked(&Resource::content("ns", &name.to_string()))).collect();
        assert_eq!(marked, "ABCDFH");
        assert_eq!(marks.count(), 6);
    }
}
