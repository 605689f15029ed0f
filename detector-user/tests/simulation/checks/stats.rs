//! The result of a run: its numbers, or the rule that it broke.

use std::{fmt, time::Duration};

/// A rule that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
    /// From the start of the run.
    pub after: Duration,
    pub trace: Vec<String>,
}

/// What was seen over a run.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub deaths: u64,
    pub cuts: u64,
    /// Cuts that had to be found within the bound for a clean path.
    pub judged: u64,
    pub judged_lossy: u64,
    pub returns: u64,
    pub held: u64,
    /// Breakers that opened on reports alone.
    pub fenced: u64,
    /// The number of certainly stalled flows that were checked for being published, and of those
    /// that were ended.
    pub stalls: u64,
    pub freed: u64,
    /// Calls that waited on a forgotten connection, and were ended.
    pub freed_calls: u64,
    /// The number of hosts that were restarted while some flow should notice it.
    pub restarts: u64,
    /// Deaths found while a card answered or segments arrived.
    pub gray: u64,
    pub snapshots: u64,
    pub probes: u64,
    pub turns: u64,
    /// From cut to Dead, of those judged on a clean path with the default settings.
    pub latencies: Vec<Duration>,
    /// From return to no longer Dead.
    pub recoveries: Vec<Duration>,
}

impl Violation {
    pub fn new(rule: &'static str, what: String) -> Self {
        Self {
            rule,
            what,
            after: Duration::ZERO,
            trace: Vec::new(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "after {:.6} s: {}: {}",
            self.after.as_secs_f64(),
            self.rule,
            self.what
        )
    }
}

impl Stats {
    pub fn add(&mut self, other: &Self) {
        self.deaths += other.deaths;
        self.cuts += other.cuts;
        self.judged += other.judged;
        self.judged_lossy += other.judged_lossy;
        self.returns += other.returns;
        self.held += other.held;
        self.fenced += other.fenced;
        self.stalls += other.stalls;
        self.freed += other.freed;
        self.freed_calls += other.freed_calls;
        self.restarts += other.restarts;
        self.gray += other.gray;
        self.snapshots += other.snapshots;
        self.probes += other.probes;
        self.turns += other.turns;
        self.latencies.extend(&other.latencies);
        self.recoveries.extend(&other.recoveries);
    }
}
