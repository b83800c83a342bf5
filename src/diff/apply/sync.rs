//! Layers are made durable together: a sync of a file system covers all that was written to it before.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::fs::{fstat, syncfs};

use crate::overlay::Dir;
use crate::{Error, FsOp, Result};

/// The syncs of all file systems that layers are on.
#[derive(Default)]
pub(in crate::diff) struct Syncs {
    by_device: Mutex<HashMap<u64, Arc<Group>>>,
}

impl Syncs {
    /// Takes part in the syncs of the file system of `dir`, before anything is written to it.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn join(&self, dir: &Dir) -> Result<Member> {
        let device = fstat(dir).map_err(Error::fs(FsOp::Stat, dir.path()))?.st_dev;
        let mut groups = self.by_device.lock().map_err(|_| Error::Lost("a sync"))?;
        // Devices come and go.
        groups.retain(|_, group| Arc::strong_count(group) > 1);
        let group = groups.entry(device).or_default().clone();
        let failures = group.lock()?.failures;
        Ok(Member { group, failures })
    }
}

/// Who writes to a file system.
pub(in crate::diff) struct Member {
    group: Arc<Group>,
    /// How many syncs had failed when it began.
    failures: u64,
}

impl Member {
    /// Returns when all that was written before is on disk. Of those who come while a sync runs, one syncs for all.
    ///
    /// The kernel tells of data that it could not write once, to the first that syncs. So a sync that failed for somebody
    /// else since the beginning has failed for all who wrote.
    ///
    /// # Errors
    /// [`Error::NotDurable`].
    pub fn sync(&self, dir: &Dir) -> Result<()> {
        self.wait(self.next()?, dir, || Ok(syncfs(dir.as_fd())?))
    }

    /// Returns the number of the sync that covers what was written so far: one that runs has begun before.
    fn next(&self) -> Result<u64> {
        Ok(self.group.lock()?.begun + 1)
    }

    fn wait(&self, needed: u64, dir: &Dir, sync: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
        let failed = |source| Error::NotDurable { what: dir.path().display().to_string(), source };
        let mut state = self.group.lock()?;
        while state.running && state.succeeded < needed {
            state = self.group.ended.wait(state).map_err(|_| Error::Lost("a sync"))?;
        }
        if state.succeeded < needed && state.failures == self.failures {
            state.running = true;
            state.begun += 1;
            let turn = Turn { group: &self.group, number: state.begun, succeeded: false };
            drop(state);
            turn.run(sync).map_err(failed)?;
            state = self.group.lock()?;
        }
        if state.failures == self.failures {
            return Ok(());
        }
        Err(failed(std::io::Error::other("a sync of the file system has failed since the layer was begun")))
    }
}

/// Who syncs one file system at the same time.
#[derive(Default)]
struct Group {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    /// The number of the last sync that has begun.
    begun: u64,
    /// The number of the last that has succeeded.
    succeeded: u64,
    /// How many have failed.
    failures: u64,
}

impl Group {
    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Error::Lost("a sync"))
    }
}

/// One sync. It ends when this is dropped, also by a panic, so that nobody waits for somebody who is gone.
struct Turn<'g> {
    group: &'g Group,
    number: u64,
    succeeded: bool,
}

impl Turn<'_> {
    fn run(mut self, sync: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        let result = sync();
        self.succeeded = result.is_ok();
        result
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.group.state.lock() {
            state.running = false;
            if self.succeeded {
                state.succeeded = self.number;
            } else {
                state.failures += 1;
            }
        }
        self.group.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn here() -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        (root, dir)
    }

    impl Member {
        fn sync_by(&self, dir: &Dir, sync: impl FnOnce() -> io::Result<()>) -> Result<()> {
            self.wait(self.next()?, dir, sync)
        }
    }

    #[test]
    fn a_sync_that_began_before_does_not_count_and_the_next_is_for_all() {
        let (_root, dir) = here();
        let syncs = Syncs::default();
        let (first, others) = (syncs.join(&dir).unwrap(), [0; 8].map(|_| syncs.join(&dir).unwrap()));
        let (count, all_have_written) = (AtomicUsize::new(0), Barrier::new(9));
        let (begun, has_begun) = channel();
        thread::scope(|scope| {
            let (dir, count, all_have_written) = (&dir, &count, &all_have_written);
            let slow = move || {
                begun.send(()).unwrap();
                all_have_written.wait();
                Ok(())
            };
            scope.spawn(move || first.sync_by(dir, slow).unwrap());
            has_begun.recv().unwrap();
            for member in &others {
                scope.spawn(move || {
                    let needed = member.next().unwrap();
                    all_have_written.wait();
                    let sync = || {
                        count.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    };
                    member.wait(needed, dir, sync).unwrap();
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn a_failure_is_told_to_all_who_had_begun_and_to_nobody_else() {
        let (_root, dir) = here();
        let syncs = Syncs::default();
        let (a, b) = (syncs.join(&dir).unwrap(), syncs.join(&dir).unwrap());
        let refused = a.sync_by(&dir, || Err(io::Error::from_raw_os_error(5))).unwrap_err();
        assert!(matches!(refused, Error::NotDurable { .. }));
        assert!(matches!(b.sync_by(&dir, || Ok(())), Err(Error::NotDurable { .. })));
        syncs.join(&dir).unwrap().sync(&dir).unwrap();
    }

    #[test]
    fn a_sync_that_panics_keeps_nobody_waiting() {
        let (_root, dir) = here();
        let syncs = Syncs::default();
        let member = syncs.join(&dir).unwrap();
        let panicked = thread::scope(|scope| scope.spawn(|| member.sync_by(&dir, || panic!("as wanted"))).join());
        assert!(panicked.is_err());
        syncs.join(&dir).unwrap().sync(&dir).unwrap();
    }
}
