//! What a label means to the collector.
//!
//! The prefixes, and what may follow them, are containerd's. Labels that have one of the prefixes and are malformed mean
//! nothing, as there. All they can name is in the namespace of the object that carries them.

use std::time::SystemTime;

use super::condition::{self, UsedAt};
use super::resource::{Resource, ResourceType, Types};
use crate::types::parse_rfc3339;

const PREFIX: &str = "containerd.io/gc.";

/// What a label says. Whether it counts depends on the type of the object that carries it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning<'a> {
    /// The object refers to a resource.
    Reference(Resource<'a>),
    /// A resource refers to the object.
    BackReference(Resource<'a>),
    /// The object is a root.
    Root,
    /// The object refers to a snapshot while the condition holds.
    Condition(Resource<'a>, UsedAt),
    /// The object, a snapshot, was used at that time.
    Used(SystemTime),
}

/// Calls `found` for all that one label says.
pub(super) fn read<'a>(
    types: &Types,
    namespace: &'a str,
    key: &'a str,
    value: &'a str,
    mut found: impl FnMut(Meaning<'a>),
) {
    let Some(label) = key.strip_prefix(PREFIX) else { return };
    if let Some(label) = label.strip_prefix("ref.") {
        let to = named(label, namespace, value, &[("content", ResourceType::CONTENT), ("image", ResourceType::IMAGE)]);
        to.into_iter().for_each(|to| found(Meaning::Reference(to)));
        let further = types.with_labels().filter(|(_, name)| is_named(label, name));
        further.for_each(|(ty, _)| found(Meaning::Reference(Resource::new(namespace, ty, value))));
    } else if let Some(label) = label.strip_prefix("bref.") {
        const TYPES: [(&str, ResourceType); 3] = [
            ("container", ResourceType::CONTAINER),
            ("content", ResourceType::CONTENT),
            ("image", ResourceType::IMAGE),
        ];
        named(label, namespace, value, &TYPES).into_iter().for_each(|by| found(Meaning::BackReference(by)));
    } else if let Some(label) = label.strip_prefix("cond.") {
        if let Some(snapshotter) = label.strip_prefix("snapshot") {
            let snapshotter = before_slash(snapshotter.trim_start_matches(['.', '/']));
            let Some((conditions, key)) = condition::parse(value) else { return };
            let snapshot = Resource::snapshot(namespace, snapshotter, key);
            conditions.for_each(|condition| found(Meaning::Condition(snapshot, condition)));
        } else if label.starts_with("value-usedat") {
            parse_rfc3339(value).into_iter().for_each(|used| found(Meaning::Used(used)));
        }
    } else if label.starts_with("root") {
        // By prefix, whatever follows, and whatever the value.
        found(Meaning::Root);
    }
}

/// Returns what a reference label names: one of the types that go by their name, or a snapshot.
fn named<'a>(
    label: &'a str,
    namespace: &'a str,
    value: &'a str,
    types: &[(&str, ResourceType)],
) -> Option<Resource<'a>> {
    if let Some(snapshotter) = label.strip_prefix("snapshot.") {
        return Some(Resource::snapshot(namespace, before_slash(snapshotter), value));
    }
    let (_, ty) = types.iter().find(|(name, _)| is_named(label, name))?;
    Some(Resource::new(namespace, *ty, value))
}

/// Whether the label is the name, or the name and something after `.` or `/` that tells several labels apart.
fn is_named(label: &str, name: &str) -> bool {
    label.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}

fn before_slash(text: &str) -> &str {
    text.split_once('/').map_or(text, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::{Meaning, read};
    use crate::gc::resource::Types;

    /// Writes down what a label says.
    fn meaning(label: &str, value: &str) -> Vec<String> {
        let mut types = Types::default();
        types.register("mount", Some("mount")).unwrap();
        types.register("layer of content", Some("content.layer")).unwrap();
        let mut said = Vec::new();
        read(&types, "ns", &format!("containerd.io/gc.{label}"), value, |meaning| {
            said.push(match meaning {
                Meaning::Reference(to) => format!("to {} {}", types.name(to.ty()), to.to_name().key),
                Meaning::BackReference(by) => format!("by {} {}", types.name(by.ty()), by.to_name().key),
                Meaning::Root => "root".to_owned(),
                Meaning::Condition(to, condition) => format!("{condition:?} {}", to.to_name().key),
                Meaning::Used(_) => "used".to_owned(),
            });
        });
        said
    }

    #[test]
    fn labels_mean_what_they_mean_to_containerd() {
        for (label, value, expected) in [
            ("ref.content", "d", "to content d"),
            ("ref.content.", "d", "to content d"),
            ("ref.content/", "d", "to content d"),
            ("ref.content.config", "d", "to content d"),
            ("ref.content/l/0", "d", "to content d"),
            ("ref.image", "i", "to image i"),
            ("ref.image.x", "i", "to image i"),
            ("ref.image/x", "i", "to image i"),
            ("ref.snapshot.overlay", "s", "to snapshot overlay/s"),
            ("ref.snapshot.overlay/x", "s", "to snapshot overlay/s"),
            ("ref.snapshot.overlay.x", "s", "to snapshot overlay.x/s"),
            ("ref.snapshot.", "s", "to snapshot /s"),
            ("ref.mount", "m", "to mount m"),
            ("ref.mount.x", "m", "to mount m"),
            ("ref.mount/x", "m", "to mount m"),
            ("bref.container", "c", "by container c"),
            ("bref.container.x", "c", "by container c"),
            ("bref.content/x", "d", "by content d"),
            ("bref.image.x", "i", "by image i"),
            ("bref.snapshot.overlay/x", "s", "by snapshot overlay/s"),
            ("root", "", "root"),
            ("root", "false", "root"),
            ("rootless", "x", "root"),
            ("cond.snapshot.overlay", "usedat<1ns|s", "LessThan(1) overlay/s"),
            ("cond.snapshot/overlay/x", "usedat>1ns|s", "MoreThan(1) overlay/s"),
            ("cond.snapshot./.overlay", "usedat>1ns|s", "MoreThan(1) overlay/s"),
            ("cond.snapshotoverlay", "usedat>1ns|s", "MoreThan(1) overlay/s"),
            ("cond.value-usedat", "2024-03-01T00:00:00Z", "used"),
            ("cond.value-usedat.x", "2024-03-01T00:00:00Z", "used"),
        ] {
            assert_eq!(meaning(label, value), [expected], "{label}={value}");
        }
    }

    #[test]
    fn one_label_can_say_several_things() {
        assert_eq!(meaning("ref.content.layer", "x"), ["to content x", "to layer of content x"]);
        assert_eq!(
            meaning("cond.snapshot.overlay", "usedat<1ns,usedat>2ns|s"),
            ["LessThan(1) overlay/s", "MoreThan(2) overlay/s"]
        );
    }

    #[test]
    fn malformed_labels_mean_nothing() {
        for (label, value) in [
            ("ref", "d"),
            ("ref.", "d"),
            ("ref.contentbad", "d"),
            ("ref.content-bad", "d"),
            ("ref.imagex", "i"),
            ("ref.snapshot", "s"),
            ("ref.snapshots.overlay", "s"),
            ("ref.container", "c"),
            ("ref.lease", "l"),
            ("ref.mountx", "m"),
            ("bref.mount", "m"),
            ("bref.contentbad", "d"),
            ("bref.snapshot", "s"),
            ("bref.lease", "l"),
            ("cond.snapshot.overlay", "s"),
            ("cond.snapshot.overlay", "usedat=1h|s"),
            ("cond.content", "usedat<1h|s"),
            ("cond.value-usedat", "yesterday"),
            ("expire", "2024-03-01T00:00:00Z"),
            ("flat", "x"),
            ("roo", "x"),
            ("REF.content", "d"),
        ] {
            assert_eq!(meaning(label, value), [""; 0], "{label}={value}");
        }
    }
}
