//! The long run: what it is asked for by the environment, and what it prints.

use std::{
    env,
    fmt::Write as _,
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    checks::{Stats, Violation},
    fault::Fault,
    host::name_of,
    scenario::{SCENARIOS, script},
    script::Script,
    shrink::shrunk,
    world::{Outcome, START, Watch, run},
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
        if self.trace { usize::MAX } else { SHOWN }
    }
}

/// Runs scripts of this length until there are enough node-hours, on every processor.
pub fn long_run(options: &Options, length: Duration) -> Result<(), String> {
    let started = processor_time();
    let runs = Mutex::new(Runs::new(options, length)?);
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| Runs::work(&runs));
        }
    });
    let runs = runs.into_inner().map_err(|_| "a run panicked")?;
    if let Some((script, violation)) = runs.broken {
        return Err(failure(&script, &violation, options.traced()));
    }
    let took = processor_time().saturating_sub(started);
    println!(
        "{}",
        summary(runs.hours, runs.ended, runs.events, took, runs.stats)
    );
    Ok(())
}

/// The runs of a long run: those that are to come, and what the ended ones came to.
#[derive(Debug)]
struct Runs {
    names: Vec<&'static str>,
    length: Duration,
    next: u64,
    first: u64,
    /// Of the runs that have begun.
    hours: f64,
    node_hours: f64,
    stats: Stats,
    events: u64,
    ended: u64,
    /// The one with the lowest seed: the same one however many processors there are.
    broken: Option<(Script, Violation)>,
}

impl Runs {
    fn new(options: &Options, length: Duration) -> Result<Self, String> {
        let wanted = |name: &&str| options.scenario.as_ref().is_none_or(|only| only == name);
        let all = SCENARIOS.iter().map(|(name, _)| *name);
        let names: Vec<_> = all.clone().filter(wanted).collect();
        if names.is_empty() {
            let (name, known) = (options.scenario.clone(), all.collect::<Vec<_>>());
            let name = name.unwrap_or_default();
            return Err(format!(
                "no scenario {name}; there are {}",
                known.join(", ")
            ));
        }
        Ok(Self {
            names,
            length,
            next: options.seed,
            first: options.seed,
            hours: 0.0,
            node_hours: options.node_hours,
            stats: Stats::default(),
            events: 0,
            ended: 0,
            broken: None,
        })
    }

    /// The next script, until there are enough or one has broken a rule.
    fn next(&mut self) -> Option<Script> {
        if self.hours >= self.node_hours || self.broken.is_some() {
            return None;
        }
        let place = (self.next - self.first) % self.names.len() as u64;
        let script = script(self.names[place as usize], self.next, self.length)?;
        self.next += 1;
        self.hours += script.node_hours();
        Some(script)
    }

    /// Runs one script after the other; every sixteenth is run again from what was recorded.
    fn work(runs: &Mutex<Self>) {
        let locked = || runs.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Not within the loop's condition: the lock would be held over the run.
            let next = locked().next();
            let Some(script) = next else {
                return;
            };
            let watch = Watch {
                replay: script.seed.is_multiple_of(16),
                trace: false,
            };
            let outcome = run(&script, watch);
            locked().note(script, outcome);
        }
    }

    fn note(&mut self, script: Script, outcome: Result<Outcome, Violation>) {
        match outcome {
            Ok(outcome) => {
                self.events += outcome.events;
                self.ended += 1;
                self.stats.add(&outcome.stats);
            }
            Err(violation) => {
                let before = self.broken.as_ref().map(|(script, _)| script.seed);
                if before.is_none_or(|seed| script.seed < seed) {
                    self.broken = Some((script, violation));
                }
            }
        }
    }
}

/// Whether scripts of this scenario are made from their seed.
fn is_known(scenario: &str) -> bool {
    SCENARIOS.iter().any(|(name, _)| *name == scenario)
}

/// What broke, the shortest script that breaks it, and how to see it again.
pub fn failure(script: &Script, violation: &Violation, traced: usize) -> String {
    let (least, shortest) = shrunk(script, violation);
    let mut text = format!(
        "scenario {}, seed {}: {}\n\nThe least that does it: {}",
        script.scenario,
        script.seed,
        from_start(&violation.to_string()),
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
        let _ = writeln!(text, "    {timed:?}{}", cut_by(script, timed.fault));
    }
    let from = violation.trace.len().saturating_sub(traced);
    let _ = writeln!(text, "\nWhat came last of that:");
    for line in &violation.trace[from..] {
        let _ = writeln!(text, "{line}");
    }
    from_start(&text)
}

/// The hosts that a fault of the gateway cuts off.
fn cut_by(script: &Script, fault: Fault) -> String {
    if !matches!(fault, Fault::Gateway | Fault::GatewayUsurped) {
        return String::new();
    }
    let hosts = script.hosts.iter().enumerate();
    let routed = hosts.filter(|(_, spec)| spec.routed);
    let names: Vec<_> = routed.map(|(number, _)| name_of(number)).collect();
    match names.is_empty() {
        true => " (cuts no host: none is `routed`)".to_owned(),
        false => format!(" (cuts what is `routed`: {})", names.join(", ")),
    }
}

/// The text with times as seconds from the start of the run, like those of the trace.
fn from_start(text: &str) -> String {
    let mut parts = text.split("Time(");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let time = part
            .split_once(')')
            .and_then(|(nanos, rest)| Some((nanos.parse::<i64>().ok()?, rest)));
        match time {
            Some((nanos, rest)) => {
                let since = (nanos - START.as_nanos() as i64) as f64 / 1e9;
                let _ = write!(shown, "{since:.6} s{rest}");
            }
            None => {
                let _ = write!(shown, "Time({part}");
            }
        }
    }
    shown
}

fn summary(hours: f64, runs: u64, events: u64, took: Duration, mut stats: Stats) -> String {
    let seconds = took.as_secs_f64();
    let mut text = format!(
        "{hours:.0} node-hours in {runs} clusters, {events} events, in {seconds:.1} s of one processor: {:.0} \
         node-hours a second\n{} cuts, {} deaths; {} had to be found on a clean path, {} on a \
         bad one; {} returns judged; held {} times\n{} deaths of hosts whose card or segments were heard, {} \
         stalled flows told, {} ended, {} hosts started anew\n{} snapshots, {} probes, {} time-outs\n",
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
        stats.snapshots,
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
pub fn processor_time() -> Duration {
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
