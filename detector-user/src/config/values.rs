//! Reads one value of each type that keys have. An error says what was expected.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{Target, keys::Value, parse_peer_name, suggest::did_you_mean};
use crate::model::PeerName;

/// The capacity of `sockaddr_un.sun_path` without its closing zero (unix(7)).
const MAX_SOCKET_LEN: usize = 107;
const RING_BYTES: RangeInclusive<u32> = 1 << 16..=1 << 30;

fn text<'a>(value: &'a Value, example: &str) -> Result<&'a str, String> {
    match value {
        Value::Text(text) => Ok(text.trim()),
        other => Err(format!(
            "expected a string, as in {example:?}, found {}",
            other.kind()
        )),
    }
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(boolean) => Ok(*boolean),
        other => Err(format!("expected true or false, found {}", other.kind())),
    }
}

pub(super) fn number<T: TryFrom<i64> + PartialOrd + Display>(
    value: &Value,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let Value::Integer(integer) = value else {
        return Err(format!("expected an integer, found {}", value.kind()));
    };
    match T::try_from(*integer) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(out_of_bounds(integer, range.start(), range.end())),
    }
}

/// "on" or "off", in the file and on the command line.
pub(super) fn on_off(value: &Value) -> Result<bool, String> {
    word(value, &[true, false], |on| if *on { "on" } else { "off" })
}

fn out_of_bounds(value: impl Display, low: impl Display, high: impl Display) -> String {
    format!("{value} is out of bounds; the least is {low}, the most {high}")
}

pub(super) fn duration(value: &Value, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    if let Value::Integer(integer) = value {
        return Err(format!(
            "a duration needs a unit; write \"{integer}ms\" or \"{integer}s\""
        ));
    }
    let text = text(value, "250ms")?;
    let duration = humantime::parse_duration(text).map_err(|e| {
        format!("{text:?} is not a duration ({e}); write it as \"250ms\" or \"30s\"")
    })?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let show = humantime::format_duration;
    Err(out_of_bounds(
        show(duration),
        show(*range.start()),
        show(*range.end()),
    ))
}

/// A duration; `None` for "off" and for 0.
pub(super) fn duration_or_off(
    value: &Value,
    range: RangeInclusive<Duration>,
) -> Result<Option<Duration>, String> {
    match value {
        Value::Text(text) if matches!(text.trim(), "off" | "0" | "0s" | "0ms") => Ok(None),
        Value::Integer(0) => Ok(None),
        value => duration(value, range)
            .map(Some)
            .map_err(|error| format!("{error}; or write \"off\"")),
    }
}

/// A duration; zero for "off" and for 0.
pub(super) fn duration_or_zero(
    value: &Value,
    range: RangeInclusive<Duration>,
) -> Result<Duration, String> {
    duration_or_off(value, range).map(Option::unwrap_or_default)
}

/// A duration of whole seconds.
pub(super) fn seconds(value: &Value, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    whole_seconds(duration(value, range)?)
}

/// A duration of whole seconds; `None` for "off" and for 0.
pub(super) fn seconds_or_off(
    value: &Value,
    range: RangeInclusive<Duration>,
) -> Result<Option<Duration>, String> {
    duration_or_off(value, range)?
        .map(whole_seconds)
        .transpose()
}

fn whole_seconds(duration: Duration) -> Result<Duration, String> {
    match duration.subsec_nanos() {
        0 => Ok(duration),
        _ => Err(format!(
            "{} is no whole number of seconds, and TCP takes no other",
            humantime::format_duration(duration)
        )),
    }
}

/// Systemd units, cgroups and other paths; duplicates are removed.
pub(super) fn targets(value: &Value, most: usize) -> Result<Vec<Target>, String> {
    let Value::List(items) = value else {
        return Err(format!(
            "expected a list, as in [\"rustfs.service\"], found {}",
            value.kind()
        ));
    };
    let mut targets = Vec::new();
    for item in items {
        let target = Target::parse(item)?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    match targets.len() {
        named if named <= most => Ok(targets),
        named => Err(format!("{named} are named, and {most} is the most")),
    }
}

pub(super) fn word<T: Copy>(
    value: &Value,
    all: &[T],
    as_str: fn(&T) -> &'static str,
) -> Result<T, String> {
    let words: Vec<&str> = all.iter().map(as_str).collect();
    let text = text(value, words[0])?;
    // The API and the metrics write `sock_diag`, so underscores are accepted.
    let spelled = text.replace('_', "-");
    if let Some(found) = all.iter().find(|word| as_str(word) == spelled) {
        return Ok(*found);
    }
    let hint = did_you_mean(text, words.iter().copied());
    Err(format!("{text:?} is none of {}{hint}", words.join(", ")))
}

pub(super) fn socket(value: &Value) -> Result<PathBuf, String> {
    let path = text(value, detector_api::DEFAULT_SOCKET)?;
    if path.is_empty() {
        return Err(format!(
            "a path is needed, as in {:?}",
            detector_api::DEFAULT_SOCKET
        ));
    }
    if path.len() > MAX_SOCKET_LEN {
        return Err(format!(
            "a Unix socket's path has {MAX_SOCKET_LEN} bytes at most, this one {}",
            path.len()
        ));
    }
    Ok(PathBuf::from(path))
}

pub(super) fn group(value: &Value) -> Result<Option<String>, String> {
    let name = text(value, "rustfs")?;
    match name.is_empty() || is_account(name) {
        true => Ok((!name.is_empty()).then(|| name.to_owned())),
        false => Err(format!("{name:?} is not a group's name")),
    }
}

fn is_account(name: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || matches!(c, ':' | '/') || c.is_control();
    !name.is_empty() && !name.contains(is_odd)
}

/// Names or ids of users or groups.
pub(super) fn accounts(value: &Value, example: &str) -> Result<Vec<String>, String> {
    let Value::List(names) = value else {
        return Err(format!(
            "expected a list, as in [{example:?}], found {}",
            value.kind()
        ));
    };
    match names.iter().find(|name| !is_account(name)) {
        Some(name) => Err(format!("{name:?} is not a name or an id")),
        None => Ok(names.clone()),
    }
}

pub(super) fn directory(value: &Value) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value, "/var/lib/detector")?);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!(
            "an absolute path is needed, as in \"/var/lib/detector\", found {path:?}"
        )),
    }
}

/// A node's name; `None` for an empty text.
pub(super) fn node(value: &Value) -> Result<Option<PeerName>, String> {
    match text(value, "http://node1:9000")? {
        "" => Ok(None),
        name => parse_peer_name(name)
            .map(|spec| Some(spec.name))
            .map_err(|error| error.to_string()),
    }
}

pub(super) fn metrics(value: &Value) -> Result<Option<SocketAddr>, String> {
    match text(value, "127.0.0.1:9464")? {
        "off" => Ok(None),
        addr => addr.parse().map(Some).map_err(|_| {
            format!("{addr:?} is not an address and port; write 127.0.0.1:9464, [::1]:9464 or off")
        }),
    }
}

/// This is stricter than the filter's own parser, which takes a misspelled level for a target.
pub(super) fn log(value: &Value) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let log = text(value, "info")?;
    for directive in log.split(',') {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level);
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let hint = did_you_mean(level, LEVELS);
            return Err(format!("{level:?} is none of {}{hint}", LEVELS.join(", ")));
        }
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(log)
        .map(|_| log.to_owned())
        .map_err(|e| format!("{log:?}: {e}"))
}

pub(super) fn ring_bytes(value: &Value) -> Result<u32, String> {
    let bytes = number(value, RING_BYTES)?;
    if bytes.is_power_of_two() {
        // It is also a multiple of every page size up to 64 KiB, the lower bound.
        return Ok(bytes);
    }
    Err(format!(
        "{bytes} is not a power of two; the next is {}",
        bytes.next_power_of_two()
    ))
}
