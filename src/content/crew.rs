//! Work on very many blobs, by several threads that step back for requests, with somebody who is told how far it is.
//!
//! The threads hold nothing while they work but the item that they are at. They end in the middle of it when whoever is
//! told says that nobody wants to know any more, and when the daemon stops.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::background::{self, Background};
use crate::{Error, Result};

use super::Content;

/// How often it is told how far the work is.
const PERIOD: Duration = Duration::from_millis(200);
/// How many findings wait to be told of, before the threads wait.
const FINDINGS: usize = 64;
/// More threads than that only wait for each other.
const MAX_THREADS: usize = 64;

/// How far the work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blobs that are done with.
    pub blobs: u64,
    /// Blobs in all.
    pub all_blobs: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes in all.
    pub all_bytes: u64,
}

/// Something that somebody is told while the work goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<F> {
    /// How far it is.
    Progress(Progress),
    /// What was found out about one blob.
    Found(F),
}

/// Whoever is told. It breaks off when nobody wants to know any more.
pub type Report<'r, F> = &'r mut dyn FnMut(Event<F>) -> ControlFlow<()>;

/// The long work of one content store, and how it is ended.
#[derive(Default)]
pub(super) struct Crews {
    stopped: Arc<AtomicBool>,
    threads: Background,
}

/// How many threads work, and what ends them early.
#[derive(Clone, Debug)]
pub struct Crew {
    threads: usize,
    stopped: Arc<AtomicBool>,
}

/// Counts what was done, and knows whether to go on.
pub(super) struct Meter<'c> {
    crew: &'c Crew,
    cancelled: AtomicBool,
    blobs: AtomicU64,
    bytes: AtomicU64,
    all: (u64, u64),
}

impl Content {
    /// Runs long work in a thread of its own, which the stop of the daemon ends.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads.
    pub fn in_background(
        self: &Arc<Self>,
        name: &'static str,
        work: impl FnOnce(&Content) + Send + 'static,
    ) -> Result<()> {
        let content = self.clone();
        self.crews.threads.spawn(name, move || work(&content))
    }

    /// Has long work end soon, because the daemon stops.
    pub fn release(&self) {
        self.crews.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn crew(&self, threads: usize) -> Crew {
        Crew { stopped: self.crews.stopped.clone(), ..Crew::new(threads) }
    }
}

impl Crews {
    /// Has all work end, and waits for it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.threads.join();
    }
}

impl Crew {
    /// Makes a crew of so many threads, or fewer where more make no sense.
    pub fn new(threads: usize) -> Crew {
        Crew { threads: threads.clamp(1, MAX_THREADS), stopped: Arc::default() }
    }

    /// Does `work` on every item that `next` returns. What it finds out is passed to `report`, in this thread, and
    /// how far it is, `all` being how many blobs and bytes there are.
    ///
    /// # Errors
    /// The first of `next` and `work`, after which nothing is begun any more; [`Error::ShuttingDown`] when it was ended
    /// early.
    pub(super) fn run<I, F: Send>(
        &self,
        all: (u64, u64),
        next: impl FnMut() -> Result<Option<I>> + Send,
        work: impl Fn(I, &Meter<'_>) -> Result<Option<F>> + Sync,
        report: Report<'_, F>,
    ) -> Result<Progress> {
        let zero = AtomicU64::default;
        let meter = Meter { crew: self, cancelled: AtomicBool::new(false), blobs: zero(), bytes: zero(), all };
        let (next, failure) = (Mutex::new(next), Mutex::new(None));
        let (findings, found) = sync_channel(FINDINGS);
        let toil = |findings: SyncSender<F>| {
            background::step_back();
            if let Err(err) = meter.work_on_all(&next, &work, &findings) {
                meter.cancel();
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
            }
        };
        thread::scope(|scope| {
            let mut started = 0;
            for _ in 0..self.threads {
                let (findings, toil) = (findings.clone(), &toil);
                let spawned = thread::Builder::new().name("blobs".into()).spawn_scoped(scope, move || toil(findings));
                started += usize::from(spawned.is_ok());
            }
            drop(findings);
            if started == 0 {
                return Err(Error::Lost("the threads of a check or an import"));
            }
            meter.tell(&found, report);
            Ok(())
        })?;
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(err) => Err(err),
            None => Ok(meter.progress()),
        }
    }
}

impl Meter<'_> {
    /// Notes that so many bytes were read.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] when no more are to be.
    pub fn advance(&self, bytes: u64) -> Result<()> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.go_on()
    }

    /// Fails when nothing more is to be done.
    pub fn go_on(&self) -> Result<()> {
        let ended = self.cancelled.load(Ordering::Relaxed) || self.crew.stopped.load(Ordering::Relaxed);
        if ended { Err(Error::ShuttingDown) } else { Ok(()) }
    }

    fn work_on_all<I, F>(
        &self,
        next: &Mutex<impl FnMut() -> Result<Option<I>>>,
        work: &impl Fn(I, &Meter<'_>) -> Result<Option<F>>,
        findings: &SyncSender<F>,
    ) -> Result<()> {
        loop {
            self.go_on()?;
            // Given back at once: a record or two are read meanwhile.
            let item = next.lock().unwrap_or_else(PoisonError::into_inner)()?;
            let Some(item) = item else { return Ok(()) };
            let found = work(item, self)?;
            self.blobs.fetch_add(1, Ordering::Relaxed);
            if let Some(found) = found {
                // Taken as long as anybody works.
                drop(findings.send(found));
            }
        }
    }

    /// Passes on what comes, until the last thread has ended.
    fn tell<F>(&self, found: &Receiver<F>, report: Report<'_, F>) {
        let mut told = Instant::now();
        loop {
            let event = match found.recv_timeout(PERIOD) {
                Ok(found) => Event::Found(found),
                Err(RecvTimeoutError::Timeout) => Event::Progress(self.progress()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let is_progress = matches!(event, Event::Progress(_));
            let mut outcome = report(event);
            if is_progress {
                told = Instant::now();
            } else if outcome.is_continue() && told.elapsed() >= PERIOD {
                told = Instant::now();
                outcome = report(Event::Progress(self.progress()));
            }
            if outcome.is_break() {
                self.cancel();
            }
        }
    }

    fn progress(&self) -> Progress {
        let (all_blobs, all_bytes) = self.all;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Progress { blobs: read(&self.blobs), all_blobs, bytes: read(&self.bytes), all_bytes }
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Returns how many threads are to read blobs only to look at them: as many as are asked for, or half as many as there are
/// processors where that is 0.
pub fn threads_to_read(asked: u32) -> usize {
    this_many(asked).unwrap_or_else(|| processors().div_ceil(2))
}

/// Returns how many threads are to bring blobs that somebody waits for: as many as are asked for, or as there are processors
/// where that is 0.
pub fn threads_to_bring(asked: u32) -> usize {
    this_many(asked).unwrap_or_else(processors)
}

fn this_many(asked: u32) -> Option<usize> {
    usize::try_from(asked).ok().filter(|asked| *asked > 0)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Items that never end.
    fn endless() -> impl FnMut() -> Result<Option<u64>> + Send {
        let mut last = 0;
        move || {
            last += 1;
            Ok(Some(last))
        }
    }

    #[test]
    fn every_item_is_worked_on_once() {
        let mut items = 0..1000_u64;
        let mut found = BTreeSet::new();
        let progress = Crew::new(4)
            .run(
                (1000, 2000),
                || Ok(items.next()),
                |item, meter| {
                    meter.advance(2)?;
                    Ok((item % 2 == 0).then_some(item))
                },
                &mut |event| {
                    if let Event::Found(item) = event {
                        assert!(found.insert(item));
                    }
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
        assert_eq!(progress, Progress { blobs: 1000, all_blobs: 1000, bytes: 2000, all_bytes: 2000 });
        assert_eq!(found, (0..1000).step_by(2).collect());
    }

    #[test]
    fn it_ends_when_nobody_wants_to_know() {
        let work = |item, _: &Meter<'_>| Ok(Some(item));
        let ended = Crew::new(3).run((0, 0), endless(), work, &mut |_| ControlFlow::Break(()));
        assert!(matches!(ended, Err(Error::ShuttingDown)), "{ended:?}");
    }

    #[test]
    fn it_ends_with_the_daemon() {
        let crew = Crew::new(2);
        let stop = |item, _: &Meter<'_>| {
            crew.stopped.store(true, Ordering::Relaxed);
            Ok(Some(item))
        };
        let ended = crew.run((0, 0), endless(), stop, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(ended, Err(Error::ShuttingDown)), "{ended:?}");
    }

    #[test]
    fn the_first_failure_ends_it() {
        let fail = |item: u64, _: &Meter<'_>| {
            if item == 100 { Err(Error::Suspended("of this".into())) } else { Ok(None::<()>) }
        };
        let ended = Crew::new(4).run((0, 0), endless(), fail, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(ended, Err(Error::Suspended(_))), "{ended:?}");
    }
}
