//! The long run: what it is asked for by the environment, and what it prints.

use std::{env, fmt::Write as _, time::Duration};

use nix::time::{ClockId, clock_gettime};

use crate::{
    checks::{Stats, Violation},
    scenario::{SCENARIOS, script},
    script::Script,
    shrink::shrunk,
    world::{Watch, run},
};

/// Lines of a trace that are shown where no more are asked for.
pub const SHOWN: usize = 30;

/// What `cargo xtask simulate` asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the first run; each after it has the next.
    pub seed: u64,
    pub node_hours: f64,
    /// All where none is named.
    pub scenario: Option<String>,
    pub trace: bool,
}

impl Options {
    pub fn from_environment() -> Self {
        let set = |name: &str| env::var(format!("DETECTOR_SIMULATE_{name}")).ok();
        let number = |name: &str, default: f64| {
            set(name).map_or(default, |value| {
                value
                    .parse()
                    .unwrap_or_else(|_| panic!("DETECTOR_SIMULATE_{name} is no number: {value}"))
            })
        };
        Self {
            seed: number("SEED", 1.0) as u64,
            node_hours: number("NODE_HOURS", 10_000.0),
            scenario: set("SCENARIO"),
            trace: set("TRACE").is_some(),
        }
    }
}

impl Options {
    /// Lines of a trace that are shown.
    fn traced(&self) -> usize {
        if self.trace { 1000 } else { SHOWN }
    }
}

/// Runs scripts of this length until there are enough node-hours; every sixteenth is run again
/// from what was recorded.
pub fn long_run(options: &Options, length: Duration) -> Result<(), String> {
    let names: Vec<&str> = match &options.scenario {
        Some(name) => vec![name],
        None => SCENARIOS.iter().map(|(name, _)| *name).collect(),
    };
    let started = processor_time();
    let (mut hours, mut stats, mut events, mut runs) = (0.0, Stats::default(), 0, 0);
    for (seed, name) in (options.seed..).zip(names.iter().cycle()) {
        if hours >= options.node_hours {
            break;
        }
        let Some(script) = script(name, seed, length) else {
            let known: Vec<_> = SCENARIOS.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "no scenario {name}; there are {}",
                known.join(", ")
            ));
        };
        let watch = Watch {
            replay: seed.is_multiple_of(16),
            trace: false,
        };
        let outcome = run(&script, watch)
            .map_err(|violation| failure(&script, &violation, options.traced()))?;
        hours += script.node_hours();
        events += outcome.events;
        runs += 1;
        stats.add(&outcome.stats);
    }
    let took = processor_time().saturating_sub(started);
    println!("{}", summary(hours, runs, events, took, stats));
    Ok(())
}

/// Whether scripts of this scenario are made from their seed.
fn is_known(scenario: &str) -> bool {
    SCENARIOS.iter().any(|(name, _)| *name == scenario)
}

/// What broke, the shortest script that breaks it, and how to see it again.
pub fn failure(script: &Script, violation: &Violation, traced: usize) -> String {
    let (least, shortest) = shrunk(script, violation);
    let mut text = format!(
        "scenario {}, seed {}: {violation}\n\nThe least that does it: {}",
        script.scenario,
        script.seed,
        shown(&least, &shortest, traced)
    );
    if is_known(script.scenario) {
        let _ = write!(
            text,
            "\nSee it again: cargo xtask simulate --scenario {} --seed {} --node-hours 1 --trace",
            script.scenario, script.seed
        );
    }
    text
}

/// A script that breaks a rule, and what came last before that.
pub fn shown(script: &Script, violation: &Violation, traced: usize) -> String {
    let mut text = format!("{violation}\nseed {}, {:?}\n", script.seed, script.settings);
    for spec in &script.hosts {
        let _ = writeln!(text, "    {spec:?}");
    }
    for timed in &script.faults {
        let _ = writeln!(text, "    {timed:?}");
    }
    let from = violation.trace.len().saturating_sub(traced);
    let _ = writeln!(text, "\nWhat came last of that:");
    for line in &violation.trace[from..] {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn summary(hours: f64, runs: u64, events: u64, took: Duration, mut stats: Stats) -> String {
    let seconds = took.as_secs_f64();
    let mut text = format!(
        "{hours:.0} node-hours in {runs} clusters, {events} events, in {seconds:.1} s of one processor: {:.0} \
         node-hours a second\n{} cuts, {} deaths; {} had to be found on a clean path, {} on a \
         bad one; {} returns judged; held {} times\n{} deaths of hosts whose card or segments were heard, {} \
         stalled flows told, {} ended, {} hosts started anew\n{} looks, {} probes, {} time-outs\n",
        hours / seconds,
        stats.cuts,
        stats.deaths,
        stats.judged,
        stats.judged_lossy,
        stats.returns,
        stats.held,
        stats.gray,
        stats.stalls,
        stats.freed,
        stats.restarts,
        stats.looks,
        stats.probes,
        stats.turns,
    );
    let _ = writeln!(
        text,
        "cut to Dead, clean path and default settings: {}",
        quantiles(&mut stats.latencies)
    );
    let _ = write!(
        text,
        "return to not Dead: {}",
        quantiles(&mut stats.recoveries)
    );
    text
}

/// What this process has used: other load on the machine is not counted.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

fn quantiles(sample: &mut [Duration]) -> String {
    sample.sort_unstable();
    let at = |share: f64| {
        let index = (share * sample.len().saturating_sub(1) as f64).round() as usize;
        sample.get(index).copied().unwrap_or_default().as_millis()
    };
    format!(
        "p50 {} ms, p99 {} ms, worst {} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
