//! Troubles that must never lead to the verdict Dead, and how often each method gives a false
//! alarm.

pub mod frozen;
mod make;
mod table;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{METRICS, baseline::Method, clock, get};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::time::sleep;

pub use self::{
    make::signal,
    table::{table, verdicts},
    trouble::Trouble,
};
use crate::{
    baselines::{Baselines, episodes},
    options::Options,
    site::Site,
};

/// How often each method called the peer dead.
#[derive(Debug, Serialize)]
pub struct Alarms {
    pub row: String,
    pub minutes: f64,
    pub ours: u32,
    /// The reasons for which the detector called it dead.
    pub reasons: Vec<String>,
    /// The number of sockets that the detector destroyed, including those of stalled flows.
    pub destroyed: u64,
    pub baselines: BTreeMap<Method, u32>,
}

const SETTLED_FOR: Duration = Duration::from_secs(3);

/// One row: the trouble, again and again, for the requested minutes.
pub async fn run(trouble: Trouble, options: &Options) -> anyhow::Result<Alarms> {
    let mut site = Site::new(options, trouble.setting()).await?;
    let fast = Baselines::fast(&site).await?;
    let slow = Baselines::slow(&site).await?;
    let load = match trouble.load() {
        Some(load) => Some(load.start(&site).await?),
        None => None,
    };
    site.settled().await?;
    sleep(SETTLED_FOR).await;

    println!("{}: begins", trouble.name());
    let begun = clock::now_ns();
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let programs: Vec<Pid> = fast.programs().map(|p| p.process.pid()).collect();
    make::make(trouble, &mut site, &programs, time).await?;
    let ended = clock::now_ns();

    let (ours, reasons) = our_alarms(&site, begun, ended);
    let mut baselines = fast.alarms(begun, ended);
    baselines.extend(slow.alarms(begun, ended));
    // A daemon that no longer runs raises no alarm, so this checks that it answers.
    site.daemon.peer(&site.url()).await?;
    let alarms = Alarms {
        row: trouble.name(),
        minutes: options.minutes,
        ours,
        reasons,
        destroyed: destroyed(&site)?,
        baselines,
    };
    drop((load, fast, slow));
    site.daemon.stop().await?;
    println!("{}: {alarms:?}", trouble.name());
    Ok(alarms)
}

/// How often a watcher saw the peer Dead or its breaker not Closed, and why.
fn our_alarms(site: &Site, since_ns: u64, until_ns: u64) -> (u32, Vec<String>) {
    let mut by_peer: BTreeMap<String, Vec<PeerState>> = BTreeMap::new();
    for seen in site.daemon.watcher().seen().all() {
        if (since_ns..until_ns).contains(&seen.at_ns) {
            let states = by_peer.entry(seen.state.peer.clone()).or_default();
            states.push(seen.state);
        }
    }
    let is_dead = |s: &PeerState| s.verdict() == Verdict::Dead || s.breaker() != Breaker::Closed;
    let states = by_peer.values().flatten();
    let reasons: BTreeSet<String> = states
        .filter(|state| is_dead(state))
        .map(|state| state.reason().to_string())
        .collect();
    let counts = by_peer
        .values()
        .map(|states| episodes(states.iter().map(is_dead)));
    (counts.sum(), reasons.into_iter().collect())
}

/// The number of sockets that the daemon has destroyed, from its metrics.
fn destroyed(site: &Site) -> anyhow::Result<u64> {
    let page = get(site.us(), METRICS.parse()?, "/metrics")?;
    let counters = page.lines().filter(|line| {
        line.starts_with("detector_sockets_destroyed_total{")
            && line.contains("result=\"destroyed\"")
    });
    let values = counters.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(values.sum())
}
