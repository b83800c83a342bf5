//! Policy leases: what the daemon itself leases when containerd removes it.
//!
//! There is one for each namespace and stretch of time, so that a removal of a thousand snapshots makes one lease, and
//! its end one collection. It ends a whole [`Retention`] after the stretch does: nothing is kept for less.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::{Kind, Lease, Policy, Snapshot};
use super::{Transaction, schema};
use crate::store::Column;
use crate::types::{Digest, Labels, LeaseId, Member, MemberKind, Namespace, Scope, SnapshotKey, label};
use crate::{Chain, Error, Result};

/// A stretch is this part of the time that things are kept, within bounds.
const STRETCHES: u64 = 16;
const SHORTEST_STRETCH: u64 = 1;
const LONGEST_STRETCH: u64 = 3600;
/// The namespace of the leases on blobs.
const BLOBS: &str = "leasehold";
/// How many ids are tried that tell people something. Clients may have leases of those ids.
const READABLE_IDS: usize = 9;
/// The first second that cannot be written: of the year 10000.
const LAST_WRITABLE: u64 = 253_402_300_800;

/// How long the daemon keeps what containerd removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    after_remove: Duration,
    /// Seconds.
    stretch: u64,
}

/// What a policy lease is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PolicyLease {
    id: String,
    end: SystemTime,
}

impl Retention {
    /// Keeps things for this long; `None` for no time at all.
    pub fn new(after_remove: Duration) -> Option<Retention> {
        let stretch = (after_remove.as_secs() / STRETCHES).clamp(SHORTEST_STRETCH, LONGEST_STRETCH);
        (!after_remove.is_zero()).then_some(Retention { after_remove, stretch })
    }

    /// Returns the lease for what is removed now; `None` where the clock says a time that cannot be written.
    fn lease(&self, now: SystemTime) -> Option<PolicyLease> {
        let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let start = now - now % self.stretch;
        let end = Duration::from_secs(start.checked_add(self.stretch)?).checked_add(self.after_remove)?;
        if end.as_secs() >= LAST_WRITABLE {
            return None;
        }
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(start)).to_string();
        Some(PolicyLease { id: format!("retention-{}", text.replace(['-', ':'], "")), end: UNIX_EPOCH + end })
    }
}

impl Transaction<'_> {
    /// Has the policy lease of the moment name a snapshot that is being removed, and returns it. `None` for what is not
    /// kept: what is not committed (nobody pulls that again), what a client of the API socket removes, and what no lease
    /// can name.
    pub(super) fn lease_by_policy(
        &mut self,
        retention: &Retention,
        kind: &MemberKind,
        key: &SnapshotKey,
        snapshot: &Snapshot,
    ) -> Result<Option<(Namespace, LeaseId)>> {
        let namespace = match (key.scope(), snapshot.kind) {
            (Scope::Plugin, Kind::Committed) => key.namespace(),
            _ => None,
        };
        match namespace.zip(Member::new(kind.clone(), key.client_key()).ok()) {
            Some((namespace, member)) => self.lease_member_by_policy(retention, namespace, &member),
            None => Ok(None),
        }
    }

    /// Has the policy lease of the moment name a blob that is being deleted, and returns it. Blobs of the plugin socket are
    /// in no namespace, so that these leases are in one of their own.
    pub(super) fn lease_blob_by_policy(
        &mut self,
        retention: &Retention,
        digest: &Digest,
    ) -> Result<Option<(Namespace, LeaseId)>> {
        let member = Member::new(MemberKind::Content, digest.as_str())?;
        self.lease_member_by_policy(retention, Namespace::parse(BLOBS)?, &member)
    }

    fn lease_member_by_policy(
        &mut self,
        retention: &Retention,
        namespace: Namespace,
        member: &Member,
    ) -> Result<Option<(Namespace, LeaseId)>> {
        let Some(wanted) = retention.lease(self.now) else { return Ok(None) };
        let id = match self.policy_lease(&namespace, &wanted) {
            // Damage, which must not keep containerd from removing snapshots; fsck reports it.
            Err(err @ Error::Corrupt(_)) => {
                tracing::error!(error = %Chain(&err), %namespace, "what is removed cannot be leased; see leasehold fsck");
                return Ok(None);
            }
            result => result?,
        };
        self.add_member(&namespace, &id, member)?;
        Ok(Some((namespace, id)))
    }

    /// Finds the policy lease with that end, or makes it.
    fn policy_lease(&mut self, namespace: &Namespace, wanted: &PolicyLease) -> Result<LeaseId> {
        for number in 1..=READABLE_IDS {
            let id = if number == 1 { wanted.id.clone() } else { format!("{}-{number}", wanted.id) };
            let id = LeaseId::parse(id)?;
            match self.lease_record(namespace, &id) {
                Ok(None) => return self.create_policy_lease(namespace, id, wanted),
                Ok(Some(lease)) if lease.is_usable(wanted) => return Ok(id),
                // A client's, one that is being deleted, one that was made with another configuration, or damage, which
                // must not keep containerd from removing snapshots.
                Ok(Some(_)) | Err(Error::Corrupt(_)) => {}
                Err(err) => return Err(err),
            }
        }
        let random = uuid::Uuid::new_v4().simple();
        self.create_policy_lease(namespace, LeaseId::parse(format!("{}-{random}", wanted.id))?, wanted)
    }

    fn create_policy_lease(&mut self, namespace: &Namespace, id: LeaseId, wanted: &PolicyLease) -> Result<LeaseId> {
        self.ensure_namespace(namespace)?;
        let labels = Labels::parse(
            [
                // Each layer is removed, and so named, by itself.
                (label::GC_FLAT, "true".to_owned()),
                (label::GC_EXPIRE, humantime::format_rfc3339(wanted.end).to_string()),
                (label::POLICY, "retention".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        )?;
        let lease = Lease { policy: Some(Policy::Retention), ..Lease::new(self.now, labels, Some(wanted.end)) };
        self.put_lease(namespace, &id, &lease);
        self.note_lease(namespace, &id);
        Ok(id)
    }

    /// Has a policy lease no longer name something; one that names nothing any more goes.
    pub(super) fn remove_policy_member(
        &mut self,
        namespace: &Namespace,
        id: &LeaseId,
        lease: &Lease,
        member: &Member,
    ) -> Result<()> {
        // Pages show what was before this transaction, so that a lease must lose one member at most in each.
        let members = self.txn.page(Column::Members, &schema::leases::members_of(namespace, id), None, 2)?;
        let this = schema::leases::member(namespace, id, member);
        self.delete_member(namespace, id, member);
        if members.iter().all(|(key, _)| **key == *this) {
            self.delete_records(namespace, id, lease);
        }
        Ok(())
    }
}

impl Lease {
    fn is_usable(&self, wanted: &PolicyLease) -> bool {
        !self.deleted && self.policy == Some(Policy::Retention) && self.expires_at == Some(wanted.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        crate::types::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn nothing_is_kept_for_less_than_it_should_be_nor_much_longer() {
        assert_eq!(Retention::new(Duration::ZERO), None);
        for millis in [1, 500, 1_000, 31_999, 32_000, 3_600_000, 86_400_000, 365 * 86_400_000] {
            let after_remove = Duration::from_millis(millis);
            let retention = Retention::new(after_remove).unwrap();
            for second in [0, 1, 59, 3_599, 3_600, 1_795_324_440] {
                let now = UNIX_EPOCH + Duration::from_millis(second * 1_000 + 999);
                let kept = retention.lease(now).unwrap().end.duration_since(now).unwrap();
                let most = after_remove + Duration::from_secs(1).max(after_remove / 16).min(Duration::from_secs(3_600));
                assert!(kept >= after_remove && kept <= most, "{millis} ms from {second} s: {kept:?}");
            }
        }
    }

    #[test]
    fn ids_say_when_a_stretch_began_and_sort_by_it() {
        let lease = |after_remove: u64, now| Retention::new(Duration::from_secs(after_remove)).unwrap().lease(at(now));
        let day = lease(86_400, "2026-11-22T05:14:09Z").unwrap();
        assert_eq!((day.id.as_str(), day.end), ("retention-20261122T050000Z", at("2026-11-23T06:00:00Z")));
        let minute = lease(64, "2026-11-22T05:14:09.7Z").unwrap();
        assert_eq!((minute.id.as_str(), minute.end), ("retention-20261122T051408Z", at("2026-11-22T05:15:16Z")));
        assert!(lease(64, "2027-01-01T00:00:00Z").unwrap().id > minute.id);
    }

    #[test]
    fn a_clock_that_cannot_be_written_keeps_nothing() {
        let retention = Retention::new(Duration::from_secs(2)).unwrap();
        assert_eq!(retention.lease(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(retention.lease(at("9999-12-31T23:59:58Z")), None);
        assert!(retention.lease(at("9999-12-31T23:59:50Z")).is_some());
    }
}
