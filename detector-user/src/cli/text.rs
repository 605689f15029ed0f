//! What `--output text` prints: aligned tables and one-line changes, for people.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::json::{Destroyed, Event, Explanation, Flow, PeerState, Probe, Removed, Route, Silence};

/// A table with a header, each column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            rows: vec![header.map(str::to_owned).to_vec()],
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// All peers as a table.
pub fn peers(states: &[PeerState]) -> String {
    let mut table = Table::new([
        "PEER",
        "VERDICT",
        "BREAKER",
        "REASON",
        "SINCE",
        "HEARD",
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

/// The evidence behind a verdict.
pub fn explanation(explanation: &Explanation) -> String {
    let mut out = String::new();
    if let Some(peer) = &explanation.peer {
        let Explanation { summary, .. } = explanation;
        let _ = writeln!(out, "{summary}\n");
        for (name, value) in facts(peer).into_iter().chain(numbers(explanation)) {
            let _ = writeln!(out, "{name:<14}{value}");
        }
        out.push('\n');
    }
    out += &flows(&explanation.flows);
    for table in [
        probes(&explanation.probes),
        routes(&explanation.routes),
        events(&explanation.events),
    ] {
        if !table.is_empty() {
            out.push('\n');
            out += &table;
        }
    }
    out
}

fn facts(peer: &PeerState) -> Vec<(&'static str, String)> {
    let PeerState {
        reason,
        mode,
        generation,
        revision,
        ..
    } = peer;
    vec![
        ("verdict", format!("{} ({reason})", verdict(peer))),
        ("since", optional(peer.changed_at, time)),
        ("breaker", format!("{}, mode {mode}", breaker(peer))),
        ("generation", format!("{generation}, revision {revision}")),
        ("addresses", addresses(peer)),
        ("heard", heard(peer)),
    ]
}

fn heard(peer: &PeerState) -> String {
    match peer.last_heard_age {
        Some(age) => format!("{} ago", duration(age)),
        None => "never".to_owned(),
    }
}

fn numbers(explanation: &Explanation) -> Vec<(&'static str, String)> {
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
    let patience = optional(silence.patience, duration);
    let unanswered = silence.unanswered_transmissions;
    let required = silence.required_transmissions;
    let loss = silence.loss_estimate * 100.0;
    [
        ("silence", format!("{lasted}; dead from {patience}")),
        (
            "unanswered",
            format!(
                "{unanswered} transmissions; dead from {required} (estimated loss {loss:.2} %)"
            ),
        ),
    ]
}

fn addresses(peer: &PeerState) -> String {
    match peer.addresses.is_empty() {
        true => "unresolved".to_owned(),
        false => peer.addresses.join(" "),
    }
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

/// Nothing where there are none: an older daemon has no probes.
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
            probe.target.clone(),
            yes(probe.known_to_answer),
            probe.sent.to_string(),
            probe.answered.to_string(),
            probe.unanswered.to_string(),
            answer,
        ]);
    }
    table.render()
}

fn routes(routes: &[Route]) -> String {
    if routes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["ROUTE", "LINK", "GATEWAY", "CARRIER", "NEIGHBOUR"]);
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

fn given(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

fn flows(flows: &[Flow]) -> String {
    if flows.is_empty() {
        return "no flows\n".to_owned();
    }
    let mut table = Table::new([
        "LOCAL", "REMOTE", "STATE", "DEMAND", "RTOS", "BACKOFF", "UNACKED", "WINDOW", "HEARD",
        "SRTT", "RTO", "NETNS", "COOKIE",
    ]);
    for flow in flows {
        table.row([
            flow.local.clone(),
            flow.remote.clone(),
            flow.state.clone(),
            yes(flow.demand),
            flow.rto_count.to_string(),
            flow.backoff.to_string(),
            flow.unacked_bytes.to_string(),
            flow.send_window_bytes.to_string(),
            optional(flow.last_heard_age, duration),
            optional(flow.srtt, duration),
            optional(flow.rto, duration),
            flow.netns.to_string(),
            flow.cookie.to_string(),
        ]);
    }
    table.render()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PeerState {
        PeerState {
            peer: "http://node4:9000".to_owned(),
            verdict: "dead".to_owned(),
            breaker: "open".to_owned(),
            reason: "rto_unanswered".to_owned(),
            generation: 3,
            revision: 9,
            mode: "enforce".to_owned(),
            would_be_breaker: "open".to_owned(),
            addresses: vec!["10.0.0.4".to_owned()],
            changed_at: Some(Timestamp::new(1_700_000_000, 123_456_789).unwrap()),
            silence: Some(Duration::from_millis(253)),
            isolated: false,
            last_heard_age: Some(Duration::from_millis(254)),
        }
    }

    #[test]
    fn a_change_is_one_line() {
        let dead = state();
        assert_eq!(
            change(dead.changed_at, &dead),
            "2023-11-14T22:13:20.123Z http://node4:9000        dead     open       \
             rto_unanswered       heard 254ms ago\n"
        );
        let observed = PeerState {
            breaker: "closed".to_owned(),
            last_heard_age: None,
            ..state()
        };
        let line = change(None, &observed);
        assert!(line.contains("closed (would be open)"), "{line}");
        assert!(line.ends_with("never heard from\n"), "{line}");
        let held = PeerState {
            verdict: "suspect".to_owned(),
            isolated: true,
            ..state()
        };
        let line = change(None, &held);
        assert!(line.contains("suspect (held: isolated) open"), "{line}");
        assert!(peers(&[held]).contains("suspect (held: isolated)  open"));
    }

    #[test]
    fn an_explanation_shows_numbers_flows_and_events() {
        let explained = Explanation {
            peer: Some(state()),
            silence: Some(Silence {
                duration: Some(Duration::from_millis(253)),
                patience: Some(Duration::from_millis(250)),
                unanswered_transmissions: 3,
                required_transmissions: 2,
                loss_estimate: 0.0125,
            }),
            flows: vec![Flow {
                local: "10.0.0.1:40000".to_owned(),
                remote: "10.0.0.4:9000".to_owned(),
                netns: 4026531840,
                cookie: 77,
                state: "established".to_owned(),
                rto_count: 1,
                backoff: 1,
                unacked_bytes: 4096,
                send_window_bytes: 65535,
                last_heard_age: Some(Duration::from_millis(253)),
                srtt: Some(Duration::from_micros(80)),
                rto: Some(Duration::from_millis(408)),
                demand: true,
            }],
            events: vec![Event {
                age: Some(Duration::from_millis(40)),
                kind: "rto".to_owned(),
                source: "ebpf".to_owned(),
                flow: "10.0.0.1:40000 -> 10.0.0.4:9000".to_owned(),
            }],
            summary: "silent for 253 ms with 3 transmissions unanswered".to_owned(),
            probes: vec![
                Probe {
                    kind: "neighbour".to_owned(),
                    target: "10.0.0.4%2".to_owned(),
                    known_to_answer: true,
                    sent: 9,
                    answered: 4,
                    unanswered: 5,
                    last_answer_age: Some(Duration::from_secs(3)),
                    last_answer: "neighbour".to_owned(),
                },
                Probe {
                    kind: "connect".to_owned(),
                    target: "10.0.0.4:9000".to_owned(),
                    known_to_answer: false,
                    sent: 1,
                    answered: 0,
                    unanswered: 1,
                    last_answer_age: None,
                    last_answer: String::new(),
                },
            ],
            routes: vec![Route {
                address: "10.0.0.4".to_owned(),
                link: 2,
                gateway: String::new(),
                link_up: true,
                neighbour: "failed".to_owned(),
            }],
            as_of: None,
            destroyed: Some(Destroyed {
                destroyed: 12,
                spared: 1,
                gone: 2,
                failed: 0,
            }),
        };
        let text = explanation(&explained);
        let expected = "\
silent for 253 ms with 3 transmissions unanswered

verdict       dead (rto_unanswered)
since         2023-11-14T22:13:20.123Z
breaker       open, mode enforce
generation    3, revision 9
addresses     10.0.0.4
heard         254ms ago
silence       253ms; dead from 250ms
unanswered    3 transmissions; dead from 2 (estimated loss 1.25 %)
destroyed     12 sockets (1 spared, 2 gone before, 0 failed)

LOCAL           REMOTE         STATE        DEMAND  RTOS  BACKOFF  UNACKED  WINDOW  HEARD  SRTT  RTO    NETNS       COOKIE
10.0.0.1:40000  10.0.0.4:9000  established  yes     1     1        4096     65535   253ms  80us  408ms  4026531840  77

PROBE      TARGET         ANSWERS  SENT  ANSWERED  UNANSWERED  LAST ANSWER
neighbour  10.0.0.4%2     yes      9     4         5           neighbour 3.0s ago
connect    10.0.0.4:9000  -        1     0         1           -

ROUTE     LINK  GATEWAY  CARRIER  NEIGHBOUR
10.0.0.4  2     -        up       failed

AGE   EVENT  SOURCE  FLOW
40ms  rto    ebpf    10.0.0.1:40000 -> 10.0.0.4:9000
";
        assert_eq!(text, expected, "{text}");
        let nothing = Explanation {
            flows: Vec::new(),
            events: Vec::new(),
            probes: Vec::new(),
            routes: Vec::new(),
            ..explained
        };
        assert!(explanation(&nothing).ends_with("\nno flows\n\nno events\n"));
    }

    #[test]
    fn tables_are_aligned_without_trailing_blanks() {
        let mut table = Table::new(["A", "LONGER"]);
        table.row(["wide cell".to_owned(), "é".to_owned()]);
        table.row(["é".to_owned(), "x".to_owned()]);
        assert_eq!(
            table.render(),
            "A          LONGER\nwide cell  é\né          x\n"
        );
    }

    #[test]
    fn durations_are_short() {
        for (millis, text) in [
            (0, "0us"),
            (253, "253ms"),
            (1_250, "1.2s"),
            (61_000, "1m01s"),
            (7_260_000, "2h01m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
