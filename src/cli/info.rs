//! `leasehold info`

use std::process::ExitCode;

use serde_json::json;

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{Feature, InfoRequest, InfoResponse};
use crate::overlay::{Layout, probe};

use super::daemon::Daemon;
use super::text::table;

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
        print_json(running, &info)
    } else {
        print_tables(running, &info)
    }
    Ok(ExitCode::SUCCESS)
}

/// Probes the host as the daemon would.
fn without_daemon(config: &Config) -> anyhow::Result<InfoResponse> {
    let layout = Layout::new(&config.root)?;
    layout.create()?;
    let features = probe(&layout)?
        .rows()
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

fn print_json(running: bool, info: &InfoResponse) {
    let features: Vec<_> = info
        .features
        .iter()
        .map(|feature| json!({ "name": feature.name, "value": feature.value, "meaning": feature.meaning }))
        .collect();
    let pool = running.then(|| {
        json!({
            "id": info.pool, "schema": info.schema, "snapshots": info.snapshots, "layers": info.layers,
            "blobs": info.blobs, "uploads": info.ingests, "trash": info.trash, "free_bytes": info.free_bytes,
        })
    });
    println!(
        "{:#}",
        json!({ "version": info.version, "running": running, "root": info.root, "pool": pool, "host": features })
    );
}

fn print_tables(running: bool, info: &InfoResponse) {
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
        pool.add_row(["trash", &info.trash.to_string()]);
        pool.add_row(["free", &format!("{} MiB", info.free_bytes >> 20)]);
    }
    println!("{}\n", pool.trim_fmt());
    let mut host = table();
    host.set_header(["host", "", "why it matters"]);
    for feature in &info.features {
        host.add_row([&feature.name, &feature.value, &feature.meaning]);
    }
    println!("{}", host.trim_fmt());
}
