//! The command line: parses it, runs the command, prints errors and exits with the documented code.

mod args;
mod changes;
mod client;
mod config;
mod correlations;
mod daemons;
mod doctor;
mod exit;
mod journal;
mod lines;
mod log;
mod overrides;
mod replay;
mod report;
mod run;
mod top;
mod tune;
mod watch;

use std::{
    future::Future,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};

use self::{
    args::{Cli, Command},
    exit::{Exit, Failure},
};
use crate::{json, text};

/// How long a runtime may take to shut down: each lookup in progress blocks a thread, and the
/// system's resolver cannot be interrupted.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(200);

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match command(&cli) {
        Ok(exit) => exit,
        Err(failure) => {
            // If stderr is closed, the message cannot be delivered.
            let _ = io::stderr().write_all(text::printable(&failure.message()).as_bytes());
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}

fn command(cli: &Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Run(args) => run::run(global, args),
        Command::Replay(args) => replay::replay(global, args),
        Command::Peers => block_on(client::peers(global)),
        Command::Watch => block_on(watch::watch(global)),
        Command::Top(args) => block_on(top::top(global, args)),
        Command::Explain { peer } => block_on(client::explain(global, peer)),
        Command::Report(args) => report::report(global, args),
        Command::Locks => block_on(correlations::locks(global)),
        Command::Cascades => block_on(correlations::cascades(global)),
        Command::Quorum => block_on(correlations::quorum(global)),
        Command::Tune(args) => block_on(tune::tune(global, args)),
        Command::Maintenance(args) => block_on(overrides::maintenance(global, args)),
        Command::Override(args) => block_on(overrides::r#override(global, args)),
        Command::Doctor(args) => doctor::doctor(global, args),
        Command::Config(command) => config::config(global, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "detector", &mut script);
            io::stdout().write_all(&script)?;
            Ok(Exit::Done)
        }
        Command::Manual { directory } => {
            clap_mangen::generate_to(Cli::command(), directory)
                .with_context(|| format!("cannot write into {}", directory.display()))?;
            Ok(Exit::Done)
        }
    }
}

/// Runs a command on one thread, which is enough for a request. The daemon waits far more than it
/// works: with several threads, every timer and answer would wake another one, which costs more than
/// the work itself.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    result
}

/// Prints to stdout and flushes it.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text::printable(text).as_bytes())?;
    stdout.flush()
}
