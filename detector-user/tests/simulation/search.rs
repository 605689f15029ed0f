//! The search: runs of every scenario in turn, until there are as many node-hours as were asked for.

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    num::NonZero,
    str::FromStr,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    checks::{Stats, Violation},
    report::{SHOWN, failure},
    scenario::{MOST_NODES, SCENARIOS, script},
    script::Script,
    world::{Outcome, Watch, run},
};

/// How long a run is where there are node-hours enough.
const HOUR: Duration = Duration::from_secs(3600);

/// What `cargo xtask simulate` asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the first run; each after it has the next.
    pub seed: u64,
    pub node_hours: f64,
    /// How long each run is. If it is not said: an hour, or less where there would not be a run of
    /// every scenario.
    pub length: Option<Duration>,
    /// All where none is named.
    pub scenario: Option<String>,
    pub trace: bool,
}

impl Options {
    pub fn from_environment() -> Self {
        let set = |name: &str| env::var(format!("DETECTOR_SIMULATE_{name}")).ok();
        let number = |name: &str| {
            set(name).map(|value| {
                f64::from_str(&value)
                    .unwrap_or_else(|_| panic!("DETECTOR_SIMULATE_{name} is no number: {value}"))
            })
        };
        Self {
            seed: number("SEED").unwrap_or(1.0) as u64,
            node_hours: number("NODE_HOURS").unwrap_or(10_000.0),
            length: number("SECONDS").map(|seconds| Duration::from_secs(seconds as u64)),
            scenario: set("SCENARIO"),
            trace: set("TRACE").is_some(),
        }
    }
}

impl Options {
    /// How long each run is, so that even of the largest clusters there is one of every scenario.
    fn length(&self) -> Duration {
        let scenarios = match self.scenario {
            Some(_) => return self.length.unwrap_or(HOUR),
            None => SCENARIOS.len() as f64,
        };
        let hours = self.node_hours / scenarios / MOST_NODES as f64;
        let shorter = Duration::from_secs((hours * 3600.0) as u64).max(Duration::from_secs(1));
        self.length.unwrap_or(shorter.min(HOUR))
    }

    /// Lines of a trace that are shown.
    fn traced(&self) -> usize {
        if self.trace { usize::MAX } else { SHOWN }
    }
}

/// Runs scripts until there are enough node-hours, on every processor.
pub fn long_run(options: &Options) -> Result<(), String> {
    let started = processor_time();
    let runs = Mutex::new(Runs::new(options)?);
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
    let missing = runs.missing();
    println!("{}", summary(runs, took));
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("no run of: {}", missing.join(", "))),
    }
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
    /// The scenarios of which a run has ended.
    scenarios: BTreeSet<&'static str>,
    /// The one with the lowest seed: the same one however many processors there are.
    broken: Option<(Script, Violation)>,
}

impl Runs {
    fn new(options: &Options) -> Result<Self, String> {
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
            length: options.length(),
            next: options.seed,
            first: options.seed,
            hours: 0.0,
            node_hours: options.node_hours,
            stats: Stats::default(),
            events: 0,
            ended: 0,
            scenarios: BTreeSet::new(),
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

    /// The scenarios that were wanted, and of which no run has ended.
    fn missing(&self) -> Vec<&'static str> {
        let names = self.names.iter().copied();
        names
            .filter(|name| !self.scenarios.contains(name))
            .collect()
    }

    fn note(&mut self, script: Script, outcome: Result<Outcome, Violation>) {
        match outcome {
            Ok(outcome) => {
                self.events += outcome.events;
                self.ended += 1;
                self.scenarios.insert(script.scenario);
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

/// What the runs came to, for people.
fn summary(runs: Runs, took: Duration) -> String {
    let (hours, seconds, mut stats) = (runs.hours, took.as_secs_f64(), runs.stats);
    let mut text = format!(
        "{hours:.0} node-hours in {} clusters of {} s each, of {} scenarios, {} events, in {seconds:.1} s of \
         one processor: {:.0} node-hours a second\n{} cuts, {} deaths; {} had to be found on a clean path, {} on a \
         bad one; {} returns judged; held {} times\n{} deaths of hosts whose card or segments were heard, {} \
         stalled flows told, {} ended, {} hosts started anew\n{} snapshots, {} probes, {} time-outs\n",
        runs.ended,
        runs.length.as_secs(),
        runs.scenarios.len(),
        runs.events,
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

/// What this process has used: other load on the machine is not counted.
pub fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

/// Whatever the seed: where clusters are as large as they may be, too.
#[test]
fn a_search_has_a_run_of_every_scenario_and_few_more_node_hours_than_asked_for() {
    for (node_hours, seed) in [1.0, 100.0, 2000.0]
        .into_iter()
        .flat_map(|h| [(h, 1), (h, 2100)])
    {
        let options = Options {
            seed,
            node_hours,
            length: None,
            scenario: None,
            trace: false,
        };
        let mut runs = Runs::new(&options).unwrap();
        assert_eq!(runs.missing().len(), SCENARIOS.len());
        while let Some(script) = runs.next() {
            runs.note(script, Ok(Outcome::default()));
        }
        assert!(
            runs.missing().is_empty(),
            "{node_hours}: {:?}",
            runs.missing()
        );
        let most = node_hours + MOST_NODES as f64 * runs.length.as_secs_f64() / 3600.0;
        assert!(runs.hours < most, "{} of {node_hours}", runs.hours);
    }
}
