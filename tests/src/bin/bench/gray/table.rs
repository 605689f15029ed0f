//! The results of the gray faults: a table, and the comparison with the targets.

use detector_api::v1::Verdict as Believed;
use detector_tests::baseline::Method;

use super::{Fault, Seen, fault::Expected};
use crate::{run::GrayRow, summary::Summary, table::Table, verdicts::Verdict};

/// The daemon's own budget for each link; the kernel's own requests count too.
const ARP_A_SECOND: usize = 5;
const BASELINES: [Method; 2] = [Method::RustfsNow, Method::UserTimeout];

/// One row for each fault; the times of the others are of their own calls on the same faults.
pub fn table(rows: &[GrayRow]) -> String {
    let mut heads = vec![
        "right",
        "told",
        "p50",
        "max",
        "blocked calls return p50",
        "max",
    ];
    heads.extend(BASELINES.map(Method::label));
    heads.extend(["others harmed", "ARP/s"]);
    let mut table = Table::new("gray failures: milliseconds (never)", &heads);
    for row in rows {
        table.row(row.fault.as_str(), cells(row));
    }
    let mut text = table.text();
    for method in BASELINES {
        text.push_str(&format!(
            "    {}: {}\n",
            method.label(),
            method.description()
        ));
    }
    for row in rows {
        text.push_str(&wrong(row));
    }
    text.push('\n');
    text
}

fn cells(row: &GrayRow) -> Vec<String> {
    let told = summary(row, |seen| seen.verdict_ms);
    let is_told = row.fault.expected().told_within_ms.is_some();
    let returned = summary(row, |seen| seen.returned_ms);
    let mut cells = vec![right(row), most_told(row)];
    match told.filter(|_| is_told) {
        Some(told) => cells.extend(times(told)),
        None => cells.extend(["-", "-"].map(str::to_owned)),
    }
    cells.extend(returned.map_or(["-"; 2].map(str::to_owned), times));
    cells.extend(BASELINES.map(|method| baseline(row, method)));
    cells.extend([harmed(row), arp(row)].map(|count| count.to_string()));
    cells
}

/// The median and the longest, with how many never came.
fn times(summary: Summary) -> [String; 2] {
    let show = |ms: Option<f64>| ms.map_or("never".to_owned(), |ms| format!("{ms:.0}"));
    let never = match summary.never {
        0 => String::new(),
        never => format!(" ({never})"),
    };
    [show(summary.p50_ms), show(summary.max_ms) + &never]
}

fn baseline(row: &GrayRow, method: Method) -> String {
    let awaited = row
        .seen
        .iter()
        .filter_map(|seen| seen.baselines.get(&method));
    Summary::new(awaited.copied()).map_or("-".to_owned(), |s| times(s)[0].clone())
}

fn right(row: &GrayRow) -> String {
    let right = row.seen.iter().filter(|seen| seen.wrong.is_none());
    format!("{} of {}", right.count(), row.seen.len())
}

fn harmed(row: &GrayRow) -> usize {
    row.seen.iter().map(|seen| seen.harmed).sum()
}

fn arp(row: &GrayRow) -> usize {
    let most = row.seen.iter().map(|seen| seen.arp_in_a_second);
    most.max().unwrap_or(0)
}

/// The most frequent reason.
fn most_told(row: &GrayRow) -> String {
    let reasons = || row.seen.iter().filter_map(|seen| seen.reason.as_deref());
    let count = |reason: &str| reasons().filter(|other| *other == reason).count();
    let most = reasons().max_by_key(|reason| count(reason));
    most.unwrap_or("-").to_owned()
}

/// Each error once, with the daemon's own explanation.
fn wrong(row: &GrayRow) -> String {
    let mut lines: Vec<String> = Vec::new();
    for seen in &row.seen {
        let Some(wrong) = &seen.wrong else { continue };
        let is_new = !lines.iter().any(|line| line.contains(wrong.as_str()));
        if is_new {
            let name = row.fault.as_str();
            lines.push(format!(
                "    {name}: {wrong}; it explains: {}\n",
                seen.explained
            ));
        }
    }
    lines.concat()
}

fn summary(row: &GrayRow, get: fn(&Seen) -> Option<f64>) -> Option<Summary> {
    Summary::new(row.seen.iter().map(get))
}

/// Each row's targets.
pub fn verdicts(row: &GrayRow) -> Vec<Verdict> {
    let expected = row.fault.expected();
    let name = row.fault.as_str();
    let is_right = row.seen.iter().all(|seen| seen.wrong.is_none());
    let mut all = vec![Verdict {
        row: name.to_owned(),
        what: format!("right: {}", asked(row.fault, &expected)),
        limit: "all".to_owned(),
        measured: right(row),
        met: is_right,
    }];
    if let Some(limit_ms) = expected.told_within_ms {
        let what = format!("fault → {}, max", word(expected.verdict));
        all.extend(timed(
            name,
            &what,
            limit_ms,
            summary(row, |seen| seen.verdict_ms),
        ));
    }
    let from = if row.fault.is_answered() {
        "first answer"
    } else {
        "fault"
    };
    let what = format!("{from} → blocked calls return, max");
    let returned = summary(row, |seen| seen.returned_ms);
    all.extend(timed(name, &what, expected.freed_within_ms, returned));
    if row.fault.spares_some() {
        all.push(at_most(
            name,
            "calls on other flows that failed",
            0,
            harmed(row),
        ));
    }
    all.push(at_most(
        name,
        "ARP requests in one second, max",
        ARP_A_SECOND,
        arp(row),
    ));
    all
}

fn at_most(row: &str, what: &str, limit: usize, measured: usize) -> Verdict {
    Verdict {
        row: row.to_owned(),
        what: what.to_owned(),
        limit: limit.to_string(),
        measured: measured.to_string(),
        met: measured <= limit,
    }
}

fn timed(row: &str, what: &str, limit_ms: f64, summary: Option<Summary>) -> Option<Verdict> {
    let max_ms = summary?.max_ms;
    Some(Verdict {
        row: row.to_owned(),
        what: what.to_owned(),
        limit: format!("{limit_ms} ms"),
        measured: max_ms.map_or("never".to_owned(), |ms| format!("{ms:.0} ms")),
        met: max_ms.is_some_and(|ms| ms <= limit_ms),
    })
}

/// What the verdict must be, in words.
fn asked(fault: Fault, expected: &Expected) -> String {
    let reasons: Vec<String> = match expected.reasons {
        [one] => vec![one.to_string()],
        [one, other] => [one, other].map(|r| r.to_string()).into(),
        _ => Vec::new(),
    };
    let whose = if fault.is_path() {
        ", by that path only"
    } else {
        ""
    };
    let why = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join(" or "))
    };
    format!("{}{why}{whose}", word(expected.verdict))
}

fn word(verdict: Believed) -> String {
    verdict.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(verdict_ms: Option<f64>, wrong: Option<&str>) -> Seen {
        Seen {
            told: Vec::new(),
            wrong: wrong.map(str::to_owned),
            verdict_ms,
            reason: verdict_ms.map(|_| "host_unanswered".to_owned()),
            returned_ms: Some(1500.0),
            harmed: 0,
            arp_in_a_second: 2,
            baselines: [(Method::RustfsNow, Some(25_000.0))].into(),
            explained: "it explains itself".to_owned(),
        }
    }

    #[test]
    fn one_wrong_or_late_verdict_misses_the_target() {
        let row = |seen| GrayRow {
            fault: Fault::Deaf,
            seen,
        };
        let met = |seen| {
            let verdicts = verdicts(&row(seen));
            verdicts.iter().map(|v| v.met).collect::<Vec<_>>()
        };
        let good = seen(Some(1200.0), None);
        assert_eq!(met(vec![good.clone()]), [true, true, true, true]);
        let late = seen(Some(1400.0), None);
        assert_eq!(met(vec![good.clone(), late]), [true, false, true, true]);
        let never = seen(None, Some("alive (packet_received) after 5 s"));
        assert_eq!(
            met(vec![good.clone(), never.clone()]),
            [false, false, true, true]
        );

        let text = table(&[row(vec![good, never])]);
        for words in [
            "1 of 2",
            "never (1)",
            "25000",
            "host_unanswered",
            "it explains",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
