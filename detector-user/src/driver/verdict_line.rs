//! A changed verdict as one line for people: which peer, what is wrong, since when, what was done.

use std::time::Duration;

use crate::model::{Breaker, Mode, PeerState, Time, Verdict};

/// `previous` is what was published before.
pub(super) fn line(now: Time, previous: Option<&PeerState>, state: &PeerState) -> String {
    let (peer, verdict, reason) = (&state.peer, state.verdict.as_str(), state.reason.as_str());
    let heard = state.last_heard.map_or_else(
        || "never heard".to_owned(),
        |heard| format!("last heard {} ago", shown(now.since(heard))),
    );
    let was_dead = previous.filter(|previous| previous.verdict == Verdict::Dead);
    let since = match was_dead {
        Some(previous) => format!("was dead for {}", shown(now.since(previous.changed_at))),
        None => heard,
    };
    format!("{peer} is {verdict} ({reason}), {since}; {}", done(state))
}

fn done(state: &PeerState) -> String {
    match (state.mode, state.would_be_breaker) {
        (Mode::Observe, Breaker::Open | Breaker::HalfOpen) => {
            "observe mode: nothing is done, the breaker would be open".to_owned()
        }
        _ => format!("breaker {}", state.breaker.as_str()),
    }
}

/// To the millisecond.
fn shown(duration: Duration) -> String {
    let whole = Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    humantime::format_duration(whole).to_string()
}
