//! How things are shown to people.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use comfy_table::{Table, presets};

/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;
/// How many of them are shown.
const SHOWN_DIGITS: usize = 12;

/// Makes a table without lines, whose columns stand apart.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// Ends a table as text. What is to the left of the first column and behind the last one is cut off.
pub(super) fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Shows what a client named: without what a terminal would act on, and unless it is to be `full`, with digests and ids
/// of containers cut to their beginning.
pub(super) fn name(text: &str, full: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        let taken = if digits > 0 { digits } else { first.len_utf8() };
        let (part, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        match part {
            _ if digits == DIGEST_DIGITS && !full => shown.extend(part.chars().take(SHOWN_DIGITS)),
            _ if first.is_control() => drop(write!(shown, "{}", first.escape_default())),
            _ => shown.push_str(part),
        }
        rest = after;
    }
    shown
}

/// Shows a number of bytes.
pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Shows a moment.
pub(super) fn time(at: SystemTime) -> String {
    if is_shown(at) { humantime::format_rfc3339_seconds(at).to_string() } else { "-".into() }
}

/// Whether a moment is between 1970 and the year 10000, which is what can be written.
pub(super) fn is_shown(at: SystemTime) -> bool {
    const END: Duration = Duration::from_secs(253_402_300_800);
    at.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|after| after < END)
}

/// Shows a duration by its two largest units.
pub(super) fn duration(duration: Duration) -> String {
    let exact = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    exact.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Reads a moment of an answer.
pub(super) fn moment(timestamp: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    timestamp.and_then(|timestamp| SystemTime::try_from(timestamp).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_cut_and_terminals_left_alone() {
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(name(&format!("sha256:{digest}"), false), "sha256:0123456789ab");
        assert_eq!(name(&format!("extract-1 sha256:{digest}"), true), format!("extract-1 sha256:{digest}"));
        assert_eq!(name(&format!("{digest}0/{digest}"), false), format!("{digest}0/0123456789ab"));
        assert_eq!(name("é\u{1b}[2J\n", false), "é\\u{1b}[2J\\n");
        assert_eq!(name("", false), "");
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(Duration::from_secs(72 * 3600)), "3days");
        assert_eq!(duration(Duration::from_millis(3_723_456)), "1h 2m");
        assert_eq!(duration(Duration::ZERO), "0s");
    }
}
