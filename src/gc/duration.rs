//! Lengths of time as Go writes them (`1h30m`, `-1.5s`): what a condition compares with.

/// Parses a length of time, in nanoseconds, as Go's `time.ParseDuration` does.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let (nanos, after) = element(rest)?;
        // The most negative length has no positive counterpart, so that the bound is one beyond the largest.
        sum = sum.checked_add(nanos).filter(|sum| *sum <= i64::MIN.unsigned_abs())?;
        rest = after;
    }
    if negative { 0_i64.checked_sub_unsigned(sum) } else { i64::try_from(sum).ok() }
}

/// Parses one number with its unit, and returns what follows.
fn element(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|char: char| char == '.' || char.is_ascii_digit()).unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end)?;
    let unit: u64 = match name {
        "ns" => 1,
        // Both signs for micro that Unicode has.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    };
    let number: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    number.checked_mul(unit)?.checked_add(part(fraction, unit)).map(|nanos| (nanos, after))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Returns the fraction `0.digits` of a unit. Eighteen digits are finer than any unit divides.
fn part(digits: &str, unit: u64) -> u64 {
    let (mut number, mut scale) = (0_u128, 1_u128);
    for digit in digits.bytes().take(18) {
        number = number * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    // Smaller than the unit, so that it fits.
    u64::try_from(number * u128::from(unit) / scale).unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn lengths_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("5s", 5 * SECOND),
            ("+5s", 5 * SECOND),
            ("-5s", -5 * SECOND),
            ("2h", 7200 * SECOND),
            ("1h30m", 5400 * SECOND),
            ("30m1h", 5400 * SECOND),
            ("1.5h", 5400 * SECOND),
            (".5s", SECOND / 2),
            ("5.s", 5 * SECOND),
            ("1.0000000001s", SECOND),
            ("12us", 12_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("1ms3ns", 1_000_003),
            ("2562047h47m16.854775807s", i64::MAX),
            ("-2562047h47m16.854775808s", i64::MIN),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_length() {
        for text in [
            "",
            "-",
            "+",
            "3",
            "s",
            ".",
            ".s",
            "-.s",
            "3d",
            "1h ",
            " 1h",
            "1 h",
            "1h30",
            "--1s",
            "1S",
            "1e3s",
            "2562047h47m16.854775808s",
            "9999999999999h",
            "99999999999999999999ns",
            "1h|",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
