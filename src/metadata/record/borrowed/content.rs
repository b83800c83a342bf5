//! Blobs and ingests read in place.

use std::time::SystemTime;

use super::super::{malformed, time};
use super::{Fields, LabelPairs, Value, label, text};
use crate::Result;

/// What the collector looks at in the record of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BorrowedBlob<'r> {
    /// When it last changed, in nanoseconds since 1970.
    pub updated_at: i64,
    record: &'r [u8],
}

/// What the collector looks at in the record of an ingest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BorrowedIngest<'r> {
    /// Number of its file.
    pub file: u64,
    /// What it will be, empty when the client did not say that.
    pub expected: &'r str,
    /// When it is given up, unless something holds it.
    pub expires_at: Option<SystemTime>,
}

impl<'r> BorrowedBlob<'r> {
    pub(in crate::metadata) fn read(record: &'r [u8]) -> Result<BorrowedBlob<'r>> {
        let mut read = BorrowedBlob { record, ..BorrowedBlob::default() };
        let mut fields = Fields(record);
        while let Some((number, value)) = fields.next().map_err(|problem| malformed("blob", problem))? {
            match (number, value) {
                // Read here once, so that whoever goes through them meets no damage.
                (2, Value::Bytes(entry)) => drop(label(entry)?),
                (4, Value::Number(nanos)) => read.updated_at = nanos.cast_signed(),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Returns the labels in the order of their keys.
    pub fn labels(&self) -> LabelPairs<'r> {
        LabelPairs { fields: Fields(self.record), number: 2 }
    }
}

impl<'r> BorrowedIngest<'r> {
    pub(in crate::metadata) fn read(record: &'r [u8]) -> Result<BorrowedIngest<'r>> {
        let mut read = BorrowedIngest::default();
        let mut fields = Fields(record);
        while let Some((number, value)) = fields.next().map_err(|problem| malformed("ingest", problem))? {
            match (number, value) {
                (1, Value::Number(file)) => read.file = file,
                (3, Value::Bytes(expected)) => read.expected = text(expected)?,
                (7, Value::Number(nanos)) => read.expires_at = Some(time(nanos.cast_signed())),
                _ => {}
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Blob, Ingest};
    use super::*;
    use crate::types::{Digest, FileId, Labels, LayerId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_readers_agree(
            updated: i64, size: u64, number: u64, expires: Option<i64>, digits in "([0-9a-f]{64})?",
            labels in prop::collection::btree_map("[a-z/.]{1,200}", ".{1,20}", 0..4),
        ) {
            let labels = Labels::parse(labels).unwrap();
            let blob = Blob { size, labels: labels.clone(), created_at: time(7), updated_at: time(updated) };
            let record = blob.encode();
            let read = BorrowedBlob::read(&record).unwrap();
            prop_assert_eq!(read.updated_at, updated);
            let pairs: Vec<_> = labels.iter().collect();
            prop_assert_eq!(read.labels().collect::<Vec<_>>(), pairs);
            let expected = (!digits.is_empty()).then(|| Digest::parse(format!("sha256:{digits}")).unwrap());
            let ingest = Ingest {
                id: FileId::new(LayerId::new(number)),
                total: size,
                expected: expected.clone(),
                started_at: time(1),
                updated_at: time(updated),
                labels,
                expires_at: expires.map(time),
                synced: 3,
                boot: "boot".into(),
                hash: None,
                shared: false,
            };
            let record = ingest.encode();
            let read = BorrowedIngest::read(&record).unwrap();
            prop_assert_eq!((read.file, read.expires_at), (number, ingest.expires_at));
            prop_assert_eq!(read.expected, expected.as_ref().map_or("", Digest::as_str));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            // What the generated reader takes is enough: it refuses more.
            let (blob, ingest) = (BorrowedBlob::read(&bytes), BorrowedIngest::read(&bytes));
            prop_assert!(blob.is_ok() || Blob::decode(&bytes).is_err());
            prop_assert!(ingest.is_ok() || Ingest::decode(&bytes).is_err());
        }
    }
}
