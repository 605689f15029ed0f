//! States and clauses as a person reads them.

use detector_user::model::{ClauseLine, PeerState, Time};

/// A published state in one line.
pub fn state(state: &PeerState) -> String {
    let PeerState {
        peer,
        verdict,
        reason,
        breaker,
        breaker_reason,
        generation,
        changed_at,
        last_heard,
        isolated,
        stalled_flows,
        ..
    } = state;
    let heard = last_heard.map_or_else(
        || "never heard".to_owned(),
        |heard| format!("last heard {heard:?}"),
    );
    let isolated = if *isolated { ", isolated" } else { "" };
    format!(
        "{peer} is {verdict} ({reason}) since {changed_at:?}, breaker {breaker} ({breaker_reason}), \
         generation {generation}, {heard}, {stalled_flows} flows stalled{isolated}"
    )
}

/// A clause as `detector explain` prints it.
pub fn clause(clause: &ClauseLine) -> String {
    let ClauseLine {
        address,
        name,
        measured,
        needed,
        holds,
    } = clause;
    let mark = if *holds { "x" } else { " " };
    format!("[{mark}] {address} {name} {measured} ({needed})")
}

/// How long ago something was, if ever.
pub fn ago(now: Time, at: Option<Time>) -> String {
    at.map_or_else(
        || "never".to_owned(),
        |at| format!("{:?} ago", now.since(at)),
    )
}
