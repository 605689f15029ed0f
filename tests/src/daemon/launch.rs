//! The commands that start the daemon on a host.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;

use super::Via;
use crate::{Host, peers::beside};

/// The environment variable with the path of the daemon's binary. By default the one that was built
/// next to this program is used.
const BINARY: &str = "DETECTOR_BIN";

/// The detector's own program, which the tests run.
pub fn binary() -> anyhow::Result<PathBuf> {
    let binary = match env::var_os(BINARY) {
        Some(binary) => PathBuf::from(binary),
        None => beside("detector")?,
    };
    ensure!(
        binary.exists(),
        "{} is not there: cargo build -p detector-user, or name the daemon in {BINARY}",
        binary.display()
    );
    Ok(binary)
}

pub(super) fn via(host: &Host, via: Via, program: &str) -> Command {
    match via {
        Via::Direct => host.command(program),
        Via::WithoutTracefs => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", host.namespace(), program]);
            command
        }
        Via::WithoutBtf => {
            let hide = r#"mount -t tmpfs nodev /sys/kernel/btf && exec "$0" "$@""#;
            in_mount_namespace(host, hide, program)
        }
        Via::WithoutBpf => {
            let mut command = host.command("setpriv");
            command.args(["--bounding-set=-bpf,-perfmon,-sys_admin", "--", program]);
            command
        }
        Via::OwnUser => own_user(host, program),
        Via::OpenUmask => by_shell(host, "umask 0", program),
        Via::FewFiles => by_shell(host, "ulimit -n 128", program),
        Via::TimeNamespace => {
            let mut command = host.command("unshare");
            command.args(["--time", "--monotonic", "1000", "--", program]);
            command
        }
        Via::SmallDisk => {
            let small = r#"mount -t tmpfs -o size=64k nodev /mnt && exec "$0" "$@""#;
            in_mount_namespace(host, small, program)
        }
    }
}

/// After this command of the shell.
fn by_shell(host: &Host, before: &str, program: &str) -> Command {
    let mut command = host.command("sh");
    command.args(["-c", &format!(r#"{before} && exec "$0" "$@""#), program]);
    command
}

/// As systemd starts it by `deploy/detector.service`.
fn own_user(host: &Host, program: &str) -> Command {
    const CAPABILITIES: &str = "-all,+bpf,+perfmon,+net_admin,+net_raw";
    let (user, group) = Via::OWN_USER;
    let mut command = host.command("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}")]);
    for set in ["inh-caps", "ambient-caps", "bounding-set"] {
        command.arg(format!("--{set}={CAPABILITIES}"));
    }
    command.args(["--clear-groups", "--no-new-privs", "--", program]);
    command
}

/// In a mount namespace of its own, where the file lies over /etc/hosts.
pub(super) fn with_hosts(host: &Host, file: &Path, program: &str) -> Command {
    let lay_over = format!(
        r#"mount --bind {} /etc/hosts && exec "$0" "$@""#,
        file.display()
    );
    in_mount_namespace(host, &lay_over, program)
}

/// The script mounts what it will, and becomes the program.
fn in_mount_namespace(host: &Host, script: &str, program: &str) -> Command {
    let mut command = host.command("unshare");
    command.args(["--mount", "--", "sh", "-c", script, program]);
    command
}
