//! Which known layer can take the place of another.

use crate::Result;
use crate::metadata::{Known, Snapshot, Variant};
use crate::overlay::Attributes;
use crate::types::{LayerId, SnapshotKey, label};

use super::Snapshotter;

/// Whether layers are used again, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Whether they are.
    pub enabled: bool,
    /// Whether only within the namespace that has them.
    pub per_namespace: bool,
    /// Whether a client that says what it will unpack is told that it need not fetch it.
    pub fetch: bool,
}

/// What will be below a layer that something is applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Below {
    /// These layers, nearest first, or nothing.
    Known(Vec<LayerId>),
    /// Something that Commit will name.
    Something,
    /// Only Commit knows whether there is anything.
    Unknown,
}

impl Below {
    /// Tells it from an active snapshot, and from whether that is mounted as an overlay.
    pub fn of(snapshot: &Snapshot, is_overlay: bool) -> Below {
        let label = |name| snapshot.labels.get(name).is_some_and(|value| !value.is_empty());
        if snapshot.parent.is_some() || !is_overlay {
            Below::Known(snapshot.parent_layers.clone())
        } else if label(label::PARENT_CHAIN_ID) {
            Below::Something
        } else if label(label::DIFF_ID) {
            // Who sends this label sends the other one as well, where there is a parent.
            Below::Known(Vec::new())
        } else {
            Below::Unknown
        }
    }

    /// Returns in which variants a known layer fits.
    pub fn variants(&self) -> Vec<Variant> {
        match self {
            Below::Known(layers) => vec![Variant::any(), Variant::on(layers)],
            Below::Something | Below::Unknown => vec![Variant::any()],
        }
    }

    /// Whether a layer of a variant that fits can be used. What hides something has to have something below it.
    pub fn can_have(&self, known: &Known) -> bool {
        match self {
            Below::Known(layers) => !(known.hides && layers.is_empty()),
            Below::Something => !known.only_on_known,
            Below::Unknown => !(known.only_on_known || known.hides),
        }
    }
}

impl Snapshotter {
    /// Returns the namespace within which a snapshot's layer is shared, empty for all; `None` when it is not.
    pub(super) fn shares_in(&self, key: &SnapshotKey) -> Option<Box<str>> {
        match self.settings.reuse {
            Reuse { enabled: false, .. } => None,
            Reuse { per_namespace: false, .. } => Some("".into()),
            Reuse { per_namespace: true, .. } => key.namespace().map(|namespace| namespace.as_str().into()),
        }
    }

    /// Whether a known layer is there and whole, and has the same root directory as the one whose place it is to take, where
    /// that came from below.
    pub(super) fn can_replace(&self, layer: LayerId, known: &Known, other: LayerId) -> Result<bool> {
        self.fits_root(layer, known, || self.dirs.attributes_of(other))
    }

    /// The same for a layer whose root directory would have these attributes.
    pub(super) fn fits_root(
        &self,
        layer: LayerId,
        known: &Known,
        other: impl FnOnce() -> Result<Attributes>,
    ) -> Result<bool> {
        if !self.is_sound(&known.boot) {
            return Ok(false);
        }
        let root = match self.dirs.attributes_of(layer) {
            Ok(root) => root,
            Err(err) => {
                tracing::error!(error = %crate::Chain(&err), %layer, "a known layer cannot be used; see leasehold fsck");
                return Ok(false);
            }
        };
        Ok(!known.implicit_root || root == other()?)
    }

    /// Whether what was written in a boot of the machine is still what was written; empty for what is durable.
    pub(super) fn is_sound(&self, boot: &str) -> bool {
        boot.is_empty() || *boot == *self.boot
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::metadata::Kind;
    use crate::types::{Digest, Labels};

    fn active(parent: bool, labels: &[(&str, &str)]) -> Snapshot {
        Snapshot {
            id: 1,
            kind: Kind::Active,
            layer: Some(LayerId::new(9)),
            parent: parent.then(|| SnapshotKey::parse("parent").unwrap()),
            parent_id: 0,
            parent_layers: if parent { vec![LayerId::new(7)] } else { Vec::new() },
            labels: Labels::parse(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).unwrap(),
            created_at: UNIX_EPOCH,
            updated_at: UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_below_is_known_from_the_parent_the_mount_or_the_labels() {
        let above = [(label::DIFF_ID, "sha256:1"), (label::PARENT_CHAIN_ID, "sha256:2")];
        let base = Below::Known(Vec::new());
        for (parent, labels, is_overlay, expected) in [
            (true, &above[..], true, Below::Known(vec![LayerId::new(7)])),
            (false, &above[..], true, Below::Something),
            (false, &above[..1], true, base.clone()),
            (false, &above[..0], true, Below::Unknown),
            (false, &above[..0], false, base.clone()),
        ] {
            assert_eq!(Below::of(&active(parent, labels), is_overlay), expected, "{parent} {labels:?} {is_overlay}");
        }
    }

    #[test]
    fn what_hides_something_is_on_top_of_something() {
        let known = |hides, only_on_known| Known {
            diff_id: Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap(),
            size: 0,
            blobs: Vec::new(),
            variant: Variant::any(),
            namespace: "".into(),
            implicit_root: false,
            hides,
            boot: "".into(),
            only_on_known,
        };
        let on = Below::Known(vec![LayerId::new(7)]);
        let can = |below: &Below| {
            [(false, false), (true, false), (false, true), (true, true)].map(|(a, b)| below.can_have(&known(a, b)))
        };
        assert_eq!(can(&on), [true; 4]);
        assert_eq!(can(&Below::Known(Vec::new())), [true, false, true, false]);
        assert_eq!(can(&Below::Something), [true, true, false, false]);
        assert_eq!(can(&Below::Unknown), [true, false, false, false]);
    }
}
