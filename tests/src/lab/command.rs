//! Runs `ip` and `nft`; errors say what was tried.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use nix::unistd::Pid;

/// Where `ip netns` keeps namespaces.
pub(super) const NETNS: &str = "/run/netns";

/// A command that runs in the namespace. `nsenter` and not `ip netns exec`, which mounts a new
/// /sys: cgroups and all that is mounted below would be gone. `nsenter` becomes the program, so the process id is the program's own.
pub(super) fn in_namespace(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={NETNS}/{namespace}"))
        .arg("--")
        .arg(program);
    command
}

/// As [`in_namespace`], with the process ids and the mounts of this process's children. `nsenter`
/// stays as the program's parent here, and the program ends with it.
pub(super) fn in_machine(machine: Pid, namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--pid=/proc/{machine}/ns/pid_for_children"))
        .arg(format!("--mount=/proc/{machine}/ns/mnt"))
        .arg(format!("--net={NETNS}/{namespace}"))
        .args(["--", "setpriv", "--pdeathsig", "KILL", program]);
    command
}

/// The same command, in a cgroup from its first moment on.
pub(super) fn in_cgroup(procs: &Path, entered: &Command) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
        .arg(procs)
        .arg(entered.get_program())
        .args(entered.get_args());
    command
}

/// Runs the command to its end; returns its output, or an error with its stderr.
pub(super) fn run(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {what}: is it installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that fails early closes its end; its own words say more.
        let _early = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {what}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{what} failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs lines of `ip`, stopping at the first that fails.
pub(super) fn ip_batch(namespace: Option<&str>, lines: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    run(command.args(["-batch", "-"]), lines).map(|_| ())
}
