//! What is wrong with a configuration file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Everything that is wrong with a configuration, in the order of its lines.
///
/// [`Display`](fmt::Display) prints one mistake a line, as compilers do: `<file>:<line>: <key>: <problem>`.
#[derive(Debug)]
pub struct ConfigErrors {
    file: Option<PathBuf>,
    mistakes: Vec<Mistake>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, counted from 1, where the mistake is in one.
    pub line: Option<usize>,
    /// Path of the key (`limits.min_free`), where the mistake is about one.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl ConfigErrors {
    pub(super) fn new(mut mistakes: Vec<Mistake>) -> ConfigErrors {
        mistakes.sort_by_key(|mistake| mistake.line);
        ConfigErrors { file: None, mistakes }
    }

    pub(super) fn unreadable(file: &Path, err: &io::Error) -> ConfigErrors {
        let mistake = Mistake { line: None, key: None, problem: format!("cannot be read: {err}") };
        ConfigErrors::new(vec![mistake]).in_file(file)
    }

    pub(super) fn in_file(self, file: &Path) -> ConfigErrors {
        ConfigErrors { file: Some(file.to_owned()), ..self }
    }

    /// Returns the mistakes. There is at least one.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match (&self.file, mistake.line) {
                (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
                (Some(file), None) => write!(f, "{}: ", file.display())?,
                (None, Some(line)) => write!(f, "line {line}: ")?,
                (None, None) => {}
            }
            if let Some(key) = &mistake.key {
                write!(f, "{key}: ")?;
            }
            f.write_str(&mistake.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
