//! `leasehold lease add`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::ArgGroup;

use crate::grpc::proto::containerd::services::leases::v1::AddResourceRequest;
use crate::types::Member;

use super::image::{self, Named};
use super::resources::{OPTIONS, Resources, resource};
use super::view::View;
use super::{Leases, Place};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("named").args(OPTIONS).required(true).multiple(true)))]
// The lease first: an option of several values would take it for one.
#[command(override_usage = "leasehold lease add [OPTIONS] <LEASE> <--image|--chain|--snapshot|--content> <VALUE>...")]
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
    add_all(&mut leases, &args.lease, &[members, named.members.clone()].concat())?;
    image::print(&named.notes);
    args.resources.images.require_there(place, &named)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns what a lease that is there is to name for images.
pub(super) fn named(leases: &mut Leases, id: &str, resources: &Resources, place: &Place<'_>) -> anyhow::Result<Named> {
    if resources.images.is_empty() {
        return Ok(Named::default());
    }
    // One that is not there is told by the call that needs it.
    let flat = View::find(leases, id)?.is_some_and(|view| view.flat);
    resources.images.named(place, flat)
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
