//! What keeps something: a snapshot of either socket, a retained one, a blob of the API socket, or a directory. What
//! leases and containerd say of blobs is in `blobs.rs`.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Component, Path};
use std::time::SystemTime;

use super::build::Builder;
use super::feed::feed;
use super::graph::{EdgeKind, RootKind};
use super::intern::HashKey;
use super::pool::Collectible;
use super::resource::{Name, Resource, ResourceType, Types};
use super::retainers::above;
use super::why::Chain;
use crate::metadata::{Consistent, Policy, RetainedName, StartAt};
use crate::types::{LayerId, LeaseId, Namespace, Scope, SnapshotKey, rfc3339_seconds};
use crate::{Error, Result};

/// One thing that a question means, and what keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What it is: `containerd`, `retained`, `snapshot`, `blob`, `retained-blob`, `content`, `layer` or `trash`.
    pub kind: &'static str,
    /// Its namespace, where it has one.
    pub namespace: String,
    /// Its key, name, digest or number.
    pub name: String,
    /// From what needs no further reason down to the thing itself. Empty when nothing keeps it.
    pub holds: Vec<Reason>,
    /// Of a snapshot or a blob that containerd has: what would keep it, or its directory, after containerd removed it.
    pub after_removal: Vec<Reason>,
}

/// One link of a chain of holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it is.
    pub kind: String,
    /// Its namespace, where it has one.
    pub namespace: String,
    /// Its id, key or name.
    pub name: String,
    /// Why it holds, or why what comes before holds it.
    pub reason: String,
}

/// What a question means.
enum Question<'q> {
    Layer(LayerId),
    Name(&'q str),
}

/// What was found, before it is explained.
#[derive(Default)]
struct Found {
    plugin: Vec<SnapshotKey>,
    api: Vec<SnapshotKey>,
    /// Namespaces of the API socket that have the blob.
    blobs: Vec<Namespace>,
    retained: Vec<RetainedName>,
}

/// What holds the snapshots and the blobs that were found.
type Chains = (Vec<Option<Chain>>, Vec<Option<Chain>>);

impl Explained {
    pub(super) fn new(kind: &'static str, namespace: String, name: String, holds: Vec<Reason>) -> Explained {
        Explained { kind, namespace, name, holds, after_removal: Vec::new() }
    }
}

impl Collectible {
    /// Tells what keeps whatever `what` names: a snapshot by its key or name (on the plugin socket also without what
    /// containerd puts before it), a blob by its digest, a layer by a path below the pool.
    ///
    /// Looks through all records.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a path below the pool that is no layer's; those of the store.
    pub fn why(&self, what: &str, namespace: Option<&Namespace>, now: SystemTime) -> Result<Vec<Explained>> {
        let question = self.question(what)?;
        let (found, chains, above) = self.snapshotter().metadata().read(|records| {
            let found = find(records, &question, namespace)?;
            let chains = self.chains(records, &found, what, now)?;
            let above = found.plugin.iter().map(|key| above(records, key)).collect::<Result<Vec<_>>>()?;
            Ok((found, chains, above))
        })?;
        let mut explained = Vec::new();
        for (key, above) in found.plugin.iter().zip(above) {
            explained.push(Explained { after_removal: self.after_removal(key, &above, now)?, ..containerds(key) });
        }
        for name in &found.retained {
            explained.push(self.retained(name, now)?);
        }
        let (of_snapshots, of_blobs) = chains;
        for (key, chain) in found.api.iter().zip(of_snapshots) {
            let holds = chain.map(|chain| self.reasons(&chain)).unwrap_or_default();
            let namespace = key.scope().as_str().to_owned();
            explained.push(Explained::new("snapshot", namespace, key.as_str().to_owned(), holds));
        }
        for (namespace, chain) in found.blobs.iter().zip(of_blobs) {
            let holds = chain.map(|chain| self.reasons(&chain)).unwrap_or_default();
            explained.push(Explained::new("content", namespace.to_string(), what.to_owned(), holds));
        }
        match question {
            Question::Name(digest) => explained.extend(self.blob(digest, namespace, &found.blobs, now)?),
            Question::Layer(id) if explained.is_empty() => {
                let kind = if self.snapshotter().metadata().is_trash(id)? { "trash" } else { "layer" };
                explained.push(Explained::new(kind, String::new(), id.to_string(), Vec::new()));
            }
            Question::Layer(_) => {}
        }
        Ok(explained)
    }

    fn question<'q>(&self, what: &'q str) -> Result<Question<'q>> {
        let Ok(below) = Path::new(what).strip_prefix(self.snapshotter().layout().root()) else {
            return Ok(Question::Name(what));
        };
        let mut parts = below.components().map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        match (parts.next().flatten(), parts.next().flatten().and_then(LayerId::from_dir_name)) {
            (Some("l" | "trash"), Some(id)) => Ok(Question::Layer(id)),
            _ => Err(Error::invalid("path", format!("{what:?} is below the pool, but not of a layer"))),
        }
    }

    /// Builds the graph with names, and asks it about snapshots and blobs.
    fn chains(&self, records: &Consistent<'_>, found: &Found, digest: &str, now: SystemTime) -> Result<Chains> {
        if found.api.is_empty() && found.blobs.is_empty() {
            return Ok(Chains::default());
        }
        let snapshotter = self.snapshotter().name();
        let mut builder = Builder::new(Types::default(), HashKey::random(), now).with_names();
        feed(records, snapshotter, &mut builder)?;
        let graph = builder.finish()?;
        let snapshot =
            |key: &SnapshotKey| graph.why(&Resource::snapshot(key.scope().as_str(), snapshotter, key.as_str()));
        let blob = |namespace: &Namespace| graph.why(&Resource::content(namespace.as_str(), digest));
        Ok((found.api.iter().map(snapshot).collect(), found.blobs.iter().map(blob).collect()))
    }

    fn retained(&self, name: &RetainedName, now: SystemTime) -> Result<Explained> {
        let kind = self.snapshotter().member_kind();
        let holds = match self.snapshotter().metadata().retained_by(kind, name, now)? {
            Some(lease) => vec![self.lease(&name.0, &lease)],
            None => {
                let chain = self.tree_of_snapshot(&name.0, &name.1, now)?;
                chain.map(|chain| self.reasons(&chain)).unwrap_or_default()
            }
        };
        Ok(Explained::new("retained", name.0.to_string(), name.1.clone(), holds))
    }

    /// Says of a lease that holds until when it does.
    pub(super) fn lease(&self, namespace: &Namespace, id: &LeaseId) -> Reason {
        let lease = self.leases().get(namespace, id).ok();
        let earlier = match lease.as_ref().and_then(|lease| lease.policy) {
            Some(Policy::Retention) => ", or earlier when space runs short (retention)",
            None => "",
        };
        let reason = match lease.and_then(|lease| lease.expires_at) {
            Some(end) => format!("names it, and ends at {}{earlier}", rfc3339_seconds(end)),
            None => "names it, and never ends".to_owned(),
        };
        Reason { kind: "lease".to_owned(), namespace: namespace.to_string(), name: id.as_str().to_owned(), reason }
    }

    pub(super) fn reasons(&self, chain: &Chain) -> Vec<Reason> {
        let root = match self.named_lease(&chain.root) {
            Some((namespace, id)) => {
                let lease = self.lease(&namespace, &id);
                Reason { reason: lease.reason.replace("names it, and ", ""), ..lease }
            }
            None => reason(&chain.root, root_word(chain.kind)),
        };
        let links = chain.links.iter().map(|link| reason(&link.resource, edge_word(link.kind)));
        std::iter::once(root).chain(links).collect()
    }

    fn named_lease(&self, name: &Name) -> Option<(Namespace, LeaseId)> {
        let lease = (name.ty == ResourceType::LEASE).then_some(name)?;
        Some((Namespace::parse(&lease.namespace).ok()?, LeaseId::parse(lease.key.as_str()).ok()?))
    }
}

/// Looks through all records for what a question means.
fn find(records: &Consistent<'_>, question: &Question<'_>, only: Option<&Namespace>) -> Result<Found> {
    let mut found = Found::default();
    let layers = match question {
        Question::Layer(id) => with_staged(records, *id)?,
        Question::Name(_) => HashSet::new(),
    };
    records.each_borrowed_snapshot(|snapshot| {
        let scope = match snapshot.namespace {
            "" => Scope::Plugin,
            namespace => Scope::Api(Namespace::parse(namespace)?),
        };
        let is_meant = match question {
            Question::Layer(_) => snapshot.record.layer.is_some_and(|layer| layers.contains(&layer)),
            // Cheap, and leaves little to look at.
            Question::Name(name) => snapshot.key.ends_with(name),
        };
        if !is_meant {
            return Ok(ControlFlow::Continue(()));
        }
        let key = SnapshotKey::parse_in(scope, snapshot.key)?;
        let is_named = match question {
            Question::Layer(_) => true,
            Question::Name(name) => key.as_str() == *name || key.client_key() == *name,
        };
        if is_named && only.is_none_or(|only| key.namespace().as_ref() == Some(only)) {
            match key.scope() {
                Scope::Plugin => found.plugin.push(key),
                Scope::Api(_) => found.api.push(key),
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Question::Name(digest) = question
        && digest.contains(':')
    {
        records.each_api_blob(StartAt::First, |blob| {
            if blob.key == *digest && only.is_none_or(|only| only.as_str() == blob.namespace) {
                found.blobs.push(Namespace::parse(blob.namespace)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    records.each_retained(|entry| {
        let (name, retained) = entry?;
        let is_meant = match question {
            Question::Layer(id) => retained.layers().contains(id),
            Question::Name(asked) => name.1 == *asked || retained.key.as_str() == *asked,
        };
        if is_meant && only.is_none_or(|only| name.0 == *only) {
            found.retained.push(name);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Returns a layer with those active ones for which it is staged.
fn with_staged(records: &Consistent<'_>, id: LayerId) -> Result<HashSet<u64>> {
    let mut layers = HashSet::from([id.get()]);
    records.each_applied(|layer, applied| {
        // fsck reports what cannot be read.
        if applied.is_ok_and(|applied| applied.staged == Some(id)) {
            layers.insert(layer.get());
        }
        Ok(())
    })?;
    Ok(layers)
}

fn containerds(key: &SnapshotKey) -> Explained {
    let namespace = key.namespace().map(|namespace| namespace.to_string()).unwrap_or_default();
    let holder = Reason {
        kind: "containerd".to_owned(),
        namespace: namespace.clone(),
        name: key.as_str().to_owned(),
        reason: "containerd has it, and has not removed it".to_owned(),
    };
    Explained::new("containerd", namespace, key.as_str().to_owned(), vec![holder])
}

fn reason(name: &Name, why: &str) -> Reason {
    Reason {
        kind: Types::default().name(name.ty).to_owned(),
        namespace: name.namespace.clone(),
        name: name.key.clone(),
        reason: why.to_owned(),
    }
}

fn root_word(kind: RootKind) -> &'static str {
    match kind {
        RootKind::Lease => "a lease that has not ended",
        RootKind::Image => "an image",
        RootKind::Ingest => "an upload that has not ended",
        RootKind::Container => "a container",
        RootKind::Sandbox => "a sandbox",
        RootKind::Label => "has the label containerd.io/gc.root",
        RootKind::Stated => "in use",
    }
}

fn edge_word(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Member | EdgeKind::WholeMember => "the lease names it",
        EdgeKind::FlatMember => "the lease names it, without what it refers to",
        EdgeKind::Parent => "is its parent",
        EdgeKind::Target => "is its target",
        EdgeKind::Expected => "is what the upload will become",
        EdgeKind::Rootfs => "is the container's snapshot",
        EdgeKind::Label => "is referred to by a label gc.ref",
        EdgeKind::BackReference => "refers back with a label gc.bref",
        EdgeKind::Condition => "fulfils a condition (gc.cond)",
        EdgeKind::Stated => "is referred to",
        EdgeKind::Document => "is named by the document before it",
    }
}
