//! `leasehold content import`

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use crate::app::App;
use crate::config::Config;
use crate::content::{self, Event, Import};
use crate::grpc::proto::leasehold::admin::v1::{ImportRequest, ImportResponse, Imported, Skipped};

use super::super::daemon::Daemon;
use super::super::progress::Meter;
use super::super::text;

/// Where containerd keeps them, unless its configuration says otherwise.
const DEFAULT: &str = "/var/lib/containerd/io.containerd.content.v1.content";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of containerd's content store.
    #[arg(value_name = "DIR", default_value = DEFAULT)]
    directory: PathBuf,
    /// Bring nothing: tell what would be brought. Blobs are not read, so that those that are damaged count as well.
    #[arg(long)]
    dry_run: bool,
    /// How many blobs at a time; otherwise as many as there are processors.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: Option<u32>,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when all of it is in the pool, or would be; else with 1.
pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let directory = std::path::absolute(&args.directory).context("finding the directory")?;
    let (dry_run, jobs) = (args.dry_run, args.jobs.unwrap_or(0));
    let (imported, skipped) = match Daemon::connect(config)? {
        Some(mut daemon) => with_daemon(&mut daemon, &directory, dry_run, jobs)?,
        None => without_daemon(config, &directory, dry_run, jobs)?,
    };
    if args.json {
        print_json(dry_run, &imported, &skipped);
    } else {
        print!("{}", shown(&directory, dry_run, &imported, &skipped));
    }
    let whole = imported.skipped == 0 && (dry_run || imported.missing == 0);
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Outcome = (Imported, Vec<Skipped>);

fn with_daemon(daemon: &mut Daemon, directory: &Path, dry_run: bool, jobs: u32) -> anyhow::Result<Outcome> {
    let directory =
        directory.to_str().context("the directory's name is not UTF-8, and the daemon could not be told")?;
    let request = ImportRequest { directory: directory.to_owned(), dry_run, jobs };
    let (mut meter, mut skipped, mut imported) = (Meter::new(), Vec::new(), None);
    daemon.stream_blobs(
        async |client| client.import(request).await,
        |message: ImportResponse| {
            skipped.extend(message.skipped);
            imported = message.imported;
            message.progress.iter().for_each(|progress| meter.show(progress));
        },
    )?;
    Ok((imported.context("the daemon ended before the import did; the next one goes on")?, skipped))
}

/// Does it here, in the same way.
fn without_daemon(config: &Config, directory: &Path, dry_run: bool, jobs: u32) -> anyhow::Result<Outcome> {
    let app = App::build(config.clone())?;
    let import = Import { from: directory, dry_run, threads: content::threads_to_bring(jobs) };
    let (mut meter, mut skipped) = (Meter::new(), Vec::new());
    let imported = app.with_content(|content| {
        content.import(import, &mut |event| {
            match event {
                Event::Progress(progress) => meter.show(&progress.into()),
                Event::Found(one) => skipped.push(one.into()),
            }
            ControlFlow::Continue(())
        })
    })?;
    Ok((imported.into(), skipped))
}

fn print_json(dry_run: bool, imported: &Imported, skipped: &[Skipped]) {
    let Imported { linked, cloned, copied, bytes, known, missing, .. } = imported;
    let skipped: Vec<_> =
        skipped.iter().map(|one| json!({ "name": one.name, "reason": one.reason, "what": one.what })).collect();
    println!(
        "{:#}",
        json!({
            "dry_run": dry_run, "linked": linked, "cloned": cloned, "copied": copied, "bytes": bytes, "known": known,
            "missing": missing, "skipped": skipped,
        })
    );
}

fn shown(directory: &Path, dry_run: bool, imported: &Imported, skipped: &[Skipped]) -> String {
    let mut lines: Vec<String> =
        skipped.iter().map(|one| format!("{}: skipped, {}", text::name(&one.name, true), one.what)).collect();
    let Imported { linked, cloned, copied, bytes, known, missing, .. } = imported;
    let (brought, size) = (linked + cloned + copied, text::size(*bytes));
    let directory = directory.display();
    if dry_run {
        lines.push(format!("would import {brought} blobs, {size}: {linked} linked, {copied} cloned or copied"));
        lines.push(format!("{known} are there already"));
    } else {
        let ways = format!("{linked} linked, {cloned} cloned, {copied} copied");
        lines.push(format!("imported {brought} blobs, {size}: {ways}; {known} were there already"));
        lines.push(match missing {
            0 => format!("all blobs of {directory} are in the pool"),
            1 => format!("1 blob of {directory} is not in the pool"),
            _ => format!("{missing} blobs of {directory} are not in the pool"),
        });
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn what_was_done_and_what_is_left_is_told() {
        let directory = Path::new("/var/lib/content");
        let imported = Imported { linked: 3, cloned: 2, copied: 1, bytes: 7 << 20, known: 4, skipped: 1, missing: 1 };
        let skipped = [Skipped {
            name: "blobs/sha256/a\u{1b}".into(),
            what: "its name is no digest".into(),
            ..Default::default()
        }];
        assert_snapshot!(shown(directory, false, &imported, &skipped), @r"
        blobs/sha256/a\u{1b}: skipped, its name is no digest
        imported 6 blobs, 7.0 MiB: 3 linked, 2 cloned, 1 copied; 4 were there already
        1 blob of /var/lib/content is not in the pool
        ");
        let whole = Imported { missing: 0, skipped: 0, ..imported };
        assert!(shown(directory, false, &whole, &[]).ends_with("\nall blobs of /var/lib/content are in the pool\n"));
        assert_snapshot!(shown(directory, true, &Imported { linked: 3, copied: 2, ..Default::default() }, &[]), @r"
        would import 5 blobs, 0 B: 3 linked, 2 cloned or copied
        0 are there already
        ");
    }
}
