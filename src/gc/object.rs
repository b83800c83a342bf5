//! Objects as they are fed to the collector, and what they refer to by their nature.

use std::time::SystemTime;

use super::graph::EdgeKind;
use super::resource::{Resource, ResourceType};

/// An object, with those of its properties that the collector looks at. Members of leases and labels come beside it.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// A lease: a root until it expires.
    Lease {
        /// Its id.
        id: &'a str,
    },
    /// A snapshot. Refers to its parent.
    Snapshot {
        /// The snapshotter that has it.
        snapshotter: &'a str,
        /// Its key or name.
        key: &'a str,
        /// Its parent's name.
        parent: Option<&'a str>,
    },
    /// A blob.
    Content {
        /// Its digest.
        digest: &'a str,
    },
    /// An upload: a root until it expires, and none without an expiry. Refers to the blob that it will become.
    Ingest {
        /// Its ref.
        reference: &'a str,
        /// The digest that was announced.
        expected: Option<&'a str>,
        /// When it expires. No label says that.
        expires: Option<SystemTime>,
    },
    /// An image: a root unless it expires. Refers to its target.
    Image {
        /// Its name.
        name: &'a str,
        /// The digest of its target.
        target: &'a str,
    },
    /// A container: always a root. Refers to its snapshot. To its image it does not, unless a label says so.
    Container {
        /// Its id.
        id: &'a str,
        /// The snapshotter of its snapshot; empty for a container without one.
        snapshotter: &'a str,
        /// The key of its snapshot.
        snapshot_key: &'a str,
    },
    /// A sandbox: what its labels refer to is kept.
    Sandbox {
        /// Its id.
        id: &'a str,
    },
}

impl<'a> Object<'a> {
    /// Names the object.
    pub fn resource(&self, namespace: &'a str) -> Resource<'a> {
        match *self {
            Object::Lease { id } => Resource::new(namespace, ResourceType::LEASE, id),
            Object::Snapshot { snapshotter, key, .. } => Resource::snapshot(namespace, snapshotter, key),
            Object::Content { digest } => Resource::content(namespace, digest),
            Object::Ingest { reference, .. } => Resource::new(namespace, ResourceType::INGEST, reference),
            Object::Image { name, .. } => Resource::new(namespace, ResourceType::IMAGE, name),
            Object::Container { id, .. } => Resource::new(namespace, ResourceType::CONTAINER, id),
            Object::Sandbox { id } => Resource::new(namespace, ResourceType::SANDBOX, id),
        }
    }

    /// Returns what the object refers to without any label.
    pub(super) fn refers_to(&self, namespace: &'a str) -> Option<(EdgeKind, Resource<'a>)> {
        match *self {
            Object::Snapshot { snapshotter, parent, .. } => {
                let parent = parent.filter(|parent| !parent.is_empty())?;
                Some((EdgeKind::Parent, Resource::snapshot(namespace, snapshotter, parent)))
            }
            Object::Ingest { expected, .. } => {
                let expected = expected.filter(|expected| !expected.is_empty())?;
                Some((EdgeKind::Expected, Resource::content(namespace, expected)))
            }
            Object::Image { target, .. } => Some((EdgeKind::Target, Resource::content(namespace, target))),
            Object::Container { snapshotter, snapshot_key, .. } if !snapshotter.is_empty() => {
                Some((EdgeKind::Rootfs, Resource::snapshot(namespace, snapshotter, snapshot_key)))
            }
            Object::Container { .. } | Object::Lease { .. } | Object::Content { .. } | Object::Sandbox { .. } => None,
        }
    }

    /// Which labels count on such an object.
    pub(super) fn heeds(&self) -> Heeds {
        let none = Heeds::default();
        match self {
            Object::Lease { .. } | Object::Ingest { .. } => none,
            Object::Snapshot { .. } => {
                Heeds { references: true, back_references: true, root: true, used: true, ..none }
            }
            Object::Content { .. } => {
                Heeds { references: true, back_references: true, root: true, conditions: true, ..none }
            }
            // Back references count on an expired image only. One that is not needs nobody to refer to it.
            Object::Image { .. } => Heeds { references: true, conditions: true, ..none },
            Object::Container { .. } => Heeds { references: true, back_references: true, ..none },
            Object::Sandbox { .. } => Heeds { references: true, ..none },
        }
    }
}

/// The kinds of labels that count on an object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heeds {
    pub(super) references: bool,
    pub(super) back_references: bool,
    pub(super) root: bool,
    pub(super) conditions: bool,
    pub(super) used: bool,
}
