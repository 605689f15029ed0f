//! A cluster on a virtual clock, which drives the pure core with TCP as it behaves: what may
//! happen to hosts, links and this machine, over thousands of hours, against what must hold.
//!
//! A run depends on its script alone, and a script on its scenario and seed. The command
//! `cargo xtask simulate` runs as many as are asked for and shows how to run one again.

mod cases;
mod checks;
mod driver;
mod fault;
mod fidelity;
mod flow;
mod host;
mod properties;
mod queue;
mod report;
mod rng;
mod scenario;
mod script;
mod search;
mod shrink;
mod tcp;
mod ticks;
mod wire;
mod work;
mod world;

use std::time::Duration;

use crate::world::{Watch, run};

/// Every scenario with a few seeds, each twice and once more from what was recorded.
#[test]
fn every_scenario_holds_and_is_the_same_twice() {
    for (name, _) in scenario::SCENARIOS {
        for seed in 1..=2 {
            let script = scenario::script(name, seed, Duration::from_secs(150)).unwrap();
            let watch = Watch {
                replay: true,
                trace: false,
            };
            let first = run(&script, watch).unwrap_or_else(|violation| {
                panic!("{}", report::failure(&script, &violation, report::SHOWN));
            });
            let second = run(&script, Watch::default()).unwrap();
            assert_eq!(first.digest, second.digest, "{name} {seed}");
        }
    }
}

/// As many node-hours as the environment asks for: `cargo xtask simulate`.
#[test]
#[ignore = "takes minutes: cargo xtask simulate; a part of it, cargo xtask test"]
fn simulate() {
    if let Err(failure) = search::long_run(&search::Options::from_environment()) {
        panic!("{failure}");
    }
}
