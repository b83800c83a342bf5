//! Digests: `<algorithm>:<lower-case hexadecimal>`.

use std::fmt;

use crate::{Error, Result};

/// How a digest is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: what everybody uses.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All that containerd knows.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

    /// Returns its name in digests, which is that of a directory as well.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Reads the name of an algorithm; `None` for one that nobody can compute.
    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Returns the number of hexadecimal digits.
    const fn digits(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha384 => 96,
            Algorithm::Sha512 => 128,
        }
    }
}

/// The digest of a blob. Valid by construction, so that its parts are names of a directory and of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    text: Box<str>,
}

impl Digest {
    /// Checks a client's digest.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an algorithm that nobody can compute, and for digits that are too few, too many or none.
    pub fn parse(text: impl Into<String>) -> Result<Digest> {
        let text = text.into();
        let Some((name, digits)) = text.split_once(':') else { return Err(malformed(&text, "has no algorithm")) };
        let Some(algorithm) = Algorithm::parse(name) else {
            return Err(malformed(&text, "has an unknown algorithm"));
        };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != algorithm.digits() || !digits.bytes().all(is_digit) {
            return Err(malformed(&text, "has wrong digits"));
        }
        Ok(Digest { algorithm, text: text.into() })
    }

    /// Checks a digest that may be left out: the empty string means that there is none.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_optional(text: String) -> Result<Option<Digest>> {
        if text.is_empty() { Ok(None) } else { Digest::parse(text).map(Some) }
    }

    /// Returns what was computed as a digest. `None` for too few or too many bytes.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Digest> {
        use fmt::Write as _;
        let mut text = format!("{}:", algorithm.as_str());
        // Writing to a string cannot fail.
        bytes.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
        (bytes.len() * 2 == algorithm.digits()).then(|| Digest { algorithm, text: text.into() })
    }

    /// Returns how it is computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the digits.
    pub fn hex(&self) -> &str {
        self.text.get(self.algorithm.as_str().len() + 1..).unwrap_or_default()
    }

    /// Returns the digest as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn malformed(text: &str, problem: &str) -> Error {
    const SHOWN: usize = 160;
    match text.char_indices().nth(SHOWN) {
        None => Error::invalid("digest", format!("{text:?} {problem}")),
        Some((end, _)) => {
            let shown = text.get(..end).unwrap_or_default();
            Error::invalid("digest", format!("{shown:?}... ({} bytes) {problem}", text.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Digest};

    #[test]
    fn only_digests_pass() {
        for algorithm in Algorithm::ALL {
            let (name, length) = (algorithm.as_str(), algorithm.digits());
            let digest = Digest::parse(format!("{name}:{}", "b".repeat(length))).unwrap();
            assert_eq!((digest.algorithm(), digest.hex()), (algorithm, &*"b".repeat(length)));
            assert_eq!(Digest::from_bytes(algorithm, &vec![0xbb; length / 2]), Some(digest));
            assert_eq!(Digest::from_bytes(algorithm, &vec![0xbb; length / 2 + 1]), None);
            assert!(Digest::parse(format!("{name}:{}", "b".repeat(length - 1))).is_err());
            assert!(Digest::parse(format!("{name}:{}", "b".repeat(length + 1))).is_err());
            assert!(Digest::parse(format!("{name}:{}", "B".repeat(length))).is_err());
            assert!(Digest::parse(format!("{name}:{}", "g".repeat(length))).is_err());
        }
        for text in ["", ":", "sha256", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../etc/passwd"] {
            assert!(Digest::parse(text).is_err(), "{text:?}");
        }
        assert!(Digest::parse(format!("SHA256:{}", "b".repeat(64))).is_err());
        assert_eq!(Digest::parse_optional(String::new()).unwrap(), None);
    }

    #[test]
    fn a_message_does_not_repeat_all_of_a_long_text() {
        assert!(Digest::parse("x".repeat(1 << 20)).unwrap_err().to_string().len() < 300);
    }
}
