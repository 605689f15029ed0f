//! The measurements of one scenario.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::load::Op;
use crate::clock;

/// One operation that has ended. Of a transfer, the time is what it took beyond its pace.
#[derive(Clone, Debug)]
pub struct Done {
    pub op: Op,
    pub started_ns: u64,
    pub ended_ns: u64,
    pub took: Duration,
    pub error: Option<String>,
}

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
pub fn seen(all: Vec<Done>, from_ns: u64, until_ns: u64) -> BTreeMap<Op, Seen> {
    let mut ops: BTreeMap<Op, Seen> = BTreeMap::new();
    let between = |done: &Done| done.ended_ns >= from_ns && done.started_ns <= until_ns;
    for done in all.into_iter().filter(between) {
        let seen = ops.entry(done.op).or_default();
        let took = match done.error.is_some() && done.op.is_transfer() {
            // It had no end to be late for.
            true => clock::between(from_ns, done.ended_ns),
            false => done.took,
        };
        seen.count += 1;
        seen.failed += usize::from(done.error.is_some());
        seen.worst_ms = seen.worst_ms.max(milliseconds(took));
        seen.error = seen.error.take().or(done.error);
    }
    ops
}

pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
