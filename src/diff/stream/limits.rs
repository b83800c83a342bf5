//! How much may come out of a blob.

use crate::{Error, Result};

/// What a layer may be inflated to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes. 0: no limit.
    pub max_size: u64,
    /// Times the size of the blob, for what is more than [`ALWAYS_ALLOWED`]. 0: no limit.
    pub max_ratio: u64,
}

/// As many bytes may come out of any blob, how small it ever is: files of zeros are legitimate, and compress well.
pub const ALWAYS_ALLOWED: u64 = 1 << 30;

impl Limits {
    /// Returns what may come out of a blob of `size` bytes.
    pub fn of(&self, size: u64) -> Allowance {
        let by_ratio = size.saturating_mul(self.max_ratio).max(ALWAYS_ALLOWED);
        let limit = |limit: u64, value: u64| if limit == 0 { u64::MAX } else { value };
        let (max_size, by_ratio) = (limit(self.max_size, self.max_size), limit(self.max_ratio, by_ratio));
        let why = if max_size <= by_ratio {
            format!("more than diff.max_layer_size ({max_size} bytes) comes out of it")
        } else {
            let ratio = self.max_ratio;
            format!("more than diff.max_ratio ({ratio}) times its {size} bytes comes out of it")
        };
        Allowance { left: max_size.min(by_ratio), why }
    }
}

/// What may still come out of a blob.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    why: String,
}

impl Allowance {
    /// Counts what came out.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it was too much. No other differ should try: the answer must not be that this one cannot.
    pub fn take(&mut self, bytes: usize) -> Result<()> {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => self.left = left,
            None => return Err(Error::invalid("layer", self.why.as_str())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ALWAYS_ALLOWED, Limits};

    fn allows(limits: Limits, size: u64, bytes: u64) -> Result<(), String> {
        limits.of(size).take(bytes as usize).map_err(|err| err.to_string())
    }

    #[test]
    fn the_smaller_of_two_limits_counts() {
        let limits = |max_size, max_ratio| Limits { max_size, max_ratio };
        let much = 100 * ALWAYS_ALLOWED;
        assert_eq!(allows(limits(0, 0), 0, u64::MAX), Ok(()));
        assert_eq!(allows(limits(much, 0), 1, much), Ok(()));
        let refused = allows(limits(much, 0), 1, much + 1).unwrap_err();
        assert!(refused.contains("diff.max_layer_size"), "{refused}");
        // Where little comes out it may be any number of times as much.
        assert_eq!(allows(limits(0, 10), 1, ALWAYS_ALLOWED), Ok(()));
        let refused = allows(limits(0, 10), 1, ALWAYS_ALLOWED + 1).unwrap_err();
        assert!(refused.contains("diff.max_ratio (10)"), "{refused}");
        assert_eq!(allows(limits(0, 10), ALWAYS_ALLOWED, 10 * ALWAYS_ALLOWED), Ok(()));
        assert!(allows(limits(0, 10), ALWAYS_ALLOWED, 10 * ALWAYS_ALLOWED + 1).is_err());
        assert!(allows(limits(100, 10), 99, 101).unwrap_err().contains("max_layer_size"));
    }

    #[test]
    fn what_was_taken_before_counts() {
        let mut allowance = Limits { max_size: 100, max_ratio: 0 }.of(1);
        for _ in 0..10 {
            allowance.take(10).unwrap();
        }
        assert!(allowance.take(1).is_err());
    }
}
