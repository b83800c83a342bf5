//! One client of the API socket: changes what holds its snapshots, and looks whether what is held is there.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tonic::{Code, Status};

use crate::common::client::Client;
use crate::common::random::Random;
use crate::model::{Lease, Model, Snapshot};

const SNAPSHOTS: &str = "snapshots/leasehold";
const ROOT: &str = "containerd.io/gc.root";
const REF: &str = "containerd.io/gc.ref.snapshot.leasehold";
/// About how much one client keeps.
const SNAPSHOTS_KEPT: usize = 24;
const LEASES_KEPT: usize = 5;

pub struct ApiClient {
    client: Client,
    number: usize,
    random: Random,
    made: u64,
    pub model: Model,
    pub answered: u64,
}

impl ApiClient {
    pub fn new(client: Client, number: usize, random: Random) -> ApiClient {
        ApiClient { client, number, random, made: 0, model: Model::default(), answered: 0 }
    }

    pub fn step(&mut self) {
        self.answered += 1;
        let (before, made) = (self.model.held(), self.made);
        self.change();
        self.settle(&before, made);
    }

    /// Looks at what is held now and was not before the last change: it may have gone before that, unless that made it.
    fn settle(&mut self, before: &BTreeSet<String>, made: u64) {
        loop {
            let new: Vec<String> = self.model.held().difference(before).cloned().collect();
            let gone: Vec<String> = new.into_iter().filter(|name| self.client.stat(name).is_err()).collect();
            if gone.is_empty() {
                return;
            }
            let is_new = |name: &String| self.made > made && *name == format!("{}/{}", self.number, self.made);
            assert!(!gone.iter().any(is_new), "{gone:?} was made just now; {:#?}", self.model);
            gone.iter().for_each(|name| self.model.forget(name));
        }
    }

    fn change(&mut self) {
        match self.random.below(20) {
            0 | 1 => self.create_lease(),
            2 => self.delete_lease(),
            3..=6 => self.prepare(),
            7..=9 => self.commit(),
            10 | 11 => self.label(),
            12 | 13 => self.add_resource(),
            14 => self.delete_resource(),
            15 | 16 => self.remove(),
            _ => self.check(),
        }
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("{}/{}", self.number, self.made)
    }

    fn any_snapshot(&mut self) -> Option<String> {
        let names: Vec<String> = self.model.snapshots.keys().cloned().collect();
        self.random.pick(&names).cloned()
    }

    fn any_lease(&mut self) -> Option<String> {
        let ids = self.model.lease_ids();
        self.random.pick(&ids).cloned()
    }

    fn is_held(&self, name: &str) -> bool {
        self.model.held().contains(name)
    }

    /// A call on something that is not held may find it gone; one on what is held may not.
    fn gone(&mut self, name: &str, was_held: bool, status: &Status) {
        assert!(!was_held && status.code() == Code::NotFound, "{name}, held {was_held}: {status}");
        self.model.forget(name);
    }

    fn create_lease(&mut self) {
        if self.model.leases.len() >= LEASES_KEPT {
            return;
        }
        let id = self.name();
        let flat = self.random.below(3) == 0;
        let ends = (self.random.below(3) == 0)
            .then(|| SystemTime::now() + Duration::from_millis(2_500 + self.random.below(2_000)));
        let end = ends.map(|end| humantime::format_rfc3339_nanos(end).to_string());
        let mut labels = Vec::new();
        labels.extend(flat.then_some(("containerd.io/gc.flat", "x")));
        labels.extend(end.as_deref().map(|end| ("containerd.io/gc.expire", end)));
        self.client.create_lease(&id, &labels).unwrap();
        self.model.leases.insert(id, Lease { flat, ends, ..Lease::default() });
    }

    fn delete_lease(&mut self) {
        let Some(id) = self.any_lease() else { return };
        let sync = self.random.below(4) == 0;
        let lease = self.model.leases.remove(&id).unwrap();
        if let Err(status) = self.client.delete_lease_with(&id, sync) {
            assert!(lease.ends.is_some() && status.code() == Code::NotFound, "{status}");
        }
    }

    /// Forgets a lease that ended, which only one with an end can.
    fn ended(&mut self, id: &str) {
        let lease = self.model.leases.remove(id).unwrap();
        assert!(lease.ends.is_some_and(|end| end < SystemTime::now()), "{id} is gone before its end");
    }

    fn prepare(&mut self) {
        if self.model.snapshots.len() >= SNAPSHOTS_KEPT {
            return;
        }
        let committed = self.model.of_kind(false);
        let parent = match self.random.below(4) {
            0 => String::new(),
            _ => self.random.pick(&committed).cloned().unwrap_or_default(),
        };
        let held = parent.is_empty() || self.is_held(&parent);
        let key = self.name();
        let lease = self.any_lease().filter(|_| self.random.below(4) > 0);
        let root = lease.is_none() && self.random.below(2) == 0;
        let labels: &[(&str, &str)] = if root { &[(ROOT, "x")] } else { &[] };
        let client = lease.as_ref().map_or_else(|| self.client.in_namespace("default"), |id| self.client.leased(id));
        match client.prepare_with(&key, &parent, labels) {
            Ok(_) => {
                self.model.snapshots.insert(key.clone(), Snapshot { parent, active: true, root, refers_to: None });
                if let Some(id) = lease {
                    self.model.leases.get_mut(&id).unwrap().names.insert(key);
                }
            }
            Err(status) => self.not_found(&status, lease, &parent, held),
        }
    }

    /// NotFound is right for a lease that ended, and for a snapshot that nothing held.
    fn not_found(&mut self, status: &Status, lease: Option<String>, snapshot: &str, held: bool) {
        assert_eq!(status.code(), Code::NotFound, "{status}");
        match lease.filter(|id| status.message().contains("lease") && status.message().contains(id.as_str())) {
            Some(id) => self.ended(&id),
            None => self.gone(snapshot, held, status),
        }
    }

    fn commit(&mut self) {
        let Some(key) = self.random.pick(&self.model.of_kind(true)).cloned() else { return };
        let held = self.is_held(&key);
        let name = self.name();
        let lease = self.any_lease().filter(|_| self.random.below(4) > 0);
        let root = lease.is_none() && self.random.below(2) == 0;
        let labels: &[(&str, &str)] = if root { &[(ROOT, "x")] } else { &[] };
        let client = lease.as_ref().map_or_else(|| self.client.in_namespace("default"), |id| self.client.leased(id));
        match client.commit_with(&name, &key, "", labels) {
            Ok(()) => {
                let was = self.model.snapshots.remove(&key).unwrap();
                self.model.snapshots.insert(name.clone(), Snapshot { active: false, root, refers_to: None, ..was });
                if let Some(id) = lease {
                    let names = &mut self.model.leases.get_mut(&id).unwrap().names;
                    names.remove(&key);
                    names.insert(name);
                }
            }
            Err(status) => self.not_found(&status, lease, &key, held),
        }
    }

    /// Makes a root, or refers to another, or neither any more.
    fn label(&mut self) {
        let (Some(name), Some(other)) = (self.any_snapshot(), self.any_snapshot()) else { return };
        let held = self.is_held(&name);
        let (root, refers_to) = match self.random.below(4) {
            0 => (true, None),
            1 | 2 => (self.random.below(2) == 0, Some(other)),
            _ => (false, None),
        };
        let mut labels = Vec::new();
        labels.extend(root.then_some((ROOT, "x")));
        labels.extend(refers_to.as_deref().map(|to| (REF, to)));
        if let Err(status) = self.client.update(&name, &labels, &["labels"]) {
            return self.gone(&name, held, &status);
        }
        let snapshot = self.model.snapshots.get_mut(&name).unwrap();
        (snapshot.root, snapshot.refers_to) = (root, refers_to);
    }

    fn add_resource(&mut self) {
        let (Some(id), Some(name)) = (self.any_lease(), self.any_snapshot()) else { return };
        match self.client.add_resource(&id, SNAPSHOTS, &name) {
            Ok(()) => _ = self.model.leases.get_mut(&id).unwrap().names.insert(name),
            Err(_) => self.ended(&id),
        }
    }

    fn delete_resource(&mut self) {
        let Some(id) = self.any_lease() else { return };
        let names: Vec<String> = self.model.leases[&id].names.iter().cloned().collect();
        let Some(name) = self.random.pick(&names).cloned() else { return };
        match self.client.delete_resource(&id, SNAPSHOTS, &name) {
            Ok(()) => _ = self.model.leases.get_mut(&id).unwrap().names.remove(&name),
            Err(_) => self.ended(&id),
        }
    }

    fn remove(&mut self) {
        let Some(name) = self.any_snapshot() else { return };
        let is_parent = self.model.snapshots.values().any(|other| other.parent == name);
        let held = self.is_held(&name);
        match self.client.remove(&name) {
            Ok(()) => self.model.forget(&name),
            Err(status) if status.code() == Code::FailedPrecondition && is_parent => {}
            Err(status) => self.gone(&name, held, &status),
        }
    }

    /// Checks that everything is there that is held, with its directories.
    pub fn check(&mut self) {
        for name in self.model.held() {
            if let Err(status) = self.client.stat(&name) {
                panic!("{name} is held: {status}; {:#?}", self.model);
            }
            if !self.model.snapshots[&name].active {
                continue;
            }
            let mounts = self.client.mounts(&name).unwrap();
            let options = mounts[0].options.iter().filter_map(|option| option.strip_prefix("lowerdir="));
            let lowers: Vec<&str> = options.flat_map(|lowers| lowers.split(':')).collect();
            assert!(lowers.iter().all(|lower| std::path::Path::new(lower).is_dir()), "{name}: {lowers:?}");
        }
    }
}
