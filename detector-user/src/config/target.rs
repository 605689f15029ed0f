//! Selects processes of this host: by their systemd unit, cgroup, executable or Kubernetes pod.
//!
//! One kind of selector serves everything that is about a service: what is protected
//! (`refuse_connects`, `tune_sockets`), whose network namespace is watched
//! (`network_namespaces`), and whose peers are found (`rustfs`, `minio`, `etcd`). For a network
//! namespace, a path may also be the namespace's own file.

use std::fmt;

/// The most targets of one key: each is checked once a second.
pub const MAX_TARGETS: usize = 64;

/// The longest path (PATH_MAX).
const MAX_PATH: usize = 4096;

/// The longest name of a pod (RFC 1123, as Kubernetes has it).
const MAX_POD: usize = 253;

/// The kinds of units that have a cgroup (systemd.unit(5)).
const SUFFIXES: [&str; 4] = [".service", ".scope", ".slice", ".socket"];

/// Selects a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A systemd unit, as in `rustfs.service`.
    Unit(String),
    /// The path of a cgroup, either absolute or from the root of the cgroup v2 tree; or the file of
    /// a network namespace.
    Path(String),
    /// The processes of an executable: a file's name, or its whole path.
    Exe(String),
    /// A Kubernetes pod: its UID, or its name; a name that ends with `*` stands for all that begin
    /// with it.
    Pod(String),
}

impl Target {
    /// Parses a target. Without a kind, as in `unit:`, a name without a slash and with a unit's
    /// suffix is a unit, and anything else a cgroup's path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let kinds = ["unit:", "cgroup:", "exe:", "pod:"];
        let kind = kinds.into_iter().find(|kind| text.starts_with(kind));
        let name = kind.map_or(text, |kind| text[kind.len()..].trim());
        if name.is_empty() {
            return Err(
                "a systemd unit or a cgroup's path is needed, as in \"rustfs.service\", or \
                 another selector, as in \"exe:rustfs\" or \"pod:rustfs-0\""
                    .to_owned(),
            );
        }
        if name.len() > MAX_PATH || name.contains(char::is_control) {
            let start: String = text.chars().take(64).collect();
            return Err(format!(
                "{start:?} is no cgroup's path and no other selector"
            ));
        }
        match kind {
            Some("unit:") => unit(name),
            Some("exe:") => exe(name),
            Some("pod:") => pod(name),
            Some(_) => path(name),
            None if !name.contains('/') && has_suffix(name) => Ok(Self::Unit(name.to_owned())),
            None => path(name),
        }
    }
}

fn path(text: &str) -> Result<Target, String> {
    match text.split('/').any(|part| part == "..") {
        true => Err(format!("{text:?}: write the cgroup's path without \"..\"")),
        false => Ok(Target::Path(text.to_owned())),
    }
}

fn unit(name: &str) -> Result<Target, String> {
    if name.contains('/') {
        return Err(format!("{name:?} is no unit's name, which has no slash"));
    }
    match has_suffix(name) {
        true => Ok(Target::Unit(name.to_owned())),
        false => Ok(Target::Unit(format!("{name}.service"))),
    }
}

fn exe(name: &str) -> Result<Target, String> {
    match name.contains('/') && !name.starts_with('/') {
        true => Err(format!(
            "{name:?}: write an executable's name, as in exe:rustfs, or its whole path"
        )),
        false => Ok(Target::Exe(name.to_owned())),
    }
}

fn pod(name: &str) -> Result<Target, String> {
    let stem = name.strip_suffix('*').unwrap_or(name);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    match !stem.is_empty() && name.len() <= MAX_POD && stem.chars().all(is_name) {
        true => Ok(Target::Pod(name.to_owned())),
        false => Err(format!(
            "{name:?} is neither the UID nor the name of a pod; the end of a name may be a *"
        )),
    }
}

fn has_suffix(text: &str) -> bool {
    let mut stems = SUFFIXES.iter().map(|suffix| text.strip_suffix(suffix));
    stems.any(|stem| stem.is_some_and(|name| !name.is_empty()))
}

/// The text from which it is parsed again.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(text) => f.write_str(text),
            // Such a path would otherwise be read as something else.
            Self::Path(path) if Self::parse(path).as_ref() != Ok(self) => {
                write!(f, "cgroup:{path}")
            }
            Self::Path(text) => f.write_str(text),
            Self::Exe(name) => write!(f, "exe:{name}"),
            Self::Pod(name) => write!(f, "pod:{name}"),
        }
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
    fn a_kind_may_be_written_before_the_name() {
        for (text, target) in [
            ("unit:rustfs", Target::Unit("rustfs.service".to_owned())),
            (
                "unit: rustfs.scope",
                Target::Unit("rustfs.scope".to_owned()),
            ),
            ("cgroup:a.service", Target::Path("a.service".to_owned())),
            ("cgroup:/a/b", Target::Path("/a/b".to_owned())),
            ("exe:rustfs", Target::Exe("rustfs".to_owned())),
            (
                "exe:/usr/bin/rustfs",
                Target::Exe("/usr/bin/rustfs".to_owned()),
            ),
            ("pod:rustfs-0", Target::Pod("rustfs-0".to_owned())),
            ("pod:rustfs-*", Target::Pod("rustfs-*".to_owned())),
        ] {
            assert_eq!(Target::parse(text).as_ref(), Ok(&target), "{text}");
            assert_eq!(Target::parse(&target.to_string()), Ok(target), "{text}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            "  ",
            "a/../b",
            "..",
            "a\nb",
            "a\0b",
            "exe:",
            "exe:a/b",
            "unit:a/b",
            "pod:*",
            "pod:A",
            "pod:a/b",
            "cgroup:..",
            "cgroup:",
        ] {
            assert!(Target::parse(text).is_err(), "{text:?}");
        }
        assert!(Target::parse(&"a".repeat(5000)).is_err());
        assert!(Target::parse(&format!("pod:{}", "a".repeat(300))).is_err());
    }
}
