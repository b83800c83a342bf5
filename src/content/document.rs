//! The documents of images, as far as they say what they refer to: indexes, manifests, configurations.
//!
//! What a blob is is read from its shape, because whoever leases one says no more than its digest. One that is no document,
//! or a malformed one, refers to nothing. That is said only of what has its digest: of one that is damaged or lost nobody
//! knows what it refers to. Documents never change, so that what was read once is kept.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::types::{Digest, chain_ids};
use crate::{Error, FsOp, Result};

use super::Content;
use super::hasher::Hasher;

/// Nothing larger is read: what containerd allows for a manifest.
const LARGEST: u64 = 8 << 20;
/// How many references are kept in memory, that a document was read counting as one.
const KEPT: usize = 1 << 20;

/// What a document refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Blobs that may be documents themselves.
    pub documents: Vec<Digest>,
    /// Blobs that are none: layers.
    pub layers: Vec<Digest>,
    /// What containerd calls the snapshots of its layers, from the base layer up.
    pub chain_ids: Vec<String>,
}

/// Documents that were read.
#[derive(Debug, Default)]
pub(super) struct Documents {
    state: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    documents: HashMap<Digest, Arc<Document>>,
    references: usize,
}

/// An index of OCI, or a manifest list of Docker.
#[derive(Deserialize)]
struct Index {
    /// A list that is empty may be `null` in what Go programs write.
    manifests: Option<Vec<Descriptor>>,
}

/// A manifest of either.
#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Option<Vec<Descriptor>>,
}

/// What an index or a manifest is about.
#[derive(Deserialize)]
struct Referrer {
    subject: Option<Descriptor>,
}

/// A configuration of either.
#[derive(Deserialize)]
struct Configuration {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

impl Content {
    /// Returns what a blob refers to, whoever has it, retained or not; `None` where it is not here.
    ///
    /// # Errors
    /// Those of the store; [`Error::Fs`]; [`Error::Corrupt`] when it is damaged or its file is missing.
    pub fn document(&self, digest: &Digest) -> Result<Option<Arc<Document>>> {
        let Some(file) = self.metadata.blob_file(digest)? else { return Ok(None) };
        if let Some(document) = self.documents.get(digest) {
            return Ok(Some(document));
        }
        let document = match self.read_document(digest, file.size)? {
            Some(bytes) => Arc::new(Document::parse(&bytes)),
            // Removed meanwhile.
            None if self.metadata.blob_file(digest)?.is_none() => return Ok(None),
            None => return Err(Error::Corrupt(format!("the file of blob {digest} is missing; see leasehold fsck"))),
        };
        self.documents.keep(digest, &document);
        Ok(Some(document))
    }

    /// Reads what may be a document; nothing of what is too large for one, and `None` when the file is missing.
    fn read_document(&self, digest: &Digest, size: u64) -> Result<Option<Vec<u8>>> {
        if size > LARGEST {
            return Ok(Some(Vec::new()));
        }
        let Some(file) = self.files.open_blob(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).map_err(Error::fs(FsOp::Read, "blobs".as_ref()))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        if hasher.digest()? != *digest {
            return Err(Error::Corrupt(format!("blob {digest} is damaged; see leasehold fsck --content")));
        }
        Ok(Some(bytes))
    }
}

impl Document {
    /// Reads a document as everything that it may be.
    fn parse(bytes: &[u8]) -> Document {
        let mut document = Document::default();
        if let Ok(Index { manifests }) = serde_json::from_slice(bytes) {
            document.documents.extend(manifests.into_iter().flatten().filter_map(Descriptor::digest));
        }
        if let Ok(Manifest { config, layers }) = serde_json::from_slice(bytes) {
            document.documents.extend(config.digest());
            document.layers.extend(layers.into_iter().flatten().filter_map(Descriptor::digest));
        }
        if let Ok(Referrer { subject }) = serde_json::from_slice(bytes) {
            document.documents.extend(subject.and_then(Descriptor::digest));
        }
        if let Ok(Configuration { rootfs: RootFs { diff_ids } }) = serde_json::from_slice(bytes) {
            document.chain_ids = chain_ids(diff_ids.iter().map(String::as_str));
        }
        document
    }

    fn references(&self) -> usize {
        1 + self.documents.len() + self.layers.len() + self.chain_ids.len()
    }
}

impl Descriptor {
    /// Returns what it refers to, if that is a digest.
    fn digest(self) -> Option<Digest> {
        Digest::parse(self.digest).ok()
    }
}

impl Documents {
    fn get(&self, digest: &Digest) -> Option<Arc<Document>> {
        self.lock().documents.get(digest).cloned()
    }

    fn keep(&self, digest: &Digest, document: &Arc<Document>) {
        let mut kept = self.lock();
        if kept.references + document.references() > KEPT {
            // Those that are still asked for are soon here again.
            *kept = Kept::default();
        }
        if kept.documents.insert(digest.clone(), document.clone()).is_none() {
            kept.references += document.references();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A count that a panic left too high empties it early.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> Digest {
        Digest::parse(format!("sha256:{}", digit.to_string().repeat(64))).unwrap()
    }

    fn parse(text: &str) -> Document {
        let text = ('a'..='f').fold(text.to_owned(), |text, digit| {
            text.replace(&format!("<{digit}>"), &format!("\"digest\":\"{}\"", digest(digit)))
        });
        Document::parse(text.as_bytes())
    }

    #[test]
    fn indexes_manifests_and_configurations_say_what_they_refer_to() {
        let index = parse(
            r#"{"schemaVersion":2,"manifests":[{<a>,"size":1},{<b>,"platform":{"os":"linux"}}],"subject":{<c>}}"#,
        );
        assert_eq!(index, Document { documents: ['a', 'b', 'c'].map(digest).into(), ..Document::default() });
        let manifest = parse(r#"{"config":{<a>,"mediaType":"x"},"layers":[{<b>},{<c>}],"subject":{<d>}}"#);
        let (documents, layers) = (['a', 'd'].map(digest).into(), ['b', 'c'].map(digest).into());
        assert_eq!(manifest, Document { documents, layers, ..Document::default() });
        // Go writes a list that it did not make as null.
        assert_eq!(parse(r#"{"manifests":null,"subject":{<c>}}"#).documents, [digest('c')]);
        assert_eq!(parse(r#"{"config":{<a>},"layers":null}"#).documents, [digest('a')]);
        let diff_ids = format!(r#"["{}","{}"]"#, digest('a'), digest('b'));
        let configuration =
            parse(&format!(r#"{{"config":{{"Env":3}},"rootfs":{{"type":"layers","diff_ids":{diff_ids}}}}}"#));
        assert_eq!(configuration.chain_ids.len(), 2);
        assert_eq!(configuration, Document { chain_ids: configuration.chain_ids.clone(), ..Document::default() });
    }

    #[test]
    fn what_is_malformed_refers_to_nothing() {
        for text in [
            "",
            "{",
            "{}",
            "null",
            "[]",
            "7",
            r#"{"manifests":{}}"#,
            r#"{"manifests":[7]}"#,
            r#"{"manifests":[{"digest":"../../etc/passwd"}]}"#,
            r#"{"config":{"digest":7},"layers":[{<a>}]}"#,
            r#"{"layers":[{<a>}]}"#,
            r#"{"rootfs":{"diff_ids":[7]}}"#,
            r#"{"rootfs":"diff_ids"}"#,
            &format!("{}1{}", r#"{"manifests":"#.repeat(10_000), "}".repeat(10_000)),
        ] {
            assert_eq!(parse(text), Document::default(), "{text:.40}");
        }
        let odd = parse(r#"{"manifests":[{<a>},{"digest":"sha256:x"},{<b>}]}"#);
        assert_eq!(odd.documents, ['a', 'b'].map(digest));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let documents = Documents::default();
        let large = Arc::new(Document { chain_ids: vec![String::new(); KEPT / 2], ..Document::default() });
        for digit in ['a', 'b', 'c'] {
            documents.keep(&digest(digit), &large);
            documents.keep(&digest(digit), &large);
            assert_eq!(documents.get(&digest(digit)).as_ref(), Some(&large));
            assert!(documents.lock().references <= KEPT);
        }
        assert_eq!(documents.get(&digest('a')), None);
    }
}
