//! What a process has spent, as the kernel counts it.

use std::fs;

use anyhow::Context as _;
use nix::unistd::Pid;

/// How often its threads have gone to sleep, and so were woken. Threads that have ended are not
/// included; the daemon's threads do not end.
pub fn wake_ups(process: Pid) -> anyhow::Result<u64> {
    of_threads(process, "status", |text| {
        field(text, "voluntary_ctxt_switches:")
    })
}

/// The nanoseconds that its threads ran on a CPU.
pub fn cpu_ns(process: Pid) -> anyhow::Result<u64> {
    of_threads(process, "schedstat", |text| {
        let first = text.split_whitespace().next();
        Ok(first.context("it is empty")?.parse()?)
    })
}

/// Its resident memory.
pub fn resident_kib(process: Pid) -> anyhow::Result<u64> {
    field(&status(process)?, "VmRSS:")
}

/// Its resident memory that is not of files: its heap and stacks.
pub fn anonymous_kib(process: Pid) -> anyhow::Result<u64> {
    field(&status(process)?, "RssAnon:")
}

fn status(process: Pid) -> anyhow::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{process}/status"))?)
}

fn field(status: &str, name: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    let value = value.with_context(|| format!("no {name} in the process's status"))?;
    Ok(value.parse()?)
}

fn of_threads(
    process: Pid,
    file: &str,
    read: impl Fn(&str) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let file = task?.path().join(file);
        let text = fs::read_to_string(&file)?;
        sum += read(&text).with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(sum)
}
