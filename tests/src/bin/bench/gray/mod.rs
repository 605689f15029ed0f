//! Gray failures: part of the peer, or of the path to it, still answers.
//!
//! A row is one [`Fault`], made again and again. [`programs`] run when it begins: their blocked
//! calls must return, and flows that the fault does not affect must continue. The time-outs of
//! other methods are measured on the same faults, with calls of their own. [`table()`] shows the
//! results.

mod fault;
mod programs;
mod stand;
mod table;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use detector_api::v1::{PeerState, Reason, Verdict};
use detector_tests::{baseline::Method, clock};
use serde::Serialize;
use tokio::time::sleep;

use self::stand::Standing;
pub use self::{
    fault::Fault,
    programs::Programs,
    table::{table, verdicts},
};
use crate::{options::Options, site::Site, summary::milliseconds};

/// A verdict that does not come within this time counts as never.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How long each fault lasts at least, and how long a blocked call may take.
const FAULT_FOR: Duration = Duration::from_secs(8);
/// RustFS's settings: 30 s for a call.
const BASELINE_WITHIN: Duration = Duration::from_secs(35);

/// The results of one fault; times are in milliseconds, and absent if the event never came.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Each verdict with its reason, in the order in which they were told.
    pub told: Vec<String>,
    /// What is wrong with the published states, if anything.
    pub wrong: Option<String>,
    /// From the fault to the verdict that was expected.
    pub verdict_ms: Option<f64>,
    /// Its reason.
    pub reason: Option<String>,
    /// From the fault, or the first answer, to the return of the last blocked call.
    pub returned_ms: Option<f64>,
    /// How many calls failed that the fault was not about.
    pub harmed: usize,
    /// The most ARP requests that our host sent in one second.
    pub arp_in_a_second: usize,
    /// The same return with the means of others; one that did not come in its time is null.
    pub baselines: BTreeMap<Method, Option<f64>>,
    /// The daemon's own sentence, when it had told the verdict or would not.
    pub explained: String,
}

/// All faults of a row, one after the other.
pub async fn run(fault: Fault, options: &Options) -> anyhow::Result<Vec<Seen>> {
    let mut site = Site::new(options, fault.setting()).await?;
    stand::prepare(fault, &site)?;
    let mut all = Vec::new();
    for number in 0..options.cuts {
        let seen = measure(fault, &mut site, number, options.is_baseline_cut(number));
        let seen = seen
            .await
            .with_context(|| format!("fault {} of {}", number + 1, options.cuts))?;
        println!("{}", progress(fault, number + 1, options.cuts, &seen));
        all.push(seen);
    }
    site.daemon.stop().await?;
    Ok(all)
}

async fn measure(
    fault: Fault,
    site: &mut Site,
    number: u32,
    with_baselines: bool,
) -> anyhow::Result<Seen> {
    let programs = Programs::start(fault, site, with_baselines).await?;
    site.settled().await?;
    // So that the faults do not all fall on the same moment of the programs' rhythm.
    sleep(Duration::from_millis(1000 + u64::from(number) * 137 % 700)).await;
    site.settled().await?;

    let mut standing = Standing::begin(fault, site, &programs).await?;
    let seen = observe(fault, site, &programs, &mut standing).await?;
    standing.end(fault, site).await?;
    drop(programs);
    Ok(seen)
}

/// Takes the times of a fault that has begun.
async fn observe(
    fault: Fault,
    site: &Site,
    programs: &Programs,
    standing: &mut Standing,
) -> anyhow::Result<Seen> {
    let (begun, expected) = (standing.at_ns, fault.expected());
    let since = |at_ns: u64| milliseconds(clock::between(begun, at_ns));
    let left = |of: Duration| of.saturating_sub(clock::between(begun, clock::now_ns()));
    let is_told = |state: &PeerState| fault.view(site, state).0 == expected.verdict;
    let told = match expected.told_within_ms {
        Some(_) => site.told(begun, left(TOLD_WITHIN), is_told).await,
        None => None,
    };
    let explained = site.daemon.explain(&site.url()).await?.summary;
    let returned = programs
        .returned(expected.blocked, begun, left(FAULT_FOR))
        .await;
    sleep(left(FAULT_FOR)).await;
    let baselines = programs
        .baselines_returned(begun, left(BASELINE_WITHIN))
        .await;

    let from = standing.counts_from();
    let returned_ms = |at_ns: u64| milliseconds(clock::between(from, at_ns));
    let end = site.daemon.peer(&site.url()).await?;
    let states = states(site, begun);
    let state = told.as_ref().map(|(_, state)| state);
    let verdict_wrong = wrong(fault, site, &states, state, &end);
    Ok(Seen {
        told: said_in_order(fault, site, &states),
        wrong: verdict_wrong.or(standing.wrong()?),
        verdict_ms: told.as_ref().map(|(at_ns, _)| since(*at_ns)),
        reason: told.map(|(_, state)| fault.view(site, &state).1.to_string()),
        returned_ms: returned.map(returned_ms),
        arp_in_a_second: standing.arp_in_a_second(),
        harmed: programs.harmed(expected.blocked, begun),
        baselines: baselines
            .into_iter()
            .map(|(method, at_ns)| (method, at_ns.map(returned_ms)))
            .collect(),
        explained,
    })
}

/// What is wrong with the verdicts, if something is.
fn wrong(
    fault: Fault,
    site: &Site,
    states: &[PeerState],
    told: Option<&PeerState>,
    end: &PeerState,
) -> Option<String> {
    let expected = fault.expected();
    let is_dead = |state: &&PeerState| state.verdict() == Verdict::Dead;
    if let Some(lie) = states.iter().find(is_dead).filter(|_| expected.lives) {
        return Some(said(lie.verdict(), lie.reason()));
    }
    let last = said(end.verdict(), end.reason());
    if expected.told_within_ms.is_some() {
        let Some(told) = told else {
            return Some(format!("{last} after {} s", TOLD_WITHIN.as_secs()));
        };
        let (verdict, reason) = fault.view(site, told);
        let sum = (told.verdict(), told.reason());
        if fault.is_path() && sum != (Verdict::Degraded, Reason::PathDead) {
            return Some(format!("{} of the peer", said(sum.0, sum.1)));
        }
        if !expected.reasons.contains(&reason) {
            return Some(said(verdict, reason));
        }
    }
    fault.wrong_at_end(site, end)
}

/// The states of the peer that a watcher received since then.
fn states(site: &Site, since_ns: u64) -> Vec<PeerState> {
    let url = site.url();
    let all = site.daemon.watcher().seen().all();
    all.into_iter()
        .filter(|seen| seen.at_ns >= since_ns && seen.state.peer == url)
        .map(|seen| seen.state)
        .collect()
}

fn said_in_order(fault: Fault, site: &Site, states: &[PeerState]) -> Vec<String> {
    let mut all: Vec<String> = states
        .iter()
        .map(|state| fault.view(site, state))
        .map(|(verdict, reason)| said(verdict, reason))
        .collect();
    all.dedup();
    all
}

fn said(verdict: Verdict, reason: Reason) -> String {
    format!("{verdict} ({reason})")
}

fn progress(fault: Fault, number: u32, faults: u32, seen: &Seen) -> String {
    let show = |ms: Option<f64>| ms.map_or("never".to_owned(), |ms| format!("{ms:.0}"));
    let baselines: String = seen
        .baselines
        .iter()
        .map(|(method, ms)| format!("  {} {}", method.label(), show(*ms)))
        .collect();
    let right = seen
        .wrong
        .as_ref()
        .map_or("right".to_owned(), |wrong| format!("WRONG: {wrong}"));
    format!(
        "{:<24} {number:>3}/{faults}  {right}  told {} ({})  returned {}  harmed {}{baselines}\n    {}",
        fault.as_str(),
        show(seen.verdict_ms),
        seen.told.join(", "),
        show(seen.returned_ms),
        seen.harmed,
        seen.explained,
    )
}
