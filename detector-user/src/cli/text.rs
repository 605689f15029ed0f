//! What `--output text` prints: aligned tables and one-line changes, for people.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::json::{Event, Explanation, Flow, PeerState, Removed};

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
        "SILENCE",
        "ADDRESSES",
    ]);
    for state in states {
        table.row([
            state.peer.clone(),
            state.verdict.clone(),
            breaker(state),
            state.reason.clone(),
            optional(state.changed_at, time),
            optional(state.silence, duration),
            addresses(state),
        ]);
    }
    table.render()
}

/// One change on a line.
pub fn change(at: Option<Timestamp>, state: &PeerState) -> String {
    let silence = state
        .silence
        .map_or("never heard from".to_owned(), |silence| {
            format!("silence {}", duration(silence))
        });
    format!(
        "{} {:<24} {:<8} {:<10} {:<20} {silence}\n",
        optional(at, time),
        state.peer,
        state.verdict,
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
    out + &flows(&explanation.flows) + "\n" + &events(&explanation.events)
}

fn facts(peer: &PeerState) -> Vec<(&'static str, String)> {
    let PeerState {
        verdict,
        reason,
        mode,
        generation,
        revision,
        ..
    } = peer;
    vec![
        ("verdict", format!("{verdict} ({reason})")),
        ("since", optional(peer.changed_at, time)),
        ("breaker", format!("{}, mode {mode}", breaker(peer))),
        ("generation", format!("{generation}, revision {revision}")),
        ("addresses", addresses(peer)),
    ]
}

fn numbers(explanation: &Explanation) -> Vec<(&'static str, String)> {
    let Some(silence) = &explanation.silence else {
        return Vec::new();
    };
    let lasted = optional(silence.duration, duration);
    let patience = optional(silence.patience, duration);
    let unanswered = silence.unanswered_transmissions;
    let required = silence.required_transmissions;
    let loss = silence.loss_estimate * 100.0;
    vec![
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
            if flow.demand { "yes" } else { "-" }.to_owned(),
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

/// The breaker; in observe mode, also what it would have been.
fn breaker(state: &PeerState) -> String {
    if state.breaker == state.would_be_breaker || state.would_be_breaker == "unspecified" {
        return state.breaker.clone();
    }
    format!("{} (would be {})", state.breaker, state.would_be_breaker)
}

fn optional<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or("-".to_owned(), show)
}

/// To the millisecond, in UTC.
fn time(at: Timestamp) -> String {
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
    use crate::cli::json::Silence;

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
        }
    }

    #[test]
    fn a_change_is_one_line() {
        let dead = state();
        assert_eq!(
            change(dead.changed_at, &dead),
            "2023-11-14T22:13:20.123Z http://node4:9000        dead     open       \
             rto_unanswered       silence 253ms\n"
        );
        let observed = PeerState {
            breaker: "closed".to_owned(),
            silence: None,
            ..state()
        };
        let line = change(None, &observed);
        assert!(line.contains("closed (would be open)"), "{line}");
        assert!(line.ends_with("never heard from\n"), "{line}");
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
        };
        let text = explanation(&explained);
        let expected = "\
silent for 253 ms with 3 transmissions unanswered

verdict       dead (rto_unanswered)
since         2023-11-14T22:13:20.123Z
breaker       open, mode enforce
generation    3, revision 9
addresses     10.0.0.4
silence       253ms; dead from 250ms
unanswered    3 transmissions; dead from 2 (estimated loss 1.25 %)

LOCAL           REMOTE         STATE        DEMAND  RTOS  BACKOFF  UNACKED  WINDOW  HEARD  SRTT  RTO    NETNS       COOKIE
10.0.0.1:40000  10.0.0.4:9000  established  yes     1     1        4096     65535   253ms  80us  408ms  4026531840  77

AGE   EVENT  SOURCE  FLOW
40ms  rto    ebpf    10.0.0.1:40000 -> 10.0.0.4:9000
";
        assert_eq!(text, expected, "{text}");
        let nothing = Explanation {
            flows: Vec::new(),
            events: Vec::new(),
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
