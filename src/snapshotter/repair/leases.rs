//! Repairs of the records of leases, and of records that cannot be read.

use std::time::SystemTime;

use crate::metadata::{DamagedRecord, LeaseFault};
use crate::types::{LeaseId, Member, Namespace};
use crate::{Result, failpoint};

use super::super::fsck::Check;

/// How many members one transaction repairs. All writers wait for it.
const MEMBERS_AT_ONCE: usize = 256;

impl Check<'_> {
    /// Puts right what records of leases disagree about. Each transaction looks again at what there is by then.
    pub(super) fn repair_leases(&self, fault: &LeaseFault) -> Result<String> {
        Ok(match fault {
            LeaseFault::OneSided(namespace, id, members) => {
                self.repair_members(namespace, id, members)?;
                "entered on both sides, so that it is held"
            }
            LeaseFault::Ownerless(namespace, id, members) => {
                self.repair_members(namespace, id, members)?;
                "deleted"
            }
            LeaseFault::MissingExpiry(namespace, id) => {
                self.repair_expiry(namespace, id, None)?;
                "entered"
            }
            LeaseFault::WrongExpiry(at, namespace, id) => {
                self.repair_expiry(namespace, id, Some(*at))?;
                "deleted"
            }
            LeaseFault::MissingNamespace(namespace) => {
                let mut txn = self.metadata.write(SystemTime::now())?;
                txn.repair_namespace(namespace)?;
                txn.commit()?;
                "made again, without labels"
            }
        }
        .to_owned())
    }

    fn repair_members(&self, namespace: &Namespace, id: &LeaseId, members: &[Member]) -> Result<()> {
        for batch in members.chunks(MEMBERS_AT_ONCE) {
            let mut txn = self.metadata.write(SystemTime::now())?;
            for member in batch {
                txn.repair_member(namespace, id, member)?;
            }
            txn.commit()?;
            failpoint::hit("repair: members repaired");
        }
        Ok(())
    }

    fn repair_expiry(&self, namespace: &Namespace, id: &LeaseId, wrong: Option<SystemTime>) -> Result<()> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        txn.repair_expiry(namespace, id, wrong)?;
        txn.commit()
    }

    /// Keeps the bytes of a record that cannot be read in a file, and takes it out of the way.
    pub(super) fn set_record_aside(&self, record: &DamagedRecord) -> Result<Option<String>> {
        if !record.can_be_set_aside() {
            return Ok(None);
        }
        // The file first: a crash in between leaves one more, and loses nothing.
        let path = self.dirs.keep_record(record.column(), &record.to_text())?;
        failpoint::hit("repair: record kept");
        let mut txn = self.metadata.write(SystemTime::now())?;
        let done = txn.set_aside(record)?;
        txn.commit()?;
        failpoint::hit("repair: record set aside");
        Ok(Some(match done {
            Some(done) => format!("{done}; its bytes are in {}", path.display()),
            None => "changed meanwhile; run fsck again".to_owned(),
        }))
    }
}
