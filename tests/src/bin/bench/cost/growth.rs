//! How the cost grows: counts of wake-ups (with idle peers) and system calls, which do not depend on
//! how fast the machine is.

use std::collections::BTreeMap;

use super::{Load, Row};
use crate::table::Table;

/// How much faster than the number of peers a count may grow.
const AT_MOST: f64 = 1.5;
/// A second's worth of chance: timers of the runtime, a page that is read.
const CHANCE: f64 = 15.0;

/// One count with few and with many.
#[derive(Debug)]
pub struct Growth {
    what: String,
    few: f64,
    many: f64,
    most: f64,
}

impl Growth {
    pub fn is_linear(&self) -> bool {
        self.many <= self.most
    }
}

/// Compares each row with the one that has the fewest peers, and with the one that has the fewest
/// other sockets.
pub fn judge(rows: &[Row]) -> Vec<Growth> {
    let ours = || rows.iter().filter(|row| row.program == "detector");
    let mut by_peers: BTreeMap<(Load, u32), Vec<&Row>> = BTreeMap::new();
    let mut by_others: BTreeMap<(Load, u32), Vec<&Row>> = BTreeMap::new();
    for row in ours() {
        by_peers
            .entry((row.load, row.others))
            .or_default()
            .push(row);
        by_others
            .entry((row.load, row.peers))
            .or_default()
            .push(row);
    }
    let peers = by_peers.into_values().filter_map(|mut rows| {
        rows.sort_by_key(|row| row.peers);
        let (few, many) = (*rows.first()?, *rows.last()?);
        let factor = f64::from(many.peers) / f64::from(few.peers);
        (factor > 1.0).then(|| compare(few, many, factor * AT_MOST))
    });
    // What is none of its business must not cost more calls.
    let others = by_others.into_values().filter_map(|mut rows| {
        rows.sort_by_key(|row| row.others);
        let (few, many) = (*rows.first()?, *rows.last()?);
        (few.others < many.others).then(|| compare(few, many, AT_MOST))
    });
    peers.chain(others).flatten().collect()
}

fn compare(few: &Row, many: &Row, factor: f64) -> Vec<Growth> {
    let name = |what: &str| {
        format!(
            "{what}: {:?}, {} peers and {} others → {} and {}",
            few.load, few.peers, few.others, many.peers, many.others
        )
    };
    let growth = |what: &str, few: f64, many: f64| Growth {
        what: name(what),
        few,
        many,
        most: few * factor + CHANCE,
    };
    let wakeups = growth(
        "wake-ups/s",
        few.spent.wakeups_per_second,
        many.spent.wakeups_per_second,
    );
    let calls = few.spent.system_calls_per_second;
    let calls = calls.zip(many.spent.system_calls_per_second);
    let calls = calls.map(|(few, many)| growth("system calls/s", few, many));
    // How often the traffic of busy peers and the daemon's own timers wake it together depends on how
    // loaded the machine is.
    let wakeups = (many.load == Load::Idle).then_some(wakeups);
    [wakeups, calls].into_iter().flatten().collect()
}

pub fn table(all: &[Growth]) -> String {
    let mut table = Table::new("growth", &["from", "to", "at most", ""]);
    for growth in all {
        table.row(
            &growth.what,
            vec![
                format!("{:.1}", growth.few),
                format!("{:.1}", growth.many),
                format!("{:.1}", growth.most),
                if growth.is_linear() { "ok" } else { "TOO FAST" }.to_owned(),
            ],
        );
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::spent::Spent;

    fn row(peers: u32, others: u32, wakeups: f64, calls: f64) -> Row {
        Row {
            program: "detector".to_owned(),
            load: Load::Idle,
            peers,
            others,
            spent: Spent {
                wakeups_per_second: wakeups,
                system_calls_per_second: Some(calls),
                ..Spent::default()
            },
        }
    }

    fn too_fast(rows: &[Row]) -> usize {
        judge(rows)
            .iter()
            .filter(|growth| !growth.is_linear())
            .count()
    }

    #[test]
    fn ten_times_the_peers_may_cost_ten_times_as_much_and_not_a_hundred_times() {
        assert_eq!(
            too_fast(&[row(10, 0, 40.0, 100.0), row(100, 0, 400.0, 900.0)]),
            0
        );
        assert_eq!(
            too_fast(&[row(10, 0, 40.0, 100.0), row(100, 0, 400.0, 9000.0)]),
            1
        );
    }

    #[test]
    fn other_sockets_may_cost_nothing() {
        assert_eq!(
            too_fast(&[row(10, 0, 40.0, 100.0), row(10, 1000, 41.0, 101.0)]),
            0
        );
        assert_eq!(
            too_fast(&[row(10, 0, 40.0, 100.0), row(10, 1000, 41.0, 400.0)]),
            1
        );
    }
}
