//! Regular expressions of filters. Clients write Go's syntax; the `regex` crate is of the same family (no
//! backtracking, so no expression is slow to match) but differs in details, which are translated here:
//!
//! | Go | `regex` |
//! |---|---|
//! | `\d \w \s \b` and their negations know ASCII only | know Unicode |
//! | `\Q..\E` is literal text | unknown |
//! | `\p{^Greek}` is `\P{Greek}` | unknown |
//! | `{` that begins no repetition is literal | an error |
//! | `[`, `&&`, `--` and `~~` in a class are literal | nested classes and set operations |
//! | `\<` and `\>` are literal | word boundaries |
//!
//! What stays different is that some expressions match here which Go refuses, so that they match nothing in containerd:
//! repetitions of repetitions or above 1000, `\u00e9`, and the flags `x`, `u` and `R`.

use regex::{Regex, RegexBuilder};
use tracing::debug;

use crate::{Error, Result};

/// A regular expression, or one that matches nothing because it cannot be parsed.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Option<Regex>);

impl Pattern {
    /// Most memory for one compiled expression, and again for its cache, in bytes.
    const MAX_SIZE: usize = 512 << 10;

    /// Compiles an expression in Go's syntax.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an expression that becomes too large.
    pub(super) fn compile(pattern: &str) -> Result<Pattern> {
        let compiled = RegexBuilder::new(&translate(pattern))
            .octal(true)
            .size_limit(Self::MAX_SIZE)
            .dfa_size_limit(Self::MAX_SIZE)
            .build();
        match compiled {
            Ok(regex) => Ok(Pattern(Some(regex))),
            Err(regex::Error::CompiledTooBig(limit)) => {
                let problem = format!("regular expression needs more than {limit} bytes when compiled");
                Err(Error::invalid("filter", problem))
            }
            Err(err) => {
                debug!(%err, "regular expression in a filter matches nothing");
                Ok(Pattern(None))
            }
        }
    }

    /// Tells whether the expression matches anywhere in `value`.
    pub(super) fn is_match(&self, value: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(value))
    }
}

/// Rewrites Go's syntax into that of the `regex` crate. What is wrong stays wrong.
fn translate(pattern: &str) -> String {
    let mut rest = Rest(pattern);
    let mut out = String::with_capacity(pattern.len());
    while let Some(ch) = rest.next() {
        match ch {
            '\\' if rest.take("Q") => out.push_str(&regex::escape(rest.take_until(r"\E"))),
            '\\' => _ = translate_escape(&mut rest, &mut out),
            '[' => translate_class(&mut rest, &mut out),
            '{' => match rest.take_repetition() {
                "" => out.push_str(r"\{"),
                repetition => out.extend(["{", repetition]),
            },
            _ => out.push(ch),
        }
    }
    out
}

/// What an item of a class is; only characters can begin a range.
#[derive(PartialEq, Eq)]
enum Item {
    Char,
    Set,
}

/// Translates what follows a backslash.
fn translate_escape(rest: &mut Rest<'_>, out: &mut String) -> Item {
    match rest.next() {
        Some('d') => out.push_str("[0-9]"),
        Some('D') => out.push_str("[^0-9]"),
        Some('w') => out.push_str("[0-9A-Za-z_]"),
        Some('W') => out.push_str("[^0-9A-Za-z_]"),
        Some('s') => out.push_str(r"[\t\n\f\r ]"),
        Some('S') => out.push_str(r"[^\t\n\f\r ]"),
        Some('b') => out.push_str(r"(?-u:\b)"),
        Some('B') => out.push_str(r"(?-u:\B)"),
        // The braces are part of the escape, and no repetition.
        Some('x') if rest.take("{") => {
            out.extend([r"\x{", rest.take_until("}"), "}"]);
            return Item::Char;
        }
        Some(kind @ ('p' | 'P')) => {
            let braced = rest.take("{");
            let negated = rest.take("^") != (kind == 'P');
            out.push_str(if negated { r"\P" } else { r"\p" });
            if braced {
                out.extend(["{", rest.take_until("}"), "}"]);
            }
        }
        Some(ch) if ch.is_ascii() && !ch.is_ascii_alphanumeric() => {
            push_literal(ch, out);
            return Item::Char;
        }
        other => {
            out.push('\\');
            out.extend(other);
            return Item::Char;
        }
    }
    Item::Set
}

/// Translates a class from behind its opening bracket to its closing one.
fn translate_class(rest: &mut Rest<'_>, out: &mut String) {
    out.push('[');
    if rest.take("^") {
        out.push('^');
    }
    // As the first item, a closing bracket is literal.
    let mut first = true;
    while first || !rest.take("]") {
        first = false;
        if let Some(class) = rest.take_posix_class() {
            out.push_str(class);
            continue;
        }
        let Some(item) = translate_class_item(rest, out) else {
            // Never closed: without a bracket the expression stays wrong.
            return;
        };
        if item == Item::Char && rest.0.starts_with('-') && !rest.0.starts_with("-]") {
            rest.next();
            out.push('-');
            translate_class_item(rest, out);
        }
    }
    out.push(']');
}

fn translate_class_item(rest: &mut Rest<'_>, out: &mut String) -> Option<Item> {
    match rest.next()? {
        '\\' => Some(translate_escape(rest, out)),
        ch => {
            push_literal(ch, out);
            Some(Item::Char)
        }
    }
}

fn push_literal(ch: char, out: &mut String) {
    out.push_str(&regex::escape(ch.encode_utf8(&mut [0; 4])));
}

/// What is still to be translated.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.0.chars();
        let ch = chars.next();
        self.0 = chars.as_str();
        ch
    }

    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.0.strip_prefix(prefix);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Takes everything before `end`, or everything, and drops `end`.
    fn take_until(&mut self, end: &str) -> &'a str {
        let (before, after) = self.0.split_once(end).unwrap_or((self.0, ""));
        self.0 = after;
        before
    }

    /// Takes `3}`, `3,}` or `3,5}`, and nothing where something else follows.
    fn take_repetition(&mut self) -> &'a str {
        let is_count = |text: &str| text == "0" || !text.starts_with('0');
        let inside = self.run_of(|ch| ch.is_ascii_digit() || ch == ',');
        let (min, max) = inside.split_once(',').unwrap_or((inside, ""));
        if min.is_empty() || max.contains(',') || !is_count(min) || !is_count(max) {
            return "";
        }
        self.take_with(inside, "}").unwrap_or_default()
    }

    /// Takes `[:alpha:]` and its like.
    fn take_posix_class(&mut self) -> Option<&'a str> {
        let name = Rest(self.0.strip_prefix("[:")?).run_of(|ch| ch.is_ascii_lowercase() || ch == '^');
        let (opened, _) = self.0.split_at_checked("[:".len() + name.len())?;
        self.take_with(opened, ":]")
    }

    /// Returns the characters at the start that are accepted. Looks no further, so that no pattern takes long.
    fn run_of(&self, accept: impl Fn(char) -> bool) -> &'a str {
        self.0.split(|ch| !accept(ch)).next().unwrap_or_default()
    }

    /// Takes `start`, which is what comes next, together with `end` if that follows.
    fn take_with(&mut self, start: &str, end: &str) -> Option<&'a str> {
        let after = self.0.strip_prefix(start)?.strip_prefix(end)?;
        let (taken, _) = self.0.split_at_checked(self.0.len() - after.len())?;
        self.0 = after;
        Some(taken)
    }
}
