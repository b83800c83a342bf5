//! `leasehold why`

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{Explained, Hold, WhyRequest};

use super::daemon::Daemon;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Key or name of a snapshot, digest of a blob, or a path below the pool.
    #[arg(value_name = "KEY|DIGEST|PATH")]
    what: String,
    /// Look in this namespace only.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when there is such a thing, held or not; else with 1.
pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut daemon = Daemon::connect(config)?.context("no daemon is running")?;
    let request = WhyRequest { what: absolute(&args.what), namespace: args.namespace.clone().unwrap_or_default() };
    let found = daemon.call_collections(async |client| client.why(request).await)?.found;
    if args.json {
        println!("{:#}", json!(found.iter().map(to_json).collect::<Vec<_>>()));
    } else {
        found.iter().for_each(print);
    }
    if found.is_empty() {
        eprintln!("leasehold: there is nothing of that name");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a path absolute where it is one; anything else is left as it is.
fn absolute(what: &str) -> String {
    let path = what.starts_with('.').then(|| std::path::absolute(what).ok()).flatten();
    path.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| what.to_owned())
}

fn to_json(found: &Explained) -> serde_json::Value {
    let to_json = |hold: &Hold| json!({ "kind": hold.kind, "namespace": hold.namespace, "name": hold.name, "reason": hold.reason });
    let [holds, after] =
        [&found.holds, &found.after_removal].map(|holds| holds.iter().map(to_json).collect::<Vec<_>>());
    json!({
        "kind": found.kind, "namespace": found.namespace, "name": found.name, "held": !found.holds.is_empty(),
        "holds": holds, "after_removal": after,
    })
}

fn print(found: &Explained) {
    println!("{} {}", what_it_is(&found.kind), place(&found.namespace, &found.name));
    if found.holds.is_empty() {
        println!("  nothing: will be reclaimed");
    }
    for (depth, hold) in found.holds.iter().enumerate() {
        println!("{}{}", "  ".repeat(depth + 1), shown(hold));
    }
    if found.kind == "containerd" && found.after_removal.is_empty() {
        println!("  after a removal nothing would keep it");
    }
    for hold in &found.after_removal {
        println!("  after a removal: {}", shown(hold));
    }
}

fn shown(hold: &Hold) -> String {
    format!("{} {}: {}", hold.kind, place(&hold.namespace, &hold.name), hold.reason)
}

fn what_it_is(kind: &str) -> &str {
    match kind {
        "containerd" => "snapshot of containerd",
        "retained" => "retained snapshot",
        "snapshot" => "snapshot of the API socket",
        "trash" => "layer in trash",
        other => other,
    }
}

fn place(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{name} in {namespace}") }
}
