//! The grammar of filters: recursive descent over the text, with one character of lookahead.
//!
//! White space is allowed before a field, an operator and a value, and nowhere else: `a == b, c` is a filter,
//! and `a==b ,c` is none. containerd's scanner has it so.

use super::quote::unquote;
use super::{Pattern, Selector, Test};
use crate::{Error, Result};

/// Parses one filter that is not empty.
///
/// # Errors
/// [`Error::Invalid`] with the byte position of what was not understood.
pub(super) fn parse(input: &str) -> Result<Vec<Selector>> {
    let mut parser = Parser { input, pos: 0 };
    let mut selectors = vec![parser.selector()?];
    while parser.take(',') {
        selectors.push(parser.selector()?);
    }
    match parser.peek() {
        None => Ok(selectors),
        Some(_) => Err(parser.expected(r#""," or the end of the filter"#)),
    }
}

struct Parser<'a> {
    input: &'a str,
    /// Always at the start of a character, or at the end.
    pos: usize,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Selector> {
        let path = self.path()?;
        if matches!(self.peek(), None | Some(',')) {
            return Ok(Selector { path, test: Test::Present });
        }
        let test = match self.operator()? {
            Operator::Equal => Test::Equal(self.value(&['"'])?),
            Operator::NotEqual => Test::NotEqual(self.value(&['"'])?),
            Operator::Matches => Test::Matches(Pattern::compile(&self.value(&['"', '/', '|'])?)?),
        };
        Ok(Selector { path, test })
    }

    fn path(&mut self) -> Result<Vec<String>> {
        let mut path = vec![self.field()?];
        while self.take('.') {
            path.push(self.field()?);
        }
        Ok(path)
    }

    fn field(&mut self) -> Result<String> {
        self.skip_space();
        if self.peek() == Some('"') {
            return self.quoted();
        }
        match self.take_while(|ch| ch.is_ascii_alphanumeric() || ch == '_') {
            "" => Err(self.expected("a field name or a double-quoted one")),
            name => Ok(name.to_owned()),
        }
    }

    fn operator(&mut self) -> Result<Operator> {
        self.skip_space();
        let start = self.pos;
        match self.take_while(is_operator_char) {
            "==" => Ok(Operator::Equal),
            "!=" => Ok(Operator::NotEqual),
            "~=" => Ok(Operator::Matches),
            _ => {
                self.pos = start;
                Err(self.expected(r#""==", "!=" or "~=" (names with other than letters, digits and "_" are quoted)"#))
            }
        }
    }

    fn value(&mut self, quotes: &[char]) -> Result<String> {
        self.skip_space();
        match self.peek() {
            Some(quote) if quotes.contains(&quote) => self.quoted(),
            Some('/' | '|') => Err(self.expected("a plain or a double-quoted value")),
            // An unquoted value can hold every one of these but not begin with it.
            None | Some(',' | '.' | '\0' | '\u{fffd}') => Err(self.expected("a value")),
            Some(ch) if is_operator_char(ch) => Err(self.expected("a value")),
            Some(first) => {
                let start = self.pos;
                self.pos += first.len_utf8();
                self.take_while(is_value_char);
                Ok(self.input.get(start..self.pos).unwrap_or_default().to_owned())
            }
        }
    }

    fn quoted(&mut self) -> Result<String> {
        match unquote(self.rest()) {
            Ok((text, len)) => {
                self.pos += len;
                Ok(text)
            }
            Err((at, problem)) => {
                self.pos += at;
                Err(self.error(problem))
            }
        }
    }

    fn rest(&self) -> &'a str {
        self.input.get(self.pos..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.pos += wanted.len_utf8();
        }
        found
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|ch| !accept(ch)).unwrap_or(rest.len());
        self.pos += end;
        rest.get(..end).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn expected(&self, what: &str) -> Error {
        self.error(&format!("expected {what}"))
    }

    /// Points at the current position, without repeating more than a little of what the client sent.
    fn error(&self, problem: &str) -> Error {
        const CONTEXT: usize = 24;
        let found: String = self.rest().chars().take(CONTEXT).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        Error::invalid("filter", format!("{problem} at byte {}, found {found}", self.pos))
    }
}

enum Operator {
    Equal,
    NotEqual,
    Matches,
}

fn is_operator_char(ch: char) -> bool {
    matches!(ch, '=' | '!' | '~')
}

/// Tells whether an unquoted value goes on. containerd also stops at format characters and unassigned code points,
/// and fails there; accepting them spares us Unicode's tables.
fn is_value_char(ch: char) -> bool {
    ch != ',' && ch != '\u{fffd}' && !ch.is_whitespace() && !ch.is_control()
}
