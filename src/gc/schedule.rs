//! When to collect.

use std::time::Duration;

/// The rest where no share of the time is set: that of containerd's scheduler.
const REST_WITHOUT_SHARE: Duration = Duration::from_secs(1);
/// The longest rest: what a lease held is to be gone soon after its end, also after a large collection.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// When collections run. The words are those of containerd's scheduler; what they do to writers is not: ours go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The share of the time that collections nobody waits for may take, up to a half. After each there is a rest.
    pub pause_threshold: f64,
    /// So many holds that were taken away end the rest early. 0: none do.
    pub deletion_threshold: u64,
    /// So many changes on the API socket are reason enough for a collection. 0: only what takes holds away is.
    pub mutation_threshold: u64,
    /// How long a collection waits for more, once there is a reason for it.
    pub schedule_delay: Duration,
    /// How long after the start the first collection is.
    pub startup_delay: Duration,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            pause_threshold: 0.1,
            deletion_threshold: 0,
            mutation_threshold: 100,
            schedule_delay: Duration::ZERO,
            startup_delay: Duration::from_millis(100),
        }
    }
}

impl Schedule {
    /// Returns how long to rest after a collection that took so long.
    pub(super) fn rest(&self, took: Duration) -> Duration {
        if self.pause_threshold <= 0.0 {
            return REST_WITHOUT_SHARE;
        }
        let share = self.pause_threshold.min(0.5);
        // Half the time is as long as the collection, a tenth of it nine times as long.
        let rest = Duration::try_from_secs_f64(took.as_secs_f64() * (1.0 / share - 1.0));
        rest.map_or(LONGEST_REST, |rest| rest.min(LONGEST_REST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_leaves_collections_their_share() {
        let took = Duration::from_millis(10);
        for (pause_threshold, rest) in [(0.5, 10), (0.9, 10), (0.1, 90), (0.02, 490), (0.0, 1000), (-1.0, 1000)] {
            let schedule = Schedule { pause_threshold, ..Schedule::default() };
            let millis = schedule.rest(took).as_secs_f64() * 1000.0;
            assert!((millis - f64::from(rest)).abs() < 0.01, "{pause_threshold}: {millis}");
        }
        assert_eq!(Schedule::default().rest(Duration::from_secs(10)), LONGEST_REST);
    }
}
