//! Records of layers: who writes to one, and what one is known to hold.

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::super::schema;
use super::{Usage, malformed, proto};
use crate::Result;
use crate::types::{Digest, LayerId, SnapshotKey};

/// A backing directory's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// How many snapshots name it, those included for which it is staged.
    pub references: u32,
    /// Disk usage of a committed layer, once it was counted.
    pub usage: Option<Usage>,
    /// The active snapshot that writes to it.
    pub active: Option<SnapshotKey>,
    /// Whether something was applied to it.
    pub applied: bool,
    /// What it holds, if others may have it as well.
    pub known: Option<Known>,
}

/// What a committed layer was verified to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Its size.
    pub size: u64,
    /// Blobs that it came in.
    pub blobs: Vec<Digest>,
    /// What has to be below it.
    pub variant: Variant,
    /// The namespace that may share it; empty for all.
    pub namespace: Box<str>,
    /// Whether its root has the attributes of what was below it.
    pub implicit_root: bool,
    /// Whether it hides something below it.
    pub hides: bool,
    /// The boot in which it was written without being made durable; empty when it is durable.
    pub boot: Box<str>,
    /// Whether it is not to be staged where nobody knows yet what will be below.
    pub only_on_known: bool,
}

/// What a layer depends on below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variant(Box<[u8]>);

impl Variant {
    /// Nothing: it is the same on top of any.
    pub fn any() -> Variant {
        Variant::default()
    }

    /// These layers, nearest first.
    pub fn on(below: &[LayerId]) -> Variant {
        let mut hash = Sha256::new();
        below.iter().for_each(|layer| hash.update(layer.get().to_be_bytes()));
        Variant(hash.finalize().as_slice().into())
    }

    pub(in crate::metadata) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Known {
    /// How many blobs are remembered: that many ways there are to compress one archive.
    pub const MAX_BLOBS: usize = 16;

    /// Whether both are the same, whatever blobs they came in.
    pub fn is_same_layer(&self, other: &Known) -> bool {
        (&self.diff_id, &self.variant, &self.namespace) == (&other.diff_id, &other.variant, &other.namespace)
    }

    fn to_record(&self) -> proto::Known {
        proto::Known {
            diff_id: self.diff_id.as_str().to_owned(),
            size: self.size,
            blobs: self.blobs.iter().map(|blob| blob.as_str().to_owned()).collect(),
            variant: self.variant.0.to_vec(),
            namespace: self.namespace.to_string(),
            implicit_root: self.implicit_root,
            hides: self.hides,
            boot: self.boot.to_string(),
            only_on_known: self.only_on_known,
        }
    }

    fn from_record(record: proto::Known) -> Result<Known> {
        let digest = |text| Digest::parse(text).map_err(|err| malformed("layer", err));
        Ok(Known {
            diff_id: digest(record.diff_id)?,
            size: record.size,
            blobs: record.blobs.into_iter().map(digest).collect::<Result<_>>()?,
            variant: Variant(record.variant.into()),
            namespace: record.namespace.into(),
            implicit_root: record.implicit_root,
            hides: record.hides,
            boot: record.boot.into(),
            only_on_known: record.only_on_known,
        })
    }
}

impl Layer {
    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        proto::Layer {
            references: self.references,
            usage: self.usage.map(Usage::to_record),
            active: self.active.as_ref().map(schema::snapshot),
            applied: self.applied,
            known: self.known.as_ref().map(Known::to_record),
        }
        .encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<Layer> {
        let record = proto::Layer::decode(bytes).map_err(|err| malformed("layer", err))?;
        Ok(Layer {
            references: record.references,
            usage: record.usage.map(Usage::from_record),
            active: record.active.as_deref().map(schema::parse_snapshot).transpose()?,
            applied: record.applied,
            known: record.known.map(Known::from_record).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Namespace, Scope};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn layers_round_trip(
            references: u32, usage: Option<(u64, u64)>, key in proptest::option::of("(?s).{1,30}"), flags: [bool; 4],
            digests in prop::collection::vec("sha256:[0-9a-f]{64}", 0..4), below: Vec<u64>, namespace in "[a-z]{0,9}",
        ) {
            let scope = |api| if api { Scope::Api(Namespace::parse("one").unwrap()) } else { Scope::Plugin };
            let mut digests = digests.into_iter().map(|text| Digest::parse(text).unwrap());
            let known = digests.next().map(|diff_id| Known {
                diff_id,
                size: 7,
                blobs: digests.collect(),
                variant: Variant::on(&below.iter().copied().map(LayerId::new).collect::<Vec<_>>()),
                namespace: namespace.clone().into(),
                implicit_root: flags[1],
                hides: flags[2],
                boot: namespace.into(),
                only_on_known: flags[3],
            });
            let layer = Layer {
                references,
                usage: usage.map(|(size, inodes)| Usage { size, inodes }),
                active: key.map(|key| SnapshotKey::parse_in(scope(flags[3]), key).unwrap()),
                applied: flags[0],
                known,
            };
            prop_assert_eq!(Layer::decode(&layer.encode()).unwrap(), layer);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = Layer::decode(&bytes);
        }
    }

    #[test]
    fn a_variant_tells_lists_of_layers_apart() {
        let on = |ids: &[u64]| Variant::on(&ids.iter().copied().map(LayerId::new).collect::<Vec<_>>());
        let all = [Variant::any(), on(&[]), on(&[1]), on(&[1, 2]), on(&[2, 1]), on(&[0x0100_0000])];
        for (n, one) in all.iter().enumerate() {
            assert!(all.iter().skip(n + 1).all(|other| other != one), "{one:?}");
        }
        assert_eq!(on(&[3, 4]), on(&[3, 4]));
    }
}
