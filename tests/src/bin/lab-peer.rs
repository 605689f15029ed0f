//! A storage peer of the lab: see [`detector_tests::peer`].

use clap::Parser;
use detector_tests::{STAND_IN, peer};

/// A storage peer of the lab. Prints one JSON object a line.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: peer::Command,
}

fn main() -> anyhow::Result<()> {
    let cli = match std::env::var(STAND_IN) {
        Ok(line) => Cli::parse_from(["lab-peer"].into_iter().chain(line.split_whitespace())),
        Err(_) => Cli::parse(),
    };
    peer::run(cli.command)
}
