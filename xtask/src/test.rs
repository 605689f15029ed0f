//! `cargo xtask test`: runs all tests in stages, and prints a summary at the end.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{
    alerts,
    commands::{build_host, build_object},
    dist,
    facts::{cache_dir, find_command},
    invocation::Invocation,
    plan::Needs,
    setup, simulate,
    step::{Runner, Step, Stopwatch, seconds},
    suites, vm,
    workspace::{Profile, Workspace},
};

/// The options of `cargo xtask test`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Only the unit tests: no root, no eBPF toolchain.
    #[arg(long, group = "part")]
    unit: bool,
    /// Only the lab tests.
    #[arg(long, group = "part")]
    lab: bool,
    /// Everything but the unit tests, where these have passed before.
    #[arg(long, group = "part")]
    without_unit: bool,
    /// Run the lab tests N times in a row; the first failure ends it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Run up to N lab tests at once, in suites whose tests do not disturb each other. By default
    /// half as many again as there are processors, and at most 6: most of them wait.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Only tests whose name contains one of these.
    filters: Vec<String>,
}

impl Options {
    /// How many lab tests run at once.
    fn jobs(&self) -> usize {
        match self.jobs {
            Some(jobs) => jobs as usize,
            None => suites::jobs(thread::available_parallelism().map_or(1, usize::from)),
        }
    }
}

/// Sets up, builds and tests; the first failing stage ends it.
pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let mut stages = Stages::default();
    let result = stages_in_order(runner, workspace, options, &mut stages);
    stages.print(runner);
    result
}

fn stages_in_order(
    runner: &Runner,
    workspace: &Workspace,
    options: &Options,
    stages: &mut Stages,
) -> Result<()> {
    let unit = !options.lab && !options.without_unit;
    let (lab, others) = (!options.unit, !options.unit && !options.lab);
    let needs = match lab {
        false => Needs::UNIT,
        true => Needs::ALL,
    };
    let prepared = stages.run("setup", || setup::prepare(runner, needs))?;
    if lab {
        stages.run("eBPF object", || {
            build_object(runner, workspace, prepared.ebpf)
        })?;
    }
    if unit {
        stages.run("unit tests", || unit_tests(runner, &options.filters))?;
    }
    if others && options.filters.is_empty() {
        stages.run("simulation", || simulate::check(runner))?;
    }
    if lab {
        stages.run("build of the lab", || build_lab(runner))?;
        if find_command("dpkg-deb", &cache_dir()?).is_some() {
            stages.run("Debian package", || {
                dist::package(runner, workspace, Profile::Debug, dist::VERSION)
            })?;
        }
        if options.lab && !runner.dry_run {
            check_names(&options.filters)?;
        }
        for round in 1..=options.repeat {
            let name = match options.repeat {
                1 => "lab tests".to_owned(),
                rounds => format!("lab tests, round {round} of {rounds}"),
            };
            stages.run(&format!("{name}, one at a time"), || {
                lab_tests(runner, workspace, &one_at_a_time(), &options.filters)
            })?;
            let jobs = options.jobs();
            stages.run(&format!("{name}, {jobs} at once"), || {
                lab_tests(runner, workspace, &at_once(jobs), &options.filters)
            })?;
        }
    }
    if others && options.filters.is_empty() {
        stages.run("other kernels", || vm::check(runner, workspace))?;
    }
    if others {
        stages.run("alerts", || alerts::check(runner, workspace))?;
    }
    Ok(())
}

fn unit_tests(runner: &Runner, filters: &[String]) -> Result<()> {
    runner.heading("unit tests");
    runner.run(&Step::new(
        "cargo test",
        "everything that needs neither root nor eBPF",
        Invocation::cargo("test").args(["--"]).args(filters),
    ))
}

fn build_lab(runner: &Runner) -> Result<()> {
    build_host(runner, Profile::Debug, &["detector-user"])?;
    runner.run(&Step::new(
        "compile the lab and its tests",
        "done as you, so that root leaves no files in target/",
        Invocation::cargo("test").args(["--package", "detector-tests", "--no-run"]),
    ))
}

/// Fails if a name selects none of the lab tests: running none of them would look like success.
fn check_names(names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let list = Invocation::cargo("test")
        .args(["--quiet", "--package", "detector-tests"])
        .args(["--", "--list"])
        .output()
        .context("cannot list the lab tests: `cargo test --package detector-tests -- --list`")?;
    match unmatched(names, &list) {
        Some(name) => bail!(
            "no lab test has {name:?} in its name. A suite runs with `cargo test --package \
             detector-tests --test SUITE`; `-- --list` at its end lists its tests. The suites: {}",
            suites::SUITES.map(|suite| suite.name).join(", ")
        ),
        None => Ok(()),
    }
}

/// The first of the names that no test in cargo's list contains.
fn unmatched<'a>(names: &'a [String], list: &str) -> Option<&'a String> {
    let tests = || list.lines().filter_map(|line| line.strip_suffix(": test"));
    let mut names = names.iter();
    names.find(|name| !tests().any(|test| test.contains(name.as_str())))
}

/// Suites that are run in one way.
struct Part {
    why: String,
    /// Cargo's flags that select them.
    targets: Vec<String>,
    jobs: usize,
}

/// The lab's own tests come with these, and first: what they find would fail all others.
fn one_at_a_time() -> Part {
    let suites = suites::alone().flat_map(|name| ["--test", name]);
    Part {
        why: "one at a time: the lab's own tests, and those that measure or take the whole machine"
            .to_owned(),
        targets: ["--lib", "--bins"]
            .into_iter()
            .chain(suites)
            .map(str::to_owned)
            .collect(),
        jobs: 1,
    }
}

fn at_once(jobs: usize) -> Part {
    let suites = suites::together().flat_map(|name| ["--test", name]);
    Part {
        why: format!("{jobs} at once: they wait for silence, each in a lab of its own"),
        targets: suites.map(str::to_owned).collect(),
        jobs,
    }
}

fn lab_tests(
    runner: &Runner,
    workspace: &Workspace,
    part: &Part,
    filters: &[String],
) -> Result<()> {
    runner.heading("lab tests");
    let settings = settings(workspace)?;
    runner.run(&Step::new(
        "run lab tests",
        format!(
            "a real daemon, real eBPF and real power cuts between network namespaces; {}",
            part.why
        ),
        lab_invocation(runner, part, &settings).args(filters),
    ))
}

/// The environment of the lab's tests.
fn settings(workspace: &Workspace) -> Result<Vec<(&'static str, String)>> {
    let daemon = workspace.binary(Profile::Debug, "detector");
    let path = Workspace::path()?;
    Ok(vec![
        ("PATH", path.to_string_lossy().into_owned()),
        ("DETECTOR_BIN", daemon.to_string_lossy().into_owned()),
    ])
}

/// Builds all that lab tests need, and runs this suite with more of an environment.
pub fn suite(
    runner: &Runner,
    workspace: &Workspace,
    name: &str,
    more: Vec<(&'static str, String)>,
) -> Result<()> {
    let prepared = setup::prepare(runner, Needs::ALL)?;
    build_object(runner, workspace, prepared.ebpf)?;
    build_lab(runner)?;
    let part = Part {
        why: "for as long as was asked for".to_owned(),
        targets: vec!["--test".to_owned(), name.to_owned()],
        jobs: 1,
    };
    let settings = [settings(workspace)?, more].concat();
    let tests = lab_invocation(runner, &part, &settings).args(["--nocapture"]);
    runner.run(&Step::new(format!("run {name}"), part.why.clone(), tests))
}

/// Cargo runs as the user; only the test programs run as root, through a runner.
fn lab_invocation(runner: &Runner, part: &Part, settings: &[(&'static str, String)]) -> Invocation {
    let cargo = Invocation::cargo("test")
        .args(["--package", "detector-tests"])
        .args(&part.targets);
    let cargo = settings
        .iter()
        .fold(cargo, |cargo, (name, value)| cargo.env(name, value));
    let cargo = if runner.is_root {
        cargo
    } else {
        let set = settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let words: Vec<String> = ["sudo", "env"]
            .map(str::to_owned)
            .into_iter()
            .chain(set)
            .chain(["RUST_BACKTRACE=1".to_owned()])
            .map(|word| format!("{word:?}"))
            .collect();
        let setting = format!("target.'cfg(unix)'.runner=[{}]", words.join(","));
        cargo.args(["--config", &setting])
    };
    let jobs = part.jobs;
    cargo.args(["--", &format!("--test-threads={jobs}")])
}

/// The stages that were run, with their durations and results.
#[derive(Debug, Default)]
struct Stages(Vec<(String, Duration, bool)>);

impl Stages {
    fn run<T>(&mut self, name: &str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
        let watch = Stopwatch::start();
        let result = stage();
        self.0
            .push((name.to_owned(), watch.elapsed(), result.is_ok()));
        result
    }

    fn print(&self, runner: &Runner) {
        if runner.dry_run {
            return;
        }
        runner.heading("summary");
        for (name, took, passed) in &self.0 {
            let outcome = if *passed { "ok" } else { "FAILED" };
            println!("    {outcome:<6}  {:>10}  {name}", seconds(*took));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(daemon: &str) -> Vec<(&'static str, String)> {
        let (daemon, path) = (daemon.to_owned(), "/bin".to_owned());
        vec![("PATH", path), ("DETECTOR_BIN", daemon)]
    }

    #[test]
    fn only_the_test_programs_become_root() {
        let shown = |is_root| {
            let runner = Runner {
                dry_run: true,
                is_root,
            };
            let invocation = lab_invocation(&runner, &at_once(2), &set("/a b/detector"));
            assert!(!invocation.root);
            invocation.display(is_root)
        };
        let setting =
            r#"runner=["sudo","env","PATH=/bin","DETECTOR_BIN=/a b/detector","RUST_BACKTRACE=1"]"#;
        assert!(shown(false).contains(setting), "{}", shown(false));
        assert!(!shown(true).contains("sudo"), "{}", shown(true));
    }

    #[test]
    fn a_name_that_selects_no_test_is_found() {
        let list = "gray::large_segments: test\nsilent::cut: benchmark\n\n2 tests\n";
        let unmatched = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            unmatched(&names, list).cloned()
        };
        assert_eq!(unmatched(&["large", "segments"]), None);
        assert_eq!(unmatched(&["large", "cut"]).as_deref(), Some("cut"));
        assert_eq!(unmatched(&["tests"]).as_deref(), Some("tests"));
    }

    #[test]
    fn each_suite_runs_once_and_only_those_that_may_run_beside_others() {
        let (alone, together) = (one_at_a_time(), at_once(3));
        assert_eq!((alone.jobs, together.jobs), (1, 3));
        for suite in suites::SUITES {
            let runs = |part: &Part| part.targets.iter().any(|word| word == suite.name);
            let may = suite.beside == suites::Beside::Others;
            assert_eq!((runs(&alone), runs(&together)), (!may, may), "{suite:?}");
        }
        let runner = Runner {
            dry_run: true,
            is_root: true,
        };
        let shown = lab_invocation(&runner, &together, &set("detector")).display(true);
        assert!(shown.contains("--test gray"), "{shown}");
        assert!(shown.ends_with("-- --test-threads=3"), "{shown}");
    }
}
