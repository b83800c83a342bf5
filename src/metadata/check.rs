//! Comparing the records of leases with each other, and putting right what disagrees.
//!
//! Rule: no repair takes a hold away. What either of `members` and `leased` says counts, as long as there is the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::SystemTime;

use super::damaged::DamagedRecord;
use super::expiry::{due, is_due_at};
use super::record::{Lease, decode_namespace};
use super::{Consistent, Transaction, schema};
use crate::store::Column;
use crate::types::{LeaseId, Member, Namespace, Scope};
use crate::{Error, Result};

/// A disagreement between records of leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseFault {
    /// A lease's members that only one of `members` and `leased` has.
    OneSided(Namespace, LeaseId, Vec<Member>),
    /// Members of a lease that does not exist.
    Ownerless(Namespace, LeaseId, Vec<Member>),
    /// A lease that ends and has no entry in `expiry` at its end; one that is being deleted is to end in 1970.
    MissingExpiry(Namespace, LeaseId),
    /// An entry in `expiry` for a lease that does not end then, or does not exist.
    WrongExpiry(SystemTime, Namespace, LeaseId),
    /// A namespace that is not in `namespaces`, and in which there is something.
    MissingNamespace(Namespace),
}

/// What a look at all leases found.
#[derive(Debug, Default)]
pub struct LeaseCheck {
    /// How many leases there are.
    pub leases: u64,
    /// What disagrees.
    pub faults: Vec<LeaseFault>,
    /// What cannot be read.
    pub damaged: Vec<DamagedRecord>,
}

/// Members by their leases.
type ByLease = BTreeMap<(Namespace, LeaseId), Vec<Member>>;

impl Consistent<'_> {
    /// Compares all records of leases and namespaces with each other.
    ///
    /// # Errors
    /// Those of the store.
    pub fn check_leases(&self) -> Result<LeaseCheck> {
        let mut check = LeaseCheck::default();
        let mut namespaces = self.api_namespaces()?;
        self.txn.scan(Column::Leases, &[], |key, value| {
            check.leases += 1;
            let read = schema::leases::parse_lease(key).and_then(|name| Ok((name, Lease::decode(value)?)));
            let Some(((namespace, id), lease)) = check.readable(Column::Leases, key, value, read) else {
                return Ok(());
            };
            if let Some(at) = due(&lease)
                && (lease.expires_at != Some(at)
                    || self.txn.get(Column::Expiry, &schema::leases::expiry(at, &namespace, &id))?.is_none())
            {
                check.faults.push(LeaseFault::MissingExpiry(namespace.clone(), id));
            }
            namespaces.insert(namespace);
            Ok(())
        })?;
        self.check_members(&mut check)?;
        self.txn.scan(Column::Expiry, &[], |key, value| {
            let read = schema::leases::parse_expiry(key);
            let Some((at, namespace, id)) = check.readable(Column::Expiry, key, value, read) else { return Ok(()) };
            let lease = self.txn.get(Column::Leases, &schema::leases::lease(&namespace, &id))?;
            match lease.as_deref().map(Lease::decode) {
                // Said already, and nobody knows when it ends.
                Some(Err(_)) => {}
                Some(Ok(lease)) if is_due_at(&lease, &namespace, &id, key) => {}
                _ => check.faults.push(LeaseFault::WrongExpiry(at, namespace, id)),
            }
            Ok(())
        })?;
        self.txn.scan(Column::Namespaces, &[], |key, value| {
            let read = schema::leases::parse_namespace(key).and_then(|name| decode_namespace(value).map(|_| name));
            if let Some(namespace) = check.readable(Column::Namespaces, key, value, read) {
                namespaces.remove(&namespace);
            }
            Ok(())
        })?;
        for namespace in namespaces {
            // One that cannot be read is there.
            if self.txn.get(Column::Namespaces, &schema::leases::namespace(&namespace))?.is_none() {
                check.faults.push(LeaseFault::MissingNamespace(namespace));
            }
        }
        Ok(check)
    }

    fn check_members(&self, check: &mut LeaseCheck) -> Result<()> {
        let (mut one_sided, mut ownerless) = (ByLease::new(), ByLease::new());
        // Members of one lease follow each other.
        let mut last: Option<(Namespace, LeaseId, bool)> = None;
        self.txn.scan(Column::Members, &[], |key, value| {
            let read = schema::leases::parse_member(key);
            let Some((namespace, id, member)) = check.readable(Column::Members, key, value, read) else {
                return Ok(());
            };
            let exists = match &last {
                Some((space, lease, exists)) if (space, lease) == (&namespace, &id) => *exists,
                _ => self.has_lease(&namespace, &id)?,
            };
            if !exists {
                ownerless.entry((namespace.clone(), id.clone())).or_default().push(member);
            } else if self.txn.get(Column::Leased, &schema::leases::leased(&namespace, &id, &member))?.is_none() {
                one_sided.entry((namespace.clone(), id.clone())).or_default().push(member);
            }
            last = Some((namespace, id, exists));
            Ok(())
        })?;
        self.txn.scan(Column::Leased, &[], |key, value| {
            let read = schema::leases::parse_reverse(key);
            let Some((namespace, id, member)) = check.readable(Column::Leased, key, value, read) else { return Ok(()) };
            if self.txn.get(Column::Members, &schema::leases::member(&namespace, &id, &member))?.is_none() {
                let faults = if self.has_lease(&namespace, &id)? { &mut one_sided } else { &mut ownerless };
                faults.entry((namespace, id)).or_default().push(member);
            }
            Ok(())
        })?;
        let one_sided = one_sided.into_iter().map(|((space, id), members)| LeaseFault::OneSided(space, id, members));
        let ownerless = ownerless.into_iter().map(|((space, id), members)| LeaseFault::Ownerless(space, id, members));
        check.faults.extend(one_sided.chain(ownerless));
        Ok(())
    }

    fn has_lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<bool> {
        Ok(self.txn.get(Column::Leases, &schema::leases::lease(namespace, id))?.is_some())
    }

    /// Returns the namespaces in which the API socket has snapshots.
    fn api_namespaces(&self) -> Result<BTreeSet<Namespace>> {
        let mut found = BTreeSet::new();
        let mut first = vec![1];
        loop {
            let mut next = None;
            self.txn.scan_from(Column::Snapshots, &first, |key, _| {
                let namespace = key.split(|byte| *byte == 0).next().unwrap_or_default();
                found.extend(schema::leases::parse_namespace(namespace));
                // Behind all keys that begin like this.
                next = Some([namespace, &[1]].concat());
                Ok(ControlFlow::Break(()))
            })?;
            match next {
                Some(next) => first = next,
                None => return Ok(found),
            }
        }
    }
}

impl LeaseCheck {
    /// Passes on what could be read, and takes down the rest.
    fn readable<T>(&mut self, column: Column, key: &[u8], value: &[u8], read: Result<T>) -> Option<T> {
        read.map_err(|err| self.damaged.push(DamagedRecord::new(column, key, value, &err))).ok()
    }
}

impl Transaction<'_> {
    /// Has `members` and `leased` agree about one member of a lease, and the lease exist that names it. A lease that is
    /// being deleted holds nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn repair_member(&mut self, namespace: &Namespace, id: &LeaseId, member: &Member) -> Result<()> {
        let [member_key, leased_key] =
            [schema::leases::member(namespace, id, member), schema::leases::leased(namespace, id, member)];
        let named = self.txn.get(Column::Members, &member_key)?.is_some();
        let reverse = self.txn.get(Column::Leased, &leased_key)?.is_some();
        let (holds, is_flat) = match self.lease_record(namespace, id) {
            Ok(lease) => (lease.as_ref().map(|lease| !lease.deleted), lease.is_some_and(|lease| lease.is_flat())),
            // Whatever it says, it is there.
            Err(Error::Corrupt(_)) => (Some(true), false),
            Err(err) => return Err(err),
        };
        match (holds, named, reverse) {
            (_, false, false) | (Some(_), true, true) => {}
            (Some(true), ..) => self.put_member(namespace, id, member, is_flat),
            (Some(false) | None, ..) => self.delete_member(namespace, id, member),
        }
        Ok(())
    }

    /// Has a lease, if it ends, have the right entry in `expiry`, and deletes the one for `wrong` where that is not it.
    ///
    /// # Errors
    /// Those of the store; [`Error::Corrupt`] when the lease cannot be read.
    pub fn repair_expiry(&mut self, namespace: &Namespace, id: &LeaseId, wrong: Option<SystemTime>) -> Result<()> {
        if let Some(wrong) = wrong {
            self.txn.delete(Column::Expiry, schema::leases::expiry(wrong, namespace, id));
        }
        if let Some(lease) = self.lease_record(namespace, id)? {
            let expires_at = due(&lease);
            // After the deletion, which may have been of the right one by now.
            self.put_lease(namespace, id, &Lease { expires_at, ..lease });
        }
        Ok(())
    }

    /// Makes a namespace in which there is something.
    ///
    /// # Errors
    /// Those of the store.
    pub fn repair_namespace(&mut self, namespace: &Namespace) -> Result<()> {
        let snapshots = schema::snapshots_of(&Scope::Api(namespace.clone()));
        if self.txn.has_prefix(Column::Leases, &schema::leases::leases_of(namespace))?
            || self.txn.has_prefix(Column::Snapshots, &snapshots)?
        {
            self.ensure_namespace(namespace)?;
        }
        Ok(())
    }
}
