//! What one client of the API socket must find again, by what holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// What is this close to the end of its lease may be there or not.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub parent: String,
    pub active: bool,
    pub root: bool,
    pub refers_to: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Lease {
    pub flat: bool,
    pub ends: Option<SystemTime>,
    pub names: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Those that may exist: what nothing holds is forgotten once it is found to be gone.
    pub snapshots: BTreeMap<String, Snapshot>,
    pub leases: BTreeMap<String, Lease>,
}

impl Model {
    /// Returns what must be there for a while still.
    pub fn held(&self) -> BTreeSet<String> {
        let later = SystemTime::now() + MARGIN;
        self.held_at(|lease| lease.ends.is_none_or(|end| end > later))
    }

    /// Returns what must be there once all leases with an end have ended.
    pub fn held_forever(&self) -> BTreeSet<String> {
        self.held_at(|lease| lease.ends.is_none())
    }

    fn held_at(&self, holds: impl Fn(&Lease) -> bool) -> BTreeSet<String> {
        let (mut full, mut flat) = (BTreeSet::new(), BTreeSet::new());
        let mut next: Vec<(String, bool)> = Vec::new();
        next.extend(self.snapshots.iter().filter(|(_, one)| one.root).map(|(name, _)| (name.clone(), false)));
        for lease in self.leases.values().filter(|lease| holds(lease)) {
            next.extend(lease.names.iter().map(|name| (name.clone(), lease.flat)));
        }
        while let Some((name, is_flat)) = next.pop() {
            let Some(snapshot) = self.snapshots.get(&name) else { continue };
            if full.contains(&name) || is_flat && flat.contains(&name) {
                continue;
            }
            if is_flat { &mut flat } else { &mut full }.insert(name);
            if !snapshot.parent.is_empty() {
                next.push((snapshot.parent.clone(), is_flat));
            }
            if let (Some(to), false) = (&snapshot.refers_to, is_flat) {
                next.push((to.clone(), false));
            }
        }
        full.extend(flat);
        full
    }

    /// Returns the names of snapshots that are, or are not, active.
    pub fn of_kind(&self, active: bool) -> Vec<String> {
        self.snapshots.iter().filter(|(_, one)| one.active == active).map(|(name, _)| name.clone()).collect()
    }

    pub fn lease_ids(&self) -> Vec<String> {
        self.leases.keys().cloned().collect()
    }

    /// Forgets a snapshot that is gone. Whatever names it holds nothing now, and not what comes under its name later:
    /// names are never used twice.
    pub fn forget(&mut self, name: &str) {
        self.snapshots.remove(name);
        self.leases.values_mut().for_each(|lease| _ = lease.names.remove(name));
    }
}
