//! The uncompressed stream of a blob, with its digest.
//!
//! One thread inflates; whoever reads the stream hashes each buffer when it comes, and then makes files of it. On two
//! processors this is as fast as a third thread for the hash, and inflating is what all of it waits for. What a thread fails
//! with reaches the reader as an error of the read, and is kept, so that its code is not lost on the way.

mod decode;
mod inflate;
mod limits;
mod media_type;
#[cfg(test)]
mod tests;
mod verified;

use std::io::{self, BufRead, Read};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::types::{Algorithm, Digest};
use crate::{Error, Result};

pub use decode::Source;
pub use limits::{ALWAYS_ALLOWED, Limits};
pub use media_type::require_layer;
pub use verified::Verified;

use inflate::{BUFFER, Inflated, Step};

/// How long a read waits before it asks whether to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// A blob's uncompressed data.
pub struct Stream<'s> {
    inflated: Inflated,
    buffer: Box<[u8]>,
    filled: usize,
    position: usize,
    hash: Sha256,
    size: u64,
    state: State,
    stop: &'s dyn Fn() -> bool,
}

enum State {
    Open,
    Ended,
    /// Holds the error until somebody asks for it.
    Failed(Option<Error>),
}

/// What a blob turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncompressed {
    /// The digest of the uncompressed data: what OCI calls the DiffID of a layer.
    pub diff_id: Digest,
    /// Bytes.
    pub size: u64,
}

impl<'s> Stream<'s> {
    /// Begins to inflate a blob of `size` bytes.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads. All else is found out by reading.
    pub fn open(source: Source, size: u64, limits: &Limits) -> Result<Stream<'s>> {
        Ok(Stream {
            inflated: inflate::start(source, limits.of(size))?,
            buffer: Box::default(),
            filled: 0,
            position: 0,
            hash: Sha256::new(),
            size: 0,
            state: State::Open,
            stop: &|| false,
        })
    }

    /// Has reads fail with [`Error::ShuttingDown`] when they wait for data and `stop` says to end.
    pub fn until(self, stop: &'s dyn Fn() -> bool) -> Stream<'s> {
        Stream { stop, ..self }
    }

    /// Reads what is left, until `stop` says to end, and returns what all of it was.
    ///
    /// # Errors
    /// What the blob cannot be read or inflated for; [`Error::ShuttingDown`] when it was stopped.
    pub fn finish(mut self, stop: &dyn Fn() -> bool) -> Result<Uncompressed> {
        loop {
            let len = match self.fill(stop) {
                Ok(rest) => rest.len(),
                Err(_) => return Err(self.failure().unwrap_or(Error::Lost("the inflating of a blob"))),
            };
            if len == 0 {
                break;
            }
            if stop() {
                return Err(Error::ShuttingDown);
            }
            self.consume(len);
        }
        let diff_id = Digest::from_bytes(Algorithm::Sha256, &self.hash.finalize()).ok_or(Error::Lost("a digest"))?;
        Ok(Uncompressed { diff_id, size: self.size })
    }

    /// Returns what a read failed with, once: I/O errors do not keep it.
    pub fn failure(&mut self) -> Option<Error> {
        match &mut self.state {
            State::Failed(err) => err.take(),
            State::Open | State::Ended => None,
        }
    }

    /// How much was read from the blob so far, uncompressed.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn fill(&mut self, stop: &dyn Fn() -> bool) -> io::Result<&[u8]> {
        if self.position == self.filled {
            match self.state {
                State::Open => self.next(stop)?,
                State::Ended => {}
                State::Failed(_) => return Err(io::Error::other("the stream has failed before")),
            }
        }
        Ok(self.buffer.get(self.position..self.filled).unwrap_or_default())
    }

    /// Takes the next buffer.
    fn next(&mut self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let used = std::mem::take(&mut self.buffer);
        (self.filled, self.position) = (0, 0);
        if used.len() == BUFFER {
            // Nobody takes it when all was inflated.
            let _ = self.inflated.used.send(used);
        }
        // There are blobs of which nothing comes for as long as they are: parts may be empty.
        let step = loop {
            match self.inflated.steps.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Timeout) if stop() => return Err(self.fail(Error::ShuttingDown)),
                Err(RecvTimeoutError::Timeout) => {}
                step => break step,
            }
        };
        match step {
            Ok(Step::Data(buffer, filled)) => {
                self.hash.update(buffer.get(..filled).unwrap_or_default());
                self.size += filled as u64;
                (self.buffer, self.filled) = (buffer, filled);
                Ok(())
            }
            Ok(Step::End) => {
                self.state = State::Ended;
                Ok(())
            }
            Ok(Step::Failed(err)) => Err(self.fail(err)),
            // Only a panic ends the thread without a word.
            Err(_) => Err(self.fail(Error::Lost("the inflating of a blob"))),
        }
    }

    fn fail(&mut self, err: Error) -> io::Error {
        let text = err.to_string();
        self.state = State::Failed(Some(err));
        io::Error::other(text)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill(self.stop)
    }

    fn consume(&mut self, amount: usize) {
        self.position = (self.position + amount).min(self.filled);
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
