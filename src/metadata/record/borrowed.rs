//! Records read in place, for those who read a million of them: no text is copied, no map is made.
//!
//! A second reader of the format beside the generated one; a test has both agree.

mod content;

pub use content::{BorrowedBlob, BorrowedIngest};

use super::malformed;
use crate::{Error, Result};

/// What the collector looks at in the record of a snapshot or a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borrowed<'r> {
    /// Number of the snapshot.
    pub id: u64,
    /// Number of the backing directory.
    pub layer: Option<u64>,
    /// Name of the parent, empty when there is none.
    pub parent: &'r str,
    /// How many layers are below it: more for a child than for its parent.
    pub depth: usize,
    /// When it last changed, in nanoseconds since 1970.
    pub updated_at: i64,
    /// A lease that was deleted, and whose members are being removed.
    pub(in crate::metadata) deleted: bool,
    record: &'r [u8],
    labels: u64,
}

impl<'r> Borrowed<'r> {
    /// Reads the record of a snapshot.
    pub(in crate::metadata) fn snapshot(record: &'r [u8]) -> Result<Borrowed<'r>> {
        let mut read = Borrowed { record, labels: 7, ..Borrowed::default() };
        let mut fields = Fields(record);
        while let Some((number, value)) = fields.next().map_err(|problem| malformed("snapshot", problem))? {
            match (number, value) {
                (1, Value::Number(id)) => read.id = id,
                (3, Value::Number(layer)) => read.layer = Some(layer),
                (4, Value::Bytes(parent)) => read.parent = text(parent)?,
                (6, Value::Number(_)) => read.depth += 1,
                // Packed numbers: the last byte of each is the only one without the highest bit.
                (6, Value::Bytes(packed)) => read.depth += packed.iter().filter(|byte| **byte < 0x80).count(),
                // Read here once, so that whoever goes through them meets no damage.
                (7, Value::Bytes(entry)) => drop(label(entry)?),
                (9, Value::Number(nanos)) => read.updated_at = nanos.cast_signed(),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Reads the record of a lease.
    pub(in crate::metadata) fn lease(record: &'r [u8]) -> Result<Borrowed<'r>> {
        let mut read = Borrowed { record, labels: 2, ..Borrowed::default() };
        let mut fields = Fields(record);
        while let Some((number, value)) = fields.next().map_err(|problem| malformed("lease", problem))? {
            match (number, value) {
                (2, Value::Bytes(entry)) => drop(label(entry)?),
                (4, Value::Number(deleted)) => read.deleted = deleted != 0,
                _ => {}
            }
        }
        Ok(read)
    }

    /// Returns the labels in the order of their keys.
    pub fn labels(&self) -> LabelPairs<'r> {
        LabelPairs { fields: Fields(self.record), number: self.labels }
    }
}

/// The labels of one record.
#[derive(Clone, Copy, Debug)]
pub struct LabelPairs<'r> {
    fields: Fields<'r>,
    number: u64,
}

impl<'r> LabelPairs<'r> {
    fn read(&mut self) -> Result<Option<(&'r str, &'r str)>> {
        let failed = |problem| malformed("label", problem);
        while let Some((number, value)) = self.fields.next().map_err(failed)? {
            let (true, Value::Bytes(entry)) = (number == self.number, value) else { continue };
            return label(entry).map(Some);
        }
        Ok(None)
    }
}

/// Reads the entry of one label.
fn label(entry: &[u8]) -> Result<(&str, &str)> {
    let (mut key, mut value, mut parts) = ("", "", Fields(entry));
    while let Some((number, part)) = parts.next().map_err(|problem| malformed("label", problem))? {
        match (number, part) {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

impl<'r> Iterator for LabelPairs<'r> {
    type Item = (&'r str, &'r str);

    fn next(&mut self) -> Option<(&'r str, &'r str)> {
        self.read().ok().flatten()
    }
}

/// The fields of a message that are still to be read.
#[derive(Clone, Copy, Debug)]
struct Fields<'r>(&'r [u8]);

#[derive(Clone, Copy, Debug)]
enum Value<'r> {
    Number(u64),
    Bytes(&'r [u8]),
    /// Of a fixed length: there are none that matter.
    Other,
}

impl<'r> Fields<'r> {
    fn next(&mut self) -> Result<Option<(u64, Value<'r>)>, &'static str> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let len = usize::try_from(self.number()?).map_err(|_| "a field is too long")?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return Err("a field is of no known kind"),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0_u64;
        for (shift, (at, byte)) in (0..64).step_by(7).zip(self.0.iter().enumerate()) {
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err("a number has no end")
    }

    fn take(&mut self, len: usize) -> Result<&'r [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("a field ends too early")?;
        self.0 = rest;
        Ok(taken)
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|err| malformed("text", err))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::{Kind, Lease, Snapshot, time};
    use super::*;
    use crate::types::{Labels, LayerId, Scope, SnapshotKey};
    use proptest::prelude::*;

    fn pairs(labels: &Labels) -> Vec<(String, String)> {
        labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn own(labels: LabelPairs<'_>) -> Vec<(String, String)> {
        labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    proptest! {
        #[test]
        fn both_readers_agree(
            id: u64, layer: Option<u64>, parents: Vec<u64>, parent in ".{0,20}", updated: i64, deleted: bool,
            labels in prop::collection::btree_map("[a-z/.]{0,200}", ".{0,20}", 0..4),
        ) {
            let labels = Labels::parse(labels).unwrap();
            let snapshot = Snapshot {
                id,
                kind: Kind::Committed,
                layer: layer.map(LayerId::new),
                parent: SnapshotKey::parse_parent(parent.clone()).unwrap(),
                parent_id: 7,
                parent_layers: parents.iter().copied().map(LayerId::new).collect(),
                labels: labels.clone(),
                created_at: UNIX_EPOCH,
                updated_at: time(updated),
            };
            let record = snapshot.encode();
            let read = Borrowed::snapshot(&record).unwrap();
            prop_assert_eq!((read.id, read.layer, read.parent), (id, layer, parent.as_str()));
            prop_assert_eq!((read.depth, time(read.updated_at)), (parents.len(), snapshot.updated_at));
            prop_assert_eq!(own(read.labels()), pairs(&labels));
            let lease = Lease { deleted, ..Lease::new(UNIX_EPOCH, labels.clone(), None) }.encode();
            let read = Borrowed::lease(&lease).unwrap();
            prop_assert_eq!((read.deleted, own(read.labels())), (deleted, pairs(&labels)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            // What the generated reader takes is enough: it refuses more.
            let read = Borrowed::snapshot(&bytes);
            if Snapshot::decode(&Scope::Plugin, &bytes).is_ok() {
                prop_assert!(read.is_ok());
            }
            let _ = Borrowed::lease(&bytes);
        }
    }
}
