//! The form of a digest: `<algorithm>:<lower-case hexadecimal>`.

use crate::{Error, Result};

/// Algorithms that containerd knows, with the number of their hexadecimal digits.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Checks that a client's text is a digest.
///
/// # Errors
/// [`Error::Invalid`] for an algorithm that nobody can compute, and for digits that are too few, too many or none.
pub(super) fn check(text: &str) -> Result<()> {
    let malformed = |problem: &str| Err(Error::invalid("digest", format!("{text:?} {problem}")));
    let Some((algorithm, digits)) = text.split_once(':') else { return malformed("has no algorithm") };
    let Some((_, length)) = ALGORITHMS.iter().find(|(name, _)| *name == algorithm) else {
        return malformed("has an unknown algorithm");
    };
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() == *length && digits.bytes().all(is_digit) { Ok(()) } else { malformed("has wrong digits") }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_digests_pass() {
        for (algorithm, length) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            assert!(check(&format!("{algorithm}:{}", "b".repeat(length))).is_ok());
            assert!(check(&format!("{algorithm}:{}", "b".repeat(length - 1))).is_err());
            assert!(check(&format!("{algorithm}:{}", "B".repeat(length))).is_err());
            assert!(check(&format!("{algorithm}:{}", "g".repeat(length))).is_err());
        }
        for text in ["", ":", "sha256", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
            assert!(check(text).is_err(), "{text:?}");
        }
        assert!(check(&format!("SHA256:{}", "b".repeat(64))).is_err());
    }
}
