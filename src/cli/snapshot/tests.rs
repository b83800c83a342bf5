use insta::assert_snapshot;

use super::ls::list;
use super::tree::tree;
use crate::grpc::proto::leasehold::admin::v1::{Snapshot, Usage};

fn chain(number: u8) -> String {
    format!("sha256:{}", format!("{number:02x}").repeat(32))
}

fn snapshot(namespace: &str, number: u64, name: &str, parent: &str, layers: &[&str]) -> Snapshot {
    Snapshot {
        namespace: namespace.into(),
        name: name.into(),
        key: format!("{namespace}/{number}/{name}"),
        kind: "committed".into(),
        parent: parent.into(),
        layer: layers[0].into(),
        parent_layers: layers[1..].iter().map(|&layer| layer.to_owned()).collect(),
        usage: Some(Usage { size: 3 << (10 + number), inodes: 5 }),
        ..Snapshot::default()
    }
}

/// A chain with a container, a retained one whose parents are gone, and one that stands on a snapshot that is there.
fn some() -> Vec<Snapshot> {
    let base = snapshot("default", 2, &chain(1), "", &["1"]);
    let top = snapshot("default", 4, &chain(2), &base.key, &["2", "1"]);
    let container =
        Snapshot { kind: "active".into(), usage: None, ..snapshot("default", 5, "till", &top.key, &["3", "2", "1"]) };
    let view = Snapshot { kind: "view".into(), usage: None, ..snapshot("default", 6, "look", &base.key, &["", "1"]) };
    let removed = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let kept = Snapshot {
        removed_at: removed,
        leases: vec!["keep".into(), "too".into()],
        more_leases: true,
        ..snapshot("default", 8, &chain(3), &base.key, &["4", "1"])
    };
    let alone = Snapshot {
        removed_at: removed,
        leases: vec!["keep".into()],
        ..snapshot("k8s.io", 8, &chain(4), "k8s.io/6/gone", &["a0", "9z", "9y"])
    };
    let ending = Snapshot { removed_at: removed, ..snapshot("k8s.io", 9, &chain(5), "", &["a1"]) };
    let mut api = snapshot("k8s.io", 1, "mine", "", &["a2"]);
    api.api = true;
    api.key = "mine".into();
    vec![base, top, container, view, kept, alone, ending, api]
}

#[test]
fn a_list_of_snapshots() {
    assert_snapshot!(list(&some(), false), @r#"
    NAMESPACE  SNAPSHOT             KIND       PARENT               LAYER  SIZE       HELD BY
    default    sha256:010101010101  committed  -                    1      12.0 KiB   containerd
    default    sha256:020202020202  committed  sha256:010101010101  2      48.0 KiB   containerd
    default    till                 active     sha256:020202020202  3      -          containerd
    default    look                 view       sha256:010101010101  -      -          containerd
    default    sha256:030303030303  retained   sha256:010101010101  4      768.0 KiB  lease keep, lease too, more leases
    k8s.io     sha256:040404040404  retained   gone                 a0     768.0 KiB  lease keep
    k8s.io     sha256:050505050505  retained   -                    a1     1.5 MiB    nothing: will be deleted
    k8s.io     mine                 committed  -                    a2     6.0 KiB    API socket
    "#);
    assert_snapshot!(list(&some()[..2], true), @r#"
    NAMESPACE  SNAPSHOT                                                                 KIND       PARENT                                                                   LAYER  SIZE      HELD BY
    default    sha256:0101010101010101010101010101010101010101010101010101010101010101  committed  -                                                                        1      12.0 KiB  containerd
    default    sha256:0202020202020202020202020202020202020202020202020202020202020202  committed  sha256:0101010101010101010101010101010101010101010101010101010101010101  2      48.0 KiB  containerd
    "#);
}

#[test]
fn a_tree_of_snapshots() {
    assert_snapshot!(tree(&some(), false), @r#"
    default
    └─ sha256:010101010101  committed, layer 1, 12.0 KiB, held by containerd
       ├─ sha256:020202020202  committed, layer 2, 48.0 KiB, held by containerd
       │  └─ till  active, layer 3, held by containerd
       ├─ look  view, no layer of its own, held by containerd
       └─ sha256:030303030303  retained, layer 4 on 1 other, 768.0 KiB, held by lease keep, lease too, more leases
    k8s.io
    ├─ sha256:040404040404  retained, layer a0 on 2 others, 768.0 KiB, held by lease keep
    ├─ sha256:050505050505  retained, layer a1, 1.5 MiB, held by nothing: will be deleted
    └─ mine  committed, layer a2, 6.0 KiB, held by API socket
    "#);
    assert_eq!(tree(&[], false), "");
}

#[test]
fn a_long_chain_is_a_long_tree() {
    let mut all = vec![snapshot("default", 1, "0", "", &["1"])];
    for number in 1..2_000_u32 {
        let parent = all.last().unwrap().key.clone();
        all.push(snapshot("default", 1, &number.to_string(), &parent, &["1"]));
    }
    assert_eq!(tree(&all, false).lines().count(), 2_001);
}
