//! From records to objects: what the graph is built from.

use std::ops::ControlFlow;

use super::build::Builder;
use super::mark::Marks;
use super::object::Object;
use super::resource::{Resource, ResourceType};
use crate::Result;
use crate::metadata::{ApiBlob, ApiIngest, ApiSnapshot, Consistent, NamedResource, StartAt};
use crate::types::MemberKind;

/// What leases call snapshots: `snapshots/<snapshotter>`.
const SNAPSHOTS: &str = "snapshots/";
/// How many objects are read again to find one that is not marked.
const STRETCH: usize = 512;

/// Adds all leases with what they name, and all snapshots, blobs and uploads of the API socket. Those of the plugin socket,
/// retained or not, are not in the graph: containerd, and leases one by one, say what becomes of them.
///
/// # Errors
/// Those of the store. A record that cannot be read ends it, because what it refers to would seem to be held by nothing.
pub(super) fn feed(records: &Consistent<'_>, snapshotter: &str, builder: &mut Builder) -> Result<Orders> {
    let mut orders = Orders::default();
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
    records.each_api_snapshot(StartAt::First, |ApiSnapshot { namespace, key, record }| {
        let object = Object::Snapshot { snapshotter, key, parent: Some(record.parent) };
        let number = builder.add_numbered(namespace, &object, record.labels());
        orders.snapshots.push(namespace, key, number);
        Ok(ControlFlow::Continue(()))
    })?;
    records.each_api_blob(StartAt::First, |ApiBlob { namespace, key, record }| {
        let number = builder.add_numbered(namespace, &Object::Content { digest: key }, record.labels());
        orders.blobs.push(namespace, key, number);
        Ok(ControlFlow::Continue(()))
    })?;
    records.each_api_ingest(StartAt::First, |ApiIngest { namespace, key, record }| {
        let (expected, expires) = (Some(record.expected), record.expires_at);
        let object = Object::Ingest { reference: key, expected, expires };
        let number = builder.add_numbered(namespace, &object, std::iter::empty());
        orders.ingests.push(namespace, key, number);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(orders)
}

/// What was read, kind by kind.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) snapshots: Order,
    pub(super) blobs: Order,
    pub(super) ingests: Order,
}

/// The objects of a kind in the order in which they were read, so that those that are not marked are found without reading
/// all of them again.
#[derive(Debug, Default)]
pub(super) struct Order {
    numbers: Vec<u32>,
    /// Namespace and key of the first of each stretch.
    landmarks: Vec<(String, String)>,
}

/// Where objects are that are not marked: from a key on, up to another one or the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'o> {
    pub(super) from: (&'o str, &'o str),
    pub(super) to: Option<(&'o str, &'o str)>,
}

impl Order {
    fn push(&mut self, namespace: &str, key: &str, number: Option<u32>) {
        if self.numbers.len().is_multiple_of(STRETCH) {
            self.landmarks.push((namespace.to_owned(), key.to_owned()));
        }
        self.numbers.push(number.unwrap_or(u32::MAX));
    }

    /// Returns the stretches in which something is not marked; neighbours are one.
    pub(super) fn unmarked<'o>(&'o self, marks: &Marks) -> Vec<Stretch<'o>> {
        let landmark = |index: usize| self.landmarks.get(index).map(|(space, key)| (space.as_str(), key.as_str()));
        let mut found: Vec<Stretch<'_>> = Vec::new();
        for (index, numbers) in self.numbers.chunks(STRETCH).enumerate() {
            if numbers.iter().all(|number| marks.is_number_marked(*number)) {
                continue;
            }
            let (Some(from), to) = (landmark(index), landmark(index + 1)) else { continue };
            match found.last_mut().filter(|last| last.to == Some(from)) {
                Some(last) => last.to = to,
                None => found.push(Stretch { from, to }),
            }
        }
        found
    }
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
