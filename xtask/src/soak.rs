//! `cargo xtask soak`: the lab for as long as one likes, with one random fault after the other.
//!
//! It is the suite `soak` of the lab tests, which every change passes for a minute.

use anyhow::Result;

use crate::{step::Runner, test, workspace::Workspace};

/// The options of `cargo xtask soak`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long; the fault that has begun by then is the last.
    #[arg(long, value_name = "N", default_value_t = 60)]
    minutes: u64,
    /// Which faults, in which order; random by default, and printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let mut settings = vec![("DETECTOR_SOAK_SECONDS", (options.minutes * 60).to_string())];
    if let Some(seed) = options.seed {
        settings.push(("DETECTOR_SOAK_SEED", seed.to_string()));
    }
    test::suite(runner, workspace, "soak", settings)
}
