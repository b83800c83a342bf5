//! A second implementation, to compare the first one with: names as text, labels by regular expressions, and passes
//! over all edges until nothing changes. Slow, and as close to the description of the rules as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::world::{Body, Thing, at, now};
use crate::gc::ResourceType;

/// Something held: its name, and whether it is held flat.
pub type Held = (String, bool);

/// Roots, and for everything held what it holds.
#[derive(Debug, Default)]
pub struct Naive {
    pub roots: BTreeSet<String>,
    pub edges: BTreeSet<(Held, Held)>,
}

static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)^containerd\.io/gc\.(b?ref)\.(container|content|image)([./].*)?$").unwrap());
static SNAPSHOT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)^containerd\.io/gc\.(b?ref)\.snapshot\.([^/]*)(/.*)?$").unwrap());
static CONDITION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)^containerd\.io/gc\.cond\.snapshot[./]*([^/]*)").unwrap());
static USED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^usedat([<>])(-?)(?:([0-9]+)([hms])|0)$").unwrap());

fn full(name: &str) -> Held {
    (name.to_owned(), false)
}

fn flat(name: &str) -> Held {
    (name.to_owned(), true)
}

pub fn name(namespace: &str, ty: &str, key: &str) -> String {
    format!("{namespace} {ty} {key}")
}

fn type_name(ty: ResourceType) -> &'static str {
    match ty {
        ResourceType::SNAPSHOT => "snapshot",
        ResourceType::CONTENT => "content",
        ResourceType::INGEST => "ingest",
        ResourceType::IMAGE => "image",
        _ => panic!("no member of a lease"),
    }
}

/// Names a thing.
pub fn name_of(thing: &Thing) -> String {
    let ns = &thing.namespace;
    match &thing.body {
        Body::Lease(id, _) => name(ns, "lease", id),
        Body::Snapshot(snapshotter, key, _) => name(ns, "snapshot", &format!("{snapshotter}/{key}")),
        Body::Content(digest) => name(ns, "content", digest),
        Body::Ingest(reference, ..) => name(ns, "ingest", reference),
        Body::Image(image, _) => name(ns, "image", image),
        Body::Container(id, ..) => name(ns, "container", id),
        Body::Sandbox(id) => name(ns, "sandbox", id),
    }
}

fn label<'a>(thing: &'a Thing, key: &str) -> Option<&'a str> {
    let key = format!("containerd.io/gc.{key}");
    thing.labels.iter().find(|(label, _)| *label == key).map(|(_, value)| value.as_str())
}

fn is_expired(thing: &Thing) -> bool {
    match &thing.body {
        Body::Ingest(_, _, expires) => expires.is_none_or(|expires| at(expires) < now()),
        _ => label(thing, "expire")
            .and_then(|value| humantime::parse_rfc3339(value).ok())
            .is_some_and(|expires| expires < now()),
    }
}

/// When each snapshot was used.
fn uses(things: &[Thing]) -> BTreeMap<String, Vec<i64>> {
    let mut uses: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for thing in things.iter().filter(|thing| matches!(thing.body, Body::Snapshot(..))) {
        for (key, value) in &thing.labels {
            let Ok(time) = humantime::parse_rfc3339(value) else { continue };
            if key.starts_with("containerd.io/gc.cond.value-usedat") {
                let ago = now()
                    .duration_since(time)
                    .map_or_else(|err| -(err.duration().as_secs() as i64), |ago| ago.as_secs() as i64);
                uses.entry(name_of(thing)).or_default().push(ago);
            }
        }
    }
    uses
}

/// Whether one of the conditions, with commas between them, is true of a snapshot that was used so many seconds ago.
fn holds(conditions: &str, ago: i64) -> bool {
    conditions.split(',').filter_map(|condition| USED.captures(condition)).any(|parts| {
        let unit = match parts.get(4).map(|unit| unit.as_str()) {
            Some("h") => 3600,
            Some("m") => 60,
            _ => 1,
        };
        let sign = if &parts[2] == "-" { -1 } else { 1 };
        // Only nothing needs no unit.
        let limit = parts.get(3).map_or(0, |count| sign * unit * count.as_str().parse::<i64>().unwrap());
        if &parts[1] == "<" { ago < limit } else { ago > limit }
    })
}

impl Naive {
    pub fn new(things: &[Thing]) -> Naive {
        let mut naive = Naive::default();
        let uses = uses(things);
        for thing in things {
            naive.nature(thing);
            thing.labels.iter().for_each(|(key, value)| naive.label(thing, key, value, &uses));
        }
        naive
    }

    /// What a thing is and refers to without any label but its expiry.
    fn nature(&mut self, thing: &Thing) {
        let (me, ns) = (name_of(thing), &thing.namespace);
        let mut to = |target: String| self.edges.insert((full(&me), full(&target)));
        match &thing.body {
            Body::Content(_) | Body::Sandbox(_) => {}
            Body::Ingest(_, expected, _) if expected.is_empty() => {}
            Body::Ingest(_, expected, _) => drop(to(name(ns, "content", expected))),
            Body::Container(_, snapshotter, _) if snapshotter.is_empty() => {}
            Body::Container(_, snapshotter, key) => drop(to(name(ns, "snapshot", &format!("{snapshotter}/{key}")))),
            Body::Snapshot(_, _, parent) if parent.is_empty() => {}
            Body::Snapshot(snapshotter, _, parent) => {
                let parent = name(ns, "snapshot", &format!("{snapshotter}/{parent}"));
                to(parent.clone());
                self.edges.insert((flat(&me), flat(&parent)));
            }
            Body::Image(_, target) => {
                let target = name(ns, "content", target);
                to(target.clone());
                self.edges.insert((flat(&me), flat(&target)));
            }
            Body::Lease(_, members) => {
                for (ty, key) in members {
                    let is_flat = label(thing, "flat").is_some() && *ty != ResourceType::INGEST;
                    self.edges.insert((full(&me), (name(ns, type_name(*ty), key), is_flat)));
                }
            }
        }
        let is_root = match &thing.body {
            Body::Container(..) | Body::Sandbox(_) => true,
            Body::Lease(..) | Body::Image(..) | Body::Ingest(..) => !is_expired(thing),
            Body::Content(_) | Body::Snapshot(..) => {
                thing.labels.iter().any(|(key, _)| key.starts_with("containerd.io/gc.root"))
            }
        };
        if is_root {
            self.roots.insert(me);
        }
    }

    fn label(&mut self, thing: &Thing, key: &str, value: &str, uses: &BTreeMap<String, Vec<i64>>) {
        let (me, ns) = (name_of(thing), &thing.namespace);
        if matches!(thing.body, Body::Lease(..) | Body::Ingest(..)) {
            return;
        }
        let other = REFERENCE.captures(key).map(|parts| (parts[1].to_owned(), name(ns, &parts[2], value)));
        let other = other.or_else(|| {
            let parts = SNAPSHOT.captures(key)?;
            Some((parts[1].to_owned(), name(ns, "snapshot", &format!("{}/{value}", &parts[2]))))
        });
        match other {
            // There is no label that refers to a container.
            Some((direction, other)) if direction == "ref" && !other.contains(" container ") => {
                self.edges.insert((full(&me), full(&other)));
            }
            Some((direction, other)) if direction == "bref" && !matches!(thing.body, Body::Sandbox(_)) => {
                self.edges.insert((full(&other), full(&me)));
            }
            _ => {}
        }
        if let (Body::Image(..) | Body::Content(_), Some(parts)) = (&thing.body, CONDITION.captures(key))
            && let Some((conditions, snapshot)) = value.split_once('|')
        {
            let snapshot = name(ns, "snapshot", &format!("{}/{snapshot}", &parts[1]));
            if uses.get(&snapshot).into_iter().flatten().any(|ago| holds(conditions, *ago)) {
                self.edges.insert((full(&me), full(&snapshot)));
            }
        }
    }

    /// Everything that is held: by the roots, and by what else is given.
    pub fn held(&self, shaded: &[String]) -> BTreeSet<Held> {
        let mut held: BTreeSet<Held> = self.roots.iter().chain(shaded).map(|name| full(name)).collect();
        loop {
            let before = held.len();
            for (from, to) in &self.edges {
                if held.contains(from) {
                    held.insert(to.clone());
                }
            }
            if held.len() == before {
                return held;
            }
        }
    }
}
