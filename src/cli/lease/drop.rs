//! `leasehold lease drop`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::ArgGroup;

use crate::grpc::proto::containerd::services::leases::v1::DeleteResourceRequest;

use super::add::named;
use super::resources::{OPTIONS, Resources, resource};
use super::{Leases, Place};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("named").args(OPTIONS).required(true).multiple(true)))]
// The lease first: an option of several values would take it for one.
#[command(override_usage = "leasehold lease drop [OPTIONS] <LEASE> <--image|--chain|--snapshot|--content> <VALUE>...")]
pub(super) struct Args {
    /// The lease's id.
    lease: String,
    #[command(flatten)]
    resources: Resources,
}

pub(super) fn run(
    connect: impl FnOnce() -> anyhow::Result<Leases>,
    place: &Place<'_>,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    let members = args.resources.members(place.snapshotter)?;
    let mut leases = connect()?;
    let named = named(&mut leases, &args.lease, &args.resources, place)?;
    for member in members.iter().chain(&named.members) {
        let request = DeleteResourceRequest { id: args.lease.clone(), resource: Some(resource(member)) };
        let dropped = leases.call(async |client| client.delete_resource(request).await);
        dropped.with_context(|| format!("dropping {} {:?}", member.kind(), member.id()))?;
    }
    Ok(ExitCode::SUCCESS)
}
