//! A digest that is computed while data comes in, and can be computed on after a restart.

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::metadata::HashState;
use crate::types::{Algorithm, Digest};
use crate::{Error, Result};

/// How states are written by the version of the library that is used here. Another number for another way: a test keeps
/// a state that an earlier program wrote.
const FORMAT: u32 = 1;

/// Computes the digest of what it was given so far.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha384 => Hasher::Sha384(Sha384::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha384(_) => Algorithm::Sha384,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(data),
            Hasher::Sha384(hash) => hash.update(data),
            Hasher::Sha512(hash) => hash.update(data),
        }
    }

    /// Returns the digest of everything so far; more may follow.
    ///
    /// # Errors
    /// None: the library returns as many bytes as the algorithm has.
    pub fn digest(&self) -> Result<Digest> {
        let digest = match self.clone() {
            Hasher::Sha256(hash) => Digest::from_bytes(Algorithm::Sha256, &hash.finalize()),
            Hasher::Sha384(hash) => Digest::from_bytes(Algorithm::Sha384, &hash.finalize()),
            Hasher::Sha512(hash) => Digest::from_bytes(Algorithm::Sha512, &hash.finalize()),
        };
        digest.ok_or(Error::Lost("a digest"))
    }

    /// Returns what [`resume`](Self::resume) goes on from; `offset` bytes are in it.
    pub fn state(&self, offset: u64) -> HashState {
        let state = match self {
            Hasher::Sha256(hash) => hash.serialize().to_vec(),
            Hasher::Sha384(hash) => hash.serialize().to_vec(),
            Hasher::Sha512(hash) => hash.serialize().to_vec(),
        };
        HashState { algorithm: self.algorithm(), offset, state, format: FORMAT }
    }

    /// Goes on from a state; `None` for one that cannot be read, which has to be computed again.
    pub fn resume(state: &HashState) -> Option<Hasher> {
        if state.format != FORMAT {
            return None;
        }
        match state.algorithm {
            Algorithm::Sha256 => deserialize(&state.state).map(Hasher::Sha256),
            Algorithm::Sha384 => deserialize(&state.state).map(Hasher::Sha384),
            Algorithm::Sha512 => deserialize(&state.state).map(Hasher::Sha512),
        }
    }
}

fn deserialize<H: SerializableState>(bytes: &[u8]) -> Option<H> {
    H::deserialize(&SerializedState::<H>::try_from(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an earlier program stored after the five bytes `hello`.
    const STORED: &str = "67e6096a85ae67bb72f36e3c3af54fa57f520e518c68059babd9831f19cde05b0000000000000000\
                          0568656c6c6f00000000000000000000000000000000000000000000000000000000000000000000\
                          000000000000000000000000000000000000000000000000";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        for (algorithm, expected) in [
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d\
                 4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"abc");
            assert_eq!(hasher.digest().unwrap().hex(), expected);
        }
    }

    #[test]
    fn a_state_that_an_earlier_program_stored_is_read() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"hello");
        assert_eq!(hex(&hasher.state(5).state), STORED, "another way to store needs another FORMAT");
    }

    #[test]
    fn a_state_of_another_format_or_length_is_none() {
        let state = Hasher::new(Algorithm::Sha256).state(0);
        assert!(Hasher::resume(&state).is_some());
        assert!(Hasher::resume(&HashState { format: FORMAT + 1, ..state.clone() }).is_none());
        assert!(Hasher::resume(&HashState { algorithm: Algorithm::Sha512, ..state.clone() }).is_none());
        assert!(Hasher::resume(&HashState { state: Vec::new(), ..state }).is_none());
    }

    proptest! {
        #[test]
        fn a_digest_is_the_same_after_a_break(data: Vec<u8>, more: Vec<u8>, algorithm in 0..3_usize) {
            let algorithm = Algorithm::ALL[algorithm];
            let mut whole = Hasher::new(algorithm);
            whole.update(&data);
            let mut resumed = Hasher::resume(&whole.state(data.len() as u64)).unwrap();
            whole.update(&more);
            resumed.update(&more);
            prop_assert_eq!(whole.digest().unwrap(), resumed.digest().unwrap());
        }

        #[test]
        fn any_state_is_read_or_none(state: Vec<u8>, algorithm in 0..3_usize) {
            let state = HashState { algorithm: Algorithm::ALL[algorithm], offset: 0, state, format: FORMAT };
            if let Some(hasher) = Hasher::resume(&state) {
                prop_assert!(hasher.digest().is_ok());
            }
        }
    }
}
