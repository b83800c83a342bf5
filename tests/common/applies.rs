//! How many layers leasehold unpacked, so that a test knows that it was not somebody else.

use super::metrics::Metrics;

/// Counts since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applies {
    pub extracted: usize,
    pub reused: usize,
    pub failed: usize,
    pub unsupported: usize,
}

impl Applies {
    pub fn read(metrics: &Metrics) -> Applies {
        let text = metrics.read();
        let count = |outcome: &str| {
            let name = format!("leasehold_apply_seconds_count{{outcome=\"{outcome}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap())
        };
        Applies {
            extracted: count("extracted"),
            reused: count("reused"),
            failed: count("failed"),
            unsupported: count("unsupported"),
        }
    }

    /// Layers that were unpacked, or that were there already.
    pub fn done(self) -> usize {
        self.extracted + self.reused
    }
}
