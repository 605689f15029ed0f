//! What `--output text` prints: aligned tables and one-line changes, for people.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::json::{Explanation, Flow, PeerState, Removed};

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
            if state.addresses.is_empty() {
                "unresolved".to_owned()
            } else {
                state.addresses.join(" ")
            },
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
        let _ = writeln!(
            out,
            "{} is {}: {}\n",
            peer.peer, peer.verdict, explanation.summary
        );
        let mut fact = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<14}{value}");
        };
        fact("verdict", format!("{} ({})", peer.verdict, peer.reason));
        fact("since", optional(peer.changed_at, time));
        fact("breaker", format!("{}, mode {}", breaker(peer), peer.mode));
        fact(
            "generation",
            format!("{}, revision {}", peer.generation, peer.revision),
        );
        fact("addresses", peer.addresses.join(" "));
        if let Some(silence) = &explanation.silence {
            let (lasted, patience) = (silence.duration, silence.patience);
            let lasted = optional(lasted, duration);
            fact(
                "silence",
                format!("{lasted} of the {} for dead", optional(patience, duration)),
            );
            fact(
                "unanswered",
                format!(
                    "{} of the {} transmissions for dead, at an estimated loss of {:.2} %",
                    silence.unanswered_transmissions,
                    silence.required_transmissions,
                    silence.loss_estimate * 100.0
                ),
            );
        }
    }
    let _ = write!(out, "\n{}", flows(&explanation.flows));
    let mut table = Table::new(["AGE", "EVENT", "SOURCE", "FLOW"]);
    for event in &explanation.events {
        table.row([
            optional(event.age, duration),
            event.kind.clone(),
            event.source.clone(),
            event.flow.clone(),
        ]);
    }
    match explanation.events.is_empty() {
        true => out.push_str("\nno events\n"),
        false => {
            let _ = write!(out, "\n{}", table.render());
        }
    }
    out
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
