//! Where the namespaces are that an operator names.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::NamespaceError;
use crate::{cgroup::Tree, config::Target};

/// Namespaces by number, each with a file that stands for it now.
pub(super) type Found = BTreeMap<u32, PathBuf>;

/// Those of a target: the one of a file, or those of a service's processes. None while it is
/// not there. Nothing is held open.
pub(super) fn find(tree: Option<&Tree>, target: &Target) -> Result<Found, NamespaceError> {
    if let Target::Path(path) = target
        && let Some(id) = of_file(Path::new(path))?
    {
        return Ok(Found::from([(id, PathBuf::from(path))]));
    }
    let Some(tree) = tree else {
        return Ok(Found::new());
    };
    let Some(cgroup) = tree.locate(target) else {
        return Ok(Found::new());
    };
    of_processes(&tree.processes(&cgroup))
}

fn of_processes(processes: &[u32]) -> Result<Found, NamespaceError> {
    let mut found = Found::new();
    let mut refused = None;
    for process in processes {
        let path = PathBuf::from(format!("/proc/{process}/ns/net"));
        match of_file(&path) {
            Ok(Some(id)) => {
                found.entry(id).or_insert(path);
            }
            // It has ended since.
            Ok(None) => {}
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// The number of the namespace that the file stands for; `None` where there is no such file.
fn of_file(path: &Path) -> Result<Option<u32>, NamespaceError> {
    match fs::metadata(path) {
        // A cgroup's path is one of a directory.
        Ok(metadata) if metadata.is_file() => Ok(u32::try_from(metadata.ino()).ok()),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(source) => Err(NamespaceError::Look {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    fn target(text: impl Into<String>) -> Target {
        Target::parse(&text.into()).unwrap()
    }

    fn ids(tree: Option<&Tree>, text: &str) -> Vec<u32> {
        let found = find(tree, &target(text)).unwrap();
        found.into_keys().collect()
    }

    #[test]
    fn a_namespace_is_found_by_its_file_or_its_service() {
        let own = netns::own().unwrap();
        assert_eq!(ids(None, "/proc/self/ns/net"), [own]);
        assert!(ids(None, "/run/netns/no-such-namespace").is_empty());

        let root = tempfile::tempdir().unwrap();
        let tree = Tree::at(root.path());
        assert!(ids(Some(&tree), "a.service").is_empty());
        let cgroup = root.path().join("system.slice/a.service");
        fs::create_dir_all(&cgroup).unwrap();
        assert!(ids(Some(&tree), "a.service").is_empty());
        // Beyond /proc/sys/kernel/pid_max, as if it had just ended.
        let processes = format!("4194305\n{}\n", std::process::id());
        fs::write(cgroup.join("cgroup.procs"), processes).unwrap();
        for text in [
            "a.service",
            "/system.slice/a.service",
            &cgroup.to_string_lossy(),
        ] {
            assert_eq!(ids(Some(&tree), text), [own], "{text}");
            assert!(ids(None, text).is_empty(), "{text}");
        }
    }
}
