//! What is a root: the rows of containerd's own table, and what it leaves open.

use super::world::{
    Thing, container, content, graph, image, ingest, is_marked, lease, rfc3339, roots, sandbox, snapshot,
};
use crate::gc::ResourceType as Type;

#[test]
fn roots_are_those_of_containerd() {
    let (past, future) = (rfc3339(-1), rfc3339(3600));
    let things = [
        image("ns1", "image1", "d1", &[]),
        image("ns1", "image2", "d2", &[("ref.snapshot.overlay", "sn2")]),
        image("ns2", "image3", "d10", &[("ref.content", "d11"), ("ref.image", "image4")]),
        image("ns2", "image4", "d12", &[("expire", &past)]),
        image("ns2", "image5", "d13", &[("expire", &past)]),
        container("ns1", "container1", "overlay", "sn4", &[]),
        container("ns1", "container2", "overlay", "sn5", &[("ref.snapshot.overlay", "sn6")]),
        container(
            "ns1",
            "container3",
            "overlay",
            "sn7",
            &[
                ("ref.snapshot.overlay/anything-1", "sn8"),
                ("ref.snapshot.overlay/anything-2", "sn9"),
                ("ref.content", "d7"),
            ],
        ),
        container("ns1", "container4", "", "", &[("ref.content.0", "d8"), ("ref.content.1", "d9")]),
        content("ns1", "d1", &[]),
        content("ns1", "d2", &[]),
        content("ns1", "d3", &[]),
        content("ns2", "d1", &[]),
        content("ns2", "d2", &[("root", "always")]),
        content("ns2", "d8", &[]),
        content("ns2", "d9", &[]),
        ingest("ns1", "ingest-1", "", None),
        ingest("ns1", "ingest-2", "", Some(-1)),
        ingest("ns1", "ingest-3", "", Some(3600)),
        ingest("ns2", "ingest-4", "", None),
        ingest("ns2", "ingest-5", "d8", None),
        ingest("ns2", "ingest-6", "", None),
        ingest("ns2", "ingest-7", "d9", None),
        snapshot("ns1", "overlay", "sn1", "", &[]),
        snapshot("ns1", "overlay", "sn2", "", &[]),
        snapshot("ns1", "overlay", "sn3", "", &[("root", "always")]),
        snapshot("ns1", "overlay", "sn4", "", &[]),
        snapshot("ns1", "overlay", "sn5", "", &[]),
        snapshot("ns1", "overlay", "sn6", "", &[]),
        snapshot("ns1", "overlay", "sn7", "", &[]),
        snapshot("ns1", "overlay", "sn8", "", &[]),
        snapshot("ns1", "overlay", "sn9", "", &[]),
        lease("ns2", "l1", &[(Type::SNAPSHOT, "overlay/sn5"), (Type::CONTENT, "d4")], &[]),
        lease("ns2", "l2", &[(Type::SNAPSHOT, "overlay/sn6"), (Type::CONTENT, "d5")], &[]),
        lease(
            "ns2",
            "l3",
            &[
                (Type::CONTENT, "d6"),
                (Type::SNAPSHOT, "overlay/sn7"),
                (Type::IMAGE, "image5"),
                (Type::INGEST, "ingest-4"),
                (Type::INGEST, "ingest-5"),
            ],
            &[("expire", &future)],
        ),
        lease(
            "ns2",
            "l4",
            &[
                (Type::CONTENT, "d7"),
                (Type::SNAPSHOT, "overlay/sn8"),
                (Type::IMAGE, "image4"),
                (Type::INGEST, "ingest-6"),
                (Type::INGEST, "ingest-7"),
            ],
            &[("expire", &past)],
        ),
        lease(
            "ns3",
            "l1",
            &[
                (Type::CONTENT, "d1"),
                (Type::SNAPSHOT, "overlay/sn1"),
                (Type::IMAGE, "image1"),
                (Type::INGEST, "ingest-1"),
            ],
            &[("flat", &future)],
        ),
        sandbox("ns3", "sandbox1", &[]),
        sandbox("ns4", "sandbox1", &[("ref.snapshot.overlay", "sn1")]),
    ];
    let mut expected = vec![
        "ns2 content d2",
        "ns2 content d4",
        "ns2 content d5",
        "ns2 content d6",
        "ns1 snapshot overlay/sn3",
        "ns2 snapshot overlay/sn5",
        "ns2 snapshot overlay/sn6",
        "ns2 snapshot overlay/sn7",
        "ns4 snapshot overlay/sn1",
        "ns1 container container1",
        "ns1 container container2",
        "ns1 container container3",
        "ns1 container container4",
        "ns1 image image1",
        "ns1 image image2",
        "ns2 image image3",
        "ns2 image image5",
        "ns2 lease l1",
        "ns2 lease l2",
        "ns2 lease l3",
        "ns1 ingest ingest-3",
        "ns2 ingest ingest-4",
        "ns2 ingest ingest-5",
        "ns3 lease l1",
        "ns3 ingest ingest-1",
        "ns3 content d1 flat",
        "ns3 snapshot overlay/sn1 flat",
        "ns3 image image1 flat",
    ];
    expected.sort_unstable();
    assert_eq!(roots(&graph(&things)), expected);

    // The order in which objects come makes no difference.
    let reversed: Vec<Thing> = things.into_iter().rev().collect();
    assert_eq!(roots(&graph(&reversed)), expected);
}

#[test]
fn an_expiry_is_the_last_moment_of_a_hold() {
    for (expires, is_root) in [(-3600, false), (-1, false), (0, true), (1, true)] {
        let time = rfc3339(expires);
        let things = [
            lease("ns", "l", &[(Type::CONTENT, "d1")], &[("expire", &time)]),
            image("ns", "i", "d2", &[("expire", &time)]),
            ingest("ns", "r", "d3", Some(expires)),
        ];
        let marks = graph(&things).mark();
        for resource in ["ns lease l", "ns content d1", "ns image i", "ns content d2", "ns ingest r", "ns content d3"] {
            assert_eq!(is_marked(&marks, resource), is_root, "{resource}, {expires} s from now");
        }
        assert_eq!(marks.graph().report().expired, if is_root { 0 } else { 3 });
    }
}

#[test]
fn an_expiry_that_is_no_time_never_comes() {
    let graph = graph(&[
        lease("ns", "l", &[(Type::CONTENT, "d")], &[("expire", "soon")]),
        image("ns", "i", "d", &[("expire", "")]),
        content("ns", "d", &[("expire", "soon")]),
    ]);
    let said: Vec<_> = graph.report().bad_expiries.iter().map(|bad| (bad.resource.key.as_str(), &*bad.value)).collect();
    assert_eq!(said, [("l", "soon"), ("i", "")]);
    assert_eq!(graph.report().next_expiry, None);
    assert_eq!(roots(&graph), ["ns content d", "ns image i", "ns lease l"]);
}

#[test]
fn bad_expiries_are_counted_and_not_hoarded() {
    let things: Vec<Thing> =
        (0..1000).map(|number| lease("ns", &number.to_string(), &[], &[("expire", "never")])).collect();
    let graph = graph(&things);
    assert_eq!((graph.report().bad_expiry_count, graph.report().bad_expiries.len()), (1000, 64));
}

#[test]
fn labels_of_others_make_no_root() {
    let (future, nothing) = (rfc3339(3600), Vec::<String>::new());
    // Only blobs and snapshots can be roots by label, and an expiry makes no root of them.
    let things = [
        content("ns", "d", &[("expire", &future), ("flat", "")]),
        snapshot("ns", "overlay", "sn", "", &[("expire", &future)]),
        ingest("ns", "r", "", None),
    ];
    assert_eq!(roots(&graph(&things)), nothing);
    let past = rfc3339(-1);
    let expired = [
        lease("ns", "l", &[], &[("expire", &past), ("root", "")]),
        image("ns", "i", "d", &[("expire", &past), ("root", "")]),
    ];
    assert_eq!(roots(&graph(&expired)), nothing);
}

#[test]
fn the_report_names_the_next_expiry() {
    let next = |things: &[Thing]| graph(things).report().next_expiry;
    let [present, day, past] = [0, 86_400, -1].map(rfc3339);
    assert_eq!(next(&[lease("ns", "l", &[], &[])]), None);
    assert_eq!(next(&[lease("ns", "l", &[], &[("expire", &past)])]), None);
    let things = [
        lease("ns", "l", &[], &[("expire", &day)]),
        image("ns", "i", "d", &[("expire", &day)]),
        ingest("ns", "r", "", Some(7200)),
    ];
    assert_eq!(next(&things), Some(super::world::at(7200)));
    // A condition that ends to hold lets something go, as an expiry does.
    let conditional = [
        image("ns", "i", "d", &[("cond.snapshot.overlay", "usedat<3h|sn"), ("expire", &day)]),
        snapshot("ns", "overlay", "sn", "", &[("cond.value-usedat", &present)]),
    ];
    assert_eq!(next(&conditional), Some(super::world::at(3 * 3600)));
}
