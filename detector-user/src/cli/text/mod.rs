//! What `--output text` prints: aligned tables and one-line changes, for people.

mod correlations;
mod explanation;
mod table;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

pub use self::{
    correlations::{cascades, locks, outlook},
    explanation::explanation,
    table::Table,
};
use super::json::{PeerState, Removed, TunedSocket};

/// All peers as a table.
pub fn peers(states: &[PeerState]) -> String {
    let mut table = Table::new([
        "PEER",
        "VERDICT",
        "BREAKER",
        "REASON",
        "SINCE",
        "HEARD",
        "HEALTH",
        "SRTT",
        "ADDRESSES",
    ]);
    for state in states {
        table.row([
            state.peer.clone(),
            verdict(state),
            breaker(state),
            state.reason.clone(),
            optional(state.changed_at, time),
            optional(state.last_heard_age, duration),
            optional(state.health.as_ref(), correlations::score),
            optional(state.srtt, duration),
            addresses(state),
        ]);
    }
    table.render()
}

/// One change on a line.
pub fn change(at: Option<Timestamp>, state: &PeerState) -> String {
    let heard = state
        .last_heard_age
        .map_or("never heard from".to_owned(), |age| {
            format!("heard {} ago", duration(age))
        });
    format!(
        "{} {:<24} {:<8} {:<10} {:<20} {heard}\n",
        optional(at, time),
        state.peer,
        verdict(state),
        breaker(state),
        state.reason,
    )
}

/// A peer that is no longer watched.
pub fn removed(at: Timestamp, removed: &Removed) -> String {
    format!("{} {:<24} no longer watched\n", time(at), removed.peer)
}

/// The open connections that are tuned.
pub fn tuned(sockets: &[TunedSocket]) -> String {
    let mut table = Table::new(["PEER", "LOCAL", "REMOTE", "TUNED", "SINCE", "COOKIE"]);
    for socket in sockets {
        table.row([
            given(&socket.peer),
            socket.local.clone(),
            socket.remote.clone(),
            given(&socket.options.join(",")),
            optional(socket.tuned_at, time),
            socket.cookie.to_string(),
        ]);
    }
    table.render()
}

/// A connection as it is tuned, on a line.
pub fn just_tuned(socket: &TunedSocket) -> String {
    let options = match &socket.options[..] {
        [] => "nothing: the kernel took no option".to_owned(),
        options => options.join(", "),
    };
    format!(
        "{} {:<24} {} -> {}  {options}\n",
        optional(socket.tuned_at, time),
        given(&socket.peer),
        socket.local,
        socket.remote,
    )
}

fn addresses(peer: &PeerState) -> String {
    match peer.addresses.is_empty() {
        true => "unresolved".to_owned(),
        false => peer.addresses.join(" "),
    }
}

/// The verdict, and whether this node itself may be cut off.
fn verdict(state: &PeerState) -> String {
    match state.isolated {
        true => format!("{} (held: isolated)", state.verdict),
        false => state.verdict.clone(),
    }
}

/// The breaker; in observe mode, also what it would have been.
fn breaker(state: &PeerState) -> String {
    if state.breaker == state.would_be_breaker || state.would_be_breaker == "unspecified" {
        return state.breaker.clone();
    }
    format!("{} (would be {})", state.breaker, state.would_be_breaker)
}

fn given(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// What is there, or a dash.
pub fn optional<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or("-".to_owned(), show)
}

/// To the millisecond, in UTC.
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Three digits or so: what a person compares.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration {
        d if d < Duration::from_millis(1) => format!("{}us", d.as_micros()),
        d if d < Duration::from_secs(1) => format!("{}ms", d.as_millis()),
        d if d < Duration::from_secs(60) => format!("{:.1}s", d.as_secs_f64()),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}
