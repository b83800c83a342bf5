//! For which machines an image is, and which of them this one can run.

use std::fmt;

use oci_spec::image;

/// An operating system, an architecture and its variant, all spelled in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Platform {
    os: String,
    architecture: String,
    /// Empty for the usual one.
    variant: String,
}

impl Platform {
    /// Returns this machine's.
    pub fn host() -> Platform {
        Platform::new(image::Os::default().to_string(), &image::Arch::default().to_string(), "")
    }

    /// Like [`new`](Self::new), with this machine's for what is empty.
    pub fn new_or_host(os: &str, architecture: &str, variant: &str) -> Platform {
        let host = Platform::host();
        let os = if os.is_empty() { host.os } else { os.to_owned() };
        Platform::new(os, if architecture.is_empty() { &host.architecture } else { architecture }, variant)
    }

    /// Spells a platform as Go does, with what clients of containerd write as well.
    pub fn new(os: impl Into<String>, architecture: &str, variant: &str) -> Platform {
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("i386", variant) => ("386", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            same => same,
        };
        let usual = usual_level(architecture).map(|level| format!("v{level}")).unwrap_or_default();
        let variant = match variant {
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() => format!("v{digits}"),
            other => other.to_owned(),
        };
        let variant = if variant == usual { String::new() } else { variant };
        Platform { os: os.into(), architecture: architecture.to_owned(), variant }
    }

    /// Reads an argument: `linux/arm64`, `linux/arm/v7`, or the architecture alone.
    pub fn parse(text: &str) -> Result<Platform, String> {
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            parts if !parts.iter().all(is_word) => {
                Err("a platform has the form linux/arm64 or linux/arm/v7".to_owned())
            }
            [architecture] => Ok(Platform::new(Platform::host().os, architecture, "")),
            [os, architecture] => Ok(Platform::new(*os, architecture, "")),
            [os, architecture, variant] => Ok(Platform::new(*os, architecture, variant)),
            _ => Err("a platform has the form linux/arm64 or linux/arm/v7".to_owned()),
        }
    }

    /// Whether this is what an index says of things that run nowhere, such as attestations.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// Returns how far something for `other` is from what this one runs best; `None` when it does not run it.
    pub fn distance(&self, other: &Platform) -> Option<u32> {
        if self.os != other.os {
            return None;
        }
        match (self.architecture.as_str(), other.architecture.as_str()) {
            (own, same) if own == same && self.variant == other.variant => Some(0),
            // A later variant runs what is for an earlier one.
            (own, same) if own == same => self.level()?.checked_sub(other.level()?),
            // Such machines run 32 bits as well, and containerd has them do so where there is nothing better.
            ("arm64", "arm") => self.level()?.checked_sub(other.level()?).map(|distance| distance + FALLBACK),
            _ => None,
        }
    }

    fn level(&self) -> Option<u32> {
        match self.variant.strip_prefix('v') {
            Some(digits) => digits.parse().ok(),
            None if self.variant.is_empty() => usual_level(&self.architecture),
            None => None,
        }
    }
}

/// More than variants of one architecture are apart.
const FALLBACK: u32 = 100;

/// Returns the variant that is meant where none is said.
fn usual_level(architecture: &str) -> Option<u32> {
    match architecture {
        "amd64" => Some(1),
        "arm" => Some(7),
        "arm64" => Some(8),
        _ => None,
    }
}

impl From<&image::Platform> for Platform {
    fn from(platform: &image::Platform) -> Platform {
        let variant = platform.variant().as_deref().unwrap_or_default();
        Platform::new(platform.os().to_string(), &platform.architecture().to_string(), variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    #[test]
    fn spellings_become_one() {
        for (said, meant) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm"),
            ("linux/armel", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("windows/amd64", "windows/amd64"),
            ("linux/s390x", "linux/s390x"),
        ] {
            assert_eq!(platform(said).to_string(), meant, "{said}");
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/arm 64", "linux//v7", "lin\u{1b}ux/a"] {
            assert!(Platform::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Platform::host().distance(&Platform::host()), Some(0));
    }

    #[test]
    fn machines_run_what_is_for_earlier_variants() {
        for (own, other, distance) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm64", "linux/arm/v7", Some(101)),
            ("linux/arm64", "linux/arm64/v9", None),
            ("linux/riscv64", "linux/riscv64", Some(0)),
            ("linux/riscv64/a", "linux/riscv64/b", None),
        ] {
            assert_eq!(platform(own).distance(&platform(other)), distance, "{own} {other}");
        }
    }
}
