//! From what the core publishes, in this same process.

use jiff::Timestamp;

use super::{PathState, PeerState};
use crate::core::{self, Time};

impl PeerState {
    /// What is published at `now`; `wall` gives the wall-clock time.
    pub fn published(
        state: &core::PeerState,
        now: Time,
        wall: impl Fn(Time) -> Option<Timestamp>,
    ) -> Self {
        let path = |path| PathState::published(path, now);
        Self {
            peer: state.peer.to_string(),
            verdict: state.verdict.to_string(),
            breaker: state.breaker.to_string(),
            reason: state.reason.to_string(),
            generation: state.generation,
            revision: state.revision,
            mode: state.mode.to_string(),
            would_be_breaker: state.would_be_breaker.to_string(),
            addresses: state.addresses.iter().map(ToString::to_string).collect(),
            changed_at: wall(state.changed_at),
            silence: state.last_heard.map(|at| state.changed_at.since(at)),
            isolated: state.isolated,
            last_heard_age: state.last_heard.map(|at| now.since(at)),
            srtt: state.srtt,
            rtt_variance: state.rtt_variance,
            health: state.health.as_ref().map(Into::into),
            breaker_reason: state.breaker_reason.to_string(),
            stalled_flows: state.stalled_flows,
            oldest_stall: state.oldest_stall,
            contested: state.contested,
            paths: state.paths.iter().map(path).collect(),
        }
    }
}

impl PathState {
    fn published(path: &core::PathState, now: Time) -> Self {
        Self {
            address: path.address.to_string(),
            verdict: path.verdict.to_string(),
            reason: path.reason.to_string(),
            breaker: path.breaker.to_string(),
            last_heard_age: path.last_heard.map(|at| now.since(at)),
        }
    }
}
