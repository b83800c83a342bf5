//! Between the generated types and ours.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prost_types::{FieldMask, Timestamp};

use crate::metadata::{Kind, LabelUpdate};
use crate::overlay;
use crate::snapshotter;
use crate::types::{Labels, SnapshotKey};
use crate::{Error, Result};

use super::proto::containerd::services::snapshots::v1 as api;
use super::proto::containerd::types::Mount;
use super::scope::Caller;

pub(super) fn mounts(mounts: Vec<overlay::Mount>) -> Vec<Mount> {
    mounts
        .into_iter()
        .map(|mount| Mount { r#type: mount.kind, source: mount.source, target: mount.target, options: mount.options })
        .collect()
}

pub(super) fn mounts_of(mounts: Vec<Mount>) -> Vec<overlay::Mount> {
    mounts
        .into_iter()
        .map(|Mount { r#type: kind, source, target, options }| overlay::Mount { kind, source, target, options })
        .collect()
}

pub(super) fn info(info: snapshotter::Info) -> api::Info {
    let snapshot = info.snapshot;
    api::Info {
        name: info.key.as_str().to_owned(),
        parent: snapshot.parent.map(|parent| parent.as_str().to_owned()).unwrap_or_default(),
        kind: match snapshot.kind {
            Kind::View => api::Kind::View,
            Kind::Active => api::Kind::Active,
            Kind::Committed => api::Kind::Committed,
        }
        .into(),
        created_at: Some(timestamp(snapshot.created_at)),
        updated_at: Some(timestamp(snapshot.updated_at)),
        labels: snapshot.labels.into_inner(),
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// Checks the labels of a request. A label without a value is no label, as in containerd's metadata.
pub(super) fn labels(labels: BTreeMap<String, String>) -> Result<Labels> {
    Labels::parse(labels.into_iter().filter(|(_, value)| !value.is_empty()))
}

/// Reads the request of Update: which snapshot, and what becomes of its labels.
pub(super) fn update(caller: &Caller, request: api::UpdateSnapshotRequest) -> Result<(SnapshotKey, LabelUpdate)> {
    let info = request.info.ok_or_else(|| Error::invalid("info", "is missing"))?;
    let key = caller.key(info.name)?;
    Ok((key, label_update(request.update_mask, info.labels)?))
}

/// Reads a mask and the labels that come with it.
pub(super) fn label_update(mask: Option<FieldMask>, sent: BTreeMap<String, String>) -> Result<LabelUpdate> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() || paths.iter().any(|path| path == "labels") {
        check_paths(&paths)?;
        return Ok(LabelUpdate::Replace(labels(sent)?));
    }
    check_paths(&paths)?;
    let changes = paths.iter().filter_map(|path| path.strip_prefix("labels."));
    Ok(LabelUpdate::Merge(
        changes.map(|label| (label.to_owned(), sent.get(label).filter(|value| !value.is_empty()).cloned())).collect(),
    ))
}

fn check_paths(paths: &[String]) -> Result<()> {
    let known =
        |path: &&String| *path == "labels" || path.strip_prefix("labels.").is_some_and(|label| !label.is_empty());
    match paths.iter().find(|path| !known(path)) {
        None => Ok(()),
        Some(path) => Err(Error::invalid("update mask", format!("{path:?} cannot be updated"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update_of(paths: &[&str]) -> Result<LabelUpdate> {
        let sent = BTreeMap::from([("a".into(), "1".into()), ("b.c".into(), "2".into()), ("empty".into(), "".into())]);
        label_update(Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }), sent)
    }

    #[test]
    fn no_mask_and_labels_replace() {
        let all = Labels::parse([("a".to_owned(), "1".to_owned()), ("b.c".to_owned(), "2".to_owned())]).unwrap();
        assert_eq!(update_of(&[]).unwrap(), LabelUpdate::Replace(all.clone()));
        assert_eq!(update_of(&["labels"]).unwrap(), LabelUpdate::Replace(all.clone()));
        assert_eq!(update_of(&["labels.a", "labels"]).unwrap(), LabelUpdate::Replace(all));
    }

    #[test]
    fn single_labels_merge_and_absent_ones_are_removed() {
        assert_eq!(
            update_of(&["labels.b.c", "labels.gone", "labels.empty"]).unwrap(),
            LabelUpdate::Merge(vec![("b.c".into(), Some("2".into())), ("gone".into(), None), ("empty".into(), None)])
        );
    }

    #[test]
    fn a_path_that_is_named_twice_says_the_same_twice() {
        let a = ("a".to_owned(), Some("1".to_owned()));
        assert_eq!(update_of(&["labels.a", "labels.a"]).unwrap(), LabelUpdate::Merge(vec![a.clone(), a]));
    }

    #[test]
    fn other_fields_are_refused() {
        for path in ["name", "parent", "kind", "labels.", "", "label"] {
            assert!(matches!(update_of(&["labels", path]), Err(Error::Invalid { .. })), "{path:?}");
        }
    }
}
