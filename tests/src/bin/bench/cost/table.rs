//! The cost as text.

use super::{Load, Row};
use crate::table::Table;

const HEADS: [&str; 11] = [
    "peers",
    "load",
    "other sockets",
    "CPU %",
    "user",
    "system",
    "wake-ups/s",
    "preempted/s",
    "system calls/s",
    "resident MiB",
    "busiest threads, %",
];

pub fn rows(rows: &[Row]) -> String {
    let mut table = Table::new("what it costs while all is well", &HEADS);
    for row in rows {
        table.row(&row.program, cells(row));
    }
    format!(
        "{}    CPU is of one processor, and of the process alone: the peers' answers and the switch \
         run on another\n\n",
        table.text()
    )
}

/// One row, while the others are still being measured.
pub fn line(row: Option<&Row>) -> String {
    let line = |row: &Row| {
        let cells = cells(row);
        let named = HEADS.iter().zip(cells);
        let named = named.map(|(head, cell)| format!("{head} {cell}"));
        format!(
            "{}: {}\n",
            row.program,
            named.collect::<Vec<_>>().join(", ")
        )
    };
    row.map(line).unwrap_or_default()
}

fn cells(row: &Row) -> Vec<String> {
    let spent = &row.spent;
    let calls = spent.system_calls_per_second;
    vec![
        row.peers.to_string(),
        match row.load {
            Load::Idle => "idle".to_owned(),
            Load::Busy => "busy".to_owned(),
        },
        row.others.to_string(),
        format!("{:.3}", spent.cpu_percent),
        format!("{:.3}", spent.user_percent),
        format!("{:.3}", (spent.cpu_percent - spent.user_percent).max(0.0)),
        format!("{:.1}", spent.wakeups_per_second),
        format!("{:.1}", spent.preempted_per_second),
        calls.map_or("-".to_owned(), |calls| format!("{calls:.1}")),
        format!("{:.1}", spent.resident_mib),
        busiest(row),
    ]
}

fn busiest(row: &Row) -> String {
    let mut threads: Vec<_> = row.spent.threads.iter().collect();
    threads.sort_unstable_by(|a, b| b.1.total_cmp(a.1));
    let named = threads.into_iter().take(3);
    let named = named.map(|(name, percent)| format!("{name} {percent:.2}"));
    named.collect::<Vec<_>>().join(", ")
}
