//! How much of an archive's paths is kept in memory.
//!
//! Nothing but entries limits how many directories and whiteouts there are, and a path costs an archive less than it costs
//! us: so whatever is kept beyond its entry is accounted for here.

use crate::{Error, Result};

/// What may be kept.
pub(super) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    /// Allows so many bytes.
    pub fn new(limit: usize) -> Budget {
        Budget { left: limit, limit }
    }

    /// Accounts for a path that is kept from now on.
    pub fn take(&mut self, path: &[u8]) -> Result<()> {
        match self.left.checked_sub(path.len()) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let problem = format!("its directories and whiteouts have more than {} bytes of paths", self.limit);
                Err(Error::invalid("layer", problem))
            }
        }
    }

    /// Accounts for a path that is kept no longer.
    pub fn give_back(&mut self, path: &[u8]) {
        self.left += path.len();
    }
}
