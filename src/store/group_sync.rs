//! Many commits, one fsync.

use std::sync::{Condvar, Mutex, MutexGuard};

use crate::{Error, Result};

/// Lets commits that wait for the disk at the same time share one sync.
///
/// A commit takes a ticket when its bytes are in the log, in log order. The first that waits becomes the leader, syncs
/// up to the highest ticket there is, and wakes the others; who came meanwhile is served by the next leader.
#[derive(Default)]
pub(super) struct GroupSync {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// Highest ticket whose bytes are in the log.
    written: u64,
    /// Highest ticket that is on disk.
    synced: u64,
    /// Highest ticket whose sync failed.
    failed: u64,
    leading: bool,
}

impl GroupSync {
    /// Takes the ticket for bytes that were just written. Called in log order, under the writer's lock.
    pub fn ticket(&self) -> Result<u64> {
        let mut state = self.lock()?;
        state.written += 1;
        Ok(state.written)
    }

    /// Returns when the bytes of `ticket` are on disk. `sync` makes everything in the log durable.
    ///
    /// # Errors
    /// The leader gets the error of `sync`, the others [`Error::Suspended`].
    pub fn wait(&self, ticket: u64, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.lock()?;
        while state.leading && state.synced < ticket && state.failed < ticket {
            state = self.done.wait(state).map_err(|_| Error::Lost("a commit"))?;
        }
        if state.synced >= ticket {
            return Ok(());
        }
        if state.failed >= ticket {
            return Err(Error::Suspended("the sync of the metadata log failed".into()));
        }
        state.leading = true;
        let mut lead = Lead { group: self, target: state.written, synced: false };
        drop(state);
        let result = sync();
        lead.synced = result.is_ok();
        result
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Error::Lost("a commit"))
    }
}

/// One leader's turn. It ends when this is dropped, also by a panic, so that nobody waits for a leader that is gone.
struct Lead<'g> {
    group: &'g GroupSync,
    target: u64,
    synced: bool,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.group.state.lock() {
            state.leading = false;
            let reached = if self.synced { &mut state.synced } else { &mut state.failed };
            *reached = self.target.max(*reached);
        }
        self.group.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::GroupSync;
    use crate::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};

    #[test]
    fn waiters_share_the_next_sync() {
        let sync = GroupSync::default();
        let syncs = AtomicUsize::new(0);
        let all_have_tickets = Barrier::new(9);
        let (started, leader_started) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let ticket = sync.ticket().unwrap();
                sync.wait(ticket, || {
                    started.send(()).unwrap();
                    all_have_tickets.wait();
                    syncs.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
                .unwrap();
            });
            leader_started.recv().unwrap();
            for _ in 0..8 {
                scope.spawn(|| {
                    let ticket = sync.ticket().unwrap();
                    all_have_tickets.wait();
                    sync.wait(ticket, || {
                        syncs.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(syncs.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_sync_that_panics_fails_its_tickets_and_blocks_nobody() {
        let sync = GroupSync::default();
        let ticket = sync.ticket().unwrap();
        let leader = std::thread::scope(|scope| scope.spawn(|| sync.wait(ticket, || panic!("as wanted"))).join());
        assert!(leader.is_err());
        assert!(sync.wait(ticket, || Ok(())).is_err());
        let next = sync.ticket().unwrap();
        sync.wait(next, || Ok(())).unwrap();
    }

    #[test]
    fn a_failed_sync_fails_every_ticket_it_covered() {
        let sync = GroupSync::default();
        let first = sync.ticket().unwrap();
        let second = sync.ticket().unwrap();
        assert!(sync.wait(first, || Err(Error::ShuttingDown)).is_err());
        assert!(sync.wait(second, || Ok(())).is_err());
        let third = sync.ticket().unwrap();
        assert!(sync.wait(third, || Ok(())).is_ok());
    }
}
