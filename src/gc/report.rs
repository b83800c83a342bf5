//! What is noticed while a graph is built, beside the graph.

use std::time::SystemTime;

use super::resource::{Name, Resource};

/// Most bad expiries that are kept with their names. A client can make as many as it likes.
const KEPT: usize = 64;

/// What was noticed while a graph was built.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Objects that were added.
    pub objects: u64,
    /// Leases, images and uploads that have expired.
    pub expired: u64,
    /// The earliest time at which something stops to hold by itself: the next expiry, or the end of a condition. A lease
    /// holds up to and including the time that it names.
    pub next_expiry: Option<SystemTime>,
    /// Expiries that are no time and were ignored: such a lease or image never expires. The first ones only.
    pub bad_expiries: Vec<BadExpiry>,
    /// How many of them there are.
    pub bad_expiry_count: u64,
}

/// An expiry that is no time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BadExpiry {
    /// What has it.
    pub resource: Name,
    /// The label's value.
    pub value: String,
}

impl Report {
    pub(super) fn ends_at(&mut self, time: SystemTime) {
        self.next_expiry = Some(self.next_expiry.map_or(time, |next| next.min(time)));
    }

    pub(super) fn bad_expiry(&mut self, resource: &Resource<'_>, value: &str) {
        self.bad_expiry_count += 1;
        if self.bad_expiries.len() < KEPT {
            self.bad_expiries.push(BadExpiry { resource: resource.to_name(), value: value.to_owned() });
        }
    }
}
