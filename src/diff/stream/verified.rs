//! A blob whose digest is computed while it is read.
//!
//! Its own thread reads and hashes, so that what is unpacked is what was hashed, whoever writes to the file meanwhile, and
//! nobody waits for the hash but at the end.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::content::Hasher;
use crate::types::Digest;
use crate::{Error, FsOp, Resource, Result};

use super::Source;

/// How much is read and hashed at a time.
const CHUNK: usize = 256 << 10;
/// How many chunks there are: one is hashed, one is inflated, and the others wait.
const CHUNKS: usize = 4;

type Chunk = Result<Vec<u8>>;

/// Reads a blob. The last read fails when it was not the blob that it was said to be.
pub struct Verified {
    read: Receiver<Chunk>,
    used: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
}

impl Verified {
    /// Begins to read.
    ///
    /// # Errors
    /// [`Error::Lost`] when the system has no more threads.
    pub fn start(source: Source, digest: Digest) -> Result<Verified> {
        let (sender, read) = sync_channel(CHUNKS);
        let (used, empty) = channel();
        // The first read gives back one more.
        for _ in 1..CHUNKS {
            // The other end is here.
            let _ = used.send(Vec::with_capacity(CHUNK));
        }
        let work = move || read_all(source, &digest, &sender, &empty);
        thread::Builder::new().name("blob digest".into()).spawn(work).map_err(|_| Error::Lost("a thread"))?;
        Ok(Verified { read, used, chunk: Vec::with_capacity(CHUNK), position: 0, ended: false })
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() && !self.ended {
            let used = std::mem::take(&mut self.chunk);
            self.position = 0;
            // Nobody takes it when all was read.
            let _ = self.used.send(used);
            match self.read.recv() {
                Ok(Ok(chunk)) => {
                    self.ended = chunk.is_empty();
                    self.chunk = chunk;
                }
                Ok(Err(err)) => return Err(io::Error::other(err)),
                // Only a panic ends the thread without a word.
                Err(_) => return Err(io::Error::other(Error::Lost("the reading of a blob"))),
            }
        }
        let read = self.chunk.get(self.position..).unwrap_or_default().read(buffer)?;
        self.position += read;
        Ok(read)
    }
}

/// Sends all of a blob, and an empty chunk or an error as the last. Ends early when nobody takes it.
fn read_all(mut source: Source, digest: &Digest, sender: &SyncSender<Chunk>, empty: &Receiver<Vec<u8>>) {
    let mut hasher = Hasher::new(digest.algorithm());
    while let Ok(mut chunk) = empty.recv() {
        chunk.clear();
        // It has the room after the first time, and is never zeroed.
        let read = source.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
        let next = match read {
            Err(err) => Err(err.downcast().unwrap_or_else(Error::fs(FsOp::Read, "blob".as_ref()))),
            Ok(0) => check(&hasher, digest).map(|()| chunk),
            Ok(_) => {
                hasher.update(&chunk);
                Ok(chunk)
            }
        };
        let is_last = next.as_ref().map_or(true, Vec::is_empty);
        if sender.send(next).is_err() || is_last {
            return;
        }
    }
}

fn check(hasher: &Hasher, digest: &Digest) -> Result<()> {
    let found = hasher.digest()?;
    if found == *digest {
        return Ok(());
    }
    let problem = format!("what was read of it has the digest {found}");
    Err(Error::Mismatch { resource: Resource::Blob(digest.as_str().into()), problem })
}
