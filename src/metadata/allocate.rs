//! Numbers for layers and snapshots, each given out once in the life of a pool.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Transaction, schema};
use crate::Result;
use crate::store::{Column, Store};
use crate::types::LayerId;

/// How many numbers one write to `meta` makes available, so that not every transaction writes there.
const BLOCK: u64 = 4096;

/// The counters. A restart begins after the last block, so numbers that were given out but not used are skipped.
pub(super) struct Numbers {
    layer: Counter,
    snapshot: Counter,
}

struct Counter {
    next: AtomicU64,
    key: &'static [u8],
}

impl Numbers {
    pub fn load(store: &Store) -> Result<Numbers> {
        Ok(Numbers {
            layer: Counter::load(store, schema::meta::NEXT_LAYER)?,
            snapshot: Counter::load(store, schema::meta::NEXT_SNAPSHOT)?,
        })
    }

    pub fn layer(&self) -> LayerId {
        LayerId::new(self.layer.take())
    }

    pub fn reserve_layer(&self, seen: LayerId) {
        self.layer.next.fetch_max(seen.get().saturating_add(1), Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> u64 {
        self.snapshot.take()
    }
}

impl Counter {
    fn load(store: &Store, key: &'static [u8]) -> Result<Counter> {
        // Number 0 means "none" in records.
        let stored = store.get(Column::Meta, key)?.and_then(|bytes| schema::number(&bytes)).unwrap_or(1);
        Ok(Counter { next: AtomicU64::new(stored), key })
    }

    fn take(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Transaction<'_> {
    /// Puts the counters into `meta` when the numbers used in this transaction are beyond what it says.
    ///
    /// Called last, by every transaction that makes a record with a new number.
    pub(super) fn store_counters(&mut self) -> Result<()> {
        for counter in [&self.metadata.numbers.layer, &self.metadata.numbers.snapshot] {
            let next = counter.next.load(Ordering::Relaxed);
            // Read, not remembered: after a failed commit only the database knows what it kept.
            let stored = self.txn.get(Column::Meta, counter.key)?.and_then(|bytes| schema::number(&bytes));
            if stored.is_none_or(|stored| next > stored) {
                let stored = next.saturating_add(BLOCK);
                self.txn.put(Column::Meta, counter.key.to_vec(), stored.to_be_bytes().to_vec());
            }
        }
        Ok(())
    }
}
