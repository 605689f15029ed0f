//! `cargo xtask simulate`: runs the simulated cluster on a virtual clock, for any number of
//! node-hours.
//!
//! The simulation is an integration test of `detector-user`; this runs its long test in
//! release mode, with the options in its environment. [`check`] is the short run of
//! `cargo xtask test`; it uses the debug build of the unit tests.

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
    /// How long each run is, by its own clock. By default an hour, or less if there would not be a
    /// run of every scenario.
    #[arg(long, value_name = "S")]
    seconds: Option<u32>,
    /// Only this scenario; an unknown name lists them.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Instead of scenarios, run this many random scripts from proptest.
    #[arg(long, value_name = "N", conflicts_with_all = ["scenario", "node_hours", "seconds", "trace"])]
    cases: Option<u32>,
    /// Show every event before a failure, from the start of the run.
    #[arg(long)]
    trace: bool,
}

/// The run that every change has to pass: every scenario at least once. An optimised build would take minutes, and this run takes
/// about one in the debug build.
pub fn check(runner: &Runner) -> Result<()> {
    let options = Options {
        seed: None,
        node_hours: CHECKED_NODE_HOURS,
        seconds: None,
        scenario: None,
        cases: None,
        trace: false,
    };
    start(runner, Build::Debug, &options)
}

/// Runs the simulation. The first broken rule ends it, with the shortest script that breaks the
/// rule.
pub fn run(runner: &Runner, options: &Options) -> Result<()> {
    start(runner, Build::Release, options)
}

#[derive(Clone, Copy, Debug)]
enum Build {
    Debug,
    Release,
}

fn start(runner: &Runner, build: Build, options: &Options) -> Result<()> {
    runner.heading("simulation");
    let title = match options.cases {
        Some(cases) => format!("simulate {cases} scripts that are made up"),
        None => format!("simulate {} node-hours", options.node_hours),
    };
    runner.run(&Step::new(
        title,
        "hosts, links and pauses on a virtual clock, against what must always hold",
        invocation(build, options),
    ))
}

fn invocation(build: Build, options: &Options) -> Invocation {
    match options.cases {
        Some(cases) => made_up(build, options, cases),
        None => scenarios(build, options),
    }
}

fn made_up(build: Build, options: &Options, cases: u32) -> Invocation {
    let cargo = simulation(build, "properties::")
        .args(["--include-ignored"])
        .env("DETECTOR_SIMULATE_CASES", cases.to_string());
    match options.seed {
        Some(seed) => cargo.env("DETECTOR_SIMULATE_SEED", seed.to_string()),
        None => cargo,
    }
}

fn scenarios(build: Build, options: &Options) -> Invocation {
    let seed = options.seed.unwrap_or(SEED);
    let cargo = simulation(build, "simulate")
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
    let cargo = match options.seconds {
        Some(seconds) => cargo.env("DETECTOR_SIMULATE_SECONDS", seconds.to_string()),
        None => cargo,
    };
    if options.trace {
        cargo.env("DETECTOR_SIMULATE_TRACE", "1")
    } else {
        cargo
    }
}

/// The command for these tests of the simulation. In the debug build it has the features of all
/// default members, like the unit tests: nothing is compiled again.
fn simulation(build: Build, tests: &str) -> Invocation {
    let cargo = Invocation::cargo("test");
    let cargo = match build {
        Build::Debug => cargo,
        Build::Release => cargo.args(["--release", "--package", "detector-user"]),
    };
    cargo
        .args(["--test", "simulation", "--"])
        .args([tests, "--nocapture"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `cargo xtask simulate` with these words.
    fn shown(words: &[&str]) -> String {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            options: Options,
        }
        let words = [&["simulate"], words].concat();
        let cli = <Cli as clap::Parser>::parse_from(words);
        invocation(Build::Release, &cli.options).display(false)
    }

    #[test]
    fn what_is_asked_for_reaches_the_test() {
        let words = [
            "--seed",
            "7",
            "--seconds",
            "90",
            "--scenario",
            "cuts",
            "--trace",
        ];
        let asked = shown(&words);
        for word in [
            "DETECTOR_SIMULATE_SEED=7",
            "DETECTOR_SIMULATE_SECONDS=90",
            "DETECTOR_SIMULATE_SCENARIO=cuts",
            "DETECTOR_SIMULATE_TRACE=1",
            "--release",
        ] {
            assert!(asked.contains(word), "{asked}");
        }
        let asked = shown(&[]);
        for left_out in ["SCENARIO", "SECONDS", "TRACE"] {
            assert!(!asked.contains(left_out), "{asked}");
        }
        assert!(asked.contains("DETECTOR_SIMULATE_SEED=1"), "{asked}");
    }

    #[test]
    fn made_up_scripts_have_any_seed_unless_one_is_asked_for() {
        let asked = shown(&["--cases", "500"]);
        assert!(asked.contains("DETECTOR_SIMULATE_CASES=500"), "{asked}");
        assert!(!asked.contains("SEED"), "{asked}");
        let shown = shown(&["--cases", "500", "--seed", "7"]);
        assert!(shown.contains("DETECTOR_SIMULATE_SEED=7"), "{shown}");
    }
}
