//! The number that names a backing directory.

use std::fmt;

/// Number of a layer. Names the directory `l/<id>`, in base 36 to keep mount options short.
///
/// Never reused while the pool lives, and never shown to a client as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(u64);

impl LayerId {
    /// Wraps a number that was allocated by the metadata store.
    pub const fn new(id: u64) -> LayerId {
        LayerId(id)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Parses the name of a layer directory. `None` for every name that [`Display`](fmt::Display)
    /// would not have written: upper case, leading zeros, or beyond 64 bits.
    pub fn from_dir_name(name: &str) -> Option<LayerId> {
        let id = LayerId(u64::from_str_radix(name, 36).ok()?);
        (id.to_string() == name).then_some(id)
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 64 bits need at most 13 digits.
        let mut digits = ['0'; 13];
        let mut rest = self.0;
        let mut used = 0;
        for slot in digits.iter_mut().rev() {
            *slot = char::from_digit((rest % 36) as u32, 36).unwrap_or('0');
            used += 1;
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        digits.iter().skip(digits.len() - used).try_for_each(|digit| write!(f, "{digit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::LayerId;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn directory_name_round_trips(id: u64) {
            let id = LayerId::new(id);
            prop_assert_eq!(LayerId::from_dir_name(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        for name in ["", "A", "01", "-1", "+1", "new-1", "1 ", "3w5e11264sgsg", "..", "zzzzzzzzzzzzzzzz"] {
            assert_eq!(LayerId::from_dir_name(name), None, "{name:?}");
        }
        assert_eq!(LayerId::new(0).to_string(), "0");
        assert_eq!(LayerId::new(36).to_string(), "10");
    }
}
