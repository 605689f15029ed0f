//! The suites of lab tests: which run several tests at once, and which one at a time, and why.
//!
//! A lab's namespaces, sockets and cgroups have names of their own, and a daemon hears nothing of
//! other labs. So most tests can run beside each other: they wait for silence and need little of a
//! processor. What is here [`Beside::Alone`] needs the machine, or its test process, for itself.

use Beside::{Alone, Others};

/// What else may run while a test of the suite runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Tests of the same suite.
    Others,
    /// Nothing of ours, for this reason.
    Alone(&'static str),
}

/// A file or a folder of `tests/tests`, which cargo builds into one program.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub name: &'static str,
    pub beside: Beside,
}

/// All of them, by name. Those that run alone have to say why.
pub const SUITES: [Suite; 40] = [
    suite("alive", Others),
    suite("bench", Alone("it measures rates, in labs of its own")),
    suite("boot", Others),
    suite("bundle", Others),
    suite("certain", Others),
    suite(
        "chaos",
        Alone("it plays flaps that are short of the detection time"),
    ),
    suite("clients", Others),
    suite("clock", Others),
    suite(
        "cost",
        Alone("it counts wake-ups, which a busy machine merges"),
    ),
    suite("crashes", Others),
    suite("cuts", Others),
    suite("destroy", Others),
    suite("enemy", Others),
    suite("gray", Others),
    suite("idle", Alone("it counts how often a daemon is woken")),
    suite("interfaces", Others),
    suite(
        "keepalive",
        Alone("it floods a connection from all processors"),
    ),
    suite("kernel", Others),
    suite("kubernetes", Others),
    suite("lifecycle", Alone("it measures how long a stop takes")),
    suite("namespaces", Others),
    suite("network", Alone("it measures its own process's CPU time")),
    suite("overrides", Others),
    suite(
        "package",
        Alone("it is one test, and the first on a machine takes minutes"),
    ),
    suite("paging", Alone("it measures how long a page takes")),
    suite(
        "peers",
        Alone("it starves a program of its processor, and measures that"),
    ),
    suite(
        "pods",
        Alone("it waits 3 s at most for each answer, with all processors at work"),
    ),
    suite("privileges", Others),
    suite("probes", Others),
    suite(
        "protect",
        Alone("it moves the test process into a cgroup for a while"),
    ),
    suite("record", Others),
    suite("reported_cases", Others),
    suite("reports", Others),
    suite("soak", Others),
    suite("sources", Others),
    suite(
        "status",
        Alone("a browser takes all processors, and its page is measured"),
    ),
    suite(
        "store",
        Alone("it measures how long a client waits, with all processors at work"),
    ),
    suite(
        "stores",
        Alone("its daemons find every program of this machine that is called rustfs"),
    ),
    suite("systemd", Others),
    suite("upgrade", Others),
];

const fn suite(name: &'static str, beside: Beside) -> Suite {
    Suite { name, beside }
}

/// The names of the suites that run several tests at once.
pub fn together() -> impl Iterator<Item = &'static str> {
    let together = SUITES.iter().filter(|suite| suite.beside == Others);
    together.map(|suite| suite.name)
}

/// The names of the suites that run one test at a time.
pub fn alone() -> impl Iterator<Item = &'static str> {
    let alone = SUITES.iter().filter(|suite| suite.beside != Others);
    alone.map(|suite| suite.name)
}

/// How many tests of a suite run at once where nobody says how many, on a machine with this many
/// processors. Most of them wait; six are what the benchmark has been tried with.
pub fn jobs(processors: usize) -> usize {
    (processors + processors / 2).clamp(1, 6)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_suite_there_is_has_its_place() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests");
        let there: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let named: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        assert!(named.is_sorted(), "{named:?}");
        assert_eq!(there, named.into_iter().map(str::to_owned).collect());
    }

    #[test]
    fn a_small_machine_runs_several_at_once_and_a_large_one_no_more_than_six() {
        assert_eq!([0, 1, 2, 4, 64].map(jobs), [1, 1, 3, 6, 6]);
    }
}
