//! `leasehold lease drop`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::ArgGroup;

use crate::grpc::proto::containerd::services::leases::v1::DeleteResourceRequest;

use super::Leases;
use super::resources::{OPTIONS, Resources, resource};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("named").args(OPTIONS).required(true).multiple(true)))]
// The lease first: an option of several values would take it for one.
#[command(override_usage = "leasehold lease drop [OPTIONS] <LEASE> <--chain|--snapshot|--content|--image> <VALUE>...")]
pub(super) struct Args {
    /// The lease's id.
    lease: String,
    #[command(flatten)]
    resources: Resources,
}

pub(super) fn run(
    connect: impl FnOnce() -> anyhow::Result<Leases>,
    snapshotter: &str,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    let members = args.resources.members(snapshotter)?;
    let mut leases = connect()?;
    for member in &members {
        let request = DeleteResourceRequest { id: args.lease.clone(), resource: Some(resource(member)) };
        let dropped = leases.call(async |client| client.delete_resource(request).await);
        dropped.with_context(|| format!("dropping {} {:?}", member.kind(), member.id()))?;
    }
    Ok(ExitCode::SUCCESS)
}
