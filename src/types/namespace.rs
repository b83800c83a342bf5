//! The namespace of a request, and the identifiers that containerd shares among its services.

use std::fmt;

use crate::{Error, Result};

/// A containerd namespace. Valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Box<str>);

impl Namespace {
    /// Checks a client's namespace.
    ///
    /// # Errors
    /// [`Error::Invalid`] for everything that is not an identifier, see [`validate_identifier`].
    pub fn parse(name: impl Into<String>) -> Result<Namespace> {
        let name = name.into();
        validate_identifier("namespace", &name)?;
        Ok(Namespace(name.into()))
    }

    /// Returns the namespace as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest identifier in bytes.
const MAX_IDENTIFIER: usize = 76;

/// Checks an identifier as containerd does: runs of ASCII letters and digits, with one `.`, `_` or `-` between two of
/// them, at most 76 bytes.
///
/// # Errors
/// [`Error::Invalid`] about `what`.
pub fn validate_identifier(what: &'static str, identifier: &str) -> Result<()> {
    let is_run = |run: &str| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match identifier.len() {
        0 => Err(Error::invalid(what, "must not be empty")),
        len if len > MAX_IDENTIFIER => {
            Err(Error::invalid(what, format!("is {len} bytes long, the limit is {MAX_IDENTIFIER}")))
        }
        _ if identifier.split(['.', '_', '-']).all(is_run) => Ok(()),
        _ => Err(Error::invalid(
            what,
            format!("{identifier:?} must be letters and digits, with single '.', '_' or '-' between them"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::Namespace;

    #[test]
    fn identifiers_are_namespaces() {
        let longest = "a".repeat(76);
        for name in [
            "default",
            "Default",
            "k8s.io",
            "default-default",
            "a.b.c",
            "0912341234",
            "task.0.0123456789",
            "container.system-75-f19a.00",
            "underscores_are_allowed",
            "x",
            &longest,
        ] {
            assert_eq!(Namespace::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn everything_else_is_not() {
        let too_long = "a".repeat(77);
        for name in [
            "", ".", "..", "/", "a/b", "a/..", "a..b", ".a..b", "a.-b", "-a.b", "a.b-", "a__b", "a--b", "_a", "a ",
            "a\n", "a\0", "é", &too_long,
        ] {
            assert!(Namespace::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_message_says_what_is_wrong() {
        let message = |name: &str| Namespace::parse(name).unwrap_err().to_string();
        assert_eq!(message(""), "namespace: must not be empty");
        assert_eq!(message(&"a".repeat(80)), "namespace: is 80 bytes long, the limit is 76");
        assert_eq!(
            message("a/b"),
            r#"namespace: "a/b" must be letters and digits, with single '.', '_' or '-' between them"#
        );
    }
}
