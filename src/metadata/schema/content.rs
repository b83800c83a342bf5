//! Keys of blobs, of their files, and of ingests.

use super::{END, malformed, split_text};
use crate::Result;
use crate::types::{Digest, IngestRef, Namespace, Scope};

/// What comes before the key of every blob, or ingest, of a scope: the namespace, empty for the plugin socket, and 0x00.
pub fn prefix_of(scope: &Scope) -> Vec<u8> {
    [scope.as_str().as_bytes(), &[END]].concat()
}

/// `<namespace> 0x00 <digest>`: one prefix scan lists one scope.
pub fn blob(scope: &Scope, digest: &Digest) -> Vec<u8> {
    [scope.as_str().as_bytes(), &[END], digest.as_str().as_bytes()].concat()
}

pub fn parse_blob(bytes: &[u8]) -> Result<(Scope, Digest)> {
    let parse = |(namespace, digest): (&str, &str)| Some((scope(namespace)?, Digest::parse(digest).ok()?));
    split_text(bytes).and_then(parse).ok_or_else(|| malformed("blobs", bytes))
}

/// `<digest>`
pub fn file(digest: &Digest) -> Vec<u8> {
    digest.as_str().as_bytes().to_vec()
}

pub fn parse_file(bytes: &[u8]) -> Result<Digest> {
    let digest = std::str::from_utf8(bytes).ok().and_then(|text| Digest::parse(text).ok());
    digest.ok_or_else(|| malformed("files", bytes))
}

/// `<digest>`
pub fn retained_blob(digest: &Digest) -> Vec<u8> {
    digest.as_str().as_bytes().to_vec()
}

pub fn parse_retained_blob(bytes: &[u8]) -> Result<Digest> {
    let digest = std::str::from_utf8(bytes).ok().and_then(|text| Digest::parse(text).ok());
    digest.ok_or_else(|| malformed("retained_blobs", bytes))
}

/// `<namespace> 0x00 <ref>`
pub fn ingest(name: &IngestRef) -> Vec<u8> {
    [name.scope().as_str().as_bytes(), &[END], name.as_str().as_bytes()].concat()
}

pub fn parse_ingest(bytes: &[u8]) -> Result<IngestRef> {
    let parse = |(namespace, text): (&str, &str)| IngestRef::parse_in(scope(namespace)?, text).ok();
    split_text(bytes).and_then(parse).ok_or_else(|| malformed("ingests", bytes))
}

fn scope(namespace: &str) -> Option<Scope> {
    if namespace.is_empty() { Some(Scope::Plugin) } else { Namespace::parse(namespace).ok().map(Scope::Api) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scopes() -> impl Strategy<Value = Scope> {
        "([a-z]{1,9})?".prop_map(|namespace| super::scope(&namespace).unwrap())
    }

    fn digests() -> impl Strategy<Value = Digest> {
        prop_oneof!["sha256:[0-9a-f]{64}", "sha384:[0-9a-f]{96}", "sha512:[0-9a-f]{128}"]
            .prop_map(|text| Digest::parse(text).unwrap())
    }

    proptest! {
        #[test]
        fn keys_round_trip(scope in scopes(), digest in digests(), text in "(?s).{1,64}") {
            let key = blob(&scope, &digest);
            prop_assert!(key.starts_with(&prefix_of(&scope)));
            prop_assert_eq!(parse_blob(&key).unwrap(), (scope.clone(), digest.clone()));
            prop_assert_eq!(parse_retained_blob(&retained_blob(&digest)).unwrap(), digest.clone());
            prop_assert_eq!(parse_file(&file(&digest)).unwrap(), digest);
            let name = IngestRef::parse_in(scope.clone(), text).unwrap();
            prop_assert!(ingest(&name).starts_with(&prefix_of(&scope)));
            prop_assert_eq!(parse_ingest(&ingest(&name)).unwrap(), name);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = (parse_blob(&bytes), parse_file(&bytes), parse_ingest(&bytes), parse_retained_blob(&bytes));
        }
    }
}
