//! The threads of the differ. A layer takes seconds: they are not those that serve containerd's short calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::{Error, Result};

/// Counts the threads at work, and waits for them at the stop.
#[derive(Default)]
pub(super) struct Workers {
    running: Mutex<usize>,
    ended: Condvar,
    stopping: AtomicBool,
}

impl Workers {
    /// Has a thread of its own do some work.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] after the stop; [`Error::Lost`] when the system has no more threads.
    pub fn spawn(self: &Arc<Self>, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let running = Running::new(self.clone());
        if self.is_stopping() {
            return Err(Error::ShuttingDown);
        }
        let run = move || {
            let _running = running;
            work();
        };
        match thread::Builder::new().name(name.into()).spawn(run) {
            Ok(_) => Ok(()),
            Err(err) => {
                tracing::error!(error = %err, name, "cannot start a thread");
                Err(Error::Lost("a thread of the differ"))
            }
        }
    }

    /// Whether whoever works is to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Has everybody end.
    pub fn release(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until nobody works.
    pub fn join(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running > 0 {
            running = self.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One thread at work, also when it panics.
struct Running(Arc<Workers>);

impl Running {
    fn new(workers: Arc<Workers>) -> Running {
        // Before the look at the stop, so that who joins after it waits for this one.
        *workers.running.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Running(workers)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_stop_waits_for_those_at_work_and_lets_nobody_begin() {
        let workers = Arc::new(Workers::default());
        let (started, has_started) = channel();
        let (own, done) = (workers.clone(), Arc::new(AtomicBool::new(false)));
        let is_done = done.clone();
        let work = move || {
            started.send(()).unwrap();
            while !own.is_stopping() {
                thread::yield_now();
            }
            done.store(true, Ordering::SeqCst);
            panic!("as wanted");
        };
        workers.spawn("apply", work).unwrap();
        has_started.recv().unwrap();
        workers.release();
        workers.join();
        assert!(is_done.load(Ordering::SeqCst));
        assert!(matches!(workers.spawn("apply", || ()), Err(Error::ShuttingDown)));
        workers.join();
    }
}
