//! `leasehold du`

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{DiskUsageRequest, DiskUsageResponse, Share};

use super::daemon::Daemon;
use super::{namespace, text};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    namespace: namespace::OneOrAll,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let request = DiskUsageRequest { namespace: args.namespace.get()? };
    let usage = Daemon::required(config)?.call(async |client| client.disk_usage(request).await)?;
    if args.json {
        println!("{:#}", json(&usage))
    } else {
        println!("{}", tables(&usage, SystemTime::now()))
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows who has what. Unique is what comes back when a lease ends, or a namespace is emptied.
fn tables(usage: &DiskUsageResponse, now: SystemTime) -> String {
    let mut parts = Vec::new();
    let mut table = text::table();
    table.set_header(["NAMESPACE", "SNAPSHOTS", "RETAINED", "LAYERS", "SIZE", "SHARED", "UNIQUE"]);
    for of in &usage.namespaces {
        let name = if of.namespace.is_empty() { "-".to_owned() } else { of.namespace.clone() };
        let counts = [name, of.snapshots.to_string(), of.retained.to_string()];
        table.add_row(counts.into_iter().chain(cells(of.share)));
    }
    parts.push(text::finish(table));
    if !usage.leases.is_empty() {
        let mut table = text::table();
        table.set_header(["NAMESPACE", "LEASE", "ENDS IN", "SNAPSHOTS", "LAYERS", "SIZE", "SHARED", "UNIQUE"]);
        for of in &usage.leases {
            let ends = text::moment(of.expires_at).map_or_else(
                || "never".to_owned(),
                |at| at.duration_since(now).map_or_else(|_| "ended".to_owned(), text::duration),
            );
            let snapshots = match of.missing {
                0 => of.snapshots.to_string(),
                missing => format!("{} of {}", of.snapshots, of.snapshots + missing),
            };
            let facts = [of.namespace.clone(), text::name(&of.lease, true), ends, snapshots];
            table.add_row(facts.into_iter().chain(cells(of.share)));
        }
        parts.push(text::finish(table));
    }
    let total = usage.total.unwrap_or_default();
    let mut sum = format!("the pool: {} in {}", text::size(total.size), layers(total.layers));
    if usage.unknown > 0 {
        sum.push_str(&format!("; {} could not be measured and count as nothing", layers(usage.unknown)));
    }
    parts.push(sum);
    parts.join("\n\n")
}

fn layers(count: u64) -> String {
    if count == 1 { "1 layer".into() } else { format!("{count} layers") }
}

fn shared(share: &Share) -> u64 {
    share.size.saturating_sub(share.unique)
}

fn cells(share: Option<Share>) -> [String; 4] {
    let share = share.unwrap_or_default();
    [share.layers.to_string(), text::size(share.size), text::size(shared(&share)), text::size(share.unique)]
}

fn json(usage: &DiskUsageResponse) -> Value {
    let share = |share: Option<Share>| {
        let share = share.unwrap_or_default();
        json!({ "layers": share.layers, "size": share.size, "shared": shared(&share), "unique": share.unique })
    };
    let time =
        |timestamp| text::moment(timestamp).filter(|at| text::is_shown(*at)).map(humantime::format_rfc3339_nanos);
    let namespaces = usage.namespaces.iter().map(|of| {
        json!({
            "namespace": of.namespace, "snapshots": of.snapshots, "retained": of.retained, "usage": share(of.share),
        })
    });
    let leases = usage.leases.iter().map(|of| {
        json!({
            "namespace": of.namespace, "lease": of.lease, "snapshots": of.snapshots, "missing": of.missing,
            "expires_at": time(of.expires_at).map(|at| at.to_string()), "usage": share(of.share),
        })
    });
    json!({
        "namespaces": namespaces.collect::<Vec<_>>(), "leases": leases.collect::<Vec<_>>(),
        "total": share(usage.total), "unknown": usage.unknown,
    })
}
