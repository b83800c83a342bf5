//! What the daemon is, and how the pool is doing.

use crate::Result;
use crate::metadata::SCHEMA_VERSION;
use crate::snapshotter::{self, Snapshotter};

use super::super::proto::leasehold::admin::v1::{BusyLayer, Feature, InfoResponse};

/// How many busy layers are told of.
const BUSY_TOLD: usize = 32;

/// Answers `Info`.
pub(super) fn response(
    snapshotter: &Snapshotter,
    ingests: u64,
    collection_failure: Option<String>,
    features: Vec<Feature>,
) -> Result<InfoResponse> {
    let totals = snapshotter.metadata().totals()?;
    let (busy, busy_layers) = snapshotter.busy_layers(BUSY_TOLD);
    Ok(InfoResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        pool: snapshotter.metadata().pool().into(),
        root: snapshotter.layout().root().to_string_lossy().into_owned(),
        schema: SCHEMA_VERSION,
        features,
        snapshots: totals.snapshots,
        layers: totals.layers,
        trash: snapshotter.trash_len() as u64,
        free_bytes: snapshotter.free_bytes()?,
        retained_by_policy_bytes: snapshotter.pressure().kept().size,
        busy: busy as u64,
        busy_layers: busy_layers.into_iter().map(BusyLayer::from).collect(),
        collection_failure: collection_failure.unwrap_or_default(),
        blobs: totals.blobs,
        ingests,
    })
}

impl From<snapshotter::BusyLayer> for BusyLayer {
    fn from(busy: snapshotter::BusyLayer) -> BusyLayer {
        BusyLayer {
            layer: busy.layer.to_string(),
            reason: busy.reason,
            since: Some(busy.since.into()),
            next_try: Some(busy.next_try.into()),
        }
    }
}
