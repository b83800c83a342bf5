//! Records that cannot be read: named where they are met, and taken out of the way by a repair.

use std::fmt;

use super::record::Lease;
use super::{Transaction, schema};
use crate::store::Column;
use crate::types::Labels;
use crate::{Chain, Error, Result};

/// Before every key of a snapshot or blob that came through the plugin socket: its namespace is empty.
const PLUGIN: u8 = 0;

/// A record that cannot be read, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRecord {
    column: Column,
    key: Box<[u8]>,
    value: Box<[u8]>,
    problem: String,
}

impl DamagedRecord {
    pub(super) fn new(column: Column, key: &[u8], value: &[u8], err: &Error) -> DamagedRecord {
        let problem = match err {
            Error::Corrupt(problem) => problem.clone(),
            err => Chain(err).to_string(),
        };
        DamagedRecord { column, key: key.into(), value: value.into(), problem }
    }

    /// Returns the name of the column that it is in.
    pub fn column(&self) -> &'static str {
        self.column.name()
    }

    /// Whether it can be set aside. What collections, leases and clients of the API socket meet is in their way until it
    /// is, and an upload is begun again. What containerd has stays: nobody but containerd knows whether it still counts
    /// on it.
    pub fn can_be_set_aside(&self) -> bool {
        match self.column {
            Column::Snapshots | Column::Blobs => self.key.first() != Some(&PLUGIN),
            Column::Ingests
            | Column::Leases
            | Column::Members
            | Column::Leased
            | Column::Expiry
            | Column::Namespaces
            | Column::LayersByDiff
            | Column::LayersByBlob => true,
            Column::Meta
            | Column::Children
            | Column::Layers
            | Column::Trash
            | Column::Retained
            | Column::RetainedBlobs
            | Column::Files
            // Without it an unpacked layer would seem to be an empty one; removing the snapshot removes it.
            | Column::Applied => false,
        }
    }

    /// Returns all there is to know, to be kept in a file.
    pub fn to_text(&self) -> String {
        let DamagedRecord { column, key, value, problem } = self;
        let [key, value] = [key, value].map(|bytes| bytes.escape_ascii());
        let column = column.name();
        format!("column = \"{column}\"\nkey = \"{key}\"\nvalue = \"{value}\"\nproblem = {problem:?}\n")
    }
}

impl fmt::Display for DamagedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\": {}", self.column.name(), self.key.escape_ascii(), self.problem)
    }
}

impl From<DamagedRecord> for Error {
    fn from(record: DamagedRecord) -> Error {
        Error::Corrupt(record.to_string())
    }
}

/// Names the record in an error of reading it.
pub(super) fn named<T>(column: Column, key: &[u8], read: Result<T>) -> Result<T> {
    read.map_err(|err| match err {
        err @ Error::Corrupt(_) => DamagedRecord::new(column, key, &[], &err).into(),
        err => err,
    })
}

impl Transaction<'_> {
    /// Takes a damaged record out of the way, if it still is what was found; returns what was done.
    ///
    /// A lease is replaced by one without labels and without an end, so that what it names stays held; a namespace by one
    /// without labels. Everything else is deleted.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_aside(&mut self, record: &DamagedRecord) -> Result<Option<&'static str>> {
        let DamagedRecord { column, key, value, .. } = record;
        if self.txn.get(*column, key)?.as_deref() != Some(&**value) {
            return Ok(None);
        }
        match self.replace(*column, key) {
            Some(done) => Ok(Some(done)),
            None => {
                self.txn.delete(*column, key.to_vec());
                Ok(Some("deleted"))
            }
        }
    }

    /// Puts an empty record in the place of a damaged one, where that keeps more than deleting it.
    fn replace(&mut self, column: Column, key: &[u8]) -> Option<&'static str> {
        match column {
            Column::Leases => {
                let (namespace, id) = schema::leases::parse_lease(key).ok()?;
                self.put_lease(&namespace, &id, &Lease::new(self.now, Labels::default(), None));
                self.note_lease(&namespace, &id);
                self.metadata.content_leases.note_lease(&namespace);
                Some("made again, without labels and without an end")
            }
            Column::Namespaces => {
                let namespace = schema::leases::parse_namespace(key).ok()?;
                self.put_namespace(&namespace, &Labels::default());
                Some("made again, without labels")
            }
            _ => None,
        }
    }
}
