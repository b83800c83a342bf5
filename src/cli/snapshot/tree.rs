//! `leasehold snapshot tree`

use std::collections::HashMap;

use crate::grpc::proto::leasehold::admin::v1::Snapshot;

use super::super::text;
use super::{held_by, kind, size};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print digests and ids in full.
    #[arg(long)]
    full: bool,
}

pub(super) fn run(all: &[Snapshot], args: &Args) {
    print!("{}", tree(all, args.full));
}

/// What tells a snapshot from all others.
type Key<'s> = (bool, &'s str, &'s str);

fn key(snapshot: &Snapshot) -> Key<'_> {
    (snapshot.api, &snapshot.namespace, &snapshot.key)
}

/// Draws the snapshots of each namespace. One whose parent is gone stands at the top.
pub(super) fn tree(all: &[Snapshot], full: bool) -> String {
    let known: HashMap<Key<'_>, &Snapshot> = all.iter().map(|snapshot| (key(snapshot), snapshot)).collect();
    let mut children: HashMap<Key<'_>, Vec<&Snapshot>> = HashMap::new();
    let mut tops: Vec<&Snapshot> = Vec::new();
    for snapshot in all {
        let parent = (snapshot.api, snapshot.namespace.as_str(), snapshot.parent.as_str());
        if known.contains_key(&parent) {
            children.entry(parent).or_default().push(snapshot)
        } else {
            tops.push(snapshot)
        }
    }
    let mut drawing = String::new();
    for group in tops.chunk_by(|a, b| a.namespace == b.namespace) {
        let name = group.first().map_or("", |first| first.namespace.as_str());
        drawing.push_str(if name.is_empty() { "(no namespace)" } else { name });
        drawing.push('\n');
        // Chains may be long: no recursion. What is drawn next is last.
        let mut next: Vec<(&Snapshot, String, bool)> = below(group, "");
        while let Some((snapshot, before, is_last)) = next.pop() {
            let (branch, indent) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            drawing.push_str(&format!("{before}{branch}{}\n", line(snapshot, full)));
            if let Some(above) = children.get(&key(snapshot)) {
                next.extend(below(above, &format!("{before}{indent}")));
            }
        }
    }
    drawing
}

fn below<'s>(snapshots: &[&'s Snapshot], before: &str) -> Vec<(&'s Snapshot, String, bool)> {
    let lines = snapshots.iter().rev().enumerate();
    lines.map(|(from_last, snapshot)| (*snapshot, before.to_owned(), from_last == 0)).collect()
}

fn line(snapshot: &Snapshot, full: bool) -> String {
    let name = text::name(&snapshot.name, full);
    let layer = match (snapshot.layer.as_str(), snapshot.removed_at.is_some(), snapshot.parent_layers.len()) {
        ("", ..) => "no layer of its own".to_owned(),
        // Its parents may have no record any more, and their layers are there all the same.
        (own, true, parents @ 1..) => format!("layer {own} on {}", layers(parents)),
        (own, ..) => format!("layer {own}"),
    };
    let size = if snapshot.usage.is_some() { format!(", {}", size(snapshot)) } else { String::new() };
    format!("{name}  {}, {layer}{size}, held by {}", kind(snapshot), held_by(snapshot))
}

fn layers(count: usize) -> String {
    if count == 1 { "1 other".into() } else { format!("{count} others") }
}
