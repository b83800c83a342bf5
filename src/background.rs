//! Threads of the background, which step back for requests and are waited for at the stop.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{Error, Result};

/// How far background threads step back for requests, in units of nice(2).
const NICENESS: i32 = 10;

/// The threads of one kind of work.
#[derive(Default)]
pub(crate) struct Background {
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    /// Starts a thread.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads.
    pub fn spawn(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let run = move || {
            step_back();
            work();
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run).map_err(|err| {
            tracing::error!(error = %err, name, "cannot start a background thread");
            Error::Lost("a background thread")
        })?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // Some are made for one piece of work. One that panicked has said so.
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Waits for the threads, which were told to end. None may use the database while the process tears it down.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
    }
}

/// Has this thread step back for requests, on the processors and, where the disk's scheduler looks at it, there too.
pub(crate) fn step_back() {
    if let Err(err) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        tracing::debug!(error = %err, "background thread keeps the normal priority");
    }
}
