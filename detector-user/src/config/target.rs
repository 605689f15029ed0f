//! A service, named by its systemd unit or its cgroup, that is protected or whose network namespace
//! is watched. For the latter, a path may also be the namespace's own file.

use std::fmt;

/// The most targets of one key: each is checked once a second.
pub const MAX_TARGETS: usize = 64;

/// The longest path (PATH_MAX).
const MAX_PATH: usize = 4096;

/// The kinds of units that have a cgroup (systemd.unit(5)).
const SUFFIXES: [&str; 4] = [".service", ".scope", ".slice", ".socket"];

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A systemd unit, as in `rustfs.service`.
    Unit(String),
    /// The path of a cgroup, either absolute or from the root of the cgroup v2 tree; or the file of
    /// a network namespace.
    Path(String),
}

impl Target {
    /// Parses a target. A name without a slash and with a unit's suffix is a unit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(
                "a systemd unit or a cgroup's path is needed, as in \"rustfs.service\"".to_owned(),
            );
        }
        if text.len() > MAX_PATH || text.contains(char::is_control) {
            return Err(format!(
                "{:?} is no cgroup's path",
                text.chars().take(64).collect::<String>()
            ));
        }
        if !text.contains('/') && SUFFIXES.iter().any(|suffix| is_unit(text, suffix)) {
            return Ok(Self::Unit(text.to_owned()));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(format!("{text:?}: write the cgroup's path without \"..\""));
        }
        Ok(Self::Path(text.to_owned()))
    }

    /// The text from which it was parsed.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unit(text) | Self::Path(text) => text,
        }
    }
}

fn is_unit(text: &str, suffix: &str) -> bool {
    text.strip_suffix(suffix)
        .is_some_and(|name| !name.is_empty())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_from_paths() {
        let unit = |text: &str| Ok(Target::Unit(text.to_owned()));
        let path = |text: &str| Ok(Target::Path(text.to_owned()));
        assert_eq!(Target::parse(" rustfs.service "), unit("rustfs.service"));
        assert_eq!(Target::parse("rustfs@a.service"), unit("rustfs@a.service"));
        assert_eq!(Target::parse("storage.slice"), unit("storage.slice"));
        assert_eq!(Target::parse("rustfs"), path("rustfs"));
        assert_eq!(Target::parse(".service"), path(".service"));
        for text in [
            "/",
            "/sys/fs/cgroup/system.slice/rustfs.service",
            "system.slice/rustfs.service",
            "kubepods.slice/x",
        ] {
            assert_eq!(Target::parse(text), path(text));
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in ["", "  ", "a/../b", "..", "a\nb", "a\0b"] {
            assert!(Target::parse(text).is_err(), "{text:?}");
        }
        assert!(Target::parse(&"a".repeat(5000)).is_err());
    }
}
