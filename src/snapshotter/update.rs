//! Update.

use crate::Result;
use crate::metadata::LabelUpdate;
use crate::types::SnapshotKey;

use super::{Info, Snapshotter};

impl Snapshotter {
    /// Changes labels and returns what the snapshot is now.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Invalid`](crate::Error::Invalid).
    pub fn update(&self, key: SnapshotKey, update: LabelUpdate) -> Result<Info> {
        let mut txn = self.note_no_space(self.metadata.write(self.now()))?;
        let snapshot = txn.update(&key, update)?;
        self.note_no_space(txn.commit())?;
        Ok(self.info(key, snapshot))
    }
}
