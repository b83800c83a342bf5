//! The names behind the numbers, for those who have to tell them to people.

use super::resource::{Name, Resource, ResourceType};

/// The names of numbered resources, in one piece of text.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Namespaces and keys in turn.
    text: String,
    /// Of each resource: type, where its namespace ends, and where its key ends.
    ends: Vec<(ResourceType, usize, usize)>,
}

impl Names {
    /// Adds the name of the next number.
    pub(super) fn push(&mut self, resource: &Resource<'_>) {
        self.text.push_str(resource.namespace);
        let namespace_end = self.text.len();
        if let Some(snapshotter) = resource.snapshotter {
            self.text.push_str(snapshotter);
            self.text.push('/');
        }
        self.text.push_str(resource.key);
        self.ends.push((resource.ty, namespace_end, self.text.len()));
    }

    /// Returns the name of a number.
    pub(super) fn get(&self, number: u32) -> Option<Name> {
        let index = number as usize;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(.., end)| *end);
        let (ty, namespace_end, end) = *self.ends.get(index)?;
        let namespace = self.text.get(start..namespace_end)?.to_owned();
        Some(Name { ty, namespace, key: self.text.get(namespace_end..end)?.to_owned() })
    }
}
