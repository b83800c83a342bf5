//! The kinds of objects that live by the collector alone, and the reading of those of them that are not marked.

use std::ops::ControlFlow;

use super::feed::Stretch;
use super::mark::Marks;
use super::resource::{Resource, ResourceType};
use crate::Result;
use crate::metadata::{Consistent, Metadata, StartAt, Unheld, UnheldBlob, UnheldIngest};
use crate::types::{Digest, FileId, IngestRef, LayerId, Namespace, Scope, SnapshotKey};

/// Namespace and key of an object, and how to make what is told of it where nothing holds it.
type Visit<'v, T> = &'v mut dyn FnMut(&str, &str, &dyn Fn() -> Result<T>) -> Result<ControlFlow<()>>;

/// A kind of objects.
pub(super) trait Sweepable {
    /// One of them, as whoever removes it needs it.
    type Unheld;

    /// Calls `visit` with every object of the API socket from one on, in key order, until it breaks off.
    fn each(&self, records: &Consistent<'_>, from: StartAt<'_>, visit: Visit<'_, Self::Unheld>) -> Result<()>;

    /// Names an object as the graph does.
    fn resource<'r>(&'r self, namespace: &'r str, key: &'r str) -> Resource<'r>;
}

/// Snapshots of the snapshotter of this name.
pub(super) struct Snapshots<'s>(pub &'s str);
/// Blobs.
pub(super) struct Blobs;
/// Uploads.
pub(super) struct Ingests;

impl Sweepable for Snapshots<'_> {
    type Unheld = Unheld;

    fn each(&self, records: &Consistent<'_>, from: StartAt<'_>, visit: Visit<'_, Unheld>) -> Result<()> {
        records.each_api_snapshot(from, |snapshot| {
            let record = snapshot.record;
            visit(snapshot.namespace, snapshot.key, &|| {
                let key = SnapshotKey::parse_in(Scope::Api(Namespace::parse(snapshot.namespace)?), snapshot.key)?;
                Ok(Unheld { key, id: record.id, updated_at: record.updated_at, depth: record.depth })
            })
        })
    }

    fn resource<'r>(&'r self, namespace: &'r str, key: &'r str) -> Resource<'r> {
        Resource::snapshot(namespace, self.0, key)
    }
}

impl Sweepable for Blobs {
    type Unheld = UnheldBlob;

    fn each(&self, records: &Consistent<'_>, from: StartAt<'_>, visit: Visit<'_, UnheldBlob>) -> Result<()> {
        records.each_api_blob(from, |blob| {
            visit(blob.namespace, blob.key, &|| {
                let (namespace, digest) = (Namespace::parse(blob.namespace)?, Digest::parse(blob.key)?);
                Ok(UnheldBlob { namespace, digest, updated_at: blob.record.updated_at })
            })
        })
    }

    fn resource<'r>(&'r self, namespace: &'r str, key: &'r str) -> Resource<'r> {
        Resource::content(namespace, key)
    }
}

impl Sweepable for Ingests {
    type Unheld = UnheldIngest;

    fn each(&self, records: &Consistent<'_>, from: StartAt<'_>, visit: Visit<'_, UnheldIngest>) -> Result<()> {
        records.each_api_ingest(from, |ingest| {
            visit(ingest.namespace, ingest.key, &|| {
                let namespace = Namespace::parse(ingest.namespace)?;
                let name = IngestRef::parse_in(Scope::Api(namespace.clone()), ingest.key)?;
                Ok(UnheldIngest { namespace, name, file: FileId::new(LayerId::new(ingest.record.file)) })
            })
        })
    }

    fn resource<'r>(&'r self, namespace: &'r str, key: &'r str) -> Resource<'r> {
        Resource::new(namespace, ResourceType::INGEST, key)
    }
}

/// How far a pass over the unmarked ones has come.
#[derive(Debug, Default)]
pub(super) struct Place {
    stretch: usize,
    after: Option<(String, String)>,
}

/// Returns the next objects of a kind that are not marked, about `limit` of them; `None` after the last.
///
/// They are read from the newest state: what came to be after the marked one is shaded, which is found out in the
/// transaction that would remove it.
pub(super) fn unheld<K: Sweepable>(
    metadata: &Metadata,
    kind: &K,
    marks: &Marks,
    stretches: &[Stretch<'_>],
    place: &mut Place,
    limit: usize,
) -> Result<Option<Vec<K::Unheld>>> {
    if place.stretch >= stretches.len() {
        return Ok(None);
    }
    let mut found = Vec::new();
    metadata.read(|records| {
        while let Some(stretch) = stretches.get(place.stretch).filter(|_| found.len() < limit) {
            let after = place.after.take();
            let from = match &after {
                Some((namespace, key)) => StartAt::After(namespace, key),
                None => StartAt::This(stretch.from.0, stretch.from.1),
            };
            kind.each(records, from, &mut |namespace, key, unheld| {
                if stretch.to.is_some_and(|to| (namespace, key) >= to) {
                    return Ok(ControlFlow::Break(()));
                }
                if marks.is_marked(&kind.resource(namespace, key)) {
                    return Ok(ControlFlow::Continue(()));
                }
                found.push(unheld()?);
                if found.len() < limit {
                    return Ok(ControlFlow::Continue(()));
                }
                place.after = Some((namespace.to_owned(), key.to_owned()));
                Ok(ControlFlow::Break(()))
            })?;
            if place.after.is_none() {
                place.stretch += 1;
            }
        }
        Ok(())
    })?;
    Ok(Some(found))
}
