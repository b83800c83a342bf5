//! `leasehold content check`

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

use serde_json::json;

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::ListBlobsRequest;

use super::super::containerd::Socket;
use super::super::daemon::Daemon;
use super::super::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    containerd: Socket,
    /// Print digests in full.
    #[arg(long)]
    full: bool,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Blobs that containerd knows, by their digests.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, KnownBlob>);

#[derive(Debug, Default)]
struct KnownBlob {
    size: u64,
    /// The namespaces that have it.
    namespaces: Vec<String>,
}

/// Exits with 0 when all are in the pool, else with 1.
pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut daemon = Daemon::required(config)?;
    let containerd = args.containerd.connect()?;
    let mut known = Known::default();
    for namespace in containerd.namespaces()? {
        for (digest, size) in containerd.blobs(&namespace)? {
            known.add(digest, size, namespace.as_str());
        }
    }
    // Afterwards: what containerd has got meanwhile is not asked for. A retained blob is there as soon as it is.
    let mut pool = HashSet::new();
    daemon.stream_blobs(
        async |client| client.list(ListBlobsRequest {}).await,
        |page| pool.extend(page.blobs.into_iter().filter(|blob| blob.namespace.is_empty()).map(|blob| blob.digest)),
    )?;
    let all = known.0.len();
    known.0.retain(|digest, _| !pool.contains(digest));
    if args.json {
        let missing = |(digest, blob): (&String, &KnownBlob)| json!({ "digest": digest, "size": blob.size, "namespaces": blob.namespaces });
        let missing: Vec<_> = known.0.iter().map(missing).collect();
        println!("{:#}", json!({ "blobs": all, "missing": missing }));
    } else {
        println!("{}", shown(&known, all, args.full));
    }
    Ok(if known.0.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Known {
    fn add(&mut self, digest: String, size: u64, namespace: &str) {
        let blob = self.0.entry(digest).or_default();
        blob.size = size;
        blob.namespaces.push(namespace.to_owned());
    }
}

fn shown(missing: &Known, all: usize, full: bool) -> String {
    if missing.0.is_empty() {
        return format!("all {all} blobs that containerd knows are in the pool");
    }
    let mut table = text::table();
    table.set_header(["NOT IN THE POOL", "SIZE", "NAMESPACES"]);
    for (digest, blob) in &missing.0 {
        let namespaces: Vec<String> = blob.namespaces.iter().map(|name| text::name(name, true)).collect();
        table.add_row([text::name(digest, full), text::size(blob.size), namespaces.join(", ")]);
    }
    let count = missing.0.len();
    format!("{}\n\n{count} of {all} blobs that containerd knows are not in the pool", text::finish(table))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn what_is_missing_is_told_with_who_has_it() {
        let mut known = Known::default();
        let digest = |number: u8| format!("sha256:{}", format!("{number:02x}").repeat(32));
        known.add(digest(2), 3 << 20, "default");
        known.add(digest(1), 512, "default");
        known.add(digest(2), 3 << 20, "k8s.io");
        assert_snapshot!(shown(&known, 7, false), @r"
        NOT IN THE POOL      SIZE     NAMESPACES
        sha256:010101010101  512 B    default
        sha256:020202020202  3.0 MiB  default, k8s.io

        2 of 7 blobs that containerd knows are not in the pool
        ");
        assert_eq!(shown(&Known::default(), 7, false), "all 7 blobs that containerd knows are in the pool");
    }
}
