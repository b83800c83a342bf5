//! `leasehold du`

mod images;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{BlobShare, DiskUsageRequest, DiskUsageResponse, Share};

use super::containerd::Socket;
use super::daemon::Daemon;
use super::{namespace, text};
use images::Row;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    namespace: namespace::OneOrAll,
    /// Show images instead of namespaces: those of containerd that are named, or all of them.
    #[arg(long, value_name = "NAME", num_args = 0..)]
    image: Option<Vec<String>>,
    #[command(flatten)]
    containerd: Socket,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let namespace = args.namespace.get()?;
    let mut daemon = Daemon::required(config)?;
    let rows = match &args.image {
        Some(names) => Some(images::rows(&args.containerd.connect()?, &namespace, names)?),
        None => None,
    };
    let request = DiskUsageRequest { namespace, images: images::request(rows.as_deref().unwrap_or_default()) };
    let usage = daemon.call(async |client| client.disk_usage(request).await)?;
    if args.json {
        println!("{:#}", json(&usage, rows.as_deref()))
    } else {
        println!("{}", tables(&usage, rows.as_deref(), SystemTime::now()))
    }
    for problem in rows.iter().flatten().filter_map(|row| row.problem.as_ref()) {
        eprintln!("leasehold: note: {}", text::name(problem, true));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows who has what. Unique is what comes back when a lease ends, an image is removed, or a namespace is emptied.
fn tables(usage: &DiskUsageResponse, rows: Option<&[Row]>, now: SystemTime) -> String {
    let mut parts = vec![match rows {
        Some(rows) => images::table(&images::join(rows, &usage.images)),
        None => namespaces(usage),
    }];
    if !usage.leases.is_empty() {
        parts.push(leases(usage, now));
    }
    if rows.is_none() && !usage.blobs.is_empty() {
        parts.push(blobs(usage));
    }
    let total = usage.total.unwrap_or_default();
    let mut sum = format!("the pool: {} in {}", text::size(total.size), layers(total.layers));
    if let Some(BlobShare { blobs: blobs @ 1.., size, .. }) = usage.blob_total {
        sum.push_str(&format!(", {} in {blobs} {}", text::size(size), if blobs == 1 { "blob" } else { "blobs" }));
    }
    if usage.unknown > 0 {
        sum.push_str(&format!("; {} could not be measured and count as nothing", layers(usage.unknown)));
    }
    parts.push(sum);
    parts.join("\n\n")
}

fn namespaces(usage: &DiskUsageResponse) -> String {
    let mut table = text::table();
    table.set_header(["NAMESPACE", "SNAPSHOTS", "RETAINED", "LAYERS", "SIZE", "SHARED", "UNIQUE"]);
    for of in &usage.namespaces {
        let name = if of.namespace.is_empty() { "-".to_owned() } else { of.namespace.clone() };
        let counts = [name, of.snapshots.to_string(), of.retained.to_string()];
        table.add_row(counts.into_iter().chain(cells(of.share)));
    }
    text::finish(table)
}

fn leases(usage: &DiskUsageResponse, now: SystemTime) -> String {
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
    text::finish(table)
}

fn blobs(usage: &DiskUsageResponse) -> String {
    let mut table = text::table();
    table.set_header(["BLOBS OF", "NAMESPACE", "BLOBS", "SIZE", "SHARED", "UNIQUE"]);
    for of in &usage.blobs {
        let namespace = if of.namespace.is_empty() { "-" } else { &of.namespace };
        let share = of.share.unwrap_or_default();
        let sizes = [share.size, share.size.saturating_sub(share.unique), share.unique].map(text::size);
        let facts = [of.owner.clone(), namespace.to_owned(), share.blobs.to_string()];
        table.add_row(facts.into_iter().chain(sizes));
    }
    text::finish(table)
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

fn json_share(share: Option<Share>) -> Value {
    let share = share.unwrap_or_default();
    json!({ "layers": share.layers, "size": share.size, "shared": shared(&share), "unique": share.unique })
}

fn json_blobs(share: Option<BlobShare>) -> Value {
    let share = share.unwrap_or_default();
    let shared = share.size.saturating_sub(share.unique);
    json!({ "blobs": share.blobs, "size": share.size, "shared": shared, "unique": share.unique })
}

/// Everything; images only where they were asked for.
fn json(usage: &DiskUsageResponse, rows: Option<&[Row]>) -> Value {
    let time =
        |timestamp| text::moment(timestamp).filter(|at| text::is_shown(*at)).map(humantime::format_rfc3339_nanos);
    let namespaces = usage.namespaces.iter().map(|of| {
        json!({
            "namespace": of.namespace, "snapshots": of.snapshots, "retained": of.retained,
            "usage": json_share(of.share),
        })
    });
    let leases = usage.leases.iter().map(|of| {
        json!({
            "namespace": of.namespace, "lease": of.lease, "snapshots": of.snapshots, "missing": of.missing,
            "expires_at": time(of.expires_at).map(|at| at.to_string()), "usage": json_share(of.share),
        })
    });
    let blobs = usage
        .blobs
        .iter()
        .map(|of| json!({ "of": of.owner, "namespace": of.namespace, "usage": json_blobs(of.share) }));
    let mut all = json!({
        "namespaces": namespaces.collect::<Vec<_>>(), "leases": leases.collect::<Vec<_>>(),
        "total": json_share(usage.total), "unknown": usage.unknown,
        "blobs": blobs.collect::<Vec<_>>(), "blob_total": json_blobs(usage.blob_total),
    });
    if let (Some(fields), Some(rows)) = (all.as_object_mut(), rows) {
        fields.insert("images".into(), images::json(&images::join(rows, &usage.images)).into());
    }
    all
}
