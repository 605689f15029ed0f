//! Explains a verdict: the lines of each path, and one sentence for a person.

use std::time::Duration;

use super::{context::Around, path::Path};
use crate::model::{Destroyed, Explanation, PeerState, SilenceLine, Time};

/// Explains a peer's state: its flows, probes, routes, recent events and clauses.
pub(super) fn explanation(
    now: Time,
    state: PeerState,
    paths: &[&Path],
    around: Around<'_>,
) -> Explanation {
    let flows: Vec<_> = paths.iter().flat_map(|path| path.flow_lines(now)).collect();
    // With several paths, the one with the longest silence is shown.
    let silence = paths
        .iter()
        .map(|path| path.silence_line(now, around))
        .max_by_key(|line| (line.duration, line.detection_time))
        .unwrap_or_default();
    let large = paths.iter().find_map(|path| path.large_segments());
    let destroy = paths
        .iter()
        .find_map(|path| path.destroy_line(around.settings));
    let mut events: Vec<_> = paths.iter().flat_map(|path| path.event_lines()).collect();
    events.sort_by_key(|event| event.at);
    let addresses = &state.addresses;
    Explanation {
        summary: summary(
            now,
            &state,
            &silence,
            flows.len(),
            large.map(advice).or(destroy),
        ),
        routes: around.isolation.network.lines(addresses),
        silence,
        flows,
        events,
        probes: paths
            .iter()
            .flat_map(|path| path.probe_lines(now))
            .collect(),
        destroyed: paths
            .iter()
            .filter_map(|path| path.destroyed_sockets())
            .reduce(Destroyed::plus),
        clauses: paths
            .iter()
            .flat_map(|path| path.clause_lines(now, around))
            .collect(),
        state,
    }
}

/// One sentence for a person.
fn summary(
    now: Time,
    state: &PeerState,
    silence: &SilenceLine,
    flows: usize,
    more: Option<String>,
) -> String {
    let heard = state.last_heard.map_or_else(
        || "never heard".to_owned(),
        |heard| format!("last heard {} ago", rounded(now.since(heard))),
    );
    format!(
        "{} is {} ({}): {heard}; {flows} {} known; {}{}.",
        state.peer,
        state.verdict,
        state.reason,
        if flows == 1 { "flow" } else { "flows" },
        demand(state, silence, flows),
        more.map_or_else(String::new, |more| format!("; {more}")),
    )
}

/// Describes what is unanswered.
fn demand(state: &PeerState, silence: &SilenceLine, flows: usize) -> String {
    let unit = match silence.counts_moments {
        true => "moments",
        false => "transmissions",
    };
    let unanswered = format!(
        "{} {unit} unanswered ({} needed), silent for {} ({} needed)",
        silence.unanswered_transmissions,
        silence.required_transmissions,
        rounded(silence.duration),
        rounded(silence.detection_time),
    );
    match (silence.unanswered_transmissions, state.stalled_flows) {
        (0, 0) => "nothing is unanswered".to_owned(),
        (0, stalled) => {
            let oldest = state.oldest_stall.unwrap_or_default();
            format!(
                "{stalled} of {flows} flows stalled, for {}",
                rounded(oldest)
            )
        }
        _ => unanswered,
    }
}

/// Advice for the case that large segments are lost.
fn advice(bytes: u32) -> String {
    format!(
        "segments with {bytes} bytes of data are lost while those without data pass: compare \
         the MTU of the links on the way (ip link), or set net.ipv4.tcp_mtu_probing=1"
    )
}

/// A duration in whole milliseconds, for people.
fn rounded(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
