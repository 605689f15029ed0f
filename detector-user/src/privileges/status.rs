//! Capabilities as /proc shows them (proc_pid_status(5)).

use std::{fs, io};

use rustix::thread::CapabilitySet;

/// The effective ones, in the text of a `/proc/PID/status`; none where it has none.
pub fn effective(status: &str) -> CapabilitySet {
    set(status, "CapEff:")
}

fn set(status: &str, field: &str) -> CapabilitySet {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    CapabilitySet::from_bits_retain(bits.unwrap_or(0))
}

/// The name and the permitted capabilities of each thread of this process.
pub(super) fn of_threads() -> io::Result<Vec<(String, CapabilitySet)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread that has ended meanwhile has none.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
        let name = name.unwrap_or_default().trim().to_owned();
        threads.push((name, set(&status, "CapPrm:")));
    }
    Ok(threads)
}
