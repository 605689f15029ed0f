//! A failure, as it is printed: what broke, the least that does it, and how to see it again.

use std::fmt::Write as _;

use crate::{
    checks::Violation, fault::Fault, host::name_of, scenario::SCENARIOS, script::Script,
    shrink::shrunk, world::START,
};

/// Lines of a trace that are shown where no more are asked for.
pub const SHOWN: usize = 30;

/// Whether scripts of this scenario are made from their seed.
fn is_known(scenario: &str) -> bool {
    SCENARIOS.iter().any(|(name, _)| *name == scenario)
}

/// What broke, the shortest script that breaks it, and how to see it again.
pub fn failure(script: &Script, violation: &Violation, traced: usize) -> String {
    let (least, shortest) = shrunk(script, violation);
    let mut text = format!(
        "scenario {}, seed {}: {}\n\nThe least that does it: {}",
        script.scenario,
        script.seed,
        from_start(&violation.to_string()),
        shown(&least, &shortest, traced)
    );
    if is_known(script.scenario) {
        let _ = write!(
            text,
            "\nSee it again: cargo xtask simulate --scenario {} --seed {} --seconds {} --node-hours 1 \
             --trace",
            script.scenario,
            script.seed,
            script.length.as_secs(),
        );
    }
    text
}

/// A script that breaks a rule, and what came last before that.
pub fn shown(script: &Script, violation: &Violation, traced: usize) -> String {
    let mut text = format!("{violation}\nseed {}, {:?}\n", script.seed, script.settings);
    for spec in &script.hosts {
        let _ = writeln!(text, "    {spec:?}");
    }
    for timed in &script.faults {
        let _ = writeln!(text, "    {timed:?}{}", cut_by(script, timed.fault));
    }
    let from = violation.trace.len().saturating_sub(traced);
    let _ = writeln!(text, "\nWhat came last of that:");
    for line in &violation.trace[from..] {
        let _ = writeln!(text, "{line}");
    }
    from_start(&text)
}

/// The hosts that a fault of the gateway cuts off.
fn cut_by(script: &Script, fault: Fault) -> String {
    if !matches!(fault, Fault::Gateway | Fault::GatewayUsurped) {
        return String::new();
    }
    let hosts = script.hosts.iter().enumerate();
    let routed = hosts.filter(|(_, spec)| spec.routed);
    let names: Vec<_> = routed.map(|(number, _)| name_of(number)).collect();
    match names.is_empty() {
        true => " (cuts no host: none is `routed`)".to_owned(),
        false => format!(" (cuts what is `routed`: {})", names.join(", ")),
    }
}

/// The text with times as seconds from the start of the run, like those of the trace.
fn from_start(text: &str) -> String {
    let mut parts = text.split("Time(");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let time = part
            .split_once(')')
            .and_then(|(nanos, rest)| Some((nanos.parse::<i64>().ok()?, rest)));
        match time {
            Some((nanos, rest)) => {
                let since = (nanos - START.as_nanos() as i64) as f64 / 1e9;
                let _ = write!(shown, "{since:.6} s{rest}");
            }
            None => {
                let _ = write!(shown, "Time({part}");
            }
        }
    }
    shown
}
