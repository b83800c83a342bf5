//! Conditions: references that hold only while something is true of what they refer to.
//!
//! The one condition there is compares how long ago a snapshot was used with a length of time. Images and blobs carry
//! the condition, with the snapshot that it is about; the snapshot carries when it was used.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use super::duration;

/// Time since a snapshot's last use, compared with a length of time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsedAt {
    /// It was used more recently.
    LessThan(i64),
    /// It was used longer ago.
    MoreThan(i64),
}

impl UsedAt {
    /// Tells whether the condition holds for a snapshot that was used at `used`.
    pub(super) fn holds(self, used: SystemTime, now: SystemTime) -> bool {
        let since = nanos_between(used, now);
        match self {
            UsedAt::LessThan(limit) => since < limit,
            UsedAt::MoreThan(limit) => since > limit,
        }
    }

    /// Returns the use that fulfils the condition if any of several does.
    pub(super) fn best_of(self, uses: &RangeInclusive<SystemTime>) -> SystemTime {
        match self {
            UsedAt::LessThan(_) => *uses.end(),
            UsedAt::MoreThan(_) => *uses.start(),
        }
    }

    /// Returns when a condition that holds ends to hold, if it ever does.
    pub(super) fn ends(self, used: SystemTime) -> Option<SystemTime> {
        match self {
            UsedAt::LessThan(limit) => used.checked_add(Duration::from_nanos(u64::try_from(limit).ok()?)),
            UsedAt::MoreThan(_) => None,
        }
    }
}

/// Takes a label's value apart: conditions with commas between them, of which one that holds suffices, `|`, and the
/// key of the snapshot, which may hold anything. Conditions that nobody knows never hold.
pub(super) fn parse(value: &str) -> Option<(impl Iterator<Item = UsedAt>, &str)> {
    let (conditions, key) = value.split_once('|')?;
    Some((conditions.split(',').filter_map(parse_one), key))
}

fn parse_one(condition: &str) -> Option<UsedAt> {
    let length = condition.strip_prefix("usedat")?;
    // Equality makes no sense for a time that passes: `<=`, `>=`, `=` and `!=` are no operators of this condition, and
    // what begins with `=` is no length either.
    if let Some(length) = length.strip_prefix('<') {
        duration::parse(length).map(UsedAt::LessThan)
    } else {
        duration::parse(length.strip_prefix('>')?).map(UsedAt::MoreThan)
    }
}

/// Returns the time from `earlier` to `later`, which may be negative. Some 292 years are the most it can tell, as in Go.
fn nanos_between(earlier: SystemTime, later: SystemTime) -> i64 {
    match later.duration_since(earlier) {
        Ok(passed) => i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX),
        Err(ahead) => i64::try_from(ahead.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{UsedAt, parse};

    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn known_conditions_are_read() {
        for (value, conditions, key) in [
            ("usedat<2h|sn", vec![UsedAt::LessThan(2 * HOUR)], "sn"),
            ("usedat>2h|sn", vec![UsedAt::MoreThan(2 * HOUR)], "sn"),
            ("usedat<1h,usedat>2h|a|b,c", vec![UsedAt::LessThan(HOUR), UsedAt::MoreThan(2 * HOUR)], "a|b,c"),
            ("usedat<-1h|", vec![UsedAt::LessThan(-HOUR)], ""),
            // One that is not understood leaves the others as they are.
            ("usedat<soon,other<1h,,usedat>1h|sn", vec![UsedAt::MoreThan(HOUR)], "sn"),
        ] {
            let (read, of) = parse(value).unwrap();
            assert_eq!((read.collect::<Vec<_>>(), of), (conditions, key), "{value}");
        }
    }

    #[test]
    fn everything_else_never_holds() {
        for value in [
            "|sn",
            "usedat|sn",
            "usedat=1h|sn",
            "usedat==1h|sn",
            "usedat!=1h|sn",
            "usedat<=1h|sn",
            "usedat>=1h|sn",
            "usedat!1h|sn",
            "usedat <1h|sn",
            "usedat< 1h|sn",
            " usedat<1h|sn",
            "used<1h|sn",
            "usedatx<1h|sn",
            "usedat<1d|sn",
            "usedat<>1h|sn",
            "USEDAT<1h|sn",
        ] {
            assert_eq!(parse(value).unwrap().0.count(), 0, "{value:?}");
        }
        assert!(parse("usedat<1h").is_none(), "no snapshot");
    }

    #[test]
    fn time_passes() {
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
        let after = |nanos: u64| used + Duration::from_nanos(nanos);
        let less = UsedAt::LessThan(10);
        assert!(less.holds(used, after(9)) && !less.holds(used, after(10)));
        assert!(less.holds(after(100), used), "used in the future");
        let more = UsedAt::MoreThan(10);
        assert!(!more.holds(used, after(10)) && more.holds(used, after(11)));
        assert!(UsedAt::MoreThan(-10).holds(after(9), used) && !UsedAt::MoreThan(-10).holds(after(10), used));
        assert_eq!(less.ends(used), Some(after(10)));
        assert_eq!(more.ends(used), None);
    }
}
