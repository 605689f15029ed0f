//! The transition table: the next state of a path and of its breaker.

use crate::model::Breaker;

/// The state of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum State {
    /// There is no evidence.
    Unknown,
    Alive,
    /// The peer lives, but something on the way to it is stuck.
    Degraded,
    /// A demand stands unanswered.
    Suspect,
    /// The path would be Dead if this node were not possibly isolated.
    Isolated,
    Dead,
}

/// What may happen to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Event {
    /// The rule has decided on this state.
    Decided(State),
    /// The host has acknowledged something since it was in doubt.
    HostHeard,
    /// The path was Dead when the daemon's run before this one ended.
    WasDead,
    /// Enough of the node's own calls failed for the breaker to open without other evidence.
    FailuresReported,
    /// A call was answered since the breaker opened for one of these two reasons.
    CallAnswered,
    TrialSucceeded,
    TrialFailed,
    /// The breaker has been open for the recovery time-out, with no evidence either way.
    RecoveryDue,
    /// The same, but targets that are known to answer are being probed and do not answer.
    StillDead,
}

/// What happens to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Move {
    Stay,
    Open,
    HalfOpen,
    Close,
}

/// The next state, and what happens to the breaker. `presumed_down`: the breaker was opened without
/// evidence from the kernel in this run: by reports, or by a death before the daemon's start.
pub(in crate::core) fn next(
    state: State,
    breaker: Breaker,
    presumed_down: bool,
    event: Event,
) -> (State, Move) {
    match (event, state) {
        // Only hearing the host, or a successful trial, ends a death.
        (Event::Decided(_), State::Dead) => (State::Dead, Move::Stay),
        (Event::Decided(State::Dead), _) => (State::Dead, Move::Open),
        (Event::Decided(State::Alive), _) if breaker != Breaker::Closed => {
            (State::Alive, Move::Close)
        }
        (Event::Decided(next), _) => (next, Move::Stay),
        (Event::HostHeard, State::Dead) => (State::Alive, Move::Close),
        (Event::HostHeard | Event::CallAnswered, state) if presumed_down => (state, Move::Close),
        (Event::HostHeard | Event::CallAnswered, state) => (state, Move::Stay),
        (Event::WasDead | Event::FailuresReported, State::Unknown)
            if breaker == Breaker::Closed =>
        {
            (State::Unknown, Move::Open)
        }
        (Event::WasDead | Event::FailuresReported, state) => (state, Move::Stay),
        (Event::TrialSucceeded, _) => (State::Alive, Move::Close),
        (Event::TrialFailed, state) => (state, Move::Open),
        (Event::RecoveryDue, state) if breaker == Breaker::Open => (state, Move::HalfOpen),
        (Event::StillDead, state) if breaker == Breaker::Open => (state, Move::Open),
        (Event::RecoveryDue | Event::StillDead, state) => (state, Move::Stay),
    }
}

#[cfg(test)]
mod tests {
    use Breaker::{Closed, HalfOpen, Open};
    use Event::{
        CallAnswered, Decided, FailuresReported, HostHeard, RecoveryDue, StillDead, TrialFailed,
        TrialSucceeded, WasDead,
    };
    use State::{Alive, Dead, Degraded, Isolated, Suspect, Unknown};

    use super::*;

    const STATES: [State; 6] = [Unknown, Alive, Degraded, Suspect, Isolated, Dead];
    const BREAKERS: [Breaker; 3] = [Closed, Open, HalfOpen];

    /// The whole table, but for what stays as it is: (states, breakers, by reports, event,
    /// next state, breaker's move).
    #[expect(clippy::type_complexity, reason = "a table")]
    const TABLE: &[(
        &[State],
        &[Breaker],
        Option<bool>,
        Event,
        Option<State>,
        Move,
    )] = &[
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &BREAKERS,
            None,
            Decided(Dead),
            Some(Dead),
            Move::Open,
        ),
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &[Closed],
            None,
            Decided(Alive),
            Some(Alive),
            Move::Stay,
        ),
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &[Open, HalfOpen],
            None,
            Decided(Alive),
            Some(Alive),
            Move::Close,
        ),
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &BREAKERS,
            None,
            Decided(Suspect),
            Some(Suspect),
            Move::Stay,
        ),
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &BREAKERS,
            None,
            Decided(Isolated),
            Some(Isolated),
            Move::Stay,
        ),
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &BREAKERS,
            None,
            Decided(Degraded),
            Some(Degraded),
            Move::Stay,
        ),
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &BREAKERS,
            None,
            Decided(Unknown),
            Some(Unknown),
            Move::Stay,
        ),
        (
            &[Dead],
            &BREAKERS,
            None,
            HostHeard,
            Some(Alive),
            Move::Close,
        ),
        (
            &[Unknown, Alive, Degraded, Suspect, Isolated],
            &BREAKERS,
            Some(true),
            HostHeard,
            None,
            Move::Close,
        ),
        (
            &STATES,
            &BREAKERS,
            Some(true),
            CallAnswered,
            None,
            Move::Close,
        ),
        (
            &[Unknown],
            &[Closed],
            None,
            FailuresReported,
            None,
            Move::Open,
        ),
        (&[Unknown], &[Closed], None, WasDead, None, Move::Open),
        (
            &STATES,
            &BREAKERS,
            None,
            TrialSucceeded,
            Some(Alive),
            Move::Close,
        ),
        (&STATES, &BREAKERS, None, TrialFailed, None, Move::Open),
        (&STATES, &[Open], None, RecoveryDue, None, Move::HalfOpen),
        (&STATES, &[Open], None, StillDead, None, Move::Open),
    ];

    const EVENTS: [Event; 14] = [
        Decided(Unknown),
        Decided(Alive),
        Decided(Degraded),
        Decided(Suspect),
        Decided(Isolated),
        Decided(Dead),
        HostHeard,
        WasDead,
        FailuresReported,
        CallAnswered,
        TrialSucceeded,
        TrialFailed,
        RecoveryDue,
        StillDead,
    ];

    fn expected(
        state: State,
        breaker: Breaker,
        presumed_down: bool,
        event: Event,
    ) -> (State, Move) {
        let row = TABLE.iter().find(|(states, breakers, reports, on, ..)| {
            states.contains(&state)
                && breakers.contains(&breaker)
                && reports.is_none_or(|reports| reports == presumed_down)
                && *on == event
        });
        row.map_or((state, Move::Stay), |(.., next, moved)| {
            (next.unwrap_or(state), *moved)
        })
    }

    #[test]
    fn the_whole_table() {
        for state in STATES {
            for breaker in BREAKERS {
                for presumed_down in [false, true] {
                    for event in EVENTS {
                        assert_eq!(
                            next(state, breaker, presumed_down, event),
                            expected(state, breaker, presumed_down, event),
                            "{state:?} {breaker:?} by reports: {presumed_down} {event:?}"
                        );
                    }
                }
            }
        }
    }
}
