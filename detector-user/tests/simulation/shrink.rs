//! Shortens a script that breaks a rule to one that still does.

use std::time::Duration;

use crate::{
    checks::Violation,
    script::Script,
    search::processor_time,
    world::{Watch, run},
};

/// Runs that shrinking may take, and what they may take of a processor: longer scripts are less
/// short then.
const ATTEMPTS: usize = 120;
const AT_MOST: Duration = Duration::from_secs(20);

/// Leaves out faults and work, one after the other, as long as the same rule breaks; with a
/// trace of the run that is left.
pub fn shrunk(script: &Script, violation: &Violation) -> (Script, Violation) {
    let rule = violation.rule;
    let breaks = |script: &Script, trace: bool| {
        let watch = Watch {
            replay: false,
            trace,
        };
        run(script, watch)
            .err()
            .filter(|violation| violation.rule == rule)
    };
    let mut least = script.clone();
    let (mut attempts, started) = (0, processor_time());
    // What comes after the violation has no part in it.
    least.faults.retain(|timed| timed.at <= violation.after);
    if breaks(&least, false).is_none() {
        least = script.clone();
    }
    loop {
        let before = attempts;
        let mut found = false;
        for candidate in candidates(&least) {
            attempts += 1;
            if attempts > ATTEMPTS || processor_time() > started + AT_MOST {
                attempts = ATTEMPTS + 1;
                break;
            }
            if breaks(&candidate, false).is_some() {
                (least, found) = (candidate, true);
                break;
            }
        }
        if !found || attempts > ATTEMPTS || attempts == before {
            break;
        }
    }
    let violation = breaks(&least, true).unwrap_or_else(|| violation.clone());
    (least, violation)
}

/// Every script with one thing less: a fault, or one piece of work.
fn candidates(script: &Script) -> Vec<Script> {
    let without_fault = (0..script.faults.len()).rev().map(|index| {
        let mut less = script.clone();
        less.faults.remove(index);
        less
    });
    let works = script
        .hosts
        .iter()
        .enumerate()
        .flat_map(|(host, spec)| (0..spec.work.len()).map(move |work| (host, work)));
    let without_work = works.map(|(host, work)| {
        let mut less = script.clone();
        less.hosts[host].work.remove(work);
        less
    });
    let last = script.hosts.len() - 1;
    let unneeded = last > 0
        && script
            .faults
            .iter()
            .all(|timed| timed.fault.host() != Some(last));
    let without_host = unneeded.then(|| {
        let mut less = script.clone();
        less.hosts.pop();
        less
    });
    without_host
        .into_iter()
        .chain(without_fault)
        .chain(without_work)
        .collect()
}
