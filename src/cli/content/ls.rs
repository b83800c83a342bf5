//! `leasehold content ls`

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{Blob, ListBlobsRequest, Upload, UploadsRequest};

use super::super::daemon::Daemon;
use super::super::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// List uploads in progress instead.
    #[arg(long)]
    uploads: bool,
    /// Print digests and ids in full.
    #[arg(long)]
    full: bool,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut daemon = Daemon::required(config)?;
    let now = SystemTime::now();
    let (json, table) = if args.uploads {
        let mut all = Vec::new();
        daemon.stream_blobs(async |client| client.uploads(UploadsRequest {}).await, |page| all.extend(page.uploads))?;
        (all.iter().map(upload_json).collect(), uploads(&all, args.full, now))
    } else {
        let mut all = Vec::new();
        daemon.stream_blobs(async |client| client.list(ListBlobsRequest {}).await, |page| all.extend(page.blobs))?;
        (all.iter().map(blob_json).collect(), blobs(&all, args.full, now))
    };
    if args.json {
        println!("{:#}", Value::Array(json));
    } else {
        println!("{table}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn blobs(all: &[Blob], full: bool, now: SystemTime) -> String {
    let mut table = text::table();
    table.set_header(["DIGEST", "SIZE", "AGE", "LABELS", "HELD BY"]);
    for blob in all {
        table.add_row([
            text::name(&blob.digest, full),
            text::size(blob.size),
            age(blob.created_at, now),
            blob.labels.len().to_string(),
            held_by(blob),
        ]);
    }
    text::finish(table)
}

pub(super) fn uploads(all: &[Upload], full: bool, now: SystemTime) -> String {
    let mut table = text::table();
    table.set_header(["NAMESPACE", "UPLOAD", "THERE", "OF", "AGE", "IDLE FOR", "GIVEN UP IN"]);
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text::name(text, full) };
    for upload in all {
        let total = if upload.total == 0 { "-".to_owned() } else { text::size(upload.total) };
        let last = if upload.open { "open now".to_owned() } else { age(upload.updated_at, now) };
        let ends = text::moment(upload.expires_at).map(|end| end.duration_since(now).unwrap_or_default());
        table.add_row([
            or_dash(&upload.namespace),
            text::name(&upload.name, full),
            text::size(upload.offset),
            total,
            age(upload.started_at, now),
            last,
            ends.filter(|_| !upload.open).map_or_else(|| "-".to_owned(), text::duration),
        ]);
    }
    text::finish(table)
}

/// Who holds a blob.
fn held_by(blob: &Blob) -> String {
    let mut holders = Vec::new();
    match (blob.removed_at, &*blob.namespace) {
        (Some(_), _) => {}
        (None, "") => holders.push("containerd".to_owned()),
        (None, namespace) => holders.push(format!("namespace {} of the API socket", text::name(namespace, true))),
    }
    let lease =
        |id: &str, namespace: &str| format!("lease {} of {}", text::name(id, true), text::name(namespace, true));
    holders.extend(blob.leases.iter().map(|one| lease(&one.id, &one.namespace)));
    if blob.more_leases {
        holders.push("more leases".to_owned());
    }
    match (blob.removed_at, holders.is_empty()) {
        // Between the end of a lease and its collection, or while it is found out what a lease refers to.
        (Some(_), true) => "retained: nothing names it".to_owned(),
        (Some(_), false) => format!("retained: {}", holders.join(", ")),
        (None, _) => holders.join(", "),
    }
}

fn age(since: Option<prost_types::Timestamp>, now: SystemTime) -> String {
    let age = text::moment(since).map(|since| now.duration_since(since).unwrap_or_default());
    age.map_or_else(|| "-".to_owned(), text::duration)
}

fn time(timestamp: Option<prost_types::Timestamp>) -> Option<String> {
    let shown = text::moment(timestamp).filter(|at| text::is_shown(*at));
    shown.map(|at| humantime::format_rfc3339_nanos(at).to_string())
}

fn blob_json(blob: &Blob) -> Value {
    let leases: Vec<_> = blob.leases.iter().map(|one| json!({ "namespace": one.namespace, "id": one.id })).collect();
    json!({
        "namespace": (!blob.namespace.is_empty()).then_some(&blob.namespace),
        "digest": blob.digest,
        "size": blob.size,
        "created_at": time(blob.created_at),
        "updated_at": time(blob.updated_at),
        "labels": blob.labels,
        "retained": blob.removed_at.is_some(),
        "removed_at": time(blob.removed_at),
        "leases": leases,
        "more_leases": blob.more_leases,
    })
}

fn upload_json(upload: &Upload) -> Value {
    json!({
        "namespace": upload.namespace,
        "name": upload.name,
        "ref": upload.r#ref,
        "api": upload.api,
        "offset": upload.offset,
        "total": (upload.total > 0).then_some(upload.total),
        "expected": (!upload.expected.is_empty()).then_some(&upload.expected),
        "started_at": time(upload.started_at),
        "updated_at": time(upload.updated_at),
        "expires_at": time(upload.expires_at),
        "open": upload.open,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;

    use super::*;
    use crate::grpc::proto::leasehold::admin::v1::LeaseName;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(100_000)
    }

    #[test]
    fn a_list_of_blobs() {
        let blob = |number: u8| Blob {
            digest: format!("sha256:{}", format!("{number:02x}").repeat(32)),
            size: 3 << (5 * number),
            created_at: at(100_000 - 61 * i64::from(number)),
            ..Blob::default()
        };
        let lease = |id: &str| LeaseName { namespace: "default".into(), id: id.into() };
        let labels = [("a".to_owned(), "b".to_owned())].into();
        let all = [
            blob(1),
            Blob { leases: vec![lease("keep"), lease("too")], more_leases: true, labels, ..blob(2) },
            Blob { namespace: "team".into(), ..blob(3) },
            Blob { removed_at: at(1), leases: vec![lease("keep")], ..blob(4) },
            Blob { removed_at: at(1), ..blob(5) },
        ];
        assert_snapshot!(blobs(&all, false, now()), @r"
        DIGEST               SIZE      AGE    LABELS  HELD BY
        sha256:010101010101  96 B      1m 1s  0       containerd
        sha256:020202020202  3.0 KiB   2m 2s  1       containerd, lease keep of default, lease too of default, more leases
        sha256:030303030303  96.0 KiB  3m 3s  0       namespace team of the API socket
        sha256:040404040404  3.0 MiB   4m 4s  0       retained: lease keep of default
        sha256:050505050505  96.0 MiB  5m 5s  0       retained: nothing names it
        ");
        assert!(blobs(&all, true, now()).contains(&"01".repeat(32)));
    }

    #[test]
    fn a_list_of_uploads() {
        let upload = Upload {
            namespace: "default".into(),
            name: "layer-1".into(),
            offset: 5 << 20,
            started_at: at(90_000),
            updated_at: at(99_000),
            expires_at: at(185_400),
            ..Upload::default()
        };
        let all = [
            upload.clone(),
            Upload { total: 6 << 20, open: true, ..upload },
            Upload { name: "of another form".into(), ..Upload::default() },
        ];
        assert_snapshot!(uploads(&all, false, now()), @r"
        NAMESPACE  UPLOAD           THERE    OF       AGE     IDLE FOR  GIVEN UP IN
        default    layer-1          5.0 MiB  -        2h 46m  16m 40s   23h 43m
        default    layer-1          5.0 MiB  6.0 MiB  2h 46m  open now  -
        -          of another form  0 B      -        -       -         -
        ");
    }
}
