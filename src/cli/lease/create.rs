//! `leasehold lease create`

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;

use crate::grpc::proto::containerd::services::leases::v1::{CreateRequest, DeleteRequest};
use crate::types::label;

use super::add::add_all;
use super::expiry::Expiry;
use super::image;
use super::resources::Resources;
use super::view::View;
use super::{Leases, Place};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The lease's id; one is made up when there is none. Stands before options that take several values.
    lease: Option<String>,
    /// When the lease ends: a duration such as 72h, or a time such as 2030-01-31T12:00:00Z. Without, it never does.
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse)]
    expire: Option<Expiry>,
    /// Hold only what is named, not what its labels refer to.
    #[arg(long)]
    flat: bool,
    /// Attach a label.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label_of)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    resources: Resources,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    connect: impl FnOnce() -> anyhow::Result<Leases>,
    place: &Place<'_>,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    let members = args.resources.members(place.snapshotter)?;
    let labels = labels(args, SystemTime::now())?;
    let named = args.resources.images.named(place, labels.contains_key(label::GC_FLAT))?;
    let mut leases = connect()?;
    let request = CreateRequest { id: args.lease.clone().unwrap_or_default(), labels };
    let lease = leases.call(async |client| client.create(request).await)?.lease.context("the answer has no lease")?;
    if let Err(err) = add_all(&mut leases, &lease.id, &[members, named.members.clone()].concat()) {
        // All or nothing: a lease that holds half of what it should is worse than none. If this fails as well, the
        // first error is the one that helps.
        let request = DeleteRequest { id: lease.id, sync: false };
        drop(leases.call(async |client| client.delete(request).await));
        return Err(err);
    }
    if args.json {
        println!("{:#}", View::from(lease).json())
    } else {
        println!("{}", lease.id)
    }
    image::print(&named.notes);
    args.resources.images.require_there(place, &named)?;
    Ok(ExitCode::SUCCESS)
}

fn labels(args: &Args, now: SystemTime) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels: BTreeMap<String, String> = args.labels.iter().cloned().collect();
    if let Some(expire) = &args.expire {
        labels.insert(label::GC_EXPIRE.to_owned(), expire.label(now)?);
    }
    if args.flat {
        // Its presence counts. Without a value it would be no label.
        labels.insert(label::GC_FLAT.to_owned(), "true".to_owned());
    }
    Ok(labels)
}

fn label_of(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label has the form KEY=VALUE, and neither is empty".to_owned()),
    }
}
