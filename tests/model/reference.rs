//! What a snapshotter has to do, as simply as it can be said. The codes are those of containerd's own snapshotters.

use std::collections::BTreeMap;

use tonic::Code;

pub type Labels = BTreeMap<String, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    View,
    Active,
    Committed,
}

/// A snapshot as List answers it, without its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub name: String,
    pub kind: Kind,
    pub parent: String,
    pub labels: Labels,
}

#[derive(Debug, Default)]
pub struct Model {
    snapshots: BTreeMap<String, Snapshot>,
    made: u64,
}

#[derive(Clone, Debug)]
struct Snapshot {
    kind: Kind,
    parent: String,
    labels: Labels,
    /// Names the layer; a commit keeps it.
    layer: String,
}

impl Model {
    pub fn create(&mut self, kind: Kind, key: &str, parent: &str, labels: &Labels) -> Result<(), Code> {
        if !parent.is_empty() && self.find(parent)? != Kind::Committed {
            return Err(Code::InvalidArgument);
        }
        self.require_free(key)?;
        self.made += 1;
        let layer = format!("layer {}", self.made);
        let snapshot = Snapshot { kind, parent: parent.into(), labels: without_empty(labels), layer };
        self.snapshots.insert(key.into(), snapshot);
        Ok(())
    }

    pub fn commit(&mut self, name: &str, key: &str, parent: &str, labels: &Labels) -> Result<(), Code> {
        self.require_free(name)?;
        if self.find(key)? != Kind::Active {
            return Err(Code::FailedPrecondition);
        }
        let mut snapshot = self.snapshots[key].clone();
        if !parent.is_empty() && parent != snapshot.parent {
            if !snapshot.parent.is_empty() {
                return Err(Code::InvalidArgument);
            }
            if self.find(parent)? != Kind::Committed {
                return Err(Code::FailedPrecondition);
            }
            snapshot.parent = parent.into();
        }
        snapshot.kind = Kind::Committed;
        snapshot.labels = without_empty(labels);
        self.snapshots.remove(key);
        self.snapshots.insert(name.into(), snapshot);
        Ok(())
    }

    pub fn remove(&mut self, key: &str) -> Result<(), Code> {
        self.find(key)?;
        if self.snapshots.values().any(|snapshot| snapshot.parent == key) {
            return Err(Code::FailedPrecondition);
        }
        self.snapshots.remove(key);
        Ok(())
    }

    pub fn update(&mut self, key: &str, labels: &Labels, paths: &[&str]) -> Result<(), Code> {
        if paths.contains(&"parent") {
            return Err(Code::InvalidArgument);
        }
        self.find(key)?;
        let Some(snapshot) = self.snapshots.get_mut(key) else { return Err(Code::NotFound) };
        if paths.is_empty() || paths.contains(&"labels") {
            snapshot.labels = without_empty(labels);
            return Ok(());
        }
        for label in paths.iter().filter_map(|path| path.strip_prefix("labels.")) {
            match labels.get(label).filter(|value| !value.is_empty()) {
                Some(value) => drop(snapshot.labels.insert(label.into(), value.clone())),
                None => drop(snapshot.labels.remove(label)),
            }
        }
        Ok(())
    }

    pub fn mounts(&self, key: &str) -> Result<(), Code> {
        if self.find(key)? == Kind::Committed { Err(Code::FailedPrecondition) } else { Ok(()) }
    }

    pub fn find(&self, key: &str) -> Result<Kind, Code> {
        self.snapshots.get(key).map(|snapshot| snapshot.kind).ok_or(Code::NotFound)
    }

    pub fn list(&self, filter: Option<&str>) -> Vec<Listed> {
        let all = self.snapshots.iter().map(|(name, snapshot)| Listed {
            name: name.clone(),
            kind: snapshot.kind,
            parent: snapshot.parent.clone(),
            labels: snapshot.labels.clone(),
        });
        all.filter(|one| filter.is_none_or(|filter| matches(one, filter))).collect()
    }

    pub fn kind(&self, key: &str) -> Kind {
        self.snapshots[key].kind
    }

    pub fn layer(&self, key: &str) -> String {
        self.snapshots[key].layer.clone()
    }

    /// Returns the layers of all parents, nearest first.
    pub fn chain(&self, key: &str) -> Vec<String> {
        let mut chain = Vec::new();
        let mut next = &self.snapshots[key].parent;
        while let Some(parent) = self.snapshots.get(next) {
            chain.push(parent.layer.clone());
            next = &parent.parent;
        }
        chain
    }

    /// Returns how many have a directory: all but views of parents.
    pub fn layers(&self) -> usize {
        self.snapshots.values().filter(|one| one.kind != Kind::View || one.parent.is_empty()).count()
    }

    fn require_free(&self, key: &str) -> Result<(), Code> {
        if self.snapshots.contains_key(key) { Err(Code::AlreadyExists) } else { Ok(()) }
    }
}

fn matches(one: &Listed, filter: &str) -> bool {
    match filter {
        "kind==active" => one.kind == Kind::Active,
        "kind==committed" => one.kind == Kind::Committed,
        "labels.x" => one.labels.contains_key("x"),
        "labels.x==1" => one.labels.get("x").is_some_and(|value| value == "1"),
        "parent==\"\"" => one.parent.is_empty(),
        "name==\"d d\"" => one.name == "d d",
        other => panic!("the model knows no filter {other}"),
    }
}

/// A label without a value is no label.
fn without_empty(labels: &Labels) -> Labels {
    labels.iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.clone(), value.clone())).collect()
}
