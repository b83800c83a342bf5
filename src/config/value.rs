//! Checks of single values. Each says what it expected and what it found.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::Error;
use crate::types::validate_identifier;

use super::{LogFormat, Reuse, Share, SharedBy, SharingPolicy};

/// Longest path of a socket: `sun_path` has 108 bytes, and the last is NUL.
const MAX_SOCKET_PATH: usize = 107;
/// Longest wait. Whoever waits longer believes that the daemon hangs.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// Longest age. What is to stay for longer is better leased by somebody.
const MAX_AGE: Duration = Duration::from_secs(8760 * 3600);
/// Largest size: what is above is a typing error.
const MAX_SIZE: u64 = 1 << 60;

type Value<'a> = DeValue<'a>;
type Result<T> = std::result::Result<T, String>;

pub(super) fn boolean(value: &Value<'_>) -> Result<bool> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

pub(super) fn number(range: RangeInclusive<usize>) -> impl Fn(&Value<'_>) -> Result<usize> {
    move |value| {
        let what = format!("a number from {} to {}", range.start(), range.end());
        let number = integer(value).and_then(|number| usize::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| expected(what, value))
    }
}

/// A share of at most a half, as a number such as 0.02.
pub(super) fn share(value: &Value<'_>) -> Result<Share> {
    let share = match value {
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        _ => integer(value).and_then(|number| u32::try_from(number).ok()).map(f64::from),
    };
    let share = share.filter(|share| (0.0..=0.5).contains(share));
    // In range, so that nothing is cut off but the fraction of a millionth.
    share.map(|share| Share((share * 1e6).round() as u32)).ok_or_else(|| expected("a number from 0 to 0.5", value))
}

/// A size in bytes: `"64MiB"`, or a plain number.
pub(super) fn size(value: &Value<'_>) -> Result<u64> {
    let bytes = match value {
        DeValue::String(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
        _ => integer(value).and_then(|bytes| u64::try_from(bytes).ok()),
    };
    bytes.filter(|bytes| *bytes <= MAX_SIZE).ok_or_else(|| expected(r#"a size up to "1EiB" such as "64MiB""#, value))
}

pub(super) fn wait(value: &Value<'_>) -> Result<Duration> {
    let wait = duration(value).filter(|wait| *wait <= MAX_WAIT);
    wait.ok_or_else(|| expected(r#"a duration up to "10m" such as "10s" or "500ms""#, value))
}

/// How long something may get old.
pub(super) fn age(value: &Value<'_>) -> Result<Duration> {
    let age = duration(value).filter(|age| *age <= MAX_AGE);
    age.ok_or_else(|| expected(r#"a duration up to "8760h" such as "24h" or "7days""#, value))
}

fn duration(value: &Value<'_>) -> Option<Duration> {
    humantime::parse_duration(value.as_str()?).ok()
}

pub(super) fn root(value: &Value<'_>) -> Result<PathBuf> {
    let root = absolute_path(value)?;
    if root.parent().is_none() {
        return Err("must be a directory of its own, and not /".to_owned());
    }
    if text(value)?.contains([':', ',', '\\']) {
        return Err(r"must be without ':', ',' and '\', which separate overlayfs' mount options".to_owned());
    }
    Ok(root)
}

pub(super) fn socket(value: &Value<'_>) -> Result<PathBuf> {
    let path = absolute_path(value)?;
    let len = path.as_os_str().len();
    if len > MAX_SOCKET_PATH {
        return Err(format!("is {len} bytes long, the path of a socket has at most {MAX_SOCKET_PATH} (sun_path)"));
    }
    Ok(path)
}

/// A path, or the empty string for none.
pub(super) fn optional_path(value: &Value<'_>) -> Result<Option<PathBuf>> {
    if value.as_str() == Some("") { Ok(None) } else { absolute_path(value).map(Some) }
}

fn absolute_path(value: &Value<'_>) -> Result<PathBuf> {
    let path = value.as_str().map(Path::new).filter(|path| path.is_absolute());
    let path = path.ok_or_else(|| expected("an absolute path", value))?;
    if path.components().any(|component| component == Component::ParentDir) {
        return Err("must be without '..'".to_owned());
    }
    if text(value)?.chars().any(char::is_control) {
        return Err("must be without control characters".to_owned());
    }
    Ok(path.to_owned())
}

/// A group by its name or number. Whether it exists is found out when the socket is made.
pub(super) fn group(value: &Value<'_>) -> Result<Option<String>> {
    let group = match value {
        DeValue::String(name) => Some(name.to_string()),
        _ => integer(value).and_then(|id| u32::try_from(id).ok()).map(|id| id.to_string()),
    };
    let is_name = |group: &String| !group.is_empty() && !group.contains(|ch: char| ch == ':' || ch.is_whitespace());
    group.filter(is_name).map(Some).ok_or_else(|| expected("the name or number of a group", value))
}

pub(super) fn identifier(value: &Value<'_>) -> Result<String> {
    let text = text(value)?;
    match validate_identifier("name", text) {
        Ok(()) => Ok(text.to_owned()),
        // The key is printed before it and says what it is.
        Err(Error::Invalid { problem, .. }) => Err(problem),
        Err(err) => Err(err.to_string()),
    }
}

pub(super) fn mount_options(value: &Value<'_>) -> Result<Vec<String>> {
    let options = value.as_array().ok_or_else(|| expected("a list of mount options", value))?;
    options.iter().map(|option| mount_option(option.get_ref())).collect()
}

fn mount_option(value: &Value<'_>) -> Result<String> {
    let option = text(value)?;
    if option.is_empty() || option.contains(|ch: char| ch == ',' || ch.is_control()) {
        return Err(expected(r#"one mount option, such as "xino=off""#, value));
    }
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    match name {
        "lowerdir" | "lowerdir+" | "datadir+" | "upperdir" | "workdir" => {
            Err(format!("{name} is what the daemon itself sets"))
        }
        // containerd takes a new snapshot with a read-only mount for a layer that needs no extraction.
        "ro" => Err("ro would let containerd skip the extraction of layers".to_owned()),
        _ => Ok(option.to_owned()),
    }
}

/// A level, or directives of `EnvFilter`.
pub(super) fn log_level(value: &Value<'_>) -> Result<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = text(value)?;
    // EnvFilter takes a lone word that is no level for the name of a module.
    let is_directive = level.contains(['=', ',', '[']);
    if !is_directive && !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
        return Err(expected(format!("one of {}, or directives such as \"info,h2=warn\"", LEVELS.join(", ")), value));
    }
    match EnvFilter::try_new(level) {
        Ok(_) => Ok(level.to_owned()),
        Err(err) => Err(format!("{level:?}: {err}")),
    }
}

pub(super) fn log_format(value: &Value<'_>) -> Result<LogFormat> {
    match value.as_str() {
        Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        _ => Err(expected(r#""text" or "json""#, value)),
    }
}

pub(super) fn sharing_policy(value: &Value<'_>) -> Result<SharingPolicy> {
    match value.as_str() {
        Some("shared") => Ok(SharingPolicy::Shared),
        Some("isolated") => Ok(SharingPolicy::Isolated),
        _ => Err(expected(r#""shared" or "isolated""#, value)),
    }
}

pub(super) fn reuse(value: &Value<'_>) -> Result<Reuse> {
    match value.as_str() {
        Some("off") => Ok(Reuse::Off),
        Some("apply") => Ok(Reuse::Apply),
        Some("fetch") => Ok(Reuse::Fetch),
        _ => Err(expected(r#""off", "apply" or "fetch""#, value)),
    }
}

pub(super) fn shared_by(value: &Value<'_>) -> Result<SharedBy> {
    match value.as_str() {
        Some("all") => Ok(SharedBy::All),
        Some("namespace") => Ok(SharedBy::Namespace),
        _ => Err(expected(r#""all" or "namespace""#, value)),
    }
}

pub(super) fn listen(value: &Value<'_>) -> Result<Option<SocketAddr>> {
    let address = value.as_str().and_then(|text| text.parse().ok());
    address.map(Some).ok_or_else(|| expected(r#"an address and port such as "127.0.0.1:9464""#, value))
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

fn integer(value: &Value<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn expected(what: impl Display, found: &Value<'_>) -> String {
    match found {
        DeValue::String(text) => format!("expected {what}, found {:?}", &**text),
        DeValue::Integer(number) => format!("expected {what}, found {number}"),
        DeValue::Float(number) => format!("expected {what}, found {number}"),
        DeValue::Boolean(value) => format!("expected {what}, found {value}"),
        DeValue::Datetime(_) => format!("expected {what}, found a date"),
        DeValue::Array(_) => format!("expected {what}, found a list"),
        DeValue::Table(_) => format!("expected {what}, found a section"),
    }
}
