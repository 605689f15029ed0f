//! The clauses of the verdict's rule, and the state of each address, as text.

use std::fmt::Write as _;

use detector_api::v1::{Clause, PathState};

use super::{Table, duration, optional};

/// The clauses, grouped by address. Empty if there are none: an older daemon sends none.
pub(super) fn clauses(clauses: &[Clause]) -> String {
    let mut addresses: Vec<&str> = Vec::new();
    for clause in clauses {
        if !addresses.contains(&&*clause.address) {
            addresses.push(&clause.address);
        }
    }
    let of = |address: &str| -> Vec<_> {
        let of_it = clauses.iter().filter(|clause| clause.address == address);
        of_it.collect()
    };
    let rules = addresses.iter().map(|address| rule(address, &of(address)));
    rules.collect::<Vec<_>>().join("\n")
}

fn rule(address: &str, clauses: &[&Clause]) -> String {
    let whose = match address {
        "" => "it".to_owned(),
        address => address.to_owned(),
    };
    let all = clauses.len();
    let holding = clauses.iter().filter(|clause| clause.holds).count();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{whose} is dead when every clause holds; {holding} of {all} do:"
    );
    let mut table = Table::default();
    for clause in clauses {
        let mark = if clause.holds { "[x]" } else { "[ ]" };
        let needed = match &*clause.needed {
            "" => String::new(),
            needed => format!("({needed})"),
        };
        table.row([
            format!("{mark} {}", clause.name),
            clause.measured.clone(),
            needed,
        ]);
    }
    out + &table.render()
}

/// A row for each address. Empty for a peer with at most one address, whose state is the peer's.
pub(super) fn paths(paths: &[PathState]) -> String {
    if paths.len() < 2 {
        return String::new();
    }
    let mut table = Table::new(["ADDRESS", "VERDICT", "BREAKER", "REASON", "HEARD"]);
    for path in paths {
        table.row([
            path.address.clone(),
            path.verdict().to_string(),
            path.breaker().to_string(),
            path.reason().to_string(),
            optional(path.last_heard_age, duration),
        ]);
    }
    table.render()
}
