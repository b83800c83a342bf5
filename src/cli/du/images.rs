//! Usage by image: the images are containerd's, the layers ours.

use std::collections::{BTreeMap, HashMap};

use anyhow::bail;
use serde_json::{Value, json};

use crate::grpc::proto::leasehold::admin::v1::{ImageTops, ImageUsage};
use crate::types::Namespace;

use super::super::containerd::{Containerd, Image, Record, Wanted, find, find_in, target};
use super::super::text;
use super::{cells, json_share};

/// An image of one namespace, under all of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub namespace: String,
    /// First the one that was asked for, or else one that people use.
    pub names: Vec<String>,
    pub target: String,
    pub tops: Vec<String>,
    /// Why it is not known what it has.
    pub problem: Option<String>,
    /// Whether it is to be shown. The others are there so that it is known what is shared with them.
    pub wanted: bool,
}

/// Asks containerd for the images of one namespace, or of all.
pub(super) fn rows(containerd: &Containerd, only: &str, names: &[String]) -> anyhow::Result<Vec<Row>> {
    let namespaces = if only.is_empty() { containerd.namespaces()? } else { vec![Namespace::parse(only)?] };
    let wanted = wanted(containerd, &namespaces, names)?;
    let mut rows = Vec::new();
    for namespace in &namespaces {
        let mut by_target: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in containerd.images(namespace, Vec::new())? {
            by_target.entry(target(&record).to_owned()).or_default().push(record);
        }
        for (target, mut records) in by_target {
            let asked = wanted.as_ref().map(|wanted| wanted.get(&(namespace.clone(), target.clone())));
            let is_other = |name: &String| asked.flatten() != Some(name);
            records.sort_by_cached_key(|one| (is_other(&one.name), is_digest(&one.name), one.name.clone()));
            let Some(first) = records.first() else { continue };
            let image = Image::resolve(first, &Wanted::All, &mut |digest| containerd.document(namespace, digest));
            let (tops, problem) = match image {
                Ok(image) => (image.manifests.iter().filter_map(|one| one.chain_ids.last().cloned()).collect(), None),
                Err(err) => (Vec::new(), Some(format!("{err:#}"))),
            };
            rows.push(Row {
                namespace: namespace.as_str().to_owned(),
                names: records.into_iter().map(|record| record.name).collect(),
                wanted: asked.is_none_or(|asked| asked.is_some()),
                target,
                tops,
                problem,
            });
        }
    }
    Ok(rows)
}

/// Returns which images are asked for: by what they point at, their names. `None` for all.
fn wanted(
    containerd: &Containerd,
    namespaces: &[Namespace],
    names: &[String],
) -> anyhow::Result<Option<HashMap<(Namespace, String), String>>> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut wanted = HashMap::new();
    for name in names {
        let mut found = Vec::new();
        if let [namespace] = namespaces {
            found.push((namespace, find(containerd, namespace, name)?));
        } else {
            for namespace in namespaces {
                found.extend(find_in(containerd, namespace, name)?.map(|record| (namespace, record)));
            }
        }
        if found.is_empty() {
            bail!("containerd has no image {name:?} in any namespace");
        }
        wanted.extend(found.into_iter().map(|(namespace, record)| {
            let target = target(&record).to_owned();
            ((namespace.clone(), target), record.name)
        }));
    }
    Ok(Some(wanted))
}

/// Whether a name is one that Kubernetes gives images besides the one that people use.
fn is_digest(name: &str) -> bool {
    name.starts_with("sha256:") || name.contains('@')
}

/// Encodes what is to be asked of the daemon.
pub(super) fn request(rows: &[Row]) -> Vec<ImageTops> {
    rows.iter().map(|row| ImageTops { namespace: row.namespace.clone(), tops: row.tops.clone() }).collect()
}

/// Joins rows with what the daemon says of them: by namespace, those first whose removal brings most.
pub(super) fn join<'r>(rows: &'r [Row], usages: &'r [ImageUsage]) -> Vec<(&'r Row, ImageUsage)> {
    let mut joined: Vec<_> = rows.iter().zip(usages.iter().copied()).filter(|(row, _)| row.wanted).collect();
    let unique = |usage: &ImageUsage| usage.share.unwrap_or_default().unique;
    joined.sort_by(|(a, of_a), (b, of_b)| {
        a.namespace.cmp(&b.namespace).then_with(|| unique(of_b).cmp(&unique(of_a))).then_with(|| a.names.cmp(&b.names))
    });
    joined
}

pub(super) fn table(images: &[(&Row, ImageUsage)]) -> String {
    let mut table = text::table();
    table.set_header(["NAMESPACE", "IMAGE", "UNPACKED", "LAYERS", "SIZE", "SHARED", "UNIQUE"]);
    for (row, usage) in images {
        let facts = [row.namespace.clone(), name(row), unpacked(row, usage).to_owned()];
        table.add_row(facts.into_iter().chain(cells(usage.share)));
    }
    text::finish(table)
}

fn name(row: &Row) -> String {
    let first = row.names.first().map(|name| text::name(name, false)).unwrap_or_default();
    match row.names.len() {
        0 | 1 => first,
        names => format!("{first} (+{})", names - 1),
    }
}

fn unpacked(row: &Row, usage: &ImageUsage) -> &'static str {
    match (usage.missing, usage.snapshots) {
        _ if row.problem.is_some() => "unknown",
        (0, _) => "yes",
        (_, 0) => "no",
        _ => "partly",
    }
}

pub(super) fn json(images: &[(&Row, ImageUsage)]) -> Vec<Value> {
    let image = |(row, usage): &(&Row, ImageUsage)| {
        json!({
            "namespace": row.namespace, "names": row.names, "target": row.target, "problem": row.problem,
            "unpacked": unpacked(row, usage), "snapshots": usage.snapshots, "usage": json_share(usage.share),
        })
    };
    images.iter().map(image).collect()
}
