//! The write barrier: what writers use while a collection runs.

use std::collections::HashSet;

use super::intern::HashKey;
use super::labels::{self, Meaning};
use super::object::Object;
use super::resource::{Resource, Types};

/// Takes down what writers use while a collection runs, so that the collector can mark it.
///
/// A collection marks what a database snapshot shows. A writer that begins afterwards may refer to something that nothing
/// in the snapshot refers to. So the rule: from before the snapshot is taken until the last sweep is done, every writer
/// shades, before its transaction commits,
///
/// - each record that it creates or changes, with all that it refers to now ([`shade_object`](Self::shade_object)),
/// - each resource that it adds to a lease,
/// - each resource that it found and tells its client is there (a blob or a snapshot that "already exists").
///
/// Removals need nothing: what was held at the snapshot and is no more is found by the next collection. Back references
/// need nothing either, because the object that carries them is shaded as such.
///
/// What is shaded survives this collection, together with all that it referred to at the snapshot; that is why a writer
/// need not follow references. It may keep garbage for one collection more, and never loses anything.
///
/// To shade is one hash and one insertion, whatever the size of the graph. The marking is done by the collector, which
/// [takes](Self::take) what was taken down right before it decides about a batch: inside the transaction that removes
/// the batch, so that no writer comes in between. Writers themselves know nothing of it: their transactions take down
/// what they touch ([`Watch`](crate::metadata::Watch)), and the collector shades that here.
#[derive(Debug)]
pub struct Barrier {
    key: HashKey,
    shaded: HashSet<u64>,
}

/// What a barrier took down.
#[derive(Debug, Default)]
pub struct Shaded {
    pub(super) hashes: HashSet<u64>,
}

impl Shaded {
    /// Tells whether there is nothing to mark.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl Barrier {
    /// Begins to take down. The graph has to be built with the same key.
    pub fn new(key: HashKey) -> Barrier {
        Barrier { key, shaded: HashSet::new() }
    }

    /// Shades a resource.
    pub fn shade(&mut self, resource: &Resource<'_>) {
        self.shaded.insert(self.key.hash(resource));
    }

    /// Shades an object and all that it, or one of its labels, refers to. Members of a lease are for the caller to shade.
    ///
    /// What it refers to on a condition is shaded whether the condition holds or not.
    pub fn shade_object<'a>(
        &mut self,
        types: &Types,
        namespace: &'a str,
        object: &Object<'a>,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        self.shade(&object.resource(namespace));
        if let Some((_, to)) = object.refers_to(namespace) {
            self.shade(&to);
        }
        let heeds = object.heeds();
        for (key, value) in labels {
            labels::read(types, namespace, key, value, |meaning| match meaning {
                Meaning::Reference(to) if heeds.references => self.shade(&to),
                Meaning::Condition(to, _) if heeds.conditions => self.shade(&to),
                _ => {}
            });
        }
    }

    /// Hands over what was taken down since the last time.
    pub fn take(&mut self) -> Shaded {
        Shaded { hashes: std::mem::take(&mut self.shaded) }
    }
}
