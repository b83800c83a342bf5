//! `leasehold lease add`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::ArgGroup;

use crate::grpc::proto::containerd::services::leases::v1::AddResourceRequest;
use crate::types::Member;

use super::Leases;
use super::resources::{OPTIONS, Resources, resource};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("named").args(OPTIONS).required(true).multiple(true)))]
// The lease first: an option of several values would take it for one.
#[command(override_usage = "leasehold lease add [OPTIONS] <LEASE> <--chain|--snapshot|--content|--image> <VALUE>...")]
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
    add_all(&mut connect()?, &args.lease, &members)?;
    Ok(ExitCode::SUCCESS)
}

/// Adds one after the other; what was added before a failure stays.
pub(super) fn add_all(leases: &mut Leases, id: &str, members: &[Member]) -> anyhow::Result<()> {
    for member in members {
        let request = AddResourceRequest { id: id.to_owned(), resource: Some(resource(member)) };
        let added = leases.call(async |client| client.add_resource(request).await);
        added.with_context(|| format!("adding {} {:?}", member.kind(), member.id()))?;
    }
    Ok(())
}
