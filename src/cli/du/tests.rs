use std::time::{Duration, SystemTime};

use insta::assert_snapshot;

use super::{json, tables};
use crate::grpc::proto::leasehold::admin::v1::{DiskUsageResponse, LeaseUsage, NamespaceUsage, Share};

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
    };
    assert_snapshot!(tables(&usage, now), @r#"
    NAMESPACE  SNAPSHOTS  RETAINED  LAYERS  SIZE     SHARED   UNIQUE
    -          1          0         1       4.0 KiB  0 B      4.0 KiB
    default    12         3         15      5.0 GiB  5.0 GiB  3.0 MiB

    NAMESPACE  LEASE  ENDS IN  SNAPSHOTS  LAYERS  SIZE      SHARED    UNIQUE
    default    keep   never    3          3       70.0 MiB  70.0 MiB  0 B
    default    ci-42  1day 3h  3 of 5     3       70.0 MiB  46.0 MiB  24.0 MiB

    the pool: 5.0 GiB in 16 layers; 1 layer could not be measured and count as nothing
    "#);
    assert_snapshot!(tables(&DiskUsageResponse::default(), now), @r#"
    NAMESPACE  SNAPSHOTS  RETAINED  LAYERS  SIZE  SHARED  UNIQUE

    the pool: 0 B in 0 layers
    "#);
    assert_eq!(json(&usage)["leases"][1]["usage"]["shared"], 46 << 20);
    assert_eq!(json(&usage)["leases"][0]["expires_at"], serde_json::Value::Null);
}
