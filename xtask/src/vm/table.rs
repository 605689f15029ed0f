//! The table of docs/kernels.md, from what the guests told.

use std::fmt::Write as _;

use serde_json::Value;

use super::{arch::Arch, checks::on, guest::Seen};

/// A column: its heading, and the doctor's line that fills it.
const FOUND: [(&str, &str); 6] = [
    ("`tcp_cong_state_set`", "tracepoint tcp:tcp_cong_state_set"),
    ("`tcp_retransmit_skb`", "tracepoint tcp:tcp_retransmit_skb"),
    (
        "`inet_sock_set_state`",
        "tracepoint sock:inet_sock_set_state",
    ),
    (
        "`inet_sk_error_report`",
        "tracepoint sock:inet_sk_error_report",
    ),
    ("keepalive", "keepalive probes"),
    ("refused with", "refuse connects"),
];

/// A row for each kernel.
pub fn markdown(all: &[Seen]) -> String {
    let mut table = String::from("| kernel | checks passed |");
    for (heading, _) in FOUND {
        let _infallible = write!(table, " {heading} |");
    }
    table += &format!("\n|---|---|{}\n", "---|".repeat(FOUND.len()));
    for seen in all {
        let passed = seen.checks.iter().filter(|(_, passed)| *passed).count();
        let of = on(seen.arch).count();
        let _infallible = write!(
            table,
            "| {}{} | {passed} of {of} |",
            seen.version,
            processor(seen.arch)
        );
        for (_, name) in FOUND {
            let line = seen.doctor.iter().find(|line| line["name"] == name);
            let _infallible = write!(table, " {} |", line.map_or("?", cell));
        }
        table.push('\n');
    }
    table
}

/// The processor, unless it is the usual one.
const fn processor(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "",
        Arch::Arm64 => ", arm64",
    }
}

/// What the doctor's line means, in a word.
fn cell(line: &Value) -> &'static str {
    let found = line["found"].as_str().unwrap_or_default();
    if found.contains("EPERM") {
        "EPERM"
    } else if found.contains("EHOSTUNREACH") {
        "EHOSTUNREACH"
    } else if line["status"] != "ok" {
        "–"
    } else if line["name"] == "tracepoint tcp:tcp_retransmit_skb" && found.contains("3 arguments") {
        "yes, with `err`"
    } else {
        "yes"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_what_the_doctor_said() {
        let seen = Seen {
            version: "5.10.262".to_owned(),
            doctor: vec![
                json!({"name": "tracepoint tcp:tcp_cong_state_set", "status": "degraded", "found": "none"}),
                json!({"name": "tracepoint tcp:tcp_retransmit_skb", "status": "ok", "found": "there, with 3 arguments"}),
                json!({"name": "refuse connects", "status": "degraded", "found": "a refused connect fails with EPERM"}),
            ],
            checks: vec![("cut".to_owned(), true), ("tune".to_owned(), false)],
            ..Seen::default()
        };
        let other = Seen {
            arch: Arch::Arm64,
            version: "6.12.118".to_owned(),
            ..Seen::default()
        };
        let table = markdown(&[other]);
        assert!(table.contains("| 6.12.118, arm64 |"), "{table}");
        let table = markdown(&[seen]);
        let row = table.lines().last().unwrap();
        let all = on(Arch::Amd64).count();
        assert_eq!(
            row,
            format!("| 5.10.262 | 1 of {all} | – | yes, with `err` | ? | ? | ? | EPERM |")
        );
    }
}
