use std::time::{Duration, SystemTime};

use insta::assert_snapshot;

use super::images::{self, Row};
use super::{json, tables};
use crate::grpc::proto::leasehold::admin::v1::{
    BlobShare, BlobUsage, DiskUsageResponse, ImageUsage, LeaseUsage, NamespaceUsage, Share,
};

#[test]
fn tables_of_usage() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let share = |layers, size, unique| Some(Share { layers, size, unique });
    let lease = |id: &str, ends: Option<u64>, missing, share| LeaseUsage {
        namespace: "default".into(),
        lease: id.into(),
        expires_at: ends.map(|seconds| (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into()),
        snapshots: 3,
        missing,
        share,
    };
    let blobs = |owner: &str, namespace: &str, blobs, size, unique| BlobUsage {
        owner: owner.into(),
        namespace: namespace.into(),
        share: Some(BlobShare { blobs, size, unique }),
    };
    let usage = DiskUsageResponse {
        namespaces: vec![
            NamespaceUsage { namespace: String::new(), snapshots: 1, retained: 0, share: share(1, 4096, 4096) },
            NamespaceUsage {
                namespace: "default".into(),
                snapshots: 12,
                retained: 3,
                share: share(15, 5 << 30, 3 << 20),
            },
        ],
        leases: vec![
            lease("keep", None, 0, share(3, 70 << 20, 0)),
            lease("ci-42", Some(1_700_100_000), 2, share(3, 70 << 20, 24 << 20)),
        ],
        total: share(16, (5 << 30) + 4096, 0),
        unknown: 1,
        images: Vec::new(),
        blobs: vec![
            blobs("containerd", "", 40, 1 << 30, 1 << 20),
            blobs("retained", "", 2, 4 << 20, 4 << 20),
            blobs("namespace", "default", 1, 100, 0),
        ],
        blob_total: Some(BlobShare { blobs: 42, size: (1 << 30) + (4 << 20), unique: 0 }),
    };
    assert_snapshot!(tables(&usage, None, now), @r#"
    NAMESPACE  SNAPSHOTS  RETAINED  LAYERS  SIZE     SHARED   UNIQUE
    -          1          0         1       4.0 KiB  0 B      4.0 KiB
    default    12         3         15      5.0 GiB  5.0 GiB  3.0 MiB

    NAMESPACE  LEASE  ENDS IN  SNAPSHOTS  LAYERS  SIZE      SHARED    UNIQUE
    default    keep   never    3          3       70.0 MiB  70.0 MiB  0 B
    default    ci-42  1day 3h  3 of 5     3       70.0 MiB  46.0 MiB  24.0 MiB

    BLOBS OF    NAMESPACE  BLOBS  SIZE     SHARED      UNIQUE
    containerd  -          40     1.0 GiB  1023.0 MiB  1.0 MiB
    retained    -          2      4.0 MiB  0 B         4.0 MiB
    namespace   default    1      100 B    100 B       0 B

    the pool: 5.0 GiB in 16 layers, 1.0 GiB in 42 blobs; 1 layer could not be measured and count as nothing
    "#);
    assert_snapshot!(tables(&DiskUsageResponse::default(), None, now), @r#"
    NAMESPACE  SNAPSHOTS  RETAINED  LAYERS  SIZE  SHARED  UNIQUE

    the pool: 0 B in 0 layers
    "#);
    assert_eq!(json(&usage, None)["leases"][1]["usage"]["shared"], 46 << 20);
    assert_eq!(json(&usage, None)["blobs"][0]["usage"]["shared"], (1 << 30) - (1 << 20));
    assert_eq!(json(&usage, None)["leases"][0]["expires_at"], serde_json::Value::Null);
}

#[test]
fn a_table_of_images() {
    let now = SystemTime::UNIX_EPOCH;
    let digest = format!("sha256:{}", "0a".repeat(32));
    let row = |namespace: &str, names: &[&str]| Row {
        namespace: namespace.into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        target: digest.clone(),
        wanted: true,
        ..Row::default()
    };
    let usage = |layers, missing, size, unique| ImageUsage {
        snapshots: layers,
        missing,
        share: Some(Share { layers, size, unique }),
    };
    let rows = [
        row("k8s.io", &["registry.k8s.io/pause:3.10", "registry.k8s.io/pause@sha256:1", "sha256:2"]),
        row("default", &["docker.io/library/a:1"]),
        row("default", &["docker.io/library/b:1"]),
        row("default", &["docker.io/library/c:1"]),
        row("default", &[&format!("docker.io/library/d@{digest}")]),
        Row { problem: Some("image \"e\": it is not pulled".into()), ..row("default", &["bad\u{7}"]) },
        Row { wanted: false, ..row("default", &["hidden"]) },
    ];
    let usage = DiskUsageResponse {
        images: vec![
            usage(1, 0, 700 << 10, 700 << 10),
            usage(3, 0, 70 << 20, 0),
            usage(5, 0, 90 << 20, 30 << 20),
            usage(0, 1, 0, 0),
            usage(2, 1, 5 << 20, 1 << 20),
            usage(0, 0, 0, 0),
            usage(9, 0, 9 << 20, 9 << 20),
        ],
        total: Some(Share { layers: 7, size: 91 << 20, unique: 0 }),
        ..DiskUsageResponse::default()
    };
    assert_snapshot!(tables(&usage, Some(&rows), now), @r#"
    NAMESPACE  IMAGE                                    UNPACKED  LAYERS  SIZE       SHARED    UNIQUE
    default    docker.io/library/b:1                    yes       5       90.0 MiB   60.0 MiB  30.0 MiB
    default    docker.io/library/d@sha256:0a0a0a0a0a0a  partly    2       5.0 MiB    4.0 MiB   1.0 MiB
    default    bad\u{7}                                 unknown   0       0 B        0 B       0 B
    default    docker.io/library/a:1                    yes       3       70.0 MiB   70.0 MiB  0 B
    default    docker.io/library/c:1                    no        0       0 B        0 B       0 B
    k8s.io     registry.k8s.io/pause:3.10 (+2)          yes       1       700.0 KiB  0 B       700.0 KiB

    the pool: 91.0 MiB in 7 layers
    "#);
    assert_eq!(images::request(&rows).len(), 7);
    let json = json(&usage, Some(&rows));
    assert_eq!(json["images"].as_array().unwrap().len(), 6);
    assert_eq!(
        (&json["images"][0]["names"][0], &json["images"][0]["unpacked"]),
        (&"docker.io/library/b:1".into(), &"yes".into())
    );
}
