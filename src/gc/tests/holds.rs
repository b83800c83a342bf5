//! What a lease holds, and how one learns what holds something.

use super::world::{Thing, container, content, graph, image, ingest, is_marked, lease, parse, sandbox, snapshot};
use crate::gc::{EdgeKind, Graph, Resource, ResourceType as Type, RootKind, Types};

fn tree() -> Vec<Thing> {
    vec![
        content("ns", "index", &[("ref.content.m.0", "manifest")]),
        content("ns", "manifest", &[("ref.content.config", "config"), ("ref.content.l.0", "layer")]),
        content("ns", "config", &[("ref.snapshot.overlay", "sn2")]),
        content("ns", "layer", &[]),
        content("ns", "extra", &[("bref.content", "manifest"), ("bref.snapshot.overlay", "sn2")]),
        snapshot("ns", "overlay", "sn1", "", &[("ref.content", "beside")]),
        snapshot("ns", "overlay", "sn2", "sn1", &[]),
        content("ns", "beside", &[]),
        image("ns", "image", "index", &[("expire", "2001-01-01T00:00:00Z"), ("ref.content", "sbom")]),
        content("ns", "sbom", &[]),
        ingest("ns", "upload", "index", None),
        // Same keys in another namespace.
        content("other", "index", &[]),
        snapshot("other", "overlay", "sn1", "", &[]),
    ]
}

/// The keys of what a lease on one member holds, beside itself.
fn held_by(member: (Type, &str), labels: &[(&str, &str)]) -> Vec<String> {
    let mut things = tree();
    things.push(lease("ns", "l", &[member], labels));
    let marks = graph(&things).mark();
    assert!(is_marked(&marks, "ns lease l"));
    let names = things.iter().map(Thing::name).filter(|name| name.ty != Type::LEASE);
    names.filter(|name| marks.is_marked(&name.as_resource())).map(|name| name.key).collect()
}

#[test]
fn a_lease_holds_the_whole_tree() {
    let tree = ["index", "manifest", "config", "layer", "extra", "overlay/sn1", "overlay/sn2", "beside"];
    assert_eq!(held_by((Type::CONTENT, "index"), &[]), tree);
    assert_eq!(held_by((Type::SNAPSHOT, "overlay/sn2"), &[]), ["extra", "overlay/sn1", "overlay/sn2", "beside"]);
    let with_image: Vec<&str> = tree.into_iter().chain(["image", "sbom"]).collect();
    assert_eq!(held_by((Type::IMAGE, "image"), &[]), with_image);
    let with_ingest: Vec<&str> = tree.into_iter().chain(["upload"]).collect();
    assert_eq!(held_by((Type::INGEST, "upload"), &[]), with_ingest);
    assert_eq!(held_by((Type::SNAPSHOT, "btrfs/sn2"), &[]), [""; 0], "another snapshotter");
    assert_eq!(held_by((Type::CONTENT, "nothing"), &[]), [""; 0]);
}

#[test]
fn a_flat_lease_holds_what_it_names() {
    for value in ["", "true", "false"] {
        let held = |member| held_by(member, &[("flat", value)]);
        assert_eq!(held((Type::CONTENT, "index")), ["index"]);
        assert_eq!(held((Type::SNAPSHOT, "overlay/sn2")), ["overlay/sn1", "overlay/sn2"]);
        assert_eq!(held((Type::IMAGE, "image")), ["index", "image"]);
    }
    // An upload is held as if the lease were not flat.
    let whole = held_by((Type::INGEST, "upload"), &[]);
    assert_eq!(held_by((Type::INGEST, "upload"), &[("flat", "")]), whole);
}

#[test]
fn what_is_held_flat_and_in_full_is_held_in_full() {
    let mut things = tree();
    things.push(lease("ns", "flat", &[(Type::CONTENT, "manifest"), (Type::SNAPSHOT, "overlay/sn2")], &[("flat", "")]));
    things.push(lease("ns", "full", &[(Type::CONTENT, "index")], &[]));
    for things in [things.clone(), things.into_iter().rev().collect()] {
        let marks = graph(&things).mark();
        for resource in ["ns content layer", "ns content beside", "ns content extra"] {
            assert!(is_marked(&marks, resource), "{resource}");
        }
    }
}

#[test]
fn nothing_leaves_its_namespace() {
    let things = [
        lease("ns1", "l", &[(Type::CONTENT, "d")], &[]),
        content("ns2", "d", &[("bref.container", "c")]),
        container("ns1", "c", "overlay", "sn", &[]),
        snapshot("ns2", "overlay", "sn", "", &[]),
    ];
    let marks = graph(&things).mark();
    assert!(is_marked(&marks, "ns1 content d") && is_marked(&marks, "ns1 snapshot overlay/sn"));
    assert!(!is_marked(&marks, "ns2 content d") && !is_marked(&marks, "ns2 snapshot overlay/sn"));
}

#[test]
fn a_chain_of_a_million_parents_is_no_problem() {
    let mut builder = crate::gc::Builder::new(Types::default(), crate::gc::HashKey::random(), super::world::now());
    let names: Vec<String> = (0..1_000_000).map(|number: u32| number.to_string()).collect();
    for pair in names.windows(2) {
        let object = crate::gc::Object::Snapshot { snapshotter: "overlay", key: &pair[0], parent: Some(&pair[1]) };
        builder.add("ns", &object, std::iter::empty());
    }
    builder.root(&Resource::snapshot("ns", "overlay", "0"));
    assert_eq!(builder.finish().unwrap().mark().count(), 1_000_000);
}

/// Writes down why something is held.
fn why(graph: &Graph, resource: &str) -> String {
    match graph.why(&parse(graph.types(), resource).as_resource()) {
        None => "nothing".to_owned(),
        Some(chain) => chain.links.iter().fold(format!("{:?} {}", chain.kind, chain.root.key), |text, link| {
            format!("{text} -{:?}-> {}", link.kind, link.resource.key)
        }),
    }
}

#[test]
fn the_chain_of_holds_is_told() {
    let mut things = tree();
    things.push(lease("ns", "l", &[(Type::CONTENT, "index")], &[]));
    things.push(lease("ns", "f", &[(Type::SNAPSHOT, "overlay/sn4"), (Type::INGEST, "upload")], &[("flat", "")]));
    things.push(snapshot("ns", "overlay", "sn4", "sn3", &[]));
    things.push(snapshot("ns", "overlay", "sn3", "", &[("ref.content", "loose")]));
    things.push(content("ns", "loose", &[]));
    things.push(container("ns", "c", "overlay", "sn9", &[]));
    things.push(sandbox("ns", "s", &[("ref.content", "pause")]));
    things.push(content("ns", "kept", &[("root", "")]));
    things.push(image("ns", "live", "target", &[("cond.snapshot.overlay", "usedat<1h|sn8")]));
    things.push(snapshot("ns", "overlay", "sn8", "", &[("cond.value-usedat", &super::world::rfc3339(-1))]));
    let graph = graph(&things);
    for (resource, expected) in [
        ("ns lease l", "Lease l"),
        ("ns content index", "Lease l -Member-> index"),
        ("ns content layer", "Lease l -Member-> index -Label-> manifest -Label-> layer"),
        ("ns content extra", "Lease l -Member-> index -Label-> manifest -BackReference-> extra"),
        ("ns snapshot overlay/sn3", "Lease f -FlatMember-> overlay/sn4 -Parent-> overlay/sn3"),
        ("ns ingest upload", "Lease f -WholeMember-> upload"),
        ("ns snapshot overlay/sn9", "Container c -Rootfs-> overlay/sn9"),
        ("ns content pause", "Sandbox s -Label-> pause"),
        ("ns content kept", "Label kept"),
        ("ns content target", "Image live -Target-> target"),
        ("ns snapshot overlay/sn8", "Image live -Condition-> overlay/sn8"),
        ("ns content loose", "nothing"),
        ("ns image image", "nothing"),
        ("other content index", "nothing"),
        ("ns content never heard of", "nothing"),
    ] {
        assert_eq!(why(&graph, resource), expected, "{resource}");
    }
}

#[test]
fn without_names_there_is_no_chain() {
    let mut builder = crate::gc::Builder::new(Types::default(), crate::gc::HashKey::random(), super::world::now());
    let resource = Resource::content("ns", "d");
    builder.root(&resource);
    assert_eq!(builder.finish().unwrap().why(&resource), None);
}

#[test]
fn kinds_survive_their_tags() {
    for tag in 0..12 {
        assert_eq!(EdgeKind::from_tag(tag) as u8, tag);
    }
    for tag in 0..7 {
        assert_eq!(RootKind::from_tag(tag) as u8, tag);
    }
}
