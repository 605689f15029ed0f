//! `lab chaos` breaks a cluster in the lab on purpose, fault by fault, and says whether what must
//! happen happened: the resilience tests of the roll-out's checklist.
//!
//! Each fault ends after its time. If the program dies first, [`guard`] removes the whole lab.

mod fault;
pub mod guard;
mod play;

use std::{
    io::{Write as _, stdout},
    time::Duration,
};

use anyhow::ensure;
use clap::Args;
use detector_tests::{DaemonOptions, clock};

use self::{fault::Fault, play::Stage};

/// What `lab chaos` takes.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// Only this fault; may be repeated.
    #[arg(long, value_enum, value_name = "FAULT")]
    only: Vec<Fault>,
    /// How long each fault lasts, at least.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    hold: Duration,
}

/// The longest fault.
const LONGEST: f64 = 600.0;

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0.1..=LONGEST) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("say seconds, as in 2.5; 0.1 to {LONGEST}")),
    }
}

/// Plays the faults one after the other.
///
/// # Errors
///
/// If one of them does not pass; the others are played nevertheless.
pub async fn run(args: &ChaosArgs, options: DaemonOptions) -> anyhow::Result<()> {
    let begun = clock::now_ns();
    let _guard = guard::start()?;
    let stage = Stage::new(options).await?;
    let faults = match args.only.as_slice() {
        [] => &Fault::ALL[..],
        only => only,
    };
    let mut failed = 0;
    for fault in faults {
        writeln!(stdout(), "{:<28}{}", fault.name(), fault.expected())?;
        let (word, seen) = match stage.play(*fault, args.hold).await {
            Ok(seen) => ("pass", seen),
            Err(error) => {
                failed += 1;
                ("FAIL", format!("{error:#}"))
            }
        };
        writeln!(stdout(), "  {word}  {seen}")?;
    }
    let passed = faults.len() - failed;
    let took = clock::between(begun, clock::now_ns()).as_secs();
    writeln!(stdout(), "{passed} of {} pass, in {took} s", faults.len())?;
    ensure!(failed == 0, "{failed} of {} do not pass", faults.len());
    stage.end().await
}
