//! `leasehold gc`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{CollectRequest, CollectResponse};

use super::daemon::Daemon;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove nothing: list what would go, and why nothing holds it.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut daemon = Daemon::connect(config)?.context("no daemon is running, and without one nothing is collected")?;
    let request = CollectRequest { dry_run: args.dry_run };
    let answer = daemon.call_collections(async |client| client.collect(request).await)?;
    if args.json {
        print_json(args.dry_run, &answer)
    } else {
        print_text(args.dry_run, &answer)
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(dry_run: bool, answer: &CollectResponse) {
    let garbage: Vec<_> = answer
        .garbage
        .iter()
        .map(|one| json!({ "kind": one.kind, "namespace": one.namespace, "name": one.name, "reason": one.reason }))
        .collect();
    println!(
        "{:#}",
        json!({
            "dry_run": dry_run, "leases": answer.leases, "retained": answer.retained,
            "retained_blobs": answer.retained_blobs, "snapshots": answer.snapshots, "blobs": answer.blobs,
            "ingests": answer.ingests,
            "objects": answer.objects, "marked": answer.marked, "read_ns": answer.read_nanos,
            "mark_ns": answer.mark_nanos, "sweep_ns": answer.sweep_nanos, "garbage": garbage,
        })
    );
}

fn print_text(dry_run: bool, answer: &CollectResponse) {
    if !answer.garbage.is_empty() {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING).set_header(["kind", "namespace", "name", "why it goes"]);
        for one in &answer.garbage {
            table.add_row([&one.kind, &one.namespace, &one.name, &one.reason]);
        }
        println!("{table}\n");
    }
    println!(
        "{} {} ended leases, {} retained snapshots and {} retained blobs; {} snapshots, {} blobs and {} uploads of the \
         API socket",
        if dry_run { "would remove" } else { "removed" },
        answer.leases,
        answer.retained,
        answer.retained_blobs,
        answer.snapshots,
        answer.blobs,
        answer.ingests
    );
    let took = |nanos| format!("{:.1?}", Duration::from_nanos(nanos));
    println!(
        "{} objects, {} held; read {}, mark {}, sweep {}",
        answer.objects,
        answer.marked,
        took(answer.read_nanos),
        took(answer.mark_nanos),
        took(answer.sweep_nanos)
    );
}
