//! Removing what nothing holds, with a last look.

use super::record::nanos;
use super::{Transaction, schema};
use crate::store::Column;
use crate::types::{LayerId, MemberKind, Scope, SnapshotKey};
use crate::{Error, Result};

/// A snapshot of the API socket that nothing seemed to hold, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheld {
    /// Its key or name.
    pub key: SnapshotKey,
    /// Its number.
    pub id: u64,
    /// When it had last changed, in nanoseconds since 1970.
    pub updated_at: i64,
    /// How many layers are below it: more for a child than for its parent.
    pub depth: usize,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swept {
    /// It is gone, and so are these layers, which are in `trash`.
    Removed(Vec<LayerId>),
    /// It has children.
    Parent,
    /// It is not what was seen any more, or is held by now.
    Kept,
}

impl Transaction<'_> {
    /// Removes a snapshot if it still is what was seen, has no children, and no unexpired lease names it. `kind` is how
    /// leases name our snapshots. Children that this transaction itself removed are still seen.
    ///
    /// # Errors
    /// Those of the store.
    pub fn sweep(&mut self, kind: &MemberKind, unheld: &Unheld) -> Result<Swept> {
        let Scope::Api(namespace) = unheld.key.scope() else { return Ok(Swept::Kept) };
        let snapshot = match self.snapshot(&unheld.key) {
            Ok(snapshot) => snapshot,
            Err(Error::NotFound(_)) => return Ok(Swept::Kept),
            Err(err) => return Err(err),
        };
        if (snapshot.id, nanos(snapshot.updated_at)) != (unheld.id, unheld.updated_at) {
            return Ok(Swept::Kept);
        }
        if self.txn.has_prefix(Column::Children, &schema::children_of(snapshot.id))? {
            return Ok(Swept::Parent);
        }
        if self.held_by(namespace, kind, unheld.key.as_str(), self.now)?.is_some() {
            return Ok(Swept::Kept);
        }
        let trashed = self.drop_snapshot(&unheld.key, &snapshot)?;
        trashed.iter().for_each(|layer| self.trash(*layer));
        Ok(Swept::Removed(trashed))
    }
}
