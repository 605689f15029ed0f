//! A storage peer of the lab: see [`detector_tests::peer`].

use clap::Parser;
use detector_tests::peer;

/// A storage peer of the lab. Prints one JSON object a line.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: peer::Command,
}

fn main() -> anyhow::Result<()> {
    peer::run(Cli::parse().command)
}
