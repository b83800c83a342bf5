//! Points in time as labels have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a time in RFC 3339, as Go does: with `T` and `Z` in upper case, any offset, and a fraction of any length.
/// `None` for everything else.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let (clock, rest) = (rest.strip_prefix('T')?.get(..8)?, rest.get(9..)?);
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let in_range = (1..=days_in(year, month)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
    let (fraction, zone) = fraction(rest)?;
    let seconds = ((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 + second - offset(zone)?;
    if !in_range {
        return None;
    }
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    whole?.checked_add(fraction)
}

/// Three numbers of as many digits as `0000-00-00` and `00:00:00` have.
fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let three = [number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?];
    let shape = if separator == '-' { [4, 2, 2] } else { [2, 2, 2] };
    (parts.next().is_none() && text.split(separator).map(str::len).eq(shape)).then_some(three)
}

fn number(text: &str) -> Option<i64> {
    // What `parse` takes besides digits is a sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Splits what follows the seconds into the fraction and the zone.
fn fraction(text: &str) -> Option<(Duration, &str)> {
    let Some(rest) = text.strip_prefix(['.', ',']) else { return Some((Duration::ZERO, text)) };
    let end = rest.find(|char: char| !char.is_ascii_digit())?;
    let (digits, zone) = rest.split_at_checked(end)?;
    if digits.is_empty() {
        return None;
    }
    let nanos = digits.chars().chain(std::iter::repeat('0')).take(9).collect::<String>().parse().ok()?;
    Some((Duration::from_nanos(nanos), zone))
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let two = |text: &str| if text.len() == 2 { number(text) } else { None };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 24 && minutes <= 60).then_some(sign * (hours * 60 + minutes) * 60)
}

fn days_in(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    })
}

/// Days from 1970-01-01 to a date. Years are counted from March, so that a leap day is the last of its year.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Option<i128> {
        let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap();
        parse_rfc3339(text).map(|time| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => -nanos(before.duration()),
        })
    }

    #[test]
    fn times_are_read_with_offset_and_fraction() {
        const SECOND: i128 = 1_000_000_000;
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("1969-12-31T23:59:59Z", -SECOND),
            ("2000-02-29T12:00:00Z", 951_825_600 * SECOND),
            ("2026-11-22T02:30:46.25+05:30", 1_795_294_846 * SECOND + SECOND / 4),
            ("2024-12-31T23:59:59.123456789999Z", 1_735_689_599 * SECOND + 123_456_789),
            ("0001-01-01T00:00:00Z", -62_135_596_800 * SECOND),
            ("9999-12-31T23:59:59Z", 253_402_300_799 * SECOND),
        ] {
            assert_eq!(at(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_time() {
        for text in [
            "",
            "tomorrow",
            "1h",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01 00:00:00Z",
            "1970-01-01t00:00:00z",
            "1970-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00+25:00",
            "1970-01-01T00:00:00Z ",
            "+970-01-01T00:00:00Z",
            "1970-1-001T00:00:00Z",
            "197é-01-01T00:00:00Z",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_another_implementation_writes_is_read(seconds in 0u64..253_402_300_799, nanos in 0u32..1_000_000_000) {
            let time = UNIX_EPOCH + Duration::new(seconds, nanos);
            let text = humantime::format_rfc3339_nanos(time).to_string();
            prop_assert_eq!(parse_rfc3339(&text), Some(time));
        }

        #[test]
        fn any_text_is_read_or_not(text in "\\PC*") {
            let _ = parse_rfc3339(&text);
        }
    }
}
