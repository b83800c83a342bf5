//! Time as labels carry it.

use std::time::{Duration, SystemTime};

const SECONDS_PER_DAY: i64 = 86_400;
/// Seconds from 1970 to the year 10000, which has no four digits.
const LAST_SECOND: u64 = 253_402_300_800;

/// Shows a moment, to the second, in UTC. Labels and damage can name one that RFC 3339 cannot write.
pub fn rfc3339_seconds(at: SystemTime) -> String {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) if since.as_secs() < LAST_SECOND => humantime::format_rfc3339_seconds(at).to_string(),
        Ok(_) => "a moment after the year 9999".to_owned(),
        Err(_) => "a moment before 1970".to_owned(),
    }
}

/// Parses an RFC 3339 time as containerd does, that is, as Go's `time.Parse` does.
///
/// Go takes more than the standard allows (an hour of one digit, a comma before the fraction, offsets up to 24:60) and
/// less (no lower-case `t` and `z`, no leap second). Whoever wrote the label wrote it for containerd, so that the same
/// values have to count here.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let mut rest = Cursor(text.as_bytes());
    let year = rest.digits(4)?;
    rest.expect(b'-')?;
    let month = rest.digits(2)?;
    rest.expect(b'-')?;
    let day = rest.digits(2)?;
    rest.expect(b'T')?;
    let hour = rest.digits(2).or_else(|| rest.digits(1))?;
    rest.expect(b':')?;
    let minute = rest.digits(2)?;
    rest.expect(b':')?;
    let second = rest.digits(2)?;
    let nanos = rest.fraction();
    let offset = rest.offset()?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 59
        && rest.0.is_empty();
    if !in_range {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    let from_epoch = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(from_epoch)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(from_epoch)
    };
    whole?.checked_add(Duration::from_nanos(nanos))
}

/// What of a text is not parsed yet.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// Takes exactly `count` digits, or nothing.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.0 = rest;
        Some(number)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Takes a fraction of a second, where there is one, in nanoseconds. What is finer is cut off.
    fn fraction(&mut self) -> u64 {
        let [b'.' | b',', digits @ ..] = self.0 else { return 0 };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        self.0 = digits.get(count..).unwrap_or_default();
        let padded = digits.iter().take(count).copied().chain(std::iter::repeat(b'0')).take(9);
        padded.fold(0, |nanos, digit| nanos * 10 + u64::from(digit - b'0'))
    }

    /// Takes the offset from UTC, in seconds.
    fn offset(&mut self) -> Option<i64> {
        if self.expect(b'Z').is_some() {
            return Some(0);
        }
        let sign = match self.0.split_first()? {
            (b'+', rest) => (1, rest),
            (b'-', rest) => (-1, rest),
            _ => return None,
        };
        self.0 = sign.1;
        let hours = self.digits(2)?;
        self.expect(b':')?;
        let minutes = self.digits(2)?;
        (hours <= 24 && minutes <= 60).then_some(sign.0 * (hours * 3600 + minutes * 60))
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts the days from 1970-01-01 in the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{parse_rfc3339, rfc3339_seconds};

    /// Nanoseconds since the epoch.
    fn parse(text: &str) -> Option<i128> {
        parse_rfc3339(text).map(|time| match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        })
    }

    #[test]
    fn times_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00+00:00", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2024-03-01T00:00:00Z", 1_709_251_200),
            ("2026-11-22T02:29:45Z", 1_795_314_585),
            ("2026-11-22T04:29:45+02:00", 1_795_314_585),
            ("2026-11-21T18:59:45-07:30", 1_795_314_585),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            // What only Go takes.
            ("2024-03-01T1:00:00Z", 1_709_254_800),
            ("2024-03-01T00:00:00-24:60", 1_709_251_200 + 25 * 3600),
        ] {
            assert_eq!(parse(text), Some(seconds * 1_000_000_000), "{text}");
        }
    }

    #[test]
    fn every_moment_can_be_shown() {
        let show = |text| rfc3339_seconds(parse_rfc3339(text).unwrap());
        for text in ["1970-01-01T00:00:00Z", "2026-11-22T02:29:45Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(show(text), text);
        }
        assert_eq!(show("1969-12-31T23:59:59.5Z"), "a moment before 1970");
        assert_eq!(show("9999-12-31T23:59:59-01:00"), "a moment after the year 9999");
    }

    #[test]
    fn fractions_are_cut_to_nanoseconds() {
        for (fraction, nanos) in [(".5", 500_000_000), (",000000001", 1), (".1234567899", 123_456_789)] {
            assert_eq!(parse(&format!("1970-01-01T00:00:00{fraction}Z")), Some(nanos), "{fraction}");
        }
        let before = parse_rfc3339("1969-12-31T23:59:59.25Z").unwrap();
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(before).unwrap(), Duration::from_millis(750));
    }

    #[test]
    fn everything_else_is_no_time() {
        for text in [
            "",
            "Z",
            "tomorrow",
            "72h",
            "1700000000",
            "2024-03-01",
            "2024-03-01 00:00:00Z",
            "2024-03-01T00:00:00",
            "2024-03-01t00:00:00Z",
            "2024-03-01T00:00:00z",
            "2024-3-01T00:00:00Z",
            "2024-03-01T00:00:0Z",
            "2024-03-01T24:00:00Z",
            "2024-03-01T00:60:00Z",
            "2024-03-01T00:00:60Z",
            "2024-00-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-03-00T00:00:00Z",
            "2024-03-01T00:00:00.Z",
            "2024-03-01T00:00:00+0200",
            "2024-03-01T00:00:00+25:00",
            "2024-03-01T00:00:00+00:61",
            "2024-03-01T00:00:00Z ",
            " 2024-03-01T00:00:00Z",
            "+024-03-01T00:00:00Z",
            "2024-03-01T00:00:00Z+00:00",
            "٢٠٢٤-03-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
