//! A configuration file as a list of settings, each under the path of its key.
//!
//! Reading a setting removes it from the list and makes its key known. Whatever is left at the end is unknown.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::{ConfigErrors, Mistake};

/// The settings of one file, and what was found to be wrong with them.
pub(super) struct Settings<'a> {
    given: BTreeMap<String, Spanned<DeValue<'a>>>,
    /// Where each was given. Kept after it was read.
    lines: BTreeMap<String, usize>,
    known: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

impl<'a> Settings<'a> {
    /// Splits a file into settings.
    ///
    /// # Errors
    /// Every mistake in its syntax. A file with one is read no further, because what is left of it could be anything.
    pub(super) fn parse(text: &'a str) -> Result<Settings<'a>, ConfigErrors> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mistake = |err: &toml::de::Error| Mistake {
                line: err.span().map(|span| line(text, &span)),
                key: None,
                problem: format!("not TOML: {}", err.message()),
            };
            return Err(ConfigErrors::new(errors.iter().map(mistake).collect()));
        }
        let mut given = BTreeMap::new();
        flatten("", table.into_inner(), &mut given);
        let lines = given.iter().map(|(key, value)| (key.clone(), line(text, &value.span()))).collect();
        Ok(Settings { given, lines, known: Vec::new(), mistakes: Vec::new() })
    }

    /// Reads one setting. A value that `convert` refuses is noted as a mistake, and the default stands in for it.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> T {
        self.known.push(key);
        let Some(value) = self.given.remove(key) else { return default };
        convert(value.get_ref()).unwrap_or_else(|problem| {
            self.reject(key, problem);
            default
        })
    }

    /// Notes a mistake in a setting.
    pub(super) fn reject(&mut self, key: &str, problem: impl Into<String>) {
        let line = self.lines.get(key).copied();
        self.mistakes.push(Mistake { line, key: Some(key.to_owned()), problem: problem.into() });
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All mistakes that were noted, and every setting that was not read.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        let unknown: Vec<(String, String)> = std::mem::take(&mut self.given)
            .into_iter()
            .filter_map(|(key, value)| Some((self.unknown(&key, value.get_ref())?, key)))
            .collect();
        for (problem, key) in unknown {
            self.reject(&key, problem);
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(ConfigErrors::new(self.mistakes)) }
    }

    /// Returns the keys that were read.
    #[cfg(test)]
    pub(super) fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Returns the keys that are given.
    #[cfg(test)]
    pub(super) fn into_keys(self) -> Vec<String> {
        self.given.into_keys().collect()
    }

    /// Says what is wrong with a key that nothing has read.
    fn unknown(&self, key: &str, value: &DeValue<'_>) -> Option<String> {
        if self.known.iter().any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))) {
            // An empty section is no mistake.
            return (!value.is_table()).then(|| format!("is a section of settings: write [{key}]"));
        }
        Some(match self.similar(key) {
            Some(similar) => format!("unknown setting; did you mean {similar}?"),
            None => "unknown setting".to_owned(),
        })
    }

    /// Returns the known key that was probably meant: one of the same name in another section, or else a similar one.
    fn similar(&self, key: &str) -> Option<&'static str> {
        const ENOUGH: f64 = 0.7;
        let likeness = |known: &'static str| {
            let same_name = f64::from(u8::from(name(known) == name(key)));
            same_name + strsim::normalized_damerau_levenshtein(known, key)
        };
        self.known
            .iter()
            .map(|known| (likeness(known), *known))
            .filter(|(likeness, _)| *likeness >= ENOUGH)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, known)| known)
    }
}

/// Returns the last part of a key.
fn name(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, name)| name)
}

/// Moves all settings of a table and of those in it to `out`. An empty table is kept, so that its name is checked.
fn flatten<'a>(prefix: &str, table: DeTable<'a>, out: &mut BTreeMap<String, Spanned<DeValue<'a>>>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        let span = key.span();
        match value.into_inner() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(&format!("{path}."), inner, out),
            value => _ = out.insert(path, Spanned::new(span, value)),
        }
    }
}

fn line(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}
