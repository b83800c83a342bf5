//! `leasehold info`

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{Feature, InfoRequest, InfoResponse};
use crate::overlay::{Layout, observe};

use super::daemon::Daemon;
use super::text::{finish, is_shown, moment, name, table, time};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let (running, info) = match Daemon::connect(config)? {
        Some(mut daemon) => (true, daemon.call(async |client| client.info(InfoRequest {}).await)?),
        None => (false, without_daemon(config)?),
    };
    if args.json {
        println!("{:#}", json(running, &info));
    } else {
        println!("{}", tables(running, &info));
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks at the host as the daemon would, and changes nothing.
fn without_daemon(config: &Config) -> anyhow::Result<InfoResponse> {
    let features = observe(&Layout::new(&config.root)?)?
        .untried_rows()
        .into_iter()
        .map(|(name, value, meaning)| Feature { name: name.into(), value, meaning: meaning.into() })
        .collect();
    Ok(InfoResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        root: config.root.to_string_lossy().into_owned(),
        features,
        ..InfoResponse::default()
    })
}

fn json(running: bool, info: &InfoResponse) -> Value {
    let features: Vec<_> = info
        .features
        .iter()
        .map(|feature| json!({ "name": feature.name, "value": feature.value, "meaning": feature.meaning }))
        .collect();
    let time = |at| moment(at).filter(|at| is_shown(*at)).map(|at| humantime::format_rfc3339(at).to_string());
    let busy: Vec<_> = info
        .busy_layers
        .iter()
        .map(|busy| {
            json!({
                "layer": busy.layer, "reason": busy.reason, "since": time(busy.since), "next_try": time(busy.next_try),
            })
        })
        .collect();
    let pool = running.then(|| {
        json!({
            "id": info.pool, "schema": info.schema, "snapshots": info.snapshots, "layers": info.layers,
            "blobs": info.blobs, "uploads": info.ingests, "trash": info.trash, "free_bytes": info.free_bytes,
            "retained_by_policy_bytes": info.retained_by_policy_bytes, "busy": info.busy, "busy_layers": busy,
            "collection_failure": (!info.collection_failure.is_empty()).then_some(&info.collection_failure),
        })
    });
    json!({ "version": info.version, "running": running, "root": info.root, "pool": pool, "host": features })
}

fn tables(running: bool, info: &InfoResponse) -> String {
    let mut pool = table();
    pool.add_row(["version", &info.version]);
    pool.add_row(["root", &info.root]);
    pool.add_row(["daemon", if running { "running" } else { "not running" }]);
    if running {
        pool.add_row(["pool", &info.pool]);
        pool.add_row(["schema", &info.schema.to_string()]);
        // Estimates of the database, which counts what is not yet compacted twice.
        pool.add_row(["snapshots", &format!("about {}", info.snapshots)]);
        pool.add_row(["layers", &format!("about {}", info.layers)]);
        pool.add_row(["blobs", &format!("about {}", info.blobs)]);
        pool.add_row(["uploads", &info.ingests.to_string()]);
        pool.add_row(["trash", &trash(info)]);
        pool.add_row(["retained by policy", &format!("{} MiB", info.retained_by_policy_bytes >> 20)]);
        pool.add_row(["free", &format!("{} MiB", info.free_bytes >> 20)]);
    }
    let mut host = table();
    host.set_header(["host", "", "why it matters"]);
    for feature in &info.features {
        host.add_row([&feature.name, &feature.value, &feature.meaning]);
    }
    let parts = [Some(finish(pool)), failure(info), busy(info), Some(finish(host))];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

fn trash(info: &InfoResponse) -> String {
    match info.busy {
        0 => info.trash.to_string(),
        busy => format!("{}, of which {busy} cannot be deleted yet", info.trash),
    }
}

fn failure(info: &InfoResponse) -> Option<String> {
    (!info.collection_failure.is_empty()).then(|| format!("the last collection failed: {}", info.collection_failure))
}

fn busy(info: &InfoResponse) -> Option<String> {
    if info.busy_layers.is_empty() {
        return None;
    }
    let mut busy = table();
    busy.set_header(["busy layer", "since", "next try", "what is in the way"]);
    let shown = |at| moment(at).map_or_else(|| "-".to_owned(), time);
    for layer in &info.busy_layers {
        busy.add_row([&layer.layer, &shown(layer.since), &shown(layer.next_try), &name(&layer.reason, true)]);
    }
    Some(finish(busy))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use insta::assert_snapshot;

    use super::*;
    use crate::grpc::proto::leasehold::admin::v1::BusyLayer;

    #[test]
    fn what_needs_attention_is_told() {
        let at = |seconds| Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into());
        let busy = BusyLayer {
            layer: "3f".into(),
            reason: "remove \"/pool/trash/3f/fs/mnt\": something is mounted on it; unmount it first".into(),
            since: at(1_700_000_000),
            next_try: at(1_700_000_040),
        };
        let info = InfoResponse {
            version: "1.2.3".into(),
            pool: "id".into(),
            root: "/pool".into(),
            schema: 2,
            features: vec![Feature { name: "kernel".into(), value: "6.1".into(), meaning: "runs".into() }],
            snapshots: 12,
            layers: 11,
            trash: 5,
            free_bytes: 3 << 30,
            retained_by_policy_bytes: 7 << 20,
            busy: 1,
            busy_layers: vec![busy],
            collection_failure: "a record is damaged".into(),
            blobs: 4,
            ingests: 1,
        };
        assert_snapshot!(tables(true, &info), @r#"
        version             1.2.3
        root                /pool
        daemon              running
        pool                id
        schema              2
        snapshots           about 12
        layers              about 11
        blobs               about 4
        uploads             1
        trash               5, of which 1 cannot be deleted yet
        retained by policy  7 MiB
        free                3072 MiB

        the last collection failed: a record is damaged

        busy layer  since                 next try              what is in the way
        3f          2023-11-14T22:13:20Z  2023-11-14T22:14:00Z  remove "/pool/trash/3f/fs/mnt": something is mounted on it; unmount it first

        host         why it matters
        kernel  6.1  runs
        "#);
        let shown = json(true, &info);
        assert_eq!(shown["pool"]["busy_layers"][0]["since"], "2023-11-14T22:13:20Z");
        assert_eq!(shown["pool"]["collection_failure"], "a record is damaged");
        assert_eq!(json(true, &InfoResponse::default())["pool"]["collection_failure"], Value::Null);
    }
}
