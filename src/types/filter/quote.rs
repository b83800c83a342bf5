//! Quoted text in filters: Go's string literals, delimited by `"`, `/` or `|`.
//!
//! A backslash escapes its own delimiter, but no other. That holds for regular expressions too: the class of digits
//! is `~=/\\d/` when quoted and `~=\d` when not.

use std::str::CharIndices;

/// Decodes the literal at the start of `input`, whose first character is the delimiter.
///
/// Returns the text and the length of the literal in bytes. Bytes that were escaped into something other than UTF-8
/// become U+FFFD, because no field holds them.
///
/// # Errors
/// The byte offset of the mistake, and what it is.
pub(super) fn unquote(input: &str) -> Result<(String, usize), (usize, &'static str)> {
    let mut chars = input.char_indices();
    let delimiter = chars.next().map(|(_, ch)| ch);
    let mut bytes = Vec::new();
    while let Some((at, ch)) = chars.next() {
        match ch {
            _ if Some(ch) == delimiter => {
                return Ok((String::from_utf8_lossy(&bytes).into_owned(), at + ch.len_utf8()));
            }
            '\\' => unescape(&mut chars, delimiter, &mut bytes).ok_or((at, "illegal escape sequence"))?,
            // containerd takes U+FFFD for damaged UTF-8.
            '\n' | '\0' | '\u{fffd}' => return Err((at, "illegal character in quoted text")),
            _ => push(&mut bytes, ch),
        }
    }
    Err((0, "quoted text without its closing quote"))
}

/// Decodes what follows a backslash. `None` for an escape sequence that Go does not have.
fn unescape(chars: &mut CharIndices<'_>, delimiter: Option<char>, bytes: &mut Vec<u8>) -> Option<()> {
    let (_, kind) = chars.next()?;
    match kind {
        'a' => bytes.push(0x07),
        'b' => bytes.push(0x08),
        'f' => bytes.push(0x0c),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'v' => bytes.push(0x0b),
        '\\' => bytes.push(b'\\'),
        _ if Some(kind) == delimiter => push(bytes, kind),
        // Up to \377: one byte, and not a code point.
        '0'..='7' => bytes.push(u8::try_from(digits(chars, kind.to_digit(8)?, 2, 8)?).ok()?),
        'x' => bytes.push(u8::try_from(digits(chars, 0, 2, 16)?).ok()?),
        'u' => push(bytes, code_point(digits(chars, 0, 4, 16)?)?),
        'U' => push(bytes, code_point(digits(chars, 0, 8, 16)?)?),
        _ => return None,
    }
    Some(())
}

/// Reads exactly `count` digits behind those that are already in `value`; at most 32 bits together.
fn digits(chars: &mut CharIndices<'_>, value: u32, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(value, |value, _| {
        let digit = chars.next()?.1.to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })
}

/// Go encodes a surrogate as U+FFFD and refuses what is beyond Unicode.
fn code_point(value: u32) -> Option<char> {
    (value <= u32::from(char::MAX)).then(|| char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn push(bytes: &mut Vec<u8>, ch: char) {
    bytes.extend_from_slice(ch.encode_utf8(&mut [0; 4]).as_bytes());
}
