//! Records of leases and namespaces.

use std::time::SystemTime;

use prost::Message;

use super::{malformed, nanos, proto, time};
use crate::Result;
use crate::types::Labels;

/// Why the daemon itself made a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// To keep what containerd removed in a stretch of time. What only such leases hold is given up early when space runs
    /// short.
    Retention,
}

/// A lease's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// When it was created.
    pub created_at: SystemTime,
    /// What the client attached.
    pub labels: Labels,
    /// When it ends; `None` when it never does.
    pub expires_at: Option<SystemTime>,
    /// Why the daemon made it; `None` for a client's.
    pub policy: Option<Policy>,
    /// It was deleted, and its members are still being removed. No read outside of this module returns such a lease.
    pub(in crate::metadata) deleted: bool,
}

impl Lease {
    /// Makes the record of a new lease.
    pub fn new(created_at: SystemTime, labels: Labels, expires_at: Option<SystemTime>) -> Lease {
        // What is said is what is kept.
        Lease { created_at, labels, expires_at: expires_at.map(|at| time(nanos(at))), policy: None, deleted: false }
    }

    /// Whether the lease holds nothing any more: now is after its end.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|end| now > end)
    }

    pub(in crate::metadata) fn encode(&self) -> Vec<u8> {
        proto::Lease {
            created_at: nanos(self.created_at),
            labels: self.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            expires_at: self.expires_at.map(nanos),
            deleted: self.deleted,
            policy: match self.policy {
                None => proto::lease::Policy::Unspecified,
                Some(Policy::Retention) => proto::lease::Policy::Retention,
            }
            .into(),
        }
        .encode_to_vec()
    }

    pub(in crate::metadata) fn decode(bytes: &[u8]) -> Result<Lease> {
        let record = proto::Lease::decode(bytes).map_err(|err| malformed("lease", err))?;
        Ok(Lease {
            // One of a policy that is not known here is left to whoever made it, as a client's is.
            policy: match record.policy() {
                proto::lease::Policy::Unspecified => None,
                proto::lease::Policy::Retention => Some(Policy::Retention),
            },
            created_at: time(record.created_at),
            labels: Labels::from_record(record.labels),
            expires_at: record.expires_at.map(time),
            deleted: record.deleted,
        })
    }
}

/// Encodes the record of a namespace.
pub(in crate::metadata) fn encode_namespace(labels: &Labels) -> Vec<u8> {
    let labels = labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    proto::Namespace { labels }.encode_to_vec()
}

/// Returns the labels in the record of a namespace.
pub(in crate::metadata) fn decode_namespace(bytes: &[u8]) -> Result<Labels> {
    let record = proto::Namespace::decode(bytes).map_err(|err| malformed("namespace", err))?;
    Ok(Labels::from_record(record.labels))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn leases_round_trip(created: i64, ends: Option<i64>, deleted: bool, ours: bool, value in ".{0,20}") {
            let labels = Labels::parse([("label".to_owned(), value)]).unwrap();
            let policy = ours.then_some(Policy::Retention);
            let lease = Lease { deleted, policy, ..Lease::new(time(created), labels.clone(), ends.map(time)) };
            prop_assert_eq!(Lease::decode(&lease.encode()).unwrap(), lease);
            prop_assert_eq!(decode_namespace(&encode_namespace(&labels)).unwrap(), labels);
        }
    }

    #[test]
    fn a_lease_has_expired_after_its_end() {
        let end = UNIX_EPOCH + Duration::from_secs(9);
        let lease = |end| Lease::new(UNIX_EPOCH, Labels::default(), end);
        assert!(!lease(Some(end)).is_expired(end));
        assert!(lease(Some(end)).is_expired(end + Duration::from_nanos(1)));
        assert!(!lease(None).is_expired(end));
    }
}
