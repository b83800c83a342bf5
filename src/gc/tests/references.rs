//! What refers to what: the rows of containerd's own table.

use super::world::{Thing, container, content, graph, image, ingest, parse, references, rfc3339, snapshot};
use crate::gc::{Hold, Types};

fn things() -> Vec<Thing> {
    let ago = |minutes: i64| rfc3339(-60 * minutes);
    vec![
        content("ns1", "d1", &[]),
        content("ns1", "d2", &[]),
        content("ns1", "d3", &[]),
        content("ns1", "d4", &[("ref.content", "d1")]),
        content("ns1", "d5", &[("ref.content.anything-1", "d2"), ("ref.content.anything-2", "d3")]),
        content("ns1", "d6", &[("ref.contentbad", "d1")]),
        content(
            "ns1",
            "d7",
            &[("ref.content/anything-1", "d2"), ("ref.content/anything-2", "d3"), ("bref.container", "container3")],
        ),
        content("ns2", "d1", &[]),
        content("ns2", "d2", &[]),
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
        image("ns1", "image1", "d3", &[]),
        image("ns1", "image2", "d4", &[("ref.image.anything", "image1"), ("ref.content.anotherimage", "d5")]),
        ingest("ns1", "ingest-1", "", None),
        ingest("ns2", "ingest-2", "d8", None),
        snapshot("ns1", "overlay", "sn1", "", &[]),
        snapshot("ns1", "overlay", "sn2", "sn1", &[]),
        snapshot("ns1", "overlay", "sn3", "sn2", &[]),
        snapshot("ns1", "overlay", "sn4", "", &[("ref.snapshot.btrfs", "sn1"), ("ref.snapshot.overlay", "sn1")]),
        snapshot(
            "ns1",
            "overlay",
            "sn5",
            "",
            &[("ref.snapshot.overlay/anything-1", "sn1"), ("ref.snapshot.overlay/anything-2", "sn2")],
        ),
        snapshot("ns1", "btrfs", "sn1", "", &[]),
        snapshot("ns2", "overlay", "sn1", "", &[]),
        snapshot("ns2", "overlay", "sn2", "sn1", &[]),
        snapshot("ns2", "overlay", "sn3", "", &[("ref.content", "d1"), ("ref.content.keep-me", "d6")]),
        // References of what may be held flat.
        content("ns3", "d1", &[]),
        content("ns3", "d2", &[("ref.content.0", "d1")]),
        snapshot("ns3", "overlay", "sn1", "", &[]),
        snapshot("ns3", "overlay", "sn2", "sn1", &[]),
        snapshot("ns3", "overlay", "sn3", "", &[("ref.snapshot.btrfs", "sn1"), ("ref.snapshot.overlay", "sn1")]),
        // Back references.
        content(
            "ns1",
            "d10",
            &[
                ("bref.container", "container1"),
                ("bref.content", "d5"),
                ("bref.image", "image2"),
                ("bref.snapshot.btrfs", "sn1"),
            ],
        ),
        content("ns3", "d10", &[("bref.container", "container1")]),
        // A root needs no back reference.
        image("ns1", "image3", "d10", &[("bref.image", "image2"), ("expire", &rfc3339(3600))]),
        image("ns1", "image4", "d10", &[("bref.image", "image2"), ("expire", &rfc3339(-3600))]),
        // Conditions.
        content("ns3", "d20", &[("cond.snapshot.overlay", "usedat<2h|sn6")]),
        content("ns3", "d21", &[("cond.snapshot.overlay", "usedat<2h|sn7")]),
        image("ns1", "image5", "d30", &[("cond.snapshot.overlay", "usedat<2h|sn10")]),
        snapshot("ns3", "overlay", "sn4", "", &[]),
        snapshot("ns3", "overlay", "sn5", "", &[]),
        snapshot("ns3", "overlay", "sn6", "sn4", &[("cond.value-usedat", &ago(60))]),
        snapshot("ns3", "overlay", "sn7", "sn5", &[("cond.value-usedat", &ago(180))]),
        snapshot("ns1", "overlay", "sn10", "", &[("cond.value-usedat", &ago(30))]),
    ]
}

const EXPECTED: &[(&str, &[&str])] = &[
    ("ns1 content d1", &[]),
    ("ns1 content d2", &[]),
    ("ns1 content d3", &[]),
    ("ns1 content d4", &["ns1 content d1"]),
    ("ns1 content d5", &["ns1 content d10", "ns1 content d2", "ns1 content d3"]),
    ("ns1 content d6", &[]),
    ("ns1 content d7", &["ns1 content d2", "ns1 content d3"]),
    ("ns2 content d1", &[]),
    ("ns2 content d2", &[]),
    ("ns1 snapshot overlay/sn1", &[]),
    ("ns1 snapshot overlay/sn2", &["ns1 snapshot overlay/sn1"]),
    ("ns1 snapshot overlay/sn3", &["ns1 snapshot overlay/sn2"]),
    ("ns1 snapshot overlay/sn4", &["ns1 snapshot btrfs/sn1", "ns1 snapshot overlay/sn1"]),
    ("ns1 snapshot overlay/sn5", &["ns1 snapshot overlay/sn1", "ns1 snapshot overlay/sn2"]),
    ("ns1 snapshot btrfs/sn1", &["ns1 content d10"]),
    ("ns2 snapshot overlay/sn1", &[]),
    ("ns2 snapshot overlay/sn2", &["ns2 snapshot overlay/sn1"]),
    ("ns2 snapshot overlay/sn3", &["ns2 content d1", "ns2 content d6"]),
    ("ns1 container container1", &["ns1 content d10", "ns1 snapshot overlay/sn4"]),
    ("ns1 container container2", &["ns1 snapshot overlay/sn5", "ns1 snapshot overlay/sn6"]),
    (
        "ns1 container container3",
        // The blob by a label and by its own back reference.
        &[
            "ns1 content d7",
            "ns1 content d7",
            "ns1 snapshot overlay/sn7",
            "ns1 snapshot overlay/sn8",
            "ns1 snapshot overlay/sn9",
        ],
    ),
    ("ns1 container container4", &["ns1 content d8", "ns1 content d9"]),
    ("ns1 image image1", &["ns1 content d3"]),
    (
        "ns1 image image2",
        &["ns1 content d10", "ns1 content d4", "ns1 content d5", "ns1 image image1", "ns1 image image4"],
    ),
    ("ns1 image image5", &["ns1 content d30", "ns1 snapshot overlay/sn10"]),
    ("ns1 ingest ingest-1", &[]),
    ("ns2 ingest ingest-2", &["ns2 content d8"]),
    ("ns3 container container1", &["ns3 content d10"]),
    ("ns3 content d20", &["ns3 snapshot overlay/sn6"]),
    ("ns3 content d21", &[]),
    ("ns3 snapshot overlay/sn2", &["ns3 snapshot overlay/sn1"]),
    ("ns3 snapshot overlay/sn3", &["ns3 snapshot btrfs/sn1", "ns3 snapshot overlay/sn1"]),
];

const EXPECTED_FLAT: &[(&str, &[&str])] = &[
    ("ns3 snapshot overlay/sn2", &["ns3 snapshot overlay/sn1 flat"]),
    ("ns3 snapshot overlay/sn1", &[]),
    ("ns3 snapshot overlay/sn3", &[]),
    ("ns1 image image1", &["ns1 content d3 flat"]),
    ("ns1 image image2", &["ns1 content d4 flat"]),
    ("ns3 content d2", &[]),
    // Nothing refers back to what is held flat only.
    ("ns1 content d5", &[]),
    ("ns1 snapshot btrfs/sn1", &[]),
    ("ns3 content d20", &[]),
];

#[test]
fn references_are_those_of_containerd() {
    let graph = graph(&things());
    for (hold, expected) in [(Hold::Full, EXPECTED), (Hold::Flat, EXPECTED_FLAT)] {
        for (from, to) in expected {
            let resource = parse(&Types::default(), from);
            assert_eq!(references(&graph, &resource.as_resource(), hold), *to, "{from} {hold:?}");
        }
    }
}

#[test]
fn one_condition_of_several_and_one_use_of_several_suffice() {
    let used = |values: &[i64], condition: &str| {
        let labels: Vec<(String, String)> = values
            .iter()
            .enumerate()
            .map(|(number, minutes)| (format!("cond.value-usedat.{number}"), rfc3339(-60 * minutes)))
            .collect();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let things = [
            image("ns", "i", "d", &[("cond.snapshot.overlay", &format!("{condition}|a|b"))]),
            snapshot("ns", "overlay", "a|b", "", &labels),
        ];
        graph(&things).mark().is_marked(&crate::gc::Resource::snapshot("ns", "overlay", "a|b"))
    };
    assert!(used(&[60], "usedat<2h"));
    assert!(!used(&[180], "usedat<2h"));
    assert!(used(&[180], "usedat>2h"));
    assert!(used(&[180], "usedat<2h,usedat>150m"));
    assert!(!used(&[130], "usedat<2h,usedat>150m"));
    assert!(used(&[180, 60], "usedat<2h"));
    assert!(!used(&[], "usedat<2h"), "never used");
    assert!(!used(&[120], "usedat<2h") && !used(&[120], "usedat>2h"), "on the spot");
    assert!(used(&[-10], "usedat<0s"), "used in the future");
}
