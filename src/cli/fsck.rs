//! `leasehold fsck`

mod content;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::app::OpenPool;
use crate::config::Config;
use crate::content::fsck_offline as fsck_content_offline;
use crate::grpc::fsck_response;
use crate::grpc::proto::leasehold::admin::v1::{FsckRequest, FsckResponse, Problem, VerifyRequest};
use crate::overlay::Layout;
use crate::snapshotter::fsck_offline;
use crate::types::Algorithm;

use super::daemon::Daemon;
use super::text;
use content::Verified;

/// What is left to do after a repair.
const PULL_AGAIN: &str = "\
containerd does not know that blobs are gone. To have one downloaded again, make it forget that one in every namespace
that has it, and fetch the image:
  ctr --namespace NAMESPACE content rm DIGEST
  ctr --namespace NAMESPACE content fetch IMAGE";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Repair what can be repaired. Data is never deleted: what nothing can name any more goes to lost+found.
    #[arg(long)]
    repair: bool,
    /// Read all blobs, and compute their digests again. This takes as long as the disk needs for them, behind what
    /// else it has to do. With --repair damaged ones go to lost+found, and can be pulled again.
    #[arg(long)]
    content: bool,
    /// How many blobs are read at a time; otherwise half as many as there are processors.
    #[arg(long, requires = "content", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: Option<u32>,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when nothing is wrong, or all of it was repaired; else with 1.
pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let request = FsckRequest { repair: args.repair };
    let verify = args.content.then(|| VerifyRequest { repair: args.repair, jobs: args.jobs.unwrap_or(0) });
    let (report, verified) = match Daemon::connect(config)? {
        Some(mut daemon) => {
            let report = daemon.call(async |client| client.fsck(request).await)?;
            (report, verify.map(|request| content::with_daemon(&mut daemon, request)).transpose()?)
        }
        None => without_daemon(config, args.repair, verify)?,
    };
    if args.json {
        print_json(&report, verified.as_ref())
    } else {
        print_text(&report, verified.as_ref())
    }
    let left = |problem: &Problem| problem.repair.is_empty() || problem.repair.starts_with("failed");
    Ok(if problems(&report, verified.as_ref()).any(left) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn without_daemon(
    config: &Config,
    repair: bool,
    verify: Option<VerifyRequest>,
) -> anyhow::Result<(FsckResponse, Option<Verified>)> {
    let layout = Layout::new(&config.root)?;
    // Opening a pool makes one where there is none, which is not what a check is for. Directories alone are no pool:
    // a start that failed leaves them.
    let has = |dir: PathBuf| std::fs::read_dir(dir).is_ok_and(|mut names| names.next().is_some());
    if ![layout.meta(), layout.layers(), layout.blobs_of(Algorithm::Sha256)].into_iter().any(has) {
        anyhow::bail!("{}: there is no pool", config.root.display());
    }
    let pool = OpenPool::open(config)?;
    let blobs = fsck_content_offline(&pool.metadata, &pool.files, repair)?;
    let report = fsck_response(fsck_offline(&pool.metadata, &pool.dirs, repair)?, blobs);
    Ok((report, verify.map(|request| content::without_daemon(&pool, request)).transpose()?))
}

/// Returns all that is wrong.
fn problems<'a>(report: &'a FsckResponse, verified: Option<&'a Verified>) -> impl Iterator<Item = &'a Problem> {
    report.problems.iter().chain(verified.into_iter().flat_map(|verified| &verified.problems))
}

fn print_json(report: &FsckResponse, verified: Option<&Verified>) {
    let problems: Vec<_> = problems(report, verified)
        .map(|problem| json!({ "kind": problem.kind, "what": problem.what, "repair": problem.repair }))
        .collect();
    println!(
        "{:#}",
        json!({
            "snapshots": report.snapshots, "layers": report.layers, "directories": report.directories,
            "leases": report.leases, "blobs": report.blobs, "uploads": report.ingests, "problems": problems,
            "content": verified.map(|verified| json!({
                "blobs": verified.progress.blobs, "bytes": verified.progress.bytes,
            })),
        })
    );
}

fn print_text(report: &FsckResponse, verified: Option<&Verified>) {
    let FsckResponse { snapshots, layers, directories, leases, blobs, ingests, .. } = report;
    println!(
        "checked {snapshots} snapshots, {layers} layers, {directories} directories, {leases} leases, {blobs} blobs, \
         {ingests} uploads"
    );
    if let Some(Verified { progress, .. }) = verified {
        println!("read {} blobs, {}", progress.blobs, text::size(progress.bytes));
    }
    for problem in problems(report, verified) {
        let repair = if problem.repair.is_empty() { String::new() } else { format!(" -> {}", problem.repair) };
        println!("{}: {}{repair}", problem.kind, problem.what);
    }
    match problems(report, verified).count() {
        0 => println!("nothing is wrong"),
        1 => println!("1 problem"),
        count => println!("{count} problems"),
    }
    if verified.is_some_and(|verified| verified.problems.iter().any(|one| !one.repair.is_empty())) {
        println!("{PULL_AGAIN}");
    }
}
