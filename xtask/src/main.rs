//! Sets up, builds, runs and tests the project: the same commands that CI runs.
//!
//! [`facts`] inspects the machine, [`plan`] decides from the facts, purely, and [`setup`] carries
//! the plan out. [`commands`], [`mod@test`], [`vm`] and [`dist`] are the subcommands.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{step::Runner, workspace::Workspace};

mod alerts;
mod commands;
mod dist;
mod ebpf;
mod facts;
mod fuzz;
mod invocation;
mod mutants;
mod pins;
mod plan;
mod proof;
mod release;
mod setup;
mod simulate;
mod soak;
mod step;
mod suites;
#[cfg(test)]
mod supply;
mod test;
mod vm;
mod workspace;

/// Sets up, builds, runs and tests the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Print every step (what, why, the command, whether it needs root) and change nothing.
    #[arg(long, global = true)]
    dry_run: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing: the eBPF toolchain and the tools of the tests.
    Setup,
    /// Build the eBPF object, target/ebpf/detector.o.
    BuildEbpf,
    /// Build the daemon and start it on this host, printing verdicts.
    Run(Passed),
    /// Run every test: unit tests, the simulation, lab tests, alert rules.
    Test(test::Options),
    /// Run lab tests on other kernels: Debian's, in QEMU.
    TestVm(vm::Options),
    /// Simulate a cluster on a virtual clock, and check the rules that must always hold.
    Simulate(simulate::Options),
    /// Run the lab for an hour with one random fault after the other: nothing may grow, every
    /// fault is found, and nobody else dies.
    Soak(soak::Options),
    /// Search with libFuzzer for bytes from others that bring the daemon down.
    Fuzz(fuzz::Options),
    /// Change the rule and the session in small ways, and look which changes no test sees: an hour.
    Mutants(mutants::Options),
    /// Start an interactive lab of three hosts: start, cut, heal, watch.
    Lab(Passed),
    /// Show a demonstration in one minute: traffic, cut, verdict, recovery.
    Demo(Passed),
    /// Break a cluster in the lab on purpose, fault by fault, and print pass or fail of each.
    Chaos(Passed),
    /// Build the Debian package: target/dist/release/detector_VERSION_ARCHITECTURE.deb.
    Dist(dist::Options),
    /// Build and collect a release: package, client crate, object, SBOM, notes, checksums.
    Release(release::Options),
    /// Measure cuts, their effects, gray failures and false alarms, and compare with other methods;
    /// `bench gray`, `bench alarms`, …: one part of it;
    /// `bench store`: a small storage cluster with and without the detector.
    Bench(Passed),
}

/// Arguments for the program behind a task.
#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    args: Vec<String>,
}

impl Passed {
    /// Removes a `--dry-run` from the arguments: it is meant for xtask, wherever it was typed.
    fn take_dry_run(&mut self) -> bool {
        let before = self.args.len();
        self.args.retain(|arg| arg != "--dry-run");
        self.args.len() != before
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Errors are about this machine, so no place in this program's code is printed.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let Cli { dry_run, mut task } = cli;
    let dry_run = match &mut task {
        Task::Run(passed)
        | Task::Lab(passed)
        | Task::Demo(passed)
        | Task::Chaos(passed)
        | Task::Bench(passed) => passed.take_dry_run(),
        Task::Setup
        | Task::BuildEbpf
        | Task::Test(_)
        | Task::TestVm(_)
        | Task::Simulate(_)
        | Task::Soak(_)
        | Task::Fuzz(_)
        | Task::Mutants(_)
        | Task::Dist(_)
        | Task::Release(_) => false,
    } || dry_run;
    let runner = Runner {
        dry_run,
        is_root: facts::is_root(),
    };
    let workspace = Workspace::find()?;
    // Paths in plans and commands are relative to the checkout, whatever the working directory was.
    std::env::set_current_dir(&workspace.root)?;
    match task {
        Task::Setup => commands::setup(&runner),
        Task::BuildEbpf => commands::build_ebpf(&runner, &workspace),
        Task::Run(passed) => commands::run(&runner, &workspace, &passed.args),
        Task::Test(options) => test::run(&runner, &workspace, &options),
        Task::TestVm(options) => vm::run(&runner, &workspace, &options),
        Task::Simulate(options) => simulate::run(&runner, &options),
        Task::Soak(options) => soak::run(&runner, &workspace, &options),
        Task::Fuzz(options) => fuzz::run(&runner, &workspace, &options),
        Task::Mutants(options) => mutants::run(&runner, &workspace, &options),
        Task::Dist(options) => dist::run(&runner, &workspace, &options),
        Task::Release(options) => release::run(&runner, &workspace, &options),
        Task::Lab(passed) => commands::lab_program(&runner, &workspace, "lab", &passed.args),
        Task::Demo(passed) => {
            let mut args = passed.args;
            args.push("demo".to_owned());
            commands::lab_program(&runner, &workspace, "lab", &args)
        }
        Task::Chaos(passed) => {
            let args = [vec!["chaos".to_owned()], passed.args].concat();
            commands::lab_program(&runner, &workspace, "lab", &args)
        }
        Task::Bench(passed) => commands::lab_program(&runner, &workspace, "bench", &passed.args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(words: &[&str]) -> Passed {
        match Cli::parse_from([&["cargo xtask"], words].concat()).task {
            Task::Run(passed) | Task::Bench(passed) => passed,
            other => panic!("{other:?} passes nothing on"),
        }
    }

    #[test]
    fn arguments_reach_the_program_with_and_without_dashes() {
        let peer = ["--peer", "http://node4:9000"];
        assert_eq!(passed(&[&["run", "--"], &peer[..]].concat()).args, peer);
        assert_eq!(passed(&[&["run"], &peer[..]].concat()).args, peer);
        assert_eq!(
            passed(&["bench", "cuts", "--cuts", "3"]).args,
            ["cuts", "--cuts", "3"]
        );
    }

    #[test]
    fn dry_run_is_ours_wherever_it_stands() {
        for words in [["--dry-run", "run"], ["run", "--dry-run"]] {
            assert!(Cli::parse_from([&["cargo xtask"], &words[..]].concat()).dry_run);
        }
        let mut late = passed(&["run", "--peer", "x", "--dry-run"]);
        assert!(late.take_dry_run());
        assert_eq!(late.args, ["--peer", "x"]);
    }
}
