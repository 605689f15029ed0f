//! A host that is frozen for a moment and then continues as if nothing had happened, as in a live
//! migration.
//!
//! Its processes are stopped, and its port at the switch passes nothing. (Its kernel's own timers
//! run on, because they are this machine's; what they send is lost.) Calling such a host dead is
//! correct while it is away, so nothing here counts as a false alarm; the row measures the cost.

use std::{collections::BTreeMap, time::Duration};

use detector_api::v1::{Breaker, PeerState, Verdict as Believed};
use detector_tests::{Cut, clock};
use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::time::sleep;

use super::make::signal;
use crate::{
    gray::{Fault, Programs},
    options::Options,
    site::{Setting, Site},
    sniff::Sniffer,
    summary::{Summary, milliseconds},
    table::Table,
    verdicts::Verdict,
};

pub const NAME: &str = "frozen-host";
/// The durations of the freezes, in turn.
const FROZEN_MS: [u64; 6] = [200, 400, 700, 1000, 1500, 2000];
const CLOSED_WITHIN: Duration = Duration::from_secs(20);
/// Sockets are destroyed after 300 ms of silence, as a frozen host is silent on every layer. The last
/// segment may have been heard up to one round of the programs before the freeze.
const DESTROYED_AFTER_MS: f64 = 250.0;
const CLOSED_LIMIT_MS: f64 = 50.0;

/// One freeze; times are in milliseconds, and absent if the event did not occur.
#[derive(Clone, Debug, Serialize)]
pub struct Freeze {
    pub frozen_ms: u64,
    /// From the freeze to Dead.
    pub dead_ms: Option<f64>,
    /// Whether the breaker opened.
    pub opened: bool,
    /// From the freeze to the first connection of ours that ended.
    pub destroyed_ms: Option<f64>,
    /// From the peer's first frame to the Closed breaker, where it had opened.
    pub closed_ms: Option<f64>,
}

/// Freezes the host again and again, for the requested minutes.
pub async fn run(options: &Options) -> anyhow::Result<Vec<Freeze>> {
    let setting = Setting {
        http: true,
        protected: true,
        ..Setting::default()
    };
    let begun = clock::now_ns();
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let mut all = Vec::new();
    for frozen_ms in FROZEN_MS.into_iter().cycle() {
        if clock::between(begun, clock::now_ns()) >= time && !all.is_empty() {
            break;
        }
        // A daemon that has seen a peer recover waits longer the next time, so each freeze has its
        // own daemon.
        let site = Site::new(options, setting).await?;
        let freeze = freeze(&site, frozen_ms).await?;
        site.daemon.stop().await?;
        println!("{NAME:<24} {freeze:?}");
        all.push(freeze);
    }
    Ok(all)
}

async fn freeze(site: &Site, frozen_ms: u64) -> anyhow::Result<Freeze> {
    // The programs have requests in flight and waiting reads, as with any silent host.
    let programs = Programs::start(Fault::Deaf, site, false).await?;
    site.settled().await?;
    sleep(Duration::from_millis(1000)).await;

    let cut = site.cut(Cut::SilentDrop)?;
    signal(&site.servers, Signal::SIGSTOP)?;
    let frozen = Duration::from_millis(frozen_ms);
    sleep(frozen.saturating_sub(clock::between(cut.at_ns, clock::now_ns()))).await;
    let sniffer = Sniffer::start(site.us(), site.peer().ip())?;
    signal(&site.servers, Signal::SIGCONT)?;
    let heal = site.heal()?;

    let is_open = |s: &PeerState| s.breaker() == Breaker::Open;
    let is_dead = |s: &PeerState| s.verdict() == Believed::Dead;
    let settled = Duration::from_millis(500);
    let opened = site.told(cut.at_ns, settled, is_open).await.is_some();
    let dead = site.told(cut.at_ns, Duration::ZERO, is_dead).await;
    let is_closed = |s: &PeerState| s.breaker() == Breaker::Closed;
    let closed = match opened {
        true => site.told(heal.at_ns, CLOSED_WITHIN, is_closed).await,
        false => None,
    };
    let since = |at_ns: u64| milliseconds(clock::between(cut.at_ns, at_ns));
    Ok(Freeze {
        frozen_ms,
        dead_ms: dead.map(|(at_ns, _)| since(at_ns)),
        opened,
        destroyed_ms: programs.first_broken(cut.at_ns).map(since),
        closed_ms: closed.map(|(at_ns, _)| {
            let first = sniffer.heard().unwrap_or(heal.at_ns).min(at_ns);
            milliseconds(clock::between(first, at_ns))
        }),
    })
}

/// A row for each length.
pub fn table(freezes: &[Freeze]) -> String {
    let heads = [
        "frozen",
        "dead",
        "told",
        "some destroyed",
        "soonest",
        "closed",
        "max",
    ];
    let mut table = Table::new("a host that was frozen: milliseconds", &heads);
    let mut by_length: BTreeMap<u64, Vec<&Freeze>> = BTreeMap::new();
    for freeze in freezes {
        by_length.entry(freeze.frozen_ms).or_default().push(freeze);
    }
    for (length, freezes) in by_length {
        table.row(&format!("for {length} ms"), cells(&freezes));
    }
    table.text()
}

fn cells(freezes: &[&Freeze]) -> Vec<String> {
    let times = |get: fn(&Freeze) -> Option<f64>| {
        let came = freezes.iter().filter_map(|freeze| get(freeze));
        Summary::new(came.map(Some))
    };
    let show = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
    let (dead, destroyed) = (times(|f| f.dead_ms), times(|f| f.destroyed_ms));
    let count = |summary: Option<Summary>| summary.map_or(0, |s| s.count).to_string();
    let closed = times(|f| f.closed_ms);
    vec![
        freezes.len().to_string(),
        count(dead),
        show(dead.and_then(|s| s.p50_ms)),
        count(destroyed),
        show(soonest(freezes.iter().copied())),
        show(closed.and_then(|s| s.p50_ms)),
        show(closed.and_then(|s| s.max_ms)),
    ]
}

fn soonest<'a>(freezes: impl Iterator<Item = &'a Freeze>) -> Option<f64> {
    let ended = freezes.filter_map(|freeze| freeze.destroyed_ms);
    ended.min_by(f64::total_cmp)
}

/// The targets of the row.
pub fn verdicts(freezes: &[Freeze]) -> Vec<Verdict> {
    let soonest = soonest(freezes.iter());
    let opened = freezes.iter().filter(|freeze| freeze.opened);
    let closed = Summary::new(opened.map(|freeze| freeze.closed_ms));
    let show = |ms: Option<f64>, none: &str| ms.map_or(none.to_owned(), |ms| format!("{ms:.1} ms"));
    let mut all = vec![Verdict {
        row: NAME.to_owned(),
        what: "freeze → the first connection destroyed".to_owned(),
        limit: format!("not before {DESTROYED_AFTER_MS} ms"),
        measured: show(soonest, "none"),
        met: soonest.is_none_or(|ms| ms >= DESTROYED_AFTER_MS),
    }];
    all.extend(closed.map(|closed| Verdict {
        row: NAME.to_owned(),
        what: "host back → closed, max".to_owned(),
        limit: format!("{CLOSED_LIMIT_MS} ms"),
        measured: show(closed.max_ms, "never"),
        met: closed.max_ms.is_some_and(|ms| ms <= CLOSED_LIMIT_MS),
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(destroyed_ms: Option<f64>, closed_ms: Option<f64>) -> Freeze {
        Freeze {
            frozen_ms: 1500,
            dead_ms: Some(300.0),
            opened: true,
            destroyed_ms,
            closed_ms,
        }
    }

    #[test]
    fn one_early_end_or_one_late_return_misses() {
        let met = |all: &[Freeze]| verdicts(all).iter().map(|v| v.met).collect::<Vec<_>>();
        let good = freeze(Some(1000.0), Some(20.0));
        assert_eq!(met(&[good.clone(), freeze(None, Some(50.0))]), [true, true]);
        assert_eq!(
            met(&[good.clone(), freeze(Some(200.0), Some(20.0))]),
            [false, true]
        );
        assert_eq!(
            met(&[good.clone(), freeze(None, Some(51.0))]),
            [true, false]
        );
        assert_eq!(met(&[good, freeze(None, None)]), [true, false]);
    }
}
