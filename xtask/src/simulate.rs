//! `cargo xtask simulate`: runs the simulated cluster on a virtual clock, for any number of
//! node-hours.
//!
//! The simulation is an integration test of `detector-user`. This runs its long test in release
//! mode, with the options in its environment.

use anyhow::Result;

use crate::{
    invocation::Invocation,
    step::{Runner, Step},
};

const SEED: u64 = 1;
const NODE_HOURS: u32 = 10_000;
/// The node-hours that every change has to pass.
const CHECKED_NODE_HOURS: u32 = 100;

/// The options of `cargo xtask simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Seed of the first run; each later run has the next number. With --cases, the seed of all
    /// scripts; random by default.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Nodes times hours to simulate.
    #[arg(long, value_name = "H", default_value_t = NODE_HOURS)]
    node_hours: u32,
    /// Only this scenario; an unknown name lists them.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Instead of scenarios, run this many random scripts from proptest.
    #[arg(long, value_name = "N", conflicts_with_all = ["scenario", "node_hours", "trace"])]
    cases: Option<u32>,
    /// Show all recorded events before a failure, not only the last ones.
    #[arg(long)]
    trace: bool,
}

impl Default for Options {
    /// The options with which `cargo xtask test` runs it.
    fn default() -> Self {
        Self {
            seed: None,
            node_hours: CHECKED_NODE_HOURS,
            scenario: None,
            cases: None,
            trace: false,
        }
    }
}

/// Runs the simulation. The first broken rule ends it, with the shortest script that breaks the
/// rule.
pub fn run(runner: &Runner, options: &Options) -> Result<()> {
    runner.heading("simulation");
    let title = match options.cases {
        Some(cases) => format!("simulate {cases} scripts that are made up"),
        None => format!("simulate {} node-hours", options.node_hours),
    };
    runner.run(&Step::new(
        title,
        "hosts, links and pauses on a virtual clock, against what must always hold",
        invocation(options),
    ))
}

fn invocation(options: &Options) -> Invocation {
    match options.cases {
        Some(cases) => made_up(options, cases),
        None => scenarios(options),
    }
}

fn made_up(options: &Options, cases: u32) -> Invocation {
    let cargo = simulation("properties::")
        .args(["--include-ignored"])
        .env("DETECTOR_SIMULATE_CASES", cases.to_string());
    match options.seed {
        Some(seed) => cargo.env("DETECTOR_SIMULATE_SEED", seed.to_string()),
        None => cargo,
    }
}

fn scenarios(options: &Options) -> Invocation {
    let seed = options.seed.unwrap_or(SEED);
    let cargo = simulation("simulate")
        .args(["--exact", "--ignored"])
        .env("DETECTOR_SIMULATE_SEED", seed.to_string())
        .env(
            "DETECTOR_SIMULATE_NODE_HOURS",
            options.node_hours.to_string(),
        );
    let cargo = match &options.scenario {
        Some(name) => cargo.env("DETECTOR_SIMULATE_SCENARIO", name),
        None => cargo,
    };
    if options.trace {
        cargo.env("DETECTOR_SIMULATE_TRACE", "1")
    } else {
        cargo
    }
}

/// The command for these tests of the simulation, in release mode.
fn simulation(tests: &str) -> Invocation {
    Invocation::cargo()
        .args(["test", "--release", "--package", "detector-user"])
        .args(["--test", "simulation", "--"])
        .args([tests, "--nocapture"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_reaches_the_test() {
        let options = Options {
            seed: Some(7),
            scenario: Some("cuts".to_owned()),
            trace: true,
            ..Options::default()
        };
        let shown = invocation(&options).display(false);
        for word in [
            "DETECTOR_SIMULATE_SEED=7",
            "DETECTOR_SIMULATE_NODE_HOURS=100",
            "DETECTOR_SIMULATE_SCENARIO=cuts",
            "DETECTOR_SIMULATE_TRACE=1",
            "--release",
        ] {
            assert!(shown.contains(word), "{shown}");
        }
        let shown = invocation(&Options::default()).display(false);
        assert!(!shown.contains("SCENARIO") && !shown.contains("TRACE"));
        assert!(shown.contains("DETECTOR_SIMULATE_SEED=1"), "{shown}");
    }

    #[test]
    fn made_up_scripts_have_any_seed_unless_one_is_asked_for() {
        let options = Options {
            cases: Some(500),
            ..Options::default()
        };
        let shown = invocation(&options).display(false);
        assert!(shown.contains("DETECTOR_SIMULATE_CASES=500"), "{shown}");
        assert!(!shown.contains("SEED"), "{shown}");
        let seed = Some(7);
        let shown = invocation(&Options { seed, ..options }).display(false);
        assert!(shown.contains("DETECTOR_SIMULATE_SEED=7"), "{shown}");
    }
}
