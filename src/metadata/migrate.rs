//! The schema version: making a new pool, migrating an older one, refusing a newer one.

use super::record::{Kind, Layer, Snapshot};
use super::schema::{self, meta};
use crate::store::{Column, Store};
use crate::{Error, Result};

/// The version of the schema that this program writes.
pub const SCHEMA_VERSION: u32 = 4;

/// The first version: snapshots and layers only.
const SNAPSHOTS_ONLY: u32 = 1;
/// The second version: leases, namespaces and retained snapshots as well, but no content.
const WITHOUT_CONTENT: u32 = 2;
/// The third version: content as well, but nobody knows what a layer holds, or who writes to it.
const WITHOUT_REUSE: u32 = 3;
/// How many snapshots are read at a time.
const PAGE: usize = 512;

/// Brings the records to [`SCHEMA_VERSION`] and returns the pool's id.
pub(super) fn migrate(store: &Store) -> Result<String> {
    match version(store)? {
        None => create(store),
        Some(SCHEMA_VERSION) => pool(store),
        Some(newer) if newer > SCHEMA_VERSION => Err(Error::Pool(format!(
            "the pool has schema version {newer}, this leasehold knows versions up to {SCHEMA_VERSION}: it was \
             written by a newer leasehold. Start that version, or use another root"
        ))),
        Some(older @ (SNAPSHOTS_ONLY | WITHOUT_CONTENT | WITHOUT_REUSE)) => {
            // Opening made the columns that were not there, which are empty. What there was is as it was.
            note_active(store)?;
            let mut txn = store.write()?;
            txn.put(Column::Meta, meta::SCHEMA.to_vec(), SCHEMA_VERSION.to_be_bytes().to_vec());
            txn.commit()?;
            tracing::info!(from = older, to = SCHEMA_VERSION, "the pool's schema was migrated");
            pool(store)
        }
        Some(unknown) => Err(Error::Corrupt(format!("schema version {unknown} never existed"))),
    }
}

/// Has the layers of active snapshots say whose they are. What a migration did that was broken off changes nothing for an older
/// version, and is done again.
fn note_active(store: &Store) -> Result<()> {
    let mut after: Option<Box<[u8]>> = None;
    loop {
        let page = store.page(Column::Snapshots, &[], after.as_deref(), PAGE)?;
        let mut txn = store.write()?;
        for (key, value) in &page {
            // Records that cannot be read are for fsck to report, and no reason not to start.
            let Ok(key) = schema::parse_snapshot(key) else { continue };
            let Ok(Snapshot { kind: Kind::Active, layer: Some(id), .. }) = Snapshot::decode(key.scope(), value) else {
                continue;
            };
            if let Some(Ok(layer)) = store.get(Column::Layers, &schema::layer(id))?.as_deref().map(Layer::decode) {
                let layer = Layer { active: Some(key), ..layer };
                txn.put(Column::Layers, schema::layer(id), layer.encode());
            }
        }
        txn.commit_unsynced()?;
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(()),
        }
    }
}

fn version(store: &Store) -> Result<Option<u32>> {
    store
        .get(Column::Meta, meta::SCHEMA)?
        .map(|bytes| {
            let bytes = bytes.as_slice().try_into().map_err(|_| Error::Corrupt("the schema version".into()))?;
            Ok(u32::from_be_bytes(bytes))
        })
        .transpose()
}

fn create(store: &Store) -> Result<String> {
    let pool = uuid::Uuid::new_v4().to_string();
    let mut txn = store.write()?;
    txn.put(Column::Meta, meta::SCHEMA.to_vec(), SCHEMA_VERSION.to_be_bytes().to_vec());
    txn.put(Column::Meta, meta::POOL.to_vec(), pool.clone().into_bytes());
    txn.commit()?;
    Ok(pool)
}

fn pool(store: &Store) -> Result<String> {
    let id = store.get(Column::Meta, meta::POOL)?.ok_or_else(|| Error::Corrupt("the pool has no id".into()))?;
    String::from_utf8(id).map_err(|_| Error::Corrupt("the pool's id is not text".into()))
}
