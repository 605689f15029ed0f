//! The evidence behind a verdict as text.

use std::fmt::Write as _;

use detector_api::v1::{
    Destroyed, Event, ExplainPeerResponse, Flow, PeerState, Probe, Route, Silence,
};

use super::{
    Table, addresses, breaker_by, breaker_reason, correlations::vitals, duration, given, moment,
    notes, optional, overridden, rule, time, verdict,
};

/// The round-trip time of a flow on which none was measured yet.
const ZERO: prost_types::Duration = prost_types::Duration {
    seconds: 0,
    nanos: 0,
};

/// The evidence behind a verdict: the summary, the facts, the rule, and the flows, probes and
/// events.
pub fn explanation(explanation: &ExplainPeerResponse) -> String {
    let mut sections: Vec<String> = Vec::new();
    if let Some(peer) = &explanation.peer {
        sections.push(format!("{}\n", explanation.summary));
        sections.push(known(peer, explanation));
        sections.push(rule::paths(&peer.paths));
    }
    sections.extend([
        rule::clauses(&explanation.clauses),
        flows(&explanation.flows),
        probes(&explanation.probes),
        routes(&explanation.routes),
        events(&explanation.events),
    ]);
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

fn known(peer: &PeerState, explanation: &ExplainPeerResponse) -> String {
    let facts = facts(peer).into_iter().chain(vitals(peer));
    let facts = facts.chain(numbers(explanation));
    let facts = facts.chain(troubles(peer, explanation.flows.len()));
    let mut out = String::new();
    for (name, value) in facts {
        let _ = writeln!(out, "{name:<14}{value}");
    }
    out
}

/// Other problems of the peer, with advice.
fn troubles(peer: &PeerState, flows: usize) -> Vec<(&'static str, String)> {
    let stalled = notes::stalled(peer, Some(flows)).map(|text| ("stalled", text));
    let contested = notes::contested(peer).map(|text| ("contested", text));
    let advice = notes::advice(peer.reason()).map(|text| ("advice", text.to_owned()));
    stalled.into_iter().chain(contested).chain(advice).collect()
}

fn facts(peer: &PeerState) -> Vec<(&'static str, String)> {
    let PeerState {
        generation,
        revision,
        ..
    } = peer;
    let (reason, mode) = (peer.reason(), peer.mode());
    let breaker = breaker_by(peer, breaker_reason(peer));
    let mut facts = vec![
        ("verdict", format!("{} ({reason})", verdict(peer))),
        ("since", optional(moment(peer.changed_at), time)),
        ("breaker", format!("{breaker}, mode {mode}")),
    ];
    facts.extend(overridden(peer).map(|held| ("override", held)));
    facts.extend([
        ("generation", format!("{generation}, revision {revision}")),
        ("addresses", addresses(peer)),
        ("heard", heard(peer)),
    ]);
    facts
}

fn heard(peer: &PeerState) -> String {
    match peer.last_heard_age {
        Some(age) => format!("{} ago", duration(age)),
        None => "never".to_owned(),
    }
}

fn numbers(explanation: &ExplainPeerResponse) -> Vec<(&'static str, String)> {
    let silence = explanation.silence.as_ref().map(silence);
    let destroyed = explanation.destroyed.as_ref().map(destroyed);
    silence.into_iter().flatten().chain(destroyed).collect()
}

fn destroyed(destroyed: &Destroyed) -> (&'static str, String) {
    let Destroyed {
        destroyed,
        spared,
        gone,
        failed,
    } = destroyed;
    (
        "destroyed",
        format!("{destroyed} sockets ({spared} spared, {gone} gone before, {failed} failed)"),
    )
}

fn silence(silence: &Silence) -> [(&'static str, String); 2] {
    let lasted = optional(silence.duration, duration);
    let detection_time = optional(silence.detection_time, duration);
    let unanswered = silence.unanswered_transmissions;
    let required = silence.required_transmissions;
    let unit = match silence.counts_moments {
        true => "moments",
        false => "transmissions",
    };
    let loss = loss(silence);
    [
        ("silence", format!("{lasted}; dead from {detection_time}")),
        (
            "unanswered",
            format!("{unanswered} {unit}; dead from {required} ({loss})"),
        ),
    ]
}

/// The loss that the rule allows for, and what was observed; an older daemon does not send that.
fn loss(silence: &Silence) -> String {
    let assumed = silence.loss_estimate * 100.0;
    let observed = silence.observed_loss.map_or_else(String::new, |loss| {
        format!(", observed: {:.2} %", loss * 100.0)
    });
    format!("loss assumed: {assumed:.2} %{observed}")
}

fn flows(flows: &[Flow]) -> String {
    if flows.is_empty() {
        return "no flows\n".to_owned();
    }
    let mut table = Table::new([
        "LOCAL", "REMOTE", "STATE", "DEMAND", "STALLED", "RTOS", "BACKOFF", "UNACKED", "WINDOW",
        "HEARD", "SRTT", "RTO", "TUNED", "NETNS", "COOKIE",
    ]);
    for flow in flows {
        table.row([
            flow.local.clone(),
            flow.remote.clone(),
            flow.state.clone(),
            yes(flow.demand),
            optional(flow.stalled_for, duration),
            flow.rto_count.to_string(),
            flow.backoff.to_string(),
            flow.unacked_bytes.to_string(),
            window(flow),
            optional(flow.last_heard_age, duration),
            optional(flow.srtt.filter(|srtt| *srtt != ZERO), duration),
            optional(flow.rto, duration),
            given(&flow.tuned.join(",")),
            flow.netns.to_string(),
            flow.cookie.to_string(),
        ]);
    }
    table.render()
}

/// The peer's receive window. The daemon sends the largest number if it does not know the window.
fn window(flow: &Flow) -> String {
    let known = Some(flow.send_window_bytes).filter(|bytes| *bytes != u32::MAX);
    optional(known, |bytes| bytes.to_string())
}

fn events(events: &[Event]) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    let mut table = Table::new(["AGE", "EVENT", "SOURCE", "FLOW"]);
    for event in events {
        table.row([
            optional(event.age, duration),
            event.kind.clone(),
            event.source.clone(),
            event.flow.clone(),
        ]);
    }
    table.render()
}

/// Empty if there are no probes: an older daemon sends none.
fn probes(probes: &[Probe]) -> String {
    if probes.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        "PROBE",
        "TARGET",
        "ANSWERS",
        "SENT",
        "ANSWERED",
        "UNANSWERED",
        "LAST ANSWER",
    ]);
    for probe in probes {
        let answer = match probe.last_answer_age {
            Some(age) => format!("{} {} ago", probe.last_answer, duration(age)),
            None => "-".to_owned(),
        };
        table.row([
            probe.kind.clone(),
            target(probe),
            yes(probe.known_to_answer),
            probe.sent.to_string(),
            probe.answered.to_string(),
            probe.unanswered.to_string(),
            answer,
        ]);
    }
    table.render()
}

/// A neighbour's link is its index, as in `10.0.0.4%2`.
fn target(probe: &Probe) -> String {
    match probe.target.rsplit_once('%') {
        Some((address, link)) if probe.kind == "neighbour" => format!("{address} on link {link}"),
        _ => probe.target.clone(),
    }
}

fn routes(routes: &[Route]) -> String {
    if routes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["ROUTE", "LINK", "GATEWAY", "CARRIER", "NEIGHBOUR TABLE"]);
    for route in routes {
        table.row([
            route.address.clone(),
            route.link.to_string(),
            given(&route.gateway),
            if route.link_up { "up" } else { "down" }.to_owned(),
            given(&route.neighbour),
        ]);
    }
    table.render()
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "-" }.to_owned()
}
