//! What is checked on each kernel: tests of the lab, by their names.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Result, ensure};

use super::arch::Arch;

/// A check: one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// A suite of `tests/tests`.
    pub suite: &'static str,
    pub test: &'static str,
}

/// All of them, in the order in which they run. The sleep is last: QEMU's firmware does not set up
/// all of the machine again after it.
pub const CHECKS: [Check; 13] = [
    check(
        "support",
        "kernel",
        "doctor_tells_what_it_has_and_what_stands_in_for_the_rest",
    ),
    check("cut", "sources", "ebpf"),
    check("fallback", "sources", "auto_falls_back_without_btf"),
    check("deaf host", "gray", "silent::a_deaf_host"),
    check("stalled flow", "gray", "stalled::one_flow_one_way"),
    check(
        "destroy",
        "destroy",
        "calls::an_unmodified_program_gets_its_calls_back",
    ),
    check(
        "own kills",
        "destroy",
        "kernel::the_tracepoints_tell_our_own_kills_apart",
    ),
    check(
        "refuse",
        "protect",
        "refuse::protect_refuses_connects_from_open_on_until_the_peer_is_back",
    ),
    check(
        "tune",
        "protect",
        "tune::new_connections_with_peers_are_tuned_in_the_cgroup_alone",
    ),
    check(
        "keepalive",
        "keepalive",
        "rounds::all_flows_with_a_living_host_are_answered_once",
    ),
    check(
        "silence",
        "keepalive",
        "silence::a_cut_host_answers_nothing_until_it_is_back",
    ),
    check("clock", "clock", "a_wall_clock_that_is_set_changes_nothing"),
    check(
        "suspend",
        "clock",
        "a_machine_that_slept_finds_who_died_and_nobody_else",
    ),
];

const fn check(name: &'static str, suite: &'static str, test: &'static str) -> Check {
    Check { name, suite, test }
}

/// A guest of this processor does not sleep: QEMU's `virt` has no firmware that would wake it.
const ASLEEP_FOR_GOOD: (Arch, &str) = (Arch::Arm64, "suspend");

/// All that run on this processor.
pub fn on(arch: Arch) -> impl Iterator<Item = Check> {
    let runs = move |check: &Check| (arch, check.name) != ASLEEP_FOR_GOOD;
    CHECKS.into_iter().filter(runs)
}

/// The checks on this processor whose name contains one of these; all if none is given.
pub fn named(arch: Arch, names: &[String]) -> Result<Vec<Check>> {
    let is_meant = |check: &Check| {
        names.is_empty() || names.iter().any(|name| check.name.contains(name.as_str()))
    };
    let meant: Vec<Check> = on(arch).filter(is_meant).collect();
    ensure!(
        !meant.is_empty(),
        "no check has such a name; there are: {}",
        CHECKS.map(|check| check.name).join(", ")
    );
    Ok(meant)
}

/// The suites of these checks.
pub fn suites(checks: &[Check]) -> BTreeSet<&'static str> {
    checks.iter().map(|check| check.suite).collect()
}

/// The list as the guest reads it: a check a line.
pub fn list(checks: &[Check]) -> String {
    let mut list = String::new();
    for Check { name, suite, test } in checks {
        let _infallible = writeln!(list, "{suite} {test} {name}");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_found_by_a_part_of_its_name() {
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            named(Arch::Amd64, &names).map(|checks| checks.len()).ok()
        };
        assert_eq!(found(&[]), Some(CHECKS.len()));
        assert_eq!(found(&["deaf", "tune"]), Some(2));
        assert_eq!(found(&["nothing"]), None);
        assert_eq!(
            found(&super::super::ALWAYS),
            Some(super::super::ALWAYS.len())
        );
    }
}
