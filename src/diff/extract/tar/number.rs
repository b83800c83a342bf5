//! Numbers and times of tar headers.
//!
//! Read as containerd's applier reads them, which is what Go's `archive/tar` makes of them: what that takes or refuses is
//! taken or refused here.

use rustix::fs::Timespec;

/// Reads a field of octal digits, padded with spaces and zero bytes on both sides. Nothing but padding is 0.
pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !padding(byte)) else { return Some(0) };
    let end = field.iter().rposition(|byte| !padding(byte))?;
    let mut value = 0_u64;
    // A zero byte inside ends the number.
    for digit in field.get(start..=end)?.iter().take_while(|byte| **byte != 0) {
        if !matches!(digit, b'0'..=b'7') || value >> 61 != 0 {
            return None;
        }
        value = value << 3 | u64::from(digit - b'0');
    }
    Some(value.cast_signed())
}

/// Reads a field that is either octal or, when its first bit is set, a two's complement number of which the second bit
/// is the sign.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    let Some(first) = field.first().copied().filter(|first| first & 0x80 != 0) else { return octal(field) };
    let inverted = if first & 0x40 != 0 { 0xff } else { 0 };
    let mut value = 0_u64;
    for (index, byte) in field.iter().enumerate() {
        let byte = byte ^ inverted;
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(if index == 0 { byte & 0x7f } else { byte });
    }
    let value = i64::try_from(value).ok()?;
    Some(if inverted == 0 { value } else { !value })
}

/// Reads a decimal number with an optional sign, as in PAX records.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A point in time. What was never set is before everything that can be set sensibly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::diff::extract) struct Time {
    /// Since the year 1, wrapping around, as in Go: so times that are absurd compare as they do there.
    seconds: i64,
    nanoseconds: u32,
}

/// 1970 as seconds since the year 1.
const EPOCH: i64 = 62_135_596_800;

impl Time {
    /// The time that a file gets when its own is before 1970 or more nanoseconds after it than fit 63 bits.
    const MIN: Time = Time { seconds: EPOCH, nanoseconds: 0 };
    const MAX: Time = Time { seconds: EPOCH + i64::MAX / 1_000_000_000, nanoseconds: 854_775_807 };

    /// Builds a time of a header.
    pub fn unix(seconds: i64) -> Time {
        Time { seconds: seconds.wrapping_add(EPOCH), nanoseconds: 0 }
    }

    /// Reads `seconds[.fraction]`. Digits behind the ninth count for nothing.
    pub(super) fn pax(text: &[u8]) -> Option<Time> {
        let mut parts = text.splitn(2, |byte| *byte == b'.');
        let whole = parts.next()?;
        let fraction = parts.next().unwrap_or_default();
        let seconds = decimal(whole)?;
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
        let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        if whole.first() == Some(&b'-') && nanoseconds > 0 {
            let seconds = seconds.wrapping_sub(1).wrapping_add(EPOCH);
            return Some(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
        }
        Some(Time { nanoseconds, ..Time::unix(seconds) })
    }

    /// Returns the time as a file gets it.
    pub fn of_file(self) -> Timespec {
        let time = if self < Time::MIN || self > Time::MAX { Time::MIN } else { self };
        Timespec { tv_sec: time.seconds - EPOCH, tv_nsec: time.nanoseconds.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Time, decimal, numeric, octal};

    #[test]
    fn octal_numbers() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"12\09", Some(0o12)),
            (b"1 2\0", None),
            (b"-1\0", None),
            (b"8\0", None),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"1777777777777777777777", Some(-1)),
            (b"2000000000000000000000", None),
        ] {
            assert_eq!(octal(field), expected, "{field:?}");
        }
    }

    #[test]
    fn binary_numbers() {
        for (field, expected) in [
            (&b"\x80\0\0\0\0\0\x01\0"[..], Some(256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xc0", Some(-64)),
            (b"0000010\0", Some(8)),
        ] {
            assert_eq!(numeric(field), expected, "{field:?}");
        }
    }

    #[test]
    fn decimal_numbers() {
        for (text, expected) in
            [("12", Some(12)), ("-7", Some(-7)), ("+7", Some(7)), ("", None), ("1 ", None), ("1_0", None)]
        {
            assert_eq!(decimal(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn times_of_records() {
        let file = |text: &str| Time::pax(text.as_bytes()).map(|time| (time.of_file().tv_sec, time.of_file().tv_nsec));
        assert_eq!(file("1350244992.023960108"), Some((1_350_244_992, 23_960_108)));
        assert_eq!(file("1.5"), Some((1, 500_000_000)));
        assert_eq!(file("1."), Some((1, 0)));
        assert_eq!(file("1.0000000019"), Some((1, 1)));
        assert_eq!(file("-1.5"), Some((0, 0)), "before 1970");
        assert_eq!(file("-0.5"), Some((0, 0)));
        assert_eq!(file("9223372036.854775807"), Some((9_223_372_036, 854_775_807)));
        assert_eq!(file("9223372036.854775808"), Some((0, 0)), "too late");
        assert_eq!(file("9223372036854775807"), Some((0, 0)));
        for wrong in ["", ".5", "1.5x", "x", "1.-5", "9223372036854775808"] {
            assert_eq!(file(wrong), None, "{wrong:?}");
        }
        assert!(Time::default() < Time::unix(0));
        assert!(Time::unix(i64::MAX) < Time::unix(0), "wraps");
    }
}
