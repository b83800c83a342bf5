//! A tar stream on its way: put together in chunks, hashed, and handed over.

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::header::BLOCK;
use crate::types::{Algorithm, Digest};
use crate::{Error, Result};

/// How much is handed over at a time.
const CHUNK: usize = 1 << 20;

/// A part of a stream, in memory that is used again.
pub(super) struct Chunk {
    bytes: Box<[u8]>,
    len: usize,
}

impl Chunk {
    pub fn new() -> Chunk {
        Chunk { bytes: vec![0; CHUNK].into(), len: 0 }
    }

    /// Returns what is in it.
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.len..).unwrap_or_default()
    }
}

/// Takes a full chunk, and gives another one back.
pub(super) type HandOver<'a> = dyn FnMut(Chunk) -> Result<Chunk> + 'a;

/// A stream that is written.
pub(super) struct Output<'a> {
    chunk: Chunk,
    hash: Sha256,
    size: u64,
    hand_over: &'a mut HandOver<'a>,
}

impl<'a> Output<'a> {
    pub fn new(hand_over: &'a mut HandOver<'a>) -> Output<'a> {
        Output { chunk: Chunk::new(), hash: Sha256::new(), size: 0, hand_over }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Those of who takes the chunks.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.chunk.room();
            let len = room.len().min(bytes.len());
            let (now, later) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            for (to, byte) in room.iter_mut().zip(now) {
                *to = *byte;
            }
            self.advance(len)?;
            bytes = later;
        }
        Ok(())
    }

    /// Appends what `read` puts into the room that it is given: as many bytes as it says. Returns how many there are, which is
    /// less than `len` only where it says 0.
    ///
    /// # Errors
    /// That of `read` inside, that of who takes the chunks outside.
    pub fn fill(
        &mut self,
        len: u64,
        mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Errno>,
    ) -> Result<Result<u64, Errno>> {
        let mut done = 0;
        while done < len {
            let room = self.chunk.room();
            let wanted = usize::try_from(len - done).unwrap_or(CHUNK).min(room.len());
            match read(room.get_mut(..wanted).unwrap_or_default(), done) {
                Ok(0) => break,
                Ok(read) => {
                    self.advance(read)?;
                    done += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(err) => return Ok(Err(err)),
            }
        }
        Ok(Ok(done))
    }

    /// Appends zeros up to the next block.
    ///
    /// # Errors
    /// Those of who takes the chunks.
    pub fn pad(&mut self) -> Result<()> {
        let over = usize::try_from(self.size % BLOCK as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.zeros(BLOCK - over) }
    }

    /// Appends zeros.
    ///
    /// # Errors
    /// Those of who takes the chunks.
    pub fn zeros(&mut self, len: usize) -> Result<()> {
        (0..len.div_ceil(BLOCK)).try_for_each(|n| {
            let part = [0; BLOCK];
            self.write(part.get(..(len - n * BLOCK).min(BLOCK)).unwrap_or_default())
        })
    }

    /// Hands over what is left, and returns what the whole stream is.
    ///
    /// # Errors
    /// Those of who takes the chunks.
    pub fn finish(mut self) -> Result<(Digest, u64)> {
        self.flush()?;
        let digest = Digest::from_bytes(Algorithm::Sha256, &self.hash.finalize()).ok_or(Error::Lost("a digest"))?;
        Ok((digest, self.size))
    }

    fn advance(&mut self, len: usize) -> Result<()> {
        self.chunk.len += len;
        self.size += len as u64;
        if self.chunk.room().is_empty() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.chunk.len == 0 {
            return Ok(());
        }
        self.hash.update(self.chunk.filled());
        // The memory of the old one comes back with a later chunk.
        let full = std::mem::replace(&mut self.chunk, Chunk { bytes: Box::default(), len: 0 });
        self.chunk = (self.hand_over)(full)?;
        self.chunk.len = 0;
        Ok(())
    }
}
