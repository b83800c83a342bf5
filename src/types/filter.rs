//! containerd's filter language: which objects a client wants to see.
//!
//! A filter is a list of selectors that must all match. Several filters match where any of them does, and no
//! filter at all, or an empty one, matches everything.
//!
//! ```text
//! filter   := "" | selector ("," selector)*
//! selector := path | path ("==" | "!=" | "~=") value
//! path     := field ("." field)*
//! field    := [A-Za-z0-9_]+ | quoted
//! value    := quoted | everything up to a comma or white space
//! quoted   := '"' text '"', and after "~=" also '/' text '/' and '|' text '|'
//! ```
//!
//! A path alone asks whether the field is present. `==` needs a field that is present, while `!=` and `~=` take
//! an absent field for an empty one, as containerd does: `labels.a!=b` matches objects without that label,
//! and so does `labels.a~=b*`.
//!
//! The rule kept here is that no client can exhaust memory: the length of filters, the number of selectors, and
//! the number and size of regular expressions are bounded.

mod parser;
mod pattern;
mod quote;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::pattern::Pattern;
use crate::{Error, Result};

/// The fields of an object, as filters name them.
pub trait Adaptor {
    /// Returns the value at `path`, or `None` where the object has no such field.
    ///
    /// The path is never empty. What follows `labels` is looked up with [`Labels::field`](super::Labels::field).
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>>;
}

/// A client's list of filters, parsed.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The filters, of which one must match; each is its selectors, which must all match. Never empty: to match
    /// everything there is one filter without selectors.
    alternatives: Vec<Vec<Selector>>,
}

impl Filter {
    /// Longest single filter, in bytes.
    pub const MAX_LEN: usize = 64 << 10;
    /// Longest list of filters, in bytes over all of them.
    pub const MAX_TOTAL_LEN: usize = 1 << 20;
    /// Most selectors in a list of filters.
    pub const MAX_SELECTORS: usize = 16_384;
    /// Most regular expressions in a list of filters.
    pub const MAX_PATTERNS: usize = 32;

    /// Parses a list of filters, of which an object must match one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the position for text that is not a filter, and for filters over the limits. A
    /// regular expression with a mistake in it is no error: it matches nothing, as in containerd.
    pub fn parse_all<S: AsRef<str>>(filters: &[S]) -> Result<Filter> {
        within("bytes in all filters", filters.iter().map(|f| f.as_ref().len()).sum(), Self::MAX_TOTAL_LEN)?;
        let (mut selectors, mut patterns) = (0, 0);
        let mut alternatives = Vec::new();
        let mut everything = filters.is_empty();
        for filter in filters.iter().map(AsRef::as_ref) {
            within("bytes in one filter", filter.len(), Self::MAX_LEN)?;
            // What follows an empty filter is still parsed, because a mistake there is still to be reported.
            if filter.is_empty() {
                everything = true;
                continue;
            }
            let all = parser::parse(filter)?;
            selectors += all.len();
            within("selectors", selectors, Self::MAX_SELECTORS)?;
            patterns += all.iter().filter(|selector| selector.is_pattern()).count();
            within("regular expressions", patterns, Self::MAX_PATTERNS)?;
            alternatives.push(all);
        }
        if everything {
            alternatives = vec![Vec::new()];
        }
        Ok(Filter { alternatives })
    }

    /// Tells whether an object is to be listed.
    pub fn matches(&self, object: &dyn Adaptor) -> bool {
        self.alternatives.iter().any(|all| all.iter().all(|selector| selector.matches(object)))
    }

    /// Tells whether every object matches, so that none needs to be looked at.
    pub fn matches_everything(&self) -> bool {
        self.alternatives.iter().any(Vec::is_empty)
    }

    /// Returns the value that the field at `path` has in every match, where the filters demand one with `==`.
    ///
    /// It lets a caller look up a few objects instead of scanning all. Each still has to be asked
    /// [`matches`](Self::matches).
    pub fn required(&self, path: &[&str]) -> Option<&str> {
        let mut values = self.alternatives.iter().map(|all| all.iter().find_map(|s| s.required(path)));
        let value = values.next()??;
        values.all(|other| other == Some(value)).then_some(value)
    }
}

/// One condition on one field.
#[derive(Clone, Debug)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

/// What a selector asks of its field.
#[derive(Clone, Debug)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Pattern),
}

impl Selector {
    fn matches(&self, object: &dyn Adaptor) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = object.field(&path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value == wanted.as_str()),
            Test::NotEqual(unwanted) => value.unwrap_or_default() != unwanted.as_str(),
            Test::Matches(pattern) => pattern.is_match(&value.unwrap_or_default()),
        }
    }

    fn required(&self, path: &[&str]) -> Option<&str> {
        match &self.test {
            Test::Equal(value) if self.path == path => Some(value),
            _ => None,
        }
    }

    fn is_pattern(&self) -> bool {
        matches!(self.test, Test::Matches(_))
    }
}

fn within(what: &'static str, number: usize, limit: usize) -> Result<()> {
    if number <= limit {
        return Ok(());
    }
    Err(Error::invalid("filter", format!("{number} {what}, the limit is {limit}")))
}
