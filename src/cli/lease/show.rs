//! `leasehold lease show`

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use serde_json::json;

use crate::grpc::proto::containerd::services::leases::v1::{ListResourcesRequest, Resource};
use crate::types::Namespace;

use super::super::text;
use super::Leases;
use super::view::View;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The lease's id.
    lease: String,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(mut leases: Leases, namespace: &Namespace, args: &Args) -> anyhow::Result<ExitCode> {
    let id = args.lease.clone();
    // First: it says so when there is no such lease.
    let named = leases.call(async |client| client.list_resources(ListResourcesRequest { id }).await)?.resources;
    let Some(view) = View::find(&mut leases, &args.lease)? else {
        bail!("lease {:?} ended meanwhile", args.lease);
    };
    if args.json {
        let mut shown = view.json();
        let named = named.iter().map(|one| json!({ "type": one.r#type, "id": one.id }));
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("namespace".into(), namespace.as_str().into());
            fields.insert("resources".into(), named.collect());
        }
        println!("{shown:#}");
    } else {
        println!("{}", text(&view, namespace, &named, SystemTime::now()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn text(view: &View, namespace: &Namespace, named: &[Resource], now: SystemTime) -> String {
    let mut facts = text::table();
    facts.add_row(["lease", &text::name(&view.id, true)]);
    facts.add_row(["namespace", namespace.as_str()]);
    facts.add_row(["created", &view.created()]);
    facts.add_row(["ends", &view.end(now)]);
    facts.add_row(["flat", view.flat()]);
    facts.add_row(["labels", &view.labels()]);
    if named.is_empty() {
        return format!("{}\n\nit names nothing", text::finish(facts));
    }
    let mut table = text::table();
    table.set_header(["TYPE", "ID"]);
    for one in named {
        table.add_row([text::name(&one.r#type, true), text::name(&one.id, true)]);
    }
    format!("{}\n\n{}", text::finish(facts), text::finish(table))
}
