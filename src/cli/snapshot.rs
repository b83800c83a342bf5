//! `leasehold snapshot`: what there is, and what holds it.

mod ls;
#[cfg(test)]
mod tests;
mod tree;

use std::process::ExitCode;

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{Snapshot, SnapshotsRequest};

use super::daemon::Daemon;
use super::{namespace, text};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    namespace: namespace::OneOrAll,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List snapshots, and what is retained of those that containerd removed.
    Ls(ls::Args),
    /// The same as a tree of parents and children.
    Tree(tree::Args),
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let request = SnapshotsRequest { namespace: args.namespace.get()? };
    let mut all = Vec::new();
    Daemon::required(config)?
        .stream(async |client| client.snapshots(request).await, |page| all.extend(page.snapshots))?;
    // By namespace; in it they stay in the order of their keys, retained ones last.
    all.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    match &args.command {
        Command::Ls(args) => ls::run(&all, args),
        Command::Tree(args) => tree::run(&all, args),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a snapshot is, for people.
fn kind(snapshot: &Snapshot) -> &str {
    if snapshot.removed_at.is_some() { "retained" } else { &snapshot.kind }
}

/// What its own layer takes; `-` while that is not counted.
fn size(snapshot: &Snapshot) -> String {
    snapshot.usage.as_ref().map_or_else(|| "-".into(), |usage| text::size(usage.size))
}

/// Who holds a snapshot.
fn held_by(snapshot: &Snapshot) -> String {
    let mut holders = Vec::new();
    if snapshot.removed_at.is_none() {
        holders.push(if snapshot.api { "API socket".to_owned() } else { "containerd".to_owned() });
    }
    holders.extend(snapshot.leases.iter().map(|lease| format!("lease {}", text::name(lease, true))));
    if snapshot.more_leases {
        holders.push("more leases".to_owned());
    }
    // Between the end of a lease and its collection.
    if holders.is_empty() { "nothing: will be deleted".to_owned() } else { holders.join(", ") }
}

/// The last part of a parent's key, which is what clients of containerd know.
fn parent(snapshot: &Snapshot) -> &str {
    match snapshot.parent.strip_prefix(&format!("{}/", snapshot.namespace)).and_then(|rest| rest.split_once('/')) {
        Some((_, name)) if !snapshot.api => name,
        _ => &snapshot.parent,
    }
}
