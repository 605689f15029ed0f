//! What a daemon's metrics say of it, and of its peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{
    check::{Check, Status},
    model::{SourceKind, Verdict},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Counters of what was missed, with what to do if one is not zero.
const MISSED: [(&str, &str); 4] = [
    ("detector_ring_drops_total", "raise ring_bytes there"),
    ("detector_flows_full_total", "raise max_flows there"),
    (
        "detector_signals_dropped_total",
        "see whether it gets processor time",
    ),
    (
        "detector_malformed_records_total",
        "restart it; if it comes back, report it",
    ),
];

/// What one daemon says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    version: String,
    source: String,
    is_isolated: bool,
    /// The number of peers by their verdict.
    peers: BTreeMap<String, usize>,
    dead: BTreeSet<String>,
    missed: Vec<(String, f64)>,
}

impl Summary {
    /// From the text of `/metrics`. Fails if it is not a detector's.
    pub fn of(text: &str) -> Result<Self, String> {
        let mut summary = Self::default();
        for sample in text.lines().filter_map(Sample::parse) {
            summary.add(&sample);
        }
        match summary.version.is_empty() {
            true => Err("answers, and is no detector".to_owned()),
            false => Ok(summary),
        }
    }

    fn add(&mut self, sample: &Sample<'_>) {
        let label = |name| sample.label(name).unwrap_or_default();
        let is = sample.value == 1.0;
        match sample.name {
            "detector_build_info" => self.version = label("version"),
            "detector_source_info" if is => self.source = label("source"),
            "detector_isolated" => self.is_isolated |= is,
            "detector_peer_verdict" if is => {
                let verdict = label("verdict");
                if verdict == Verdict::Dead.as_str() {
                    self.dead.insert(label("peer"));
                }
                *self.peers.entry(verdict).or_default() += 1;
            }
            name if MISSED.iter().any(|(missed, _)| *missed == name) && sample.value > 0.0 => {
                self.missed.push((name.to_owned(), sample.value));
            }
            _ => {}
        }
    }

    /// The summary as a line of `detector doctor`.
    pub fn check(&self, name: String) -> Check {
        let verdicts = self.peers.iter();
        let verdicts: Vec<_> = verdicts
            .map(|(verdict, n)| format!("{n} {verdict}"))
            .collect();
        let peers = match verdicts.is_empty() {
            true => "no peers".to_owned(),
            false => format!("peers: {}", verdicts.join(", ")),
        };
        let source = match self.source.is_empty() {
            true => "no source yet",
            false => &self.source,
        };
        let found = format!("{}, {source}, {peers}", self.version);
        let troubles = self.troubles();
        match troubles.is_empty() {
            true => Check::new(name, Status::Ok, found, "it answers, and lacks nothing"),
            false => Check::new(name, Status::Degraded, found, troubles.join("\n")),
        }
    }

    fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if self.is_isolated {
            troubles.push("it may be isolated: look at its link and its switch port".to_owned());
        }
        for peer in &self.dead {
            troubles.push(format!(
                "{peer} is dead for it: `detector explain {peer}` there"
            ));
        }
        if self.source == SourceKind::SockDiag.as_str() {
            troubles.push("it runs without eBPF: `detector doctor` there says why".to_owned());
        }
        if self.version != VERSION {
            troubles.push(format!("it is not of this version, {VERSION}"));
        }
        for (name, value) in &self.missed {
            let remedy = MISSED.iter().find(|(missed, _)| missed == name);
            let remedy = remedy.map_or("", |(_, remedy)| remedy);
            troubles.push(format!("{name} is {value} since its start: {remedy}"));
        }
        troubles
    }
}

/// One line of Prometheus' text format.
#[derive(Debug)]
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let name_ends = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(name_ends);
        // The value follows the last brace; values and time stamps have none.
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            name,
            labels,
            value,
        })
    }

    /// A label's value, unescaped.
    fn label(&self, name: &str) -> Option<String> {
        let mut rest = self.labels;
        loop {
            let (key, after) = rest.split_once("=\"")?;
            let Range { end, .. } = quoted(after)?;
            if key == name {
                return Some(unescaped(&after[..end]));
            }
            rest = after[end + 1..].trim_start_matches(',');
        }
    }
}

/// The part of the text before the closing quote.
fn quoted(text: &str) -> Option<Range<usize>> {
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            '"' if !is_escaped => return Some(0..at),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = r#"# HELP detector_build_info The version.
detector_build_info{ebpf="true",version="VERSION"} 1
detector_source_info{source="ebpf"} 1
detector_source_info{source="sock_diag"} 0
detector_isolated{peer="http://node2:9000"} 0
detector_peer_verdict{peer="http://node2:9000",verdict="alive"} 1
detector_peer_verdict{peer="http://node2:9000",verdict="dead"} 0
detector_ring_drops_total 0
"#;

    fn checked(text: &str) -> Check {
        let text = text.replace("VERSION", VERSION);
        Summary::of(&text).unwrap().check("x".to_owned())
    }

    #[test]
    fn a_daemon_that_is_well_is_ok() {
        let check = checked(WELL);
        assert_eq!(check.status, Status::Ok, "{check:?}");
        assert_eq!(check.found, format!("{VERSION}, ebpf, peers: 1 alive"));
    }

    #[test]
    fn each_trouble_is_told() {
        for (from, to, told) in [
            (r#""dead"} 0"#, r#""dead"} 1"#, "http://node2:9000 is dead"),
            (r#""sock_diag"} 0"#, r#""sock_diag"} 1"#, "without eBPF"),
            (
                "isolated{peer=\"http://node2:9000\"} 0",
                "isolated{peer=\"http://node2:9000\"} 1",
                "isolated",
            ),
            (
                "ring_drops_total 0",
                "ring_drops_total 3",
                "raise ring_bytes",
            ),
            ("VERSION", "0.0.0", "not of this version"),
        ] {
            let check = checked(&WELL.replace(from, to));
            assert_eq!(check.status, Status::Degraded, "{told}");
            assert!(check.meaning.contains(told), "{check:?}");
        }
    }

    #[test]
    fn another_program_is_no_daemon() {
        assert!(Summary::of("up 1\n<html>\n{}\n").is_err());
    }

    #[test]
    fn labels_are_unescaped_and_cannot_pretend_to_be_others() {
        let line = r#"a{peer="x\"},verdict=\"dead\\",verdict="a\nb"} 1"#;
        let sample = Sample::parse(line).unwrap();
        assert_eq!(sample.label("peer").unwrap(), "x\"},verdict=\"dead\\");
        assert_eq!(sample.label("verdict").unwrap(), "a\nb");
        assert_eq!(sample.label("other"), None);
        assert!(Sample::parse("a{").is_none() && Sample::parse("a{x=\"}").is_none());
    }
}
