//! The lines that `run` and `replay` print: changes of a verdict or a breaker.

use std::{collections::HashMap, net::IpAddr};

use jiff::Timestamp;

use super::{args::Output, text};
use crate::{
    model::{Breaker, OverrideKind, PeerName, PeerState, Time, Verdict},
    serve::grpc,
};

/// The line for a state that is published at `now`; `wall` gives the wall-clock time.
pub fn line(
    state: &PeerState,
    now: Time,
    wall: impl Fn(Time) -> Option<Timestamp>,
    output: Output,
) -> String {
    let state = grpc::peer_state_at(state, now, |at| wall(at).map(Into::into));
    output.show(&state, |state| text::change(wall(now), state))
}

/// The parts of a state whose change is printed.
#[derive(Debug, PartialEq)]
struct Shown {
    verdict: Verdict,
    breakers: [Breaker; 2],
    isolated: bool,
    contested: bool,
    /// Only whether flows are stalled: their number and age change with every socket snapshot.
    stalled: bool,
    overridden: Option<OverrideKind>,
    paths: Vec<(IpAddr, Verdict, Breaker)>,
}

impl Shown {
    fn of(state: &PeerState) -> Self {
        let paths = state.paths.iter();
        Self {
            verdict: state.verdict,
            breakers: [state.breaker, state.would_be_breaker],
            isolated: state.isolated,
            contested: state.contested,
            stalled: state.stalled_flows > 0,
            overridden: state.overridden.as_ref().map(|overridden| overridden.kind),
            paths: paths.map(|p| (p.address, p.verdict, p.breaker)).collect(),
        }
    }
}

/// Finds the states to print: those whose verdict (also that of a single address), breaker,
/// override, isolation, stalls or contested addresses changed.
#[derive(Debug)]
pub struct Changes {
    printed: HashMap<PeerName, Shown>,
    limit: usize,
}

impl Changes {
    pub fn new(limit: usize) -> Self {
        Self {
            printed: HashMap::new(),
            limit,
        }
    }

    pub fn is_one(&mut self, state: &PeerState) -> bool {
        let shown = Shown::of(state);
        if self.printed.len() >= self.limit && !self.printed.contains_key(&state.peer) {
            // Discovered peers come and go. Forgetting them all costs at most a repeated line.
            self.printed.clear();
        }
        let same = self.printed.get(&state.peer) == Some(&shown);
        self.printed.insert(state.peer.clone(), shown);
        !same
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::testing::unknown,
        model::{PathState, Reason},
    };

    fn state(peer: &str, verdict: Verdict, revision: u64) -> PeerState {
        PeerState {
            verdict,
            revision,
            ..unknown(peer)
        }
    }

    #[test]
    fn only_changes_of_verdict_or_breaker_are_printed() {
        let mut changes = Changes::new(2);
        assert!(changes.is_one(&state("a", Verdict::Unknown, 1)));
        assert!(!changes.is_one(&state("a", Verdict::Unknown, 2)));
        assert!(changes.is_one(&state("a", Verdict::Alive, 3)));
        let half_open = PeerState {
            would_be_breaker: Breaker::HalfOpen,
            ..state("a", Verdict::Alive, 4)
        };
        assert!(changes.is_one(&half_open));
        let isolated = PeerState {
            isolated: true,
            ..half_open
        };
        assert!(changes.is_one(&isolated));
        assert!(!changes.is_one(&isolated));
    }

    #[test]
    fn a_stall_a_contested_address_and_a_dead_path_are_printed_once() {
        let mut changes = Changes::new(2);
        let alive = state("a", Verdict::Alive, 1);
        assert!(changes.is_one(&alive));
        let path = |address: [u8; 4], verdict| PathState {
            address: address.into(),
            verdict,
            reason: Reason::PacketReceived,
            breaker: Breaker::Closed,
            last_heard: None,
            measured: Default::default(),
        };
        let paths = |second| {
            vec![
                path([10, 0, 0, 4], Verdict::Alive),
                path([10, 1, 0, 4], second),
            ]
        };
        let stalled = |stalled_flows| PeerState {
            stalled_flows,
            ..alive.clone()
        };
        assert!(changes.is_one(&stalled(1)));
        assert!(!changes.is_one(&stalled(2)), "its number is no news");
        assert!(changes.is_one(&alive));
        let contested = PeerState {
            contested: true,
            ..alive.clone()
        };
        assert!(changes.is_one(&contested));
        assert!(!changes.is_one(&contested));
        let with = |second| PeerState {
            paths: paths(second),
            ..contested.clone()
        };
        assert!(changes.is_one(&with(Verdict::Alive)));
        assert!(changes.is_one(&with(Verdict::Dead)));
        assert!(!changes.is_one(&with(Verdict::Dead)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut changes = Changes::new(2);
        for i in 0..10 {
            assert!(changes.is_one(&state(&i.to_string(), Verdict::Alive, i)));
            assert!(changes.printed.len() <= 2);
        }
    }

    #[test]
    fn json_lines_use_the_core_s_words() {
        let dead = PeerState {
            last_heard: Some(Time::from_nanos(2_000_000_000)),
            changed_at: Time::from_nanos(2_250_000_000),
            ..state("http://a:1", Verdict::Dead, 7)
        };
        let now = Time::from_nanos(2_251_000_000);
        let wall = |at: Time| Timestamp::from_nanosecond(at.as_nanos().into()).ok();
        let line = line(&dead, now, wall, Output::Json);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["peer"], "http://a:1");
        assert_eq!(json["verdict"], "dead");
        assert_eq!(json["mode"], "enforce");
        assert_eq!(json["revision"], 7);
        assert_eq!(json["silence"], "0.250s");
        assert_eq!(json["last_heard_age"], "0.251s");
        assert_eq!(json["changed_at"], "1970-01-01T00:00:02.25Z");
    }
}
