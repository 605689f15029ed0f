//! The text output (`--output text`): aligned tables and one-line changes.

mod correlations;
mod explanation;
pub mod notes;
mod printable;
mod rule;
mod table;

#[cfg(test)]
mod tests;

use std::time::Duration;

use detector_api::v1::{
    Breaker, ListPeersResponse, OverrideKind, PathState, PeerState, Reason, TunedSocket,
    watch_peers_response::Removed,
};
use jiff::Timestamp;

pub use self::{
    correlations::{cascades, locks, outlook},
    explanation::explanation,
    printable::{one_line, printable},
    table::Table,
};

/// All peers as a table, or why there is none, and where they come from.
pub fn peers_with_sources(listed: &ListPeersResponse) -> String {
    let sources = &listed.sources;
    let lines: String = sources.iter().map(|s| format!("{}\n", s.text)).collect();
    let is_named = sources.iter().any(|source| !source.peers.is_empty());
    match (listed.peers.is_empty(), sources.is_empty()) {
        (false, true) => peers(&listed.peers),
        (false, false) => format!("{}\n{lines}", peers(&listed.peers)),
        (true, true) => "no peers are watched; name them with --peer or in the configuration, or \
                         find them with --rustfs\n"
            .to_owned(),
        (true, false) if is_named => {
            format!("no peers are watched yet; the names of these are looked up:\n{lines}")
        }
        (true, false) => {
            format!("no peers are watched yet; they are found when this changes:\n{lines}")
        }
    }
}

/// All peers as a table. A peer with several addresses has a row for each below its own. Notes
/// follow the table.
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
            state.reason().to_string(),
            optional(moment(state.changed_at), time),
            optional(state.last_heard_age, duration),
            optional(state.health.as_ref(), correlations::score),
            optional(state.srtt, duration),
            addresses(state),
        ]);
        let several = state.paths.len() > 1;
        for path in state.paths.iter().filter(|_| several) {
            table.row(path_row(path));
        }
    }
    table.render() + &below(states)
}

fn path_row(path: &PathState) -> [String; 9] {
    let nothing = || "-".to_owned();
    [
        format!("  {}", path.address),
        path.verdict().to_string(),
        path.breaker().to_string(),
        path.reason().to_string(),
        nothing(),
        optional(path.last_heard_age, duration),
        nothing(),
        nothing(),
        nothing(),
    ]
}

/// Notes on overrides, stalls and contested addresses, which are rare and so have no column.
fn below(states: &[PeerState]) -> String {
    let note = |state: &PeerState| {
        let stalled = notes::stalled(state, None);
        let said: Vec<_> = overridden(state)
            .into_iter()
            .chain(stalled)
            .chain(notes::contested(state))
            .collect();
        (!said.is_empty()).then(|| format!("{}: {}\n", state.peer, said.join("; ")))
    };
    let notes: String = states.iter().filter_map(note).collect();
    match notes.is_empty() {
        true => notes,
        false => format!("\n{notes}"),
    }
}

/// The override, by whom, and its end, such as "maintenance by user 0 until
/// 2026-01-31T12:00:00.000Z (new disk)".
pub fn overridden(state: &PeerState) -> Option<String> {
    overridden_until(state, time)
}

/// The same with another way to write the end.
pub fn overridden_until(state: &PeerState, show: impl Fn(Timestamp) -> String) -> Option<String> {
    let held = state.r#override.as_ref()?;
    let until = optional(moment(held.until), show);
    let reason = match &*held.reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    let kind = match held.kind() {
        OverrideKind::Maintenance => "maintenance",
        OverrideKind::Open => "held open",
        OverrideKind::Closed => "held closed",
        _ => "overridden",
    };
    Some(format!("{kind} by user {} until {until}{reason}", held.uid))
}

/// One change as one line.
pub fn change(at: Option<Timestamp>, state: &PeerState) -> String {
    let heard = state
        .last_heard_age
        .map_or("never heard from".to_owned(), |age| {
            format!("heard {} ago", duration(age))
        });
    let what = [vec![heard], notes::marks(state)].concat().join("; ");
    format!(
        "{} {:<24} {:<8} {:<10} {:<20} {what}\n",
        optional(at, time),
        state.peer,
        verdict(state),
        breaker(state),
        state.reason(),
    )
}

/// The line for a peer that is no longer watched.
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
            optional(moment(socket.tuned_at), time),
            socket.cookie.to_string(),
        ]);
    }
    table.render()
}

/// A newly tuned connection as one line.
pub fn just_tuned(socket: &TunedSocket) -> String {
    let options = match &socket.options[..] {
        [] => "nothing: the kernel took no option".to_owned(),
        options => options.join(", "),
    };
    format!(
        "{} {:<24} {} -> {}  {options}\n",
        optional(moment(socket.tuned_at), time),
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

/// The verdict, with a note if this node itself is isolated.
fn verdict(state: &PeerState) -> String {
    match state.isolated {
        true => format!("{} (isolated)", state.verdict()),
        false => state.verdict().to_string(),
    }
}

/// The breaker, with its reason if that differs from the verdict's and the breaker is not simply
/// closed.
fn breaker(state: &PeerState) -> String {
    let closed = state.breaker() == Breaker::Closed && state.would_be_breaker() != Breaker::Open;
    let by_hand = matches!(
        state.breaker_reason(),
        Reason::Maintenance | Reason::ForcedOpen | Reason::ForcedClosed
    );
    let differs = state.breaker_reason != state.reason;
    let asked = differs && (!closed || by_hand);
    breaker_by(state, breaker_reason(state).filter(|_| asked))
}

/// `None` if an older daemon sent no reason.
fn breaker_reason(state: &PeerState) -> Option<Reason> {
    Some(state.breaker_reason()).filter(|reason| *reason != Reason::Unspecified)
}

/// The breaker, what it would have been in observe mode, and the reason.
fn breaker_by(state: &PeerState, reason: Option<Reason>) -> String {
    let (breaker, would_be) = (state.breaker(), state.would_be_breaker());
    let differs = breaker != would_be && would_be != Breaker::Unspecified;
    let would_be = differs.then(|| format!("would be {would_be}"));
    let reason = reason.map(|reason| reason.to_string());
    let notes: Vec<_> = would_be.into_iter().chain(reason).collect();
    match notes.is_empty() {
        true => breaker.to_string(),
        false => format!("{breaker} ({})", notes.join(": ")),
    }
}

fn given(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// The value as text, or a dash if there is none.
pub fn optional<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or("-".to_owned(), show)
}

/// The protocol's time; `None` for one that no calendar has.
pub fn moment(at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
}

/// In UTC, to the millisecond.
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// About three significant digits, which is enough to compare values.
pub fn duration(duration: impl TryInto<Duration>) -> String {
    let duration = duration.try_into().unwrap_or_default();
    let seconds = duration.as_secs();
    match duration {
        d if d < Duration::from_millis(1) => format!("{}us", d.as_micros()),
        d if d < Duration::from_secs(1) => format!("{}ms", d.as_millis()),
        d if d < Duration::from_secs(60) => format!("{:.1}s", d.as_secs_f64()),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}
