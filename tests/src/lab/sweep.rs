//! Removes labs, including those whose owners have died.

use std::{fs, io::ErrorKind, path::Path, process::Command};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{PREFIX, command};

/// Removes every lab whose owner is no longer alive.
pub(super) fn sweep() -> anyhow::Result<()> {
    remove_where(|owner| !Path::new(&format!("/proc/{owner}")).exists())
}

fn remove_where(is_meant: impl Fn(u32) -> bool) -> anyhow::Result<()> {
    let entries = match fs::read_dir(command::NETNS) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(format!("cannot read {}", command::NETNS)),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((name, owner)) = name.to_str().and_then(|name| Some((name, owner(name)?))) else {
            continue;
        };
        if is_meant(owner) {
            remove(name)?;
        }
    }
    Ok(())
}

/// Removes every lab of this process, whether it is alive or not.
pub(super) fn sweep_of(process: u32) -> anyhow::Result<()> {
    remove_where(|owner| owner == process)
}

/// The process that made the namespace, if a lab did.
fn owner(namespace: &str) -> Option<u32> {
    let (owner, _) = namespace.strip_prefix(PREFIX)?.split_once('-')?;
    owner.parse().ok()
}

/// Kills what runs in the namespace and removes it. One that is not there is no error.
pub(super) fn remove(namespace: &str) -> anyhow::Result<()> {
    if !Path::new(command::NETNS).join(namespace).exists() {
        return Ok(());
    }
    let pids = match command::run(Command::new("ip").args(["netns", "pids", namespace]), "") {
        // Someone else swept it at the same time.
        Err(_) if !Path::new(command::NETNS).join(namespace).exists() => return Ok(()),
        pids => pids?,
    };
    for pid in pids.lines().filter_map(|pid| pid.trim().parse().ok()) {
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("lab: cannot kill {pid} in {namespace}: {error}"),
        }
    }
    let removed = command::run(Command::new("ip").args(["netns", "del", namespace]), "");
    match removed {
        // Someone else swept it at the same time.
        Err(_) if !Path::new(command::NETNS).join(namespace).exists() => Ok(()),
        removed => removed.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lab_namespaces_have_an_owner() {
        assert_eq!(owner("dtl-123-1-h2"), Some(123));
        assert_eq!(owner("dtl-x-h2"), None);
        assert_eq!(owner("dtl-123"), None);
        assert_eq!(owner("other-123-1-h2"), None);
    }
}
