//! Ingests that nobody goes on with are given up, unless a lease names them.

use std::time::{Duration, SystemTime};

use crate::types::{FileId, IngestRef, MemberKind, Scope};
use crate::{Chain, Error, Result};

use super::Content;

/// How long an ingest is kept after it was last written to: as long as containerd keeps one without a lease.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns when an ingest is given up that was last written to at `written_at`.
pub(super) fn expiry(written_at: SystemTime) -> SystemTime {
    written_at.checked_add(KEPT).unwrap_or(written_at)
}

impl Content {
    /// Gives up what has expired, and returns how many that were. What clients of the API socket have is for the collector
    /// to give up, because a lease may hold it.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn expire(&self, now: SystemTime) -> Result<usize> {
        let (mut expired, mut of_clients) = (Vec::new(), false);
        self.metadata.read(|records| {
            records.each_ingest(|entry| {
                if let Ok((name, ingest)) = entry
                    && ingest.is_expired(now)
                {
                    match name.scope() {
                        Scope::Plugin => expired.push((name, ingest.id)),
                        Scope::Api(_) => of_clients = true,
                    }
                }
                Ok(())
            })
        })?;
        if of_clients {
            self.neighbour.look_for_expired();
        }
        let mut given_up = 0;
        for (name, id) in expired {
            // After a kill the file knows better than the record. Whoever writes has the ref.
            let written_at = self.files.find_ingest(id)?.map(|found| found.written_at);
            if written_at.is_some_and(|at| expiry(at) >= now) || self.is_leased(&name, now)? {
                continue;
            }
            given_up += usize::from(self.expire_one(&name, id, now)?);
        }
        Ok(given_up)
    }

    /// Whether a lease names an upload.
    fn is_leased(&self, name: &IngestRef, now: SystemTime) -> Result<bool> {
        let Some((namespace, text)) = name.in_leases() else { return Ok(false) };
        Ok(self.metadata.held_by(&namespace, &MemberKind::Ingests, text, now)?.is_some())
    }

    fn expire_one(&self, name: &IngestRef, id: FileId, now: SystemTime) -> Result<bool> {
        let Ok(_entered) = self.writers.enter(name) else { return Ok(false) };
        // Until the ref was ours, it may have become another upload's, or somebody went on with it.
        let same = self.metadata.ingest(name).is_ok_and(|ingest| ingest.id == id && ingest.is_expired(now));
        if !same {
            return Ok(false);
        }
        match self.abort(name) {
            Ok(()) => {
                tracing::info!(name = name.as_str(), "an upload that nobody went on with is given up");
                Ok(true)
            }
            Err(Error::NotFound(_)) => Ok(false),
            Err(err) => {
                tracing::debug!(error = %Chain(&err), "an expired ingest cannot be given up");
                Err(err)
            }
        }
    }
}
