//! Finds the namespaces that an operator names.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::NamespaceError;
use crate::{config::Target, process::Finder};

/// Namespaces by number, each with a file that stands for it now.
pub(super) type Found = BTreeMap<u32, PathBuf>;

/// The namespaces of a target: the one of a file, or those of a service's processes. Empty while
/// the target does not exist. Nothing is held open.
pub(super) fn find(finder: &Finder, target: &Target) -> Result<Found, NamespaceError> {
    if let Target::Path(path) = target
        && let Some(id) = of_file(Path::new(path))?
    {
        return Ok(Found::from([(id, PathBuf::from(path))]));
    }
    of_processes(&finder.processes(target))
}

/// The namespaces of a service's processes, as far as they belong to the daemon's own user
/// namespace. Any process can create a user namespace with networks in it that have arbitrary
/// addresses, so what is heard there proves nothing. Without privilege no process can enter a
/// network of another user namespace (setns(2)), so the process's user namespace shows to which one
/// its network belongs.
fn of_processes(processes: &[u32]) -> Result<Found, NamespaceError> {
    let own = Own::read()?;
    let mut found = Found::new();
    let mut refused = None;
    for process in processes {
        match of_process(*process, &own) {
            Ok(Some((id, path))) => {
                found.entry(id).or_insert(path);
            }
            // The process has ended in the meantime.
            Ok(None) => {}
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// The namespaces of the daemon itself.
struct Own {
    network: Option<u32>,
    user: Option<u32>,
}

impl Own {
    fn read() -> Result<Self, NamespaceError> {
        Ok(Self {
            network: of_file(Path::new("/proc/self/ns/net"))?,
            user: of_file(Path::new("/proc/self/ns/user"))?,
        })
    }
}

fn of_process(process: u32, own: &Own) -> Result<Option<(u32, PathBuf)>, NamespaceError> {
    // The open directory stands for this process, and for no later one with the same number.
    let Ok(held) = File::open(format!("/proc/{process}")) else {
        return Ok(None);
    };
    let of = |kind| {
        of_file(Path::new(&format!(
            "/proc/self/fd/{}/ns/{kind}",
            held.as_raw_fd()
        )))
    };
    let path = PathBuf::from(format!("/proc/{process}/ns/net"));
    let Some(id) = of("net").map_err(|error| error.at(&path))? else {
        return Ok(None);
    };
    // This is read last: a process that leaves its user namespace can never return to it.
    let user = of("user").map_err(|error| error.at(&path))?;
    match user == own.user || Some(id) == own.network {
        true => Ok(Some((id, path))),
        false if user.is_none() => Ok(None),
        false => Err(NamespaceError::Foreign { path }),
    }
}

/// The number of the namespace that the file stands for; `None` if there is no such file.
fn of_file(path: &Path) -> Result<Option<u32>, NamespaceError> {
    match fs::metadata(path) {
        // The path of a cgroup is a directory.
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
    use crate::{cgroup::Tree, netns};

    fn target(text: impl Into<String>) -> Target {
        Target::parse(&text.into()).unwrap()
    }

    fn ids(tree: Option<&Tree>, text: &str) -> Vec<u32> {
        let finder = Finder::at(tree.cloned(), Path::new("/proc"));
        let found = find(&finder, &target(text)).unwrap();
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
        // Above /proc/sys/kernel/pid_max, like a process that has just ended.
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

    /// The process creates namespaces for itself, as any process can.
    #[test]
    fn a_network_of_a_user_namespace_of_its_own_is_not_the_node_s() {
        let mut unshare = std::process::Command::new("unshare");
        let started = unshare
            .args(["--user", "--map-root-user", "--net", "sh", "-c"])
            .arg("echo; read _end")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn();
        let Ok(mut child) = started else {
            eprintln!("skipped: there is no `unshare` here");
            return;
        };
        let mut ready = [0];
        let out = child.stdout.as_mut().unwrap();
        let is_ready = std::io::Read::read(out, &mut ready).unwrap() == 1;
        let found = of_processes(&[child.id()]);
        let beside = of_processes(&[child.id(), std::process::id()]);
        let nowhere = Finder::at(None, Path::new("/proc"));
        let by_name = find(&nowhere, &target(format!("/proc/{}/ns/net", child.id())));
        drop(child.stdin.take());
        child.wait().unwrap();
        if !is_ready {
            eprintln!("skipped: no user namespaces are to be had here");
            return;
        }
        let foreign = found.unwrap_err();
        assert!(
            matches!(foreign, NamespaceError::Foreign { .. }),
            "{foreign}"
        );
        let own = netns::own().unwrap();
        assert_eq!(beside.unwrap().into_keys().collect::<Vec<_>>(), [own]);
        assert_eq!(by_name.unwrap().len(), 1, "the operator has named it");
    }
}
