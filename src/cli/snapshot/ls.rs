//! `leasehold snapshot ls`

use serde_json::{Value, json};

use crate::grpc::proto::leasehold::admin::v1::Snapshot;

use super::super::text;
use super::{held_by, kind, parent, size};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print digests and ids in full.
    #[arg(long)]
    full: bool,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(all: &[Snapshot], args: &Args) {
    if args.json {
        println!("{:#}", Value::Array(all.iter().map(json).collect()));
    } else {
        println!("{}", list(all, args.full));
    }
}

pub(super) fn list(all: &[Snapshot], full: bool) -> String {
    let mut table = text::table();
    table.set_header(["NAMESPACE", "SNAPSHOT", "KIND", "PARENT", "LAYER", "SIZE", "HELD BY"]);
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text::name(text, full) };
    for snapshot in all {
        table.add_row([
            or_dash(&snapshot.namespace),
            or_dash(&snapshot.name),
            kind(snapshot).to_owned(),
            or_dash(parent(snapshot)),
            or_dash(&snapshot.layer),
            size(snapshot),
            held_by(snapshot),
        ]);
    }
    text::finish(table)
}

fn json(snapshot: &Snapshot) -> Value {
    let time =
        |timestamp| text::moment(timestamp).filter(|at| text::is_shown(*at)).map(humantime::format_rfc3339_nanos);
    json!({
        "namespace": snapshot.namespace,
        "name": snapshot.name,
        "key": snapshot.key,
        "kind": snapshot.kind,
        "retained": snapshot.removed_at.is_some(),
        "api": snapshot.api,
        "parent": snapshot.parent,
        "layer": snapshot.layer,
        "parent_layers": snapshot.parent_layers,
        "size": snapshot.usage.as_ref().map(|usage| usage.size),
        "inodes": snapshot.usage.as_ref().map(|usage| usage.inodes),
        "created_at": time(snapshot.created_at).map(|at| at.to_string()),
        "removed_at": time(snapshot.removed_at).map(|at| at.to_string()),
        "leases": snapshot.leases,
        "more_leases": snapshot.more_leases,
    })
}
