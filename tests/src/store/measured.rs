//! What was seen of a scenario.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::load::{Done, Op};
use crate::clock;

/// All operations of one kind, from what happened until it was undone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    pub count: usize,
    pub failed: usize,
    /// The longest, successful or not; of transfers how late they were, or how long after what
    /// happened they failed.
    pub worst_ms: f64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub ops: BTreeMap<Op, Seen>,
    /// From the end of what happened to full service.
    pub full_service_ms: f64,
    pub acknowledged: usize,
    /// Acknowledged objects that are not as they were.
    pub damaged: Vec<String>,
}

/// What was under way between the two moments.
pub fn seen(done: &[Done], from_ns: u64, until_ns: u64) -> BTreeMap<Op, Seen> {
    let mut all: BTreeMap<Op, Seen> = BTreeMap::new();
    for done in done {
        if done.ended_ns < from_ns || done.started_ns > until_ns {
            continue;
        }
        let seen = all.entry(done.op).or_default();
        seen.count += 1;
        seen.failed += usize::from(done.error.is_some());
        let took = match done.op {
            // It had no end to be late for.
            Op::Upload | Op::Download if done.error.is_some() => {
                clock::between(from_ns, done.ended_ns)
            }
            _ => done.took,
        };
        seen.worst_ms = seen.worst_ms.max(milliseconds(took));
        if seen.error.is_none() {
            seen.error.clone_from(&done.error);
        }
    }
    all
}

pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
