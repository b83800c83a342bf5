//! `leasehold lease ls`

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::Value;

use crate::grpc::proto::containerd::services::leases::v1::ListRequest;

use super::super::text;
use super::Leases;
use super::view::View;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only leases that match a filter of containerd's, for example 'labels."team"==web'. Of several, one is enough.
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// Print ids only.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(mut leases: Leases, args: &Args) -> anyhow::Result<ExitCode> {
    let request = ListRequest { filters: args.filters.clone() };
    let answer = leases.call(async |client| client.list(request).await)?;
    let views: Vec<View> = answer.leases.into_iter().map(View::from).collect();
    if args.json {
        println!("{:#}", Value::Array(views.iter().map(View::json).collect()));
    } else if args.quiet {
        views.iter().for_each(|view| println!("{}", view.id));
    } else {
        println!("{}", list(&views, SystemTime::now()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(views: &[View], now: SystemTime) -> String {
    let mut table = text::table();
    table.set_header(["LEASE", "CREATED", "ENDS", "FLAT", "LABELS"]);
    for view in views {
        table.add_row([&text::name(&view.id, true), &view.created(), &view.end(now), view.flat(), &view.labels()]);
    }
    text::finish(table)
}
