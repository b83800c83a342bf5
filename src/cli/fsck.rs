//! `leasehold fsck`

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::app::OpenPool;
use crate::config::Config;
use crate::content;
use crate::grpc::fsck_response;
use crate::grpc::proto::leasehold::admin::v1::{FsckRequest, FsckResponse};
use crate::overlay::Layout;
use crate::snapshotter::fsck_offline;
use crate::types::Algorithm;

use super::daemon::Daemon;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Repair what can be repaired. Data is never deleted: what nothing can name any more goes to lost+found.
    #[arg(long)]
    repair: bool,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when nothing is wrong, or all of it was repaired; else with 1.
pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let request = FsckRequest { repair: args.repair };
    let report = match Daemon::connect(config)? {
        Some(mut daemon) => daemon.call(async |client| client.fsck(request).await)?,
        None => without_daemon(config, args.repair)?,
    };
    if args.json {
        print_json(&report)
    } else {
        print_text(&report)
    }
    let left = report.problems.iter().any(|problem| problem.repair.is_empty() || problem.repair.starts_with("failed"));
    Ok(if left { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn without_daemon(config: &Config, repair: bool) -> anyhow::Result<FsckResponse> {
    let layout = Layout::new(&config.root)?;
    // Opening a pool makes one where there is none, which is not what a check is for. Directories alone are no pool:
    // probing the host makes them.
    let has = |dir: PathBuf| std::fs::read_dir(dir).is_ok_and(|mut names| names.next().is_some());
    if ![layout.meta(), layout.layers(), layout.blobs_of(Algorithm::Sha256)].into_iter().any(has) {
        anyhow::bail!("{}: there is no pool", config.root.display());
    }
    let pool = OpenPool::open(config)?;
    let blobs = content::fsck_offline(&pool.metadata, &pool.files, repair)?;
    Ok(fsck_response(fsck_offline(&pool.metadata, &pool.dirs, repair)?, blobs))
}

fn print_json(report: &FsckResponse) {
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| json!({ "kind": problem.kind, "what": problem.what, "repair": problem.repair }))
        .collect();
    println!(
        "{:#}",
        json!({
            "snapshots": report.snapshots, "layers": report.layers, "directories": report.directories,
            "blobs": report.blobs, "uploads": report.ingests, "problems": problems,
        })
    );
}

fn print_text(report: &FsckResponse) {
    let FsckResponse { snapshots, layers, directories, blobs, ingests, .. } = report;
    println!(
        "checked {snapshots} snapshots, {layers} layers, {directories} directories, {blobs} blobs, {ingests} uploads"
    );
    for problem in &report.problems {
        let repair = if problem.repair.is_empty() { String::new() } else { format!(" -> {}", problem.repair) };
        println!("{}: {}{repair}", problem.kind, problem.what);
    }
    match report.problems.len() {
        0 => println!("nothing is wrong"),
        1 => println!("1 problem"),
        count => println!("{count} problems"),
    }
}
