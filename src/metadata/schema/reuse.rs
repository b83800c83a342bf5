//! Keys of the columns by which a known layer is found.

use super::{END, malformed, number};
use crate::Result;
use crate::metadata::record::{Known, Variant};
use crate::types::{Digest, LayerId};

/// `<namespace> 0x00 <DiffID> 0x00 <variant>`, the namespace empty for a layer that all share
pub fn by_diff(namespace: &str, diff_id: &Digest, variant: &Variant) -> Vec<u8> {
    [namespace.as_bytes(), &[END], diff_id.as_str().as_bytes(), &[END], variant.as_bytes()].concat()
}

/// The key by which a layer is found that holds this.
pub fn by_diff_of(known: &Known) -> Vec<u8> {
    by_diff(&known.namespace, &known.diff_id, &known.variant)
}

/// What comes before the keys of all layers that came in a blob: `<digest> 0x00`
pub fn of_blob(blob: &Digest) -> Vec<u8> {
    [blob.as_str().as_bytes(), &[END]].concat()
}

/// `<digest> 0x00 <layer id>`
pub fn by_blob(blob: &Digest, layer: LayerId) -> Vec<u8> {
    [blob.as_str().as_bytes(), &[END], &layer.get().to_be_bytes()].concat()
}

/// Reads of which layer a key of `layers_by_blob` is.
pub fn parse_by_blob(bytes: &[u8]) -> Result<(Digest, LayerId)> {
    let parse = || {
        let at = bytes.iter().position(|byte| *byte == END)?;
        let (digest, rest) = bytes.split_at_checked(at)?;
        let digest = Digest::parse(std::str::from_utf8(digest).ok()?).ok()?;
        Some((digest, LayerId::new(number(rest.get(1..)?)?)))
    };
    parse().ok_or_else(|| malformed("layers_by_blob", bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_by_blob_round_trip(digest in "sha256:[0-9a-f]{64}", layer: u64) {
            let (digest, layer) = (Digest::parse(digest).unwrap(), LayerId::new(layer));
            let key = by_blob(&digest, layer);
            prop_assert!(key.starts_with(&of_blob(&digest)));
            prop_assert_eq!(parse_by_blob(&key).unwrap(), (digest, layer));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = parse_by_blob(&bytes);
        }
    }

    #[test]
    fn what_differs_has_another_key() {
        let digest = |char: &str| Digest::parse(format!("sha256:{}", char.repeat(64))).unwrap();
        let on = |layer| Variant::on(&[LayerId::new(layer)]);
        let keys = [
            by_diff("", &digest("a"), &Variant::any()),
            by_diff("", &digest("b"), &Variant::any()),
            by_diff("one", &digest("a"), &Variant::any()),
            by_diff("", &digest("a"), &on(1)),
            by_diff("", &digest("a"), &on(2)),
        ];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
    }
}
