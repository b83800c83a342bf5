//! The thread that inflates, and the buffers that go to and fro.
//!
//! There are [`BUFFERS`] at most, made when they are needed and then used again. Whoever ends first, the other one finds
//! its channel closed and ends too, so that nobody waits for somebody who is gone. A thread that has nothing to send notices
//! it when it reads.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::{Error, Result};

use super::decode::{Decoder, Source};
use super::limits::Allowance;

/// Size of a buffer. Larger ones do not stay in the processor's cache.
pub(super) const BUFFER: usize = 1 << 20;
/// How many there are: enough for the consumer to make files for a while, or for none at all.
pub(super) const BUFFERS: usize = 6;

/// What the thread says.
pub(super) enum Step {
    /// So many bytes are in the buffer.
    Data(Box<[u8]>, usize),
    /// That was all.
    End,
    /// It cannot go on.
    Failed(Error),
}

/// The consumer's ends.
pub(super) struct Inflated {
    pub steps: Receiver<Step>,
    pub used: Sender<Box<[u8]>>,
    /// Ends the thread when it is dropped.
    _wanted: Wanted,
}

/// Set when nobody wants the data any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A source that fails when nobody wants its data any more.
struct WhileWanted {
    source: Source,
    over: Arc<AtomicBool>,
}

impl Read for WhileWanted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over.load(Ordering::Relaxed) {
            return Err(io::Error::other(Error::ShuttingDown));
        }
        self.source.read(buffer)
    }
}

/// Starts the thread for one blob.
///
/// # Errors
/// [`Error::Lost`] when the system has no more threads.
pub(super) fn start(source: Source, allowance: Allowance) -> Result<Inflated> {
    let (sender, steps) = sync_channel(BUFFERS);
    let (used, empty) = channel();
    let wanted = Wanted(Arc::default());
    let source = Box::new(WhileWanted { source, over: wanted.0.clone() });
    let work = move || {
        let last = match inflate(source, allowance, &sender, &empty) {
            Ok(Some(Gone)) => return,
            Ok(None) => Step::End,
            Err(err) => Step::Failed(err),
        };
        // Nobody is told when nobody listens any more.
        let _ = sender.send(last);
    };
    thread::Builder::new().name("inflate".into()).spawn(work).map_err(|_| Error::Lost("a thread"))?;
    Ok(Inflated { steps, used, _wanted: wanted })
}

/// The consumer has ended.
struct Gone;

fn inflate(
    source: Source,
    mut allowance: Allowance,
    sender: &SyncSender<Step>,
    empty: &Receiver<Box<[u8]>>,
) -> Result<Option<Gone>> {
    let mut decoder = Decoder::open(source)?;
    let mut made = 0;
    loop {
        let mut buffer = match empty.try_recv() {
            Ok(buffer) => buffer,
            // The kernel zeroes it, page by page, when it is first written to.
            Err(_) if made < BUFFERS => {
                made += 1;
                vec![0; BUFFER].into()
            }
            Err(_) => match empty.recv() {
                Ok(buffer) => buffer,
                Err(_) => return Ok(Some(Gone)),
            },
        };
        let filled = decoder.fill(&mut buffer)?;
        allowance.take(filled)?;
        let is_last = filled < buffer.len();
        if filled > 0 && sender.send(Step::Data(buffer, filled)).is_err() {
            return Ok(Some(Gone));
        }
        if is_last {
            return Ok(None);
        }
    }
}
