//! From records to objects: what the graph is built from.

use std::ops::ControlFlow;

use super::build::Builder;
use super::object::Object;
use super::resource::{Resource, ResourceType};
use crate::Result;
use crate::metadata::{ApiSnapshot, Consistent, NamedResource};
use crate::types::MemberKind;

/// What leases call snapshots: `snapshots/<snapshotter>`.
const SNAPSHOTS: &str = "snapshots/";

/// Adds all leases with what they name, and all snapshots of the API socket. Those of the plugin socket, retained or not,
/// are not in the graph: containerd, and leases one by one, say what becomes of them.
///
/// # Errors
/// Those of the store. A record that cannot be read ends it, because what it refers to would seem to be held by nothing.
pub(super) fn feed(records: &Consistent<'_>, snapshotter: &str, builder: &mut Builder) -> Result<()> {
    records.each_borrowed_lease(|namespace, id, lease| {
        builder.add(namespace, &Object::Lease { id }, lease.labels());
        Ok(())
    })?;
    records.each_named_resource(|named| {
        if let Some(member) = resource(&named) {
            builder.member(named.namespace, named.lease, &member);
        }
        Ok(())
    })?;
    records.each_api_snapshot(None, |ApiSnapshot { namespace, key, record }| {
        let object = Object::Snapshot { snapshotter, key, parent: Some(record.parent) };
        builder.add(namespace, &object, record.labels());
        Ok(ControlFlow::Continue(()))
    })
}

/// Returns what a lease names, as the graph has it.
fn resource<'r>(named: &NamedResource<'r>) -> Option<Resource<'r>> {
    let NamedResource { namespace, kind, id, .. } = *named;
    Some(match kind {
        "content" => Resource::content(namespace, id),
        "images" => Resource::new(namespace, ResourceType::IMAGE, id),
        "ingests" => Resource::new(namespace, ResourceType::INGEST, id),
        _ => Resource::snapshot(namespace, kind.strip_prefix(SNAPSHOTS)?, id),
    })
}

/// Returns what a lease names, as the graph has it.
pub(super) fn resource_of_member<'r>(namespace: &'r str, kind: &'r MemberKind, id: &'r str) -> Resource<'r> {
    match kind {
        MemberKind::Content => Resource::content(namespace, id),
        MemberKind::Images => Resource::new(namespace, ResourceType::IMAGE, id),
        MemberKind::Ingests => Resource::new(namespace, ResourceType::INGEST, id),
        MemberKind::Snapshots(snapshotter) => Resource::snapshot(namespace, snapshotter, id),
    }
}
