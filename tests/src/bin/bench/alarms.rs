//! What must never be called dead, and how often each method does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{Cut, Loss, Starvation, Traffic, baseline::Method, clock, words};
use nix::{sys::signal::Signal, unistd::Pid};
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    baselines::{Baselines, episodes},
    load::Load,
    options::Options,
    site::{OBSERVER, PEER, Setting, Site, US},
};

/// A peer or a network in trouble, and nobody dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// So many of a hundred frames are lost, each by itself.
    Loss { percent: u8, flows: u32 },
    /// The first 50 of every 1,000 frames are lost in a row.
    Bursts,
    /// Each frame is up to 200 ms late, and frames overtake each other.
    Jitter,
    /// All processes of the peer are stopped while we upload to it.
    Stopped,
    /// The peer takes no more of an upload, and its process is well.
    ZeroWindow,
    /// Nothing passes for 150 ms, every two seconds.
    Flaps,
    /// All processes of the peer are killed: its kernel answers with resets.
    Killed,
    /// Every answer comes 2 s late.
    Late,
    /// Our own link goes down. (It does on the baselines' host as well.)
    OwnLink,
    /// Our own switch passes nothing, and the carrier stays.
    OwnSwitch,
    /// The daemon, and the baselines, may run in 5 of every 100 ms, beside busy loops.
    StarvedDaemon,
    /// The same happens to the peer.
    StarvedPeer,
}

/// How often each method called the peer dead.
#[derive(Debug, Serialize)]
pub struct Alarms {
    pub row: String,
    pub minutes: f64,
    pub ours: u32,
    /// What we called it dead for.
    pub reasons: Vec<String>,
    pub baselines: BTreeMap<Method, u32>,
}

/// How long an outage of our own lasts: longer than any method's patience.
const OWN_OUTAGE: Duration = Duration::from_secs(30);
/// The share of a processor that the starved have, and how many busy loops beside them.
const STARVED: (f64, usize) = (0.05, 4);
const SETTLED_FOR: Duration = Duration::from_secs(3);

impl Trouble {
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for percent in [1, 5, 20, 30] {
            all.extend([1, 20].map(|flows| Self::Loss { percent, flows }));
        }
        all.extend([
            Self::Bursts,
            Self::Jitter,
            Self::Stopped,
            Self::ZeroWindow,
            Self::Flaps,
            Self::Killed,
            Self::Late,
            Self::OwnLink,
            Self::OwnSwitch,
            Self::StarvedDaemon,
            Self::StarvedPeer,
        ]);
        all
    }

    pub fn name(&self) -> String {
        match self {
            Self::Loss { percent, flows } => format!("loss-{percent}-flows-{flows}"),
            Self::Bursts => "loss-bursts".to_owned(),
            Self::Jitter => "jitter-200ms".to_owned(),
            Self::Stopped => "stopped-while-uploading".to_owned(),
            Self::ZeroWindow => "zero-window".to_owned(),
            Self::Flaps => "flaps-150ms".to_owned(),
            Self::Killed => "process-killed".to_owned(),
            Self::Late => "answers-2s-late".to_owned(),
            Self::OwnLink => "own-link-down".to_owned(),
            Self::OwnSwitch => "own-switch-down".to_owned(),
            Self::StarvedDaemon => "starved-daemon".to_owned(),
            Self::StarvedPeer => "starved-peer".to_owned(),
        }
    }

    /// Busy loops starve the labs beside them as well.
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::StarvedDaemon | Self::StarvedPeer)
    }

    /// Whether it is we who are cut off.
    fn is_our_own(self) -> bool {
        matches!(self, Self::OwnLink | Self::OwnSwitch)
    }

    fn load(self) -> Load {
        match self {
            Self::Loss { flows, .. } => Load::Calls(flows),
            Self::Stopped | Self::ZeroWindow => Load::Upload(4),
            _ => Load::Calls(4),
        }
    }

    fn setting(self) -> Setting {
        Setting {
            http: self.load().is_http(),
            others: if self.is_our_own() { 2 } else { 0 },
            delay_ms: if self == Self::Late { 2000 } else { 0 },
            stall_ms: if self == Self::ZeroWindow { 60_000 } else { 0 },
            ..Setting::default()
        }
    }
}

/// One row: the trouble, over and over, for the minutes that were asked for.
pub async fn run(trouble: Trouble, options: &Options) -> anyhow::Result<Alarms> {
    let mut site = Site::new(options, trouble.setting()).await?;
    let fast = Baselines::fast(&site).await?;
    let slow = Baselines::slow(&site).await?;
    let load = trouble.load().start(&site).await?;
    site.settled().await?;
    sleep(SETTLED_FOR).await;

    println!("{}: begins", trouble.name());
    let begun = clock::now_ns();
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let programs: Vec<Pid> = fast.programs().map(|p| p.process.pid()).collect();
    make(trouble, &mut site, &programs, time).await?;
    let ended = clock::now_ns();

    let (ours, reasons) = our_alarms(&site, begun, ended);
    let mut baselines = fast.alarms(begun, ended);
    baselines.extend(slow.alarms(begun, ended));
    // A daemon that does not answer has raised no alarm because it was gone.
    site.daemon.peer(&site.url()).await?;
    drop((load, fast, slow));
    site.daemon.stop().await?;
    let alarms = Alarms {
        row: trouble.name(),
        minutes: options.minutes,
        ours,
        reasons,
        baselines,
    };
    println!("{}: {alarms:?}", trouble.name());
    Ok(alarms)
}

/// Makes the trouble for this long.
async fn make(
    trouble: Trouble,
    site: &mut Site,
    programs: &[Pid],
    time: Duration,
) -> anyhow::Result<()> {
    match trouble {
        Trouble::Loss { percent, .. } => {
            site.lab.loss(PEER, percent)?;
            sleep(time).await;
            site.lab.loss(PEER, 0)
        }
        Trouble::Bursts => {
            site.lab
                .drops(PEER, Some(Loss::Burst { lost: 50, of: 1000 }))?;
            sleep(time).await;
            site.lab.drops(PEER, None)
        }
        Trouble::Jitter => {
            site.lab.jitter(PEER, Duration::from_millis(200))?;
            sleep(time).await;
            site.lab.jitter(PEER, Duration::ZERO)
        }
        // The peer's settings are the trouble.
        Trouble::ZeroWindow | Trouble::Late => {
            sleep(time).await;
            Ok(())
        }
        Trouble::StarvedDaemon => {
            let daemon = site.daemon.process().pid();
            let all: Vec<Pid> = programs.iter().copied().chain([daemon]).collect();
            let (share, spinners) = STARVED;
            let _starved = Starvation::new(site.us(), &all, share, spinners)?;
            sleep(time).await;
            Ok(())
        }
        Trouble::StarvedPeer => {
            let all: Vec<Pid> = site.servers.iter().map(|s| s.process.pid()).collect();
            let (share, spinners) = STARVED;
            let _starved = Starvation::new(site.lab.host(PEER), &all, share, spinners)?;
            sleep(time).await;
            Ok(())
        }
        Trouble::Stopped
        | Trouble::Flaps
        | Trouble::Killed
        | Trouble::OwnLink
        | Trouble::OwnSwitch => {
            let begun = clock::now_ns();
            while clock::between(begun, clock::now_ns()) < time {
                let left = time.saturating_sub(clock::between(begun, clock::now_ns()));
                once(trouble, site, left).await?;
            }
            Ok(())
        }
    }
}

/// One round of a trouble that comes and goes.
async fn once(trouble: Trouble, site: &mut Site, left: Duration) -> anyhow::Result<()> {
    let outage = OWN_OUTAGE.min(left);
    match trouble {
        Trouble::Flaps => {
            site.cut(Cut::SilentDrop)?;
            sleep(Duration::from_millis(150)).await;
            site.heal()?;
            sleep(Duration::from_millis(1850)).await;
        }
        Trouble::Killed => {
            for server in &mut site.servers {
                server.process.kill().await?;
            }
            sleep(Duration::from_secs(5)).await;
            site.serve_again().await?;
            sleep(Duration::from_secs(5)).await;
        }
        Trouble::Stopped => {
            signal(&site.servers, Signal::SIGSTOP)?;
            sleep(outage).await;
            signal(&site.servers, Signal::SIGCONT)?;
            sleep(Duration::from_secs(5)).await;
        }
        Trouble::OwnLink => {
            for host in [US, OBSERVER] {
                site.lab.own_link(host, false)?;
            }
            sleep(outage).await;
            for host in [US, OBSERVER] {
                site.lab.own_link(host, true)?;
            }
            sleep(Duration::from_secs(10)).await;
        }
        _ => {
            site.lab.cut_switch(Cut::SilentDrop)?;
            sleep(outage).await;
            site.lab.heal_switch()?;
            sleep(Duration::from_secs(10)).await;
        }
    }
    Ok(())
}

fn signal(programs: &[Traffic], signal: Signal) -> anyhow::Result<()> {
    programs.iter().try_for_each(|p| p.process.signal(signal))
}

/// How often a watcher was told that a peer is dead or its breaker not closed, and why.
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
        .map(|state| words::reason(state.reason()))
        .collect();
    let counts = by_peer
        .values()
        .map(|states| episodes(states.iter().map(is_dead)));
    (counts.sum(), reasons.into_iter().collect())
}
