//! When a lease is to end, as an operator says it.

use std::time::{Duration, SystemTime};

use anyhow::bail;

use crate::types::parse_rfc3339;

use super::super::text;

/// A duration from now, or a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    In(Duration),
    /// With its text, which containerd reads as we do.
    At(SystemTime, String),
}

impl Expiry {
    /// Reads an argument.
    pub fn parse(text: &str) -> Result<Expiry, String> {
        if let Some(at) = parse_rfc3339(text) {
            return Ok(Expiry::At(at, text.to_owned()));
        }
        humantime::parse_duration(text)
            .map(Expiry::In)
            .map_err(|_| "neither a duration such as 72h or 30days, nor a time such as 2030-01-31T12:00:00Z".to_owned())
    }

    /// Returns the value of the label that says so.
    pub fn label(&self, now: SystemTime) -> anyhow::Result<String> {
        match self {
            Expiry::At(at, text) if *at <= now => bail!("--expire: {text} is in the past"),
            Expiry::At(_, text) => Ok(text.clone()),
            Expiry::In(Duration::ZERO) => bail!("--expire: the lease would end at once"),
            Expiry::In(duration) => match now.checked_add(*duration).filter(|end| text::is_shown(*end)) {
                Some(end) => Ok(humantime::format_rfc3339_millis(end).to_string()),
                None => bail!("--expire: that is after the year 9999. A lease without --expire never ends"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Result<String, String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Expiry::parse(text)?.label(now).map_err(|err| err.to_string())
    }

    #[test]
    fn durations_and_times_become_labels() {
        assert_eq!(label("72h").unwrap(), "2023-11-17T22:13:20.000Z");
        assert_eq!(label("1day 30m").unwrap(), "2023-11-15T22:43:20.000Z");
        assert_eq!(label("500ms").unwrap(), "2023-11-14T22:13:20.500Z");
        assert_eq!(label("2030-01-31T12:00:00+02:00").unwrap(), "2030-01-31T12:00:00+02:00");
    }

    #[test]
    fn what_can_never_be_meant_is_refused() {
        for (text, why) in [
            ("", "neither a duration"),
            ("72", "neither a duration"),
            ("-1h", "neither a duration"),
            ("2030-01-31", "neither a duration"),
            ("0s", "at once"),
            ("2023-11-14T22:13:20Z", "in the past"),
            ("9000years", "after the year 9999"),
        ] {
            let err = label(text).unwrap_err();
            assert!(err.contains(why), "{text:?}: {err}");
        }
    }
}
