//! What the content store does in the background: names that no record explains are put right, expired ingests given up.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::background::Background;
use crate::types::Digest;
use crate::{Chain, Result, failpoint};

use super::Content;

/// How often expired ingests are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_secs(60 * 60);
/// How long a chore waits that could not be done, because the records cannot be written.
const RETRY: Duration = Duration::from_secs(5);

/// Something to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// The names of a blob's file: a change of its record failed, or start-up found one without a record.
    Settle(Digest),
}

/// The background thread's list.
pub(super) struct Janitor {
    state: Mutex<State>,
    wake: Condvar,
    thread: Background,
}

struct State {
    chores: VecDeque<Chore>,
    /// When chores that failed are tried again.
    retry: Option<Instant>,
    stopped: bool,
}

impl Janitor {
    /// Makes a list that begins with blobs without a record.
    pub fn new(orphans: Vec<Digest>) -> Janitor {
        let chores = orphans.into_iter().map(Chore::Settle).collect();
        let state = Mutex::new(State { chores, retry: None, stopped: false });
        Janitor { state, wake: Condvar::new(), thread: Background::default() }
    }

    /// Has something put right some time soon.
    pub fn add(&self, chore: Chore) {
        self.lock().chores.push_back(chore);
        self.wake.notify_one();
    }

    /// Has the thread end, and waits for it.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.wake.notify_all();
        self.thread.join();
    }

    /// Waits for a chore, or until `until`; `None` when that has come.
    fn next(&self, until: Instant) -> Next {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.stopped {
                return Next::Stop;
            }
            if state.retry.is_none_or(|retry| retry <= now) {
                state.retry = None;
                if let Some(chore) = state.chores.pop_front() {
                    return Next::Chore(chore);
                }
            }
            let due = state.retry.map_or(until, |retry| retry.min(until));
            if due <= now {
                return Next::Expiry;
            }
            let waited = self.wake.wait_timeout(state, due - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn again_later(&self, chore: Chore) {
        let mut state = self.lock();
        // Behind the others, which may succeed.
        state.chores.push_back(chore);
        state.retry = Some(Instant::now() + RETRY);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single push or remove, so it is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Chore(Chore),
    Expiry,
    Stop,
}

impl Content {
    pub(super) fn start_janitor(self: &Arc<Self>) -> Result<()> {
        let content = self.clone();
        self.janitor.thread.spawn("content", move || {
            let mut expiry = Instant::now();
            loop {
                match content.janitor.next(expiry) {
                    Next::Stop => return,
                    Next::Expiry => {
                        expiry = Instant::now() + EXPIRY_PERIOD;
                        if let Err(err) = content.expire(content.now()) {
                            tracing::warn!(error = %Chain(&err), "expired uploads cannot be given up yet");
                        }
                    }
                    Next::Chore(chore) => {
                        let Chore::Settle(digest) = &chore;
                        if let Err(err) = content.settle(digest) {
                            tracing::debug!(%digest, error = %Chain(&err), "a blob's names cannot be put right yet");
                            content.janitor.again_later(chore);
                        }
                    }
                }
            }
        })
    }

    /// Makes the names of a blob's file what its record says.
    pub(super) fn settle(&self, digest: &Digest) -> Result<()> {
        let _turn = self.digests.take(digest);
        // Fails while writes are suspended; when it does not, what is read is what the database kept.
        drop(self.metadata.write(self.now())?);
        if let Some(file) = self.metadata.blob_file(digest)? {
            return if self.files.find_blob(digest)?.is_some() {
                self.files.unlink_ingest(file.id)
            } else {
                self.files.finish(file.id, digest).map(drop)
            };
        }
        if self.files.find_blob(digest)?.is_none() {
            return Ok(());
        }
        let mut txn = self.metadata.write(self.now())?;
        if txn.is_blob_named(digest)? {
            tracing::error!(%digest, "a blob has a record, and its file has none; see leasehold fsck");
            return Ok(());
        }
        let id = self.metadata.allocate_file();
        txn.trash_file(id);
        txn.commit()?;
        failpoint::hit("settle: recorded");
        self.files.trash_blob(digest, id)?;
        failpoint::hit("settle: moved to trash");
        self.neighbour.reclaim(id.in_trash());
        Ok(())
    }
}
