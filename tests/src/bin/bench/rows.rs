//! The rows of the cuts, and their targets.

use serde::Serialize;

use crate::{load::Load, site::Setting, summary::Percentile};

/// Cuts under one load, of both kinds in turn.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub load: Load,
    pub setting: Setting,
    pub group: Group,
}

/// What decides how soon a cut can be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Two or more segments in flight.
    Segments,
    /// One segment in flight.
    OneSegment,
    /// Nothing in flight.
    Nothing,
    /// As the first two, with tuned sockets and a detection time of 50 ms.
    Tuned,
}

impl Group {
    pub const ALL: [Self; 4] = [Self::Segments, Self::OneSegment, Self::Nothing, Self::Tuned];

    /// For the plot.
    pub fn label(self) -> &'static str {
        match self {
            Self::Segments => "detector: two or more segments in flight",
            Self::OneSegment => "detector: one segment in flight",
            Self::Nothing => "detector: nothing in flight",
            Self::Tuned => "detector: tuned sockets, detection_time 50 ms",
        }
    }

    /// The project's targets for such rows.
    pub fn targets(self) -> Vec<Target> {
        use Metric::{Closed, Open, Record, Suspect};
        use Percentile::{P50, P99};
        let own: &[(Metric, Percentile, f64)] = match self {
            Self::Segments => &[(Suspect, P99, 50.0), (Open, P50, 280.0), (Open, P99, 400.0)],
            Self::OneSegment => &[
                (Suspect, P99, 260.0),
                (Open, P50, 450.0),
                (Open, P99, 600.0),
            ],
            Self::Nothing => &[(Open, P99, 700.0)],
            Self::Tuned => &[(Open, P99, 120.0)],
        };
        let all = [(Closed, P99, 250.0), (Record, P99, 1.0)];
        own.iter()
            .chain(&all)
            .map(|&(metric, percentile, limit_ms)| Target {
                metric,
                percentile,
                limit_ms,
            })
            .collect()
    }
}

/// What is measured of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// From the cut to Suspect at a watcher.
    Suspect,
    /// From the cut to an Open breaker at a watcher.
    Open,
    /// From the peer's first frame to a Closed breaker at a watcher.
    Closed,
    /// From the kernel's record, or the probe's answer, that closed the breaker to the watcher.
    Record,
}

impl Metric {
    pub fn label(self) -> &'static str {
        match self {
            Self::Suspect => "cut → suspect",
            Self::Open => "cut → open",
            Self::Closed => "peer back → closed",
            Self::Record => "record → watcher",
        }
    }
}

/// A limit for one percentile.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Target {
    pub metric: Metric,
    pub percentile: Percentile,
    pub limit_ms: f64,
}

/// All rows.
pub fn all() -> Vec<Row> {
    use Load::{Calls, Idle, Quiet, Segment, Upload, Waiting};
    let mut rows = Vec::new();
    let loads = [
        Calls(1),
        Calls(3),
        Calls(16),
        Upload(1),
        Segment,
        Waiting,
        Quiet,
        Idle,
    ];
    for load in loads {
        rows.push(row(load.as_str(), load, Setting::default()));
    }
    let routed = Setting {
        routed: true,
        ..Setting::default()
    };
    let v6 = Setting {
        v6: true,
        ..Setting::default()
    };
    let tuned = Setting {
        tuned: true,
        ..Setting::default()
    };
    let others = [
        ("routed", routed, &[Calls(3), Waiting][..]),
        ("ipv6", v6, &[Calls(3), Waiting]),
        (
            "tuned",
            tuned,
            &[Calls(1), Calls(3), Calls(16), Upload(1), Segment],
        ),
    ];
    for (word, setting, loads) in others {
        for load in loads {
            let name = format!("{word}-{}", load.as_str());
            rows.push(row(name, *load, setting));
        }
    }
    rows
}

fn row(name: String, load: Load, setting: Setting) -> Row {
    let group = match load {
        _ if setting.tuned => Group::Tuned,
        Load::Calls(_) | Load::Upload(_) => Group::Segments,
        Load::Segment => Group::OneSegment,
        Load::Waiting | Load::Quiet | Load::Idle => Group::Nothing,
    };
    let setting = Setting {
        http: load.is_http(),
        ..setting
    };
    Row {
        name,
        load,
        setting,
        group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let rows = all();
        let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
    }
}
