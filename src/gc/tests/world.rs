//! Objects that tests are about, and the graph of them.

use std::time::{Duration, SystemTime};

use crate::gc::graph::EdgeKind;
use crate::gc::{Builder, Graph, HashKey, Hold, Marks, Name, Object, Resource, ResourceType, Types};

/// An object with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Thing {
    pub namespace: String,
    pub body: Body,
    pub labels: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub enum Body {
    /// Id, and type and key of the members.
    Lease(String, Vec<(ResourceType, String)>),
    /// Snapshotter, key, parent.
    Snapshot(String, String, String),
    Content(String),
    /// Ref, expected digest, expiry in seconds from now.
    Ingest(String, String, Option<i64>),
    /// Name, target.
    Image(String, String),
    /// Id, snapshotter, key of the snapshot.
    Container(String, String, String),
    Sandbox(String),
}

/// When it is.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// A time some seconds from now.
pub fn at(seconds: i64) -> SystemTime {
    let away = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { now() - away } else { now() + away }
}

/// The same as RFC 3339.
pub fn rfc3339(seconds: i64) -> String {
    humantime::format_rfc3339_seconds(at(seconds)).to_string()
}

/// Labels of the collector, without their common prefix.
pub fn gc(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(key, value)| (format!("containerd.io/gc.{key}"), (*value).to_owned())).collect()
}

pub fn thing(namespace: &str, body: Body, labels: &[(&str, &str)]) -> Thing {
    Thing { namespace: namespace.to_owned(), body, labels: gc(labels) }
}

pub fn content(namespace: &str, digest: &str, labels: &[(&str, &str)]) -> Thing {
    thing(namespace, Body::Content(digest.to_owned()), labels)
}

pub fn image(namespace: &str, name: &str, target: &str, labels: &[(&str, &str)]) -> Thing {
    thing(namespace, Body::Image(name.to_owned(), target.to_owned()), labels)
}

pub fn container(namespace: &str, id: &str, snapshotter: &str, key: &str, labels: &[(&str, &str)]) -> Thing {
    thing(namespace, Body::Container(id.to_owned(), snapshotter.to_owned(), key.to_owned()), labels)
}

pub fn snapshot(namespace: &str, snapshotter: &str, key: &str, parent: &str, labels: &[(&str, &str)]) -> Thing {
    thing(namespace, Body::Snapshot(snapshotter.to_owned(), key.to_owned(), parent.to_owned()), labels)
}

pub fn ingest(namespace: &str, reference: &str, expected: &str, expires: Option<i64>) -> Thing {
    thing(namespace, Body::Ingest(reference.to_owned(), expected.to_owned(), expires), &[])
}

pub fn sandbox(namespace: &str, id: &str, labels: &[(&str, &str)]) -> Thing {
    thing(namespace, Body::Sandbox(id.to_owned()), labels)
}

pub fn lease(namespace: &str, id: &str, members: &[(ResourceType, &str)], labels: &[(&str, &str)]) -> Thing {
    let members = members.iter().map(|(ty, key)| (*ty, (*key).to_owned())).collect();
    thing(namespace, Body::Lease(id.to_owned(), members), labels)
}

impl Thing {
    /// The object as the collector sees it.
    pub fn object(&self) -> Object<'_> {
        match &self.body {
            Body::Lease(id, _) => Object::Lease { id },
            Body::Snapshot(snapshotter, key, parent) => Object::Snapshot { snapshotter, key, parent: Some(parent) },
            Body::Content(digest) => Object::Content { digest },
            Body::Ingest(reference, expected, expires) => {
                Object::Ingest { reference, expected: Some(expected), expires: expires.map(at) }
            }
            Body::Image(name, target) => Object::Image { name, target },
            Body::Container(id, snapshotter, snapshot_key) => Object::Container { id, snapshotter, snapshot_key },
            Body::Sandbox(id) => Object::Sandbox { id },
        }
    }

    pub fn name(&self) -> Name {
        self.object().resource(&self.namespace).to_name()
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn add_to(&self, builder: &mut Builder) {
        builder.add(&self.namespace, &self.object(), self.labels());
        if let Body::Lease(id, members) = &self.body {
            for (ty, key) in members {
                builder.member(&self.namespace, id, &Resource::new(&self.namespace, *ty, key));
            }
        }
    }
}

/// A builder that has everything added.
pub fn builder(types: &Types, key: &HashKey, things: &[Thing]) -> Builder {
    let mut builder = Builder::new(types.clone(), key.clone(), now()).with_names();
    things.iter().for_each(|thing| thing.add_to(&mut builder));
    builder
}

pub fn graph(things: &[Thing]) -> Graph {
    builder(&Types::default(), &HashKey::random(), things).finish().unwrap()
}

/// Writes a resource and how it is held: `ns1 content 5`, `ns1 snapshot overlay/sn flat`.
pub fn written(types: &Types, name: &Name, hold: Hold) -> String {
    let flat = if hold == Hold::Flat { " flat" } else { "" };
    format!("{} {} {}{flat}", name.namespace, types.name(name.ty), name.key)
}

/// What a resource refers to when it is held in that way, sorted; each as often as it does.
pub fn references(graph: &Graph, resource: &Resource<'_>, hold: Hold) -> Vec<String> {
    let Some(number) = graph.find(resource) else { return Vec::new() };
    let mut to: Vec<String> = graph
        .edges_of(number)
        .iter()
        .filter_map(|edge| Some((edge.number(), EdgeKind::from_tag(edge.tag()).carries(hold)?)))
        .map(|(to, hold)| written(graph.types(), &graph.names.as_ref().unwrap().get(to).unwrap(), hold))
        .collect();
    to.sort();
    to
}

/// The roots, and what those that only exist to hold (leases and sandboxes) hold. Sorted.
pub fn roots(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (number, _) in graph.roots() {
        let name = graph.names.as_ref().unwrap().get(number).unwrap();
        if matches!(name.ty, ResourceType::LEASE | ResourceType::SANDBOX) {
            found.extend(references(graph, &name.as_resource(), Hold::Full));
        }
        if name.ty != ResourceType::SANDBOX {
            found.push(written(graph.types(), &name, Hold::Full));
        }
    }
    found.sort();
    found
}

/// Whether a resource, written as in [`written`], is marked.
pub fn is_marked(marks: &Marks, resource: &str) -> bool {
    marks.is_marked(&parse(marks.graph().types(), resource).as_resource())
}

/// Reads what [`written`] writes of a resource that is held in full.
pub fn parse(types: &Types, text: &str) -> Name {
    let mut words = text.splitn(3, ' ');
    let (namespace, ty, key) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let ty = *all_types(types).iter().find(|candidate| types.name(**candidate) == ty).unwrap();
    Name { ty, namespace: namespace.to_owned(), key: key.to_owned() }
}

fn all_types(types: &Types) -> Vec<ResourceType> {
    let mut all = vec![
        ResourceType::LEASE,
        ResourceType::SNAPSHOT,
        ResourceType::CONTENT,
        ResourceType::INGEST,
        ResourceType::IMAGE,
        ResourceType::CONTAINER,
        ResourceType::SANDBOX,
    ];
    all.extend(types.with_labels().map(|(ty, _)| ty));
    all
}
