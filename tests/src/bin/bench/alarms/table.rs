//! The results of the troubles.

use detector_tests::baseline::Method;

use super::{Alarms, Trouble};
use crate::{table::Table, verdicts::Verdict};

/// A row for each trouble; the detector's results come first.
pub fn table(all: &[Alarms]) -> String {
    let mut heads = vec!["minutes", "detector", "destroyed"];
    heads.extend(Method::ALL.map(Method::label));
    let mut table = Table::new("false alarms: times a living peer was called dead", &heads);
    for alarms in all {
        let (minutes, ours) = (format!("{:.1}", alarms.minutes), alarms.ours.to_string());
        let mut cells = vec![minutes, ours, alarms.destroyed.to_string()];
        cells.extend(Method::ALL.map(|m| {
            let count = alarms.baselines.get(&m);
            count.map_or("-".to_owned(), u32::to_string)
        }));
        table.row(&alarms.row, cells);
    }
    table.text()
}

/// The target of each trouble.
pub fn verdicts(alarms: &Alarms) -> Vec<Verdict> {
    let verdict = |what: &str, count: u64| Verdict {
        row: alarms.row.clone(),
        what: what.to_owned(),
        limit: "0".to_owned(),
        measured: count.to_string(),
        met: count == 0,
    };
    let mut all = vec![verdict("times called dead", alarms.ours.into())];
    // Flows on the lost path are stalled and should be destroyed.
    if alarms.row != Trouble::OnePathOfFour.name() {
        all.push(verdict("sockets destroyed", alarms.destroyed));
    }
    all
}
