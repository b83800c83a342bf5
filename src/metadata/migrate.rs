//! The schema version: making a new pool, migrating an older one, refusing a newer one.

use super::schema::meta;
use crate::store::{Column, Store};
use crate::{Error, Result};

/// The version of the schema that this program writes.
pub const SCHEMA_VERSION: u32 = 3;

/// The first version: snapshots and layers only.
const SNAPSHOTS_ONLY: u32 = 1;
/// The second version: leases, namespaces and retained snapshots as well, but no content.
const WITHOUT_CONTENT: u32 = 2;

/// Brings the records to [`SCHEMA_VERSION`] and returns the pool's id.
pub(super) fn migrate(store: &Store) -> Result<String> {
    match version(store)? {
        None => create(store),
        Some(SCHEMA_VERSION) => pool(store),
        Some(newer) if newer > SCHEMA_VERSION => Err(Error::Pool(format!(
            "the pool has schema version {newer}, this leasehold knows versions up to {SCHEMA_VERSION}: it was \
             written by a newer leasehold. Start that version, or use another root"
        ))),
        Some(older @ (SNAPSHOTS_ONLY | WITHOUT_CONTENT)) => {
            // Opening made the columns that were not there, which are empty. What there was is as it was.
            let mut txn = store.write()?;
            txn.put(Column::Meta, meta::SCHEMA.to_vec(), SCHEMA_VERSION.to_be_bytes().to_vec());
            txn.commit()?;
            tracing::info!(from = older, to = SCHEMA_VERSION, "the pool's schema was migrated");
            pool(store)
        }
        Some(unknown) => Err(Error::Corrupt(format!("schema version {unknown} never existed"))),
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
