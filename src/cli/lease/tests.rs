use std::time::{Duration, SystemTime};

use insta::assert_snapshot;

use super::view::View;
use super::{ls, show};
use crate::grpc::proto::containerd::services::leases::v1::{Lease, Resource};
use crate::types::Namespace;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn view(id: &str, labels: &[(&str, &str)]) -> View {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    View::from(Lease { id: id.into(), created_at: Some((now() - Duration::from_secs(5000)).into()), labels })
}

#[test]
fn a_list_of_leases() {
    let views = [
        view("keep", &[]),
        view("ci-42", &[("containerd.io/gc.expire", "2023-11-17T22:13:19Z"), ("containerd.io/gc.flat", "true")]),
        view("gone", &[("containerd.io/gc.expire", "2023-11-14T22:13:19Z"), ("team", "web"), ("tier", "1")]),
        view("bad\u{7}", &[("containerd.io/gc.expire", "tomorrow")]),
    ];
    assert_snapshot!(ls::list(&views, now()), @r#"
    LEASE     CREATED               ENDS                                 FLAT  LABELS
    keep      2023-11-14T20:50:00Z  never                                no
    ci-42     2023-11-14T20:50:00Z  2023-11-17T22:13:19Z (in 2days 23h)  yes
    gone      2023-11-14T20:50:00Z  2023-11-14T22:13:19Z (ended)         no    team=web,tier=1
    bad\u{7}  2023-11-14T20:50:00Z  never: "tomorrow" is no time         no
    "#);
    assert_snapshot!(ls::list(&[], now()), @"LEASE  CREATED  ENDS  FLAT  LABELS");
    assert_snapshot!(format!("{:#}", views[1].json()), @r#"
    {
      "created_at": "2023-11-14T20:50:00.000000000Z",
      "expires_at": "2023-11-17T22:13:19.000000000Z",
      "flat": true,
      "id": "ci-42",
      "labels": {
        "containerd.io/gc.expire": "2023-11-17T22:13:19Z",
        "containerd.io/gc.flat": "true"
      }
    }
    "#);
}

#[test]
fn a_lease_and_what_it_names() {
    let named = |kind: &str, id: &str| Resource { r#type: kind.into(), id: id.into() };
    let digest = format!("sha256:{}", "0a".repeat(32));
    let namespace = Namespace::parse("default").unwrap();
    let named = [named("content", &digest), named("snapshots/leasehold", &digest)];
    assert_snapshot!(show::text(&view("keep", &[("a", "b")]), &namespace, &named, now()), @r#"
    lease      keep
    namespace  default
    created    2023-11-14T20:50:00Z
    ends       never
    flat       no
    labels     a=b

    TYPE                 ID
    content              sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
    snapshots/leasehold  sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
    "#);
    assert_snapshot!(show::text(&view("keep", &[]), &namespace, &[], now()), @r#"
    lease      keep
    namespace  default
    created    2023-11-14T20:50:00Z
    ends       never
    flat       no
    labels

    it names nothing
    "#);
}
