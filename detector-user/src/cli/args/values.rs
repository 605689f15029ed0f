//! Parses the values of flags.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::Profile;

/// A moment of a recording, as `--at` names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    After(Duration),
    Wall(Timestamp),
}

pub(super) fn at(text: &str) -> Result<At, String> {
    if let Some(seconds) = text.strip_prefix('+') {
        let seconds = seconds.parse().ok();
        let after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        return after.map(At::After).ok_or_else(|| {
            "a number of seconds from the beginning is expected, as in +12.5".to_owned()
        });
    }
    let wall = text.parse();
    wall.map(At::Wall)
        .map_err(|error| format!("neither +SECONDS nor a time as in 2026-01-31T12:00:00Z: {error}"))
}

pub(super) fn profile(text: &str) -> Result<Profile, String> {
    let words = Profile::ALL.map(Profile::as_str).join(", ");
    let found = Profile::ALL
        .into_iter()
        .find(|profile| profile.as_str() == text);
    found.ok_or_else(|| format!("the programs that are known are {words}"))
}

/// The smallest limit of a recording: room for its header.
const MIN_RECORD_BYTES: u64 = 64 << 10;

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        other => return Err(format!("{other:?} is no unit; KiB, MiB and GiB are")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a number of bytes is expected, as in 512MiB".to_owned())?;
    match number.checked_mul(1 << unit) {
        Some(bytes) if bytes >= MIN_RECORD_BYTES => Ok(bytes),
        Some(_) => Err("the least is 64KiB".to_owned()),
        None => Err("that is more than any disk has".to_owned()),
    }
}
