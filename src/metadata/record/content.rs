//! Records of blobs, of their files, and of ingests.

use std::time::SystemTime;

use prost::Message;

use super::{malformed, nanos, proto, time};
use crate::Result;
use crate::types::{Algorithm, Digest, FileId, Labels, LayerId};

/// A blob's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    /// Bytes in it.
    pub size: u64,
    /// What the client attached.
    pub labels: Labels,
    /// When it was committed.
    pub created_at: SystemTime,
    /// When its labels last changed.
    pub updated_at: SystemTime,
}

/// The record of a blob's file, which all namespaces share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFile {
    /// Bytes in it.
    pub size: u64,
    /// How many blobs, and retained ones, name it.
    pub references: u32,
    /// Its number.
    pub id: FileId,
}

/// The record of an upload in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingest {
    /// Names its file.
    pub id: FileId,
    /// How large it will be; 0 when the client did not say.
    pub total: u64,
    /// What it will be, when the client said that.
    pub expected: Option<Digest>,
    /// When it was begun.
    pub started_at: SystemTime,
    /// When the last stream was opened or closed: while one is open, the file's time is later.
    pub updated_at: SystemTime,
    /// What the blob will have attached.
    pub labels: Labels,
    /// When it is given up.
    pub expires_at: Option<SystemTime>,
    /// So many bytes at the start of its file outlive a power cut.
    pub synced: u64,
    /// The boot of the machine in which it was last written to.
    pub boot: Box<str>,
    /// Where its digest can be computed on from.
    pub hash: Option<HashState>,
    /// Its file is that of the blob which it will be, and must not be written to.
    pub shared: bool,
}

/// A digest that is being computed, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashState {
    /// How it is computed.
    pub algorithm: Algorithm,
    /// So many bytes are in it.
    pub offset: u64,
    /// What the library that computes it makes of itself.
    pub state: Vec<u8>,
    /// Says which library that is.
    pub format: u32,
}

impl Blob {
    pub(super) fn to_record(&self) -> proto::Blob {
        proto::Blob {
            size: self.size,
            labels: self.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            created_at: nanos(self.created_at),
            updated_at: nanos(self.updated_at),
        }
    }

    pub(super) fn from_record(record: proto::Blob) -> Blob {
        Blob {
            size: record.size,
            labels: Labels::from_record(record.labels),
            created_at: time(record.created_at),
            updated_at: time(record.updated_at),
        }
    }

    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        self.to_record().encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<Blob> {
        proto::Blob::decode(bytes).map(Blob::from_record).map_err(|err| malformed("blob", err))
    }
}

impl BlobFile {
    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        let number = self.id.in_trash().get();
        proto::BlobFile { size: self.size, references: self.references, number }.encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<BlobFile> {
        let record = proto::BlobFile::decode(bytes).map_err(|err| malformed("file", err))?;
        let id = FileId::new(LayerId::new(record.number));
        Ok(BlobFile { size: record.size, references: record.references, id })
    }
}

impl Ingest {
    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        proto::Ingest {
            number: self.id.in_trash().get(),
            total: self.total,
            expected: self.expected.as_ref().map(|digest| digest.as_str().to_owned()).unwrap_or_default(),
            started_at: nanos(self.started_at),
            updated_at: nanos(self.updated_at),
            labels: self.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            expires_at: self.expires_at.map(nanos),
            synced: self.synced,
            boot: self.boot.clone().into(),
            hash: self.hash.as_ref().map(|hash| proto::HashState {
                algorithm: hash.algorithm.as_str().to_owned(),
                offset: hash.offset,
                state: hash.state.clone(),
                format: hash.format,
            }),
            shared: self.shared,
        }
        .encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<Ingest> {
        let record = proto::Ingest::decode(bytes).map_err(|err| malformed("ingest", err))?;
        Ok(Ingest {
            id: FileId::new(LayerId::new(record.number)),
            total: record.total,
            expected: Digest::parse_optional(record.expected)?,
            started_at: time(record.started_at),
            updated_at: time(record.updated_at),
            labels: Labels::from_record(record.labels),
            expires_at: record.expires_at.map(time),
            synced: record.synced,
            boot: record.boot.into(),
            // One that cannot be read costs reading the file.
            hash: record.hash.and_then(|hash| {
                let proto::HashState { algorithm, offset, state, format } = hash;
                Some(HashState { algorithm: Algorithm::parse(&algorithm)?, offset, state, format })
            }),
            shared: record.shared,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip(
            number: u64, size: u64, references: u32, begun: i64, ends: Option<i64>, value in ".{0,20}",
            expected in prop::option::of("sha256:[0-9a-f]{64}"),
        ) {
            let labels = Labels::parse([("label".to_owned(), value)]).unwrap();
            let id = FileId::new(LayerId::new(number));
            let blob = Blob { size, labels: labels.clone(), created_at: time(begun), updated_at: time(0) };
            prop_assert_eq!(Blob::decode(&blob.encode()).unwrap(), blob);
            let file = BlobFile { size, references, id };
            prop_assert_eq!(BlobFile::decode(&file.encode()).unwrap(), file);
            let ingest = Ingest {
                id,
                total: size,
                expected: expected.map(|text| Digest::parse(text).unwrap()),
                started_at: time(begun),
                updated_at: time(1),
                labels,
                expires_at: ends.map(time),
                synced: size,
                boot: "a boot".into(),
                hash: ends.map(|_| HashState { algorithm: Algorithm::Sha512, offset: size, state: vec![1], format: 2 }),
                shared: size % 2 == 0,
            };
            prop_assert_eq!(Ingest::decode(&ingest.encode()).unwrap(), ingest);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = (Blob::decode(&bytes), BlobFile::decode(&bytes), Ingest::decode(&bytes));
        }
    }
}
