//! Collecting and explaining, for the command line.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::{Request, Response, Status};

use crate::gc::{Collectible, Explained, GarbageKind, Plan, Reason, Statistics};
use crate::types::Namespace;

use super::proto::leasehold::admin::v1 as api;
use super::proto::leasehold::admin::v1::collections_server::Collections;
use super::request::{Slow, span};

/// The service over one pool.
pub(super) struct CollectionsService {
    collectible: Arc<Collectible>,
    slow: Slow,
}

impl CollectionsService {
    pub fn new(collectible: Arc<Collectible>, slow: Slow) -> CollectionsService {
        CollectionsService { collectible, slow }
    }
}

#[tonic::async_trait]
impl Collections for CollectionsService {
    async fn collect(&self, request: Request<api::CollectRequest>) -> Result<Response<api::CollectResponse>, Status> {
        let span = span("Collect", request.metadata(), "");
        let dry_run = request.into_inner().dry_run;
        let answer = self.slow.blocking(&self.collectible, "Collect", span, move |collectible| {
            if dry_run {
                return Ok(planned(collectible.plan(SystemTime::now())?));
            }
            let collected = collectible.collect()?;
            Ok(api::CollectResponse {
                leases: collected.leases as u64,
                retained: collected.retained.len() as u64,
                retained_blobs: collected.retained_blobs.len() as u64,
                snapshots: collected.api_snapshots as u64,
                blobs: collected.blobs as u64,
                ingests: collected.ingests as u64,
                ..statistics(&collected.statistics)
            })
        });
        answer.await.map(Response::new)
    }

    async fn why(&self, request: Request<api::WhyRequest>) -> Result<Response<api::WhyResponse>, Status> {
        let span = span("Why", request.metadata(), &request.get_ref().what);
        let api::WhyRequest { what, namespace } = request.into_inner();
        let answer = self.slow.blocking(&self.collectible, "Why", span, move |collectible| {
            let namespace = (!namespace.is_empty()).then(|| Namespace::parse(&namespace)).transpose()?;
            collectible.why(&what, namespace.as_ref(), SystemTime::now())
        });
        let found = answer.await?.into_iter().map(api::Explained::from).collect();
        Ok(Response::new(api::WhyResponse { found }))
    }
}

fn statistics(statistics: &Statistics) -> api::CollectResponse {
    let nanos = |took: Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    api::CollectResponse {
        objects: statistics.objects,
        marked: statistics.marked,
        read_nanos: nanos(statistics.read),
        mark_nanos: nanos(statistics.mark),
        sweep_nanos: nanos(statistics.sweep),
        ..api::CollectResponse::default()
    }
}

fn planned(plan: Plan) -> api::CollectResponse {
    let kind = |kind| match kind {
        GarbageKind::Lease => "lease",
        GarbageKind::Retained => "retained",
        GarbageKind::RetainedBlob => "retained-blob",
        GarbageKind::Snapshot => "snapshot",
        GarbageKind::Blob => "content",
        GarbageKind::Ingest => "ingest",
    };
    let garbage = plan.garbage.into_iter().map(|one| api::Garbage {
        kind: kind(one.kind).to_owned(),
        namespace: one.namespace.map(|namespace| namespace.to_string()).unwrap_or_default(),
        name: one.name,
        reason: one.reason,
    });
    api::CollectResponse {
        leases: plan.leases as u64,
        retained: plan.retained as u64,
        retained_blobs: plan.retained_blobs as u64,
        snapshots: plan.snapshots as u64,
        blobs: plan.blobs as u64,
        ingests: plan.ingests as u64,
        garbage: garbage.collect(),
        ..statistics(&plan.statistics)
    }
}

impl From<Explained> for api::Explained {
    fn from(explained: Explained) -> api::Explained {
        let holds = |reasons: Vec<Reason>| reasons.into_iter().map(api::Hold::from).collect();
        api::Explained {
            kind: explained.kind.to_owned(),
            namespace: explained.namespace,
            name: explained.name,
            holds: holds(explained.holds),
            after_removal: holds(explained.after_removal),
        }
    }
}

impl From<Reason> for api::Hold {
    fn from(reason: Reason) -> api::Hold {
        api::Hold { kind: reason.kind, namespace: reason.namespace, name: reason.name, reason: reason.reason }
    }
}
