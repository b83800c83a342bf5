//! What can be collected or can hold something: types, and what names one resource.

use crate::{Error, Result};

/// Type of a resource: one of those below, or one that was [registered](Types::register).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceType(u8);

impl ResourceType {
    /// A lease, by its id.
    pub const LEASE: ResourceType = ResourceType(0);
    /// A snapshot, by its snapshotter and its key or name.
    pub const SNAPSHOT: ResourceType = ResourceType(1);
    /// A blob, by its digest.
    pub const CONTENT: ResourceType = ResourceType(2);
    /// An upload in progress, by its ref.
    pub const INGEST: ResourceType = ResourceType(3);
    /// An image, by its name.
    pub const IMAGE: ResourceType = ResourceType(4);
    /// A container, by its id. Holds, and is never collected.
    pub const CONTAINER: ResourceType = ResourceType(5);
    /// A sandbox, by its id. Holds, and is never collected.
    pub const SANDBOX: ResourceType = ResourceType(6);

    /// Tells whether resources of this type are removed when nothing holds them.
    pub fn is_collectible(self) -> bool {
        !matches!(self, ResourceType::CONTAINER | ResourceType::SANDBOX)
    }

    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// Whether a flat lease holds such a resource without all that it refers to. An ingest is held together with the blob
    /// that it will become, and with what that refers to, by a flat lease as well; so has it containerd.
    pub(super) fn is_held_flat(self) -> bool {
        matches!(self, ResourceType::SNAPSHOT | ResourceType::CONTENT | ResourceType::IMAGE)
    }
}

const NAMES: [&str; 7] = ["lease", "snapshot", "content", "ingest", "image", "container", "sandbox"];

/// A type that was registered.
#[derive(Clone, Debug)]
struct Further {
    ty: ResourceType,
    name: String,
    reference_label: Option<String>,
}

/// The table of resource types.
#[derive(Clone, Debug, Default)]
pub struct Types {
    further: Vec<Further>,
}

impl Types {
    /// Adds a type. Where it has a reference label `x`, the label `containerd.io/gc.ref.x` of other resources refers to
    /// resources of this type, and so do `containerd.io/gc.ref.x.<any>` and `containerd.io/gc.ref.x/<any>`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or label that is empty or taken, and when there are 256 types.
    pub fn register(&mut self, name: &str, reference_label: Option<&str>) -> Result<ResourceType> {
        let taken = NAMES.contains(&name) || self.further.iter().any(|further| further.name == name);
        if name.is_empty() || taken {
            return Err(Error::invalid("resource type", format!("{name:?} is empty or taken")));
        }
        let label_taken = |label: &str| {
            ["content", "image", "snapshot"].contains(&label)
                || self.further.iter().any(|further| further.reference_label.as_deref() == Some(label))
        };
        if let Some(label) = reference_label.filter(|label| label.is_empty() || label_taken(label)) {
            return Err(Error::invalid("reference label", format!("{label:?} is empty or taken")));
        }
        let number = u8::try_from(NAMES.len() + self.further.len())
            .map_err(|_| Error::invalid("resource type", "there are 256 types, the most there can be"))?;
        let ty = ResourceType(number);
        self.further.push(Further { ty, name: name.to_owned(), reference_label: reference_label.map(str::to_owned) });
        Ok(ty)
    }

    /// Returns the name of a type, for people.
    pub fn name(&self, ty: ResourceType) -> &str {
        let further = || self.further.iter().find(|further| further.ty == ty).map(|further| further.name.as_str());
        NAMES.get(usize::from(ty.0)).copied().or_else(further).unwrap_or("unknown")
    }

    /// Returns the types that have a reference label, with it.
    pub(super) fn with_labels(&self) -> impl Iterator<Item = (ResourceType, &str)> {
        self.further.iter().filter_map(|further| Some((further.ty, further.reference_label.as_deref()?)))
    }
}

/// What names one resource: namespace, type and key.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub(super) namespace: &'a str,
    pub(super) ty: ResourceType,
    /// A snapshot's snapshotter, where it is not yet the first part of the key.
    pub(super) snapshotter: Option<&'a str>,
    pub(super) key: &'a str,
}

impl<'a> Resource<'a> {
    /// Names a resource of any type. The key of a snapshot is `<snapshotter>/<key>` here.
    pub fn new(namespace: &'a str, ty: ResourceType, key: &'a str) -> Resource<'a> {
        Resource { namespace, ty, snapshotter: None, key }
    }

    /// Names a snapshot.
    pub fn snapshot(namespace: &'a str, snapshotter: &'a str, key: &'a str) -> Resource<'a> {
        Resource { namespace, ty: ResourceType::SNAPSHOT, snapshotter: Some(snapshotter), key }
    }

    /// Names a blob.
    pub fn content(namespace: &'a str, digest: &'a str) -> Resource<'a> {
        Resource::new(namespace, ResourceType::CONTENT, digest)
    }

    /// Returns the resource's type.
    pub fn ty(&self) -> ResourceType {
        self.ty
    }

    /// Copies the name.
    pub fn to_name(&self) -> Name {
        Name { ty: self.ty, namespace: self.namespace.to_owned(), key: self.joined_key() }
    }

    fn joined_key(&self) -> String {
        match self.snapshotter {
            Some(snapshotter) => format!("{snapshotter}/{}", self.key),
            None => self.key.to_owned(),
        }
    }
}

/// What names one resource, with a life of its own. The key of a snapshot is `<snapshotter>/<key>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its type.
    pub ty: ResourceType,
    /// The namespace that it is in.
    pub namespace: String,
    /// What names it in there.
    pub key: String,
}

impl Name {
    /// Borrows the name.
    pub fn as_resource(&self) -> Resource<'_> {
        Resource::new(&self.namespace, self.ty, &self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::{ResourceType, Types};

    #[test]
    fn further_types_are_numbered_and_named() {
        let mut types = Types::default();
        let stream = types.register("stream", None).unwrap();
        let mount = types.register("mount", Some("mount")).unwrap();
        assert_ne!(stream, mount);
        assert_eq!((types.name(stream), types.name(mount)), ("stream", "mount"));
        assert_eq!(types.name(ResourceType::SANDBOX), "sandbox");
        assert_eq!(types.with_labels().collect::<Vec<_>>(), [(mount, "mount")]);
        assert!(stream.is_collectible() && !ResourceType::CONTAINER.is_collectible());
    }

    #[test]
    fn names_and_labels_are_taken_once() {
        let mut types = Types::default();
        types.register("mount", Some("mount")).unwrap();
        for (name, label) in [
            ("", None),
            ("mount", None),
            ("content", None),
            ("a", Some("")),
            ("b", Some("mount")),
            ("c", Some("image")),
        ] {
            assert!(types.register(name, label).is_err(), "{name} {label:?}");
        }
    }

    #[test]
    fn there_is_an_end_of_types() {
        let mut types = Types::default();
        let last = (0..249).map(|number| types.register(&format!("type-{number}"), None).unwrap()).last();
        assert_eq!(types.name(last.unwrap()), "type-248");
        assert!(types.register("one too many", None).is_err());
    }
}
