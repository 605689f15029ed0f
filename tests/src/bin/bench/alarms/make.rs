//! Makes each trouble.

use std::time::Duration;

use anyhow::ensure;
use detector_tests::{
    Cut, Host, Loss, Starvation, Traffic, Way, clock, dial, peer::Dialed, testbed,
};
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::time::sleep;

use super::Trouble;
use crate::site::{OBSERVER, PEER, Site, US};

/// How long an outage of this node lasts: longer than any method's time limit.
const OWN_OUTAGE: Duration = Duration::from_secs(30);
/// The starved programs' share of a processor, and the number of busy loops next to them.
const STARVED: (f64, usize) = (0.05, 4);
/// The time after which other flows hash to the lost path.
const PATH_LOST_FOR: Duration = Duration::from_secs(10);
/// How many connect to a server with a short accept queue.
const WAITING_TO_BE_ACCEPTED: &str = "16";
const FILLED_WITHIN: Duration = Duration::from_secs(10);

/// Makes the trouble for this long.
pub async fn make(
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
            let bursts = Loss::Burst { lost: 50, of: 1000 };
            site.lab.drops(PEER, Some(bursts))?;
            sleep(time).await;
            site.lab.drops(PEER, None)
        }
        Trouble::Jitter => jitter(site, Duration::from_millis(200), time).await,
        Trouble::Reordering => jitter(site, Duration::from_millis(5), time).await,
        Trouble::StarvedDaemon => {
            let daemon = site.daemon.process().pid();
            let all: Vec<Pid> = programs.iter().copied().chain([daemon]).collect();
            stands(starved(site.us(), &all)?, time).await
        }
        Trouble::StarvedPeer => {
            let all: Vec<Pid> = site.servers.iter().map(|s| s.process.pid()).collect();
            stands(starved(site.lab.host(PEER), &all)?, time).await
        }
        Trouble::AsymmetricLoss => asymmetric_loss(site, time).await,
        Trouble::ResetsLimited => stands(site.lab.host(PEER).resets_limited()?, time).await,
        Trouble::SynLimit => stands(site.lab.host(PEER).syn_limit()?, time).await,
        Trouble::ConntrackFullHere => stands(site.lab.host(US).conntrack_full()?, time).await,
        Trouble::ConntrackFullThere => stands(site.lab.host(PEER).conntrack_full()?, time).await,
        Trouble::GatewayAnswersArp => stands(site.spare()?.answers_for_its_link()?, time).await,
        // The trouble has been there from the beginning, or is in the peer's settings.
        Trouble::ClosedPortDropped | Trouble::ZeroWindow | Trouble::Late => stands((), time).await,
        Trouble::AcceptQueueFull
        | Trouble::OnePathOfFour
        | Trouble::Stopped
        | Trouble::Flaps
        | Trouble::Killed
        | Trouble::OwnLink
        | Trouble::OwnSwitch
        | Trouble::OwnSwitchIdlePeer => again_and_again(trouble, site, time).await,
    }
}

async fn jitter(site: &Site, most: Duration, time: Duration) -> anyhow::Result<()> {
    site.lab.jitter(PEER, most)?;
    sleep(time).await;
    site.lab.jitter(PEER, Duration::ZERO)
}

fn starved(host: &Host, programs: &[Pid]) -> anyhow::Result<Starvation> {
    let (share, spinners) = STARVED;
    Starvation::new(host, programs, share, spinners)
}

/// First one way, then the other.
async fn asymmetric_loss(site: &Site, time: Duration) -> anyhow::Result<()> {
    for way in [Way::To, Way::From] {
        let lost = site.lab.lose(PEER, way, "numgen random mod 100 < 20")?;
        sleep(time / 2).await;
        ensure!(lost.counted()? > 0, "nothing was lost");
    }
    Ok(())
}

async fn again_and_again(trouble: Trouble, site: &mut Site, time: Duration) -> anyhow::Result<()> {
    let begun = clock::now_ns();
    loop {
        let left = time.saturating_sub(clock::between(begun, clock::now_ns()));
        if left.is_zero() {
            return Ok(());
        }
        once(trouble, site, left).await?;
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
        Trouble::OnePathOfFour => path_lost(site, PATH_LOST_FOR.min(left)).await?,
        Trouble::AcceptQueueFull => {
            signal(&site.servers, Signal::SIGSTOP)?;
            let waiting = fill_accept_queue(site).await?;
            sleep(outage).await;
            drop(waiting);
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

/// Keeps the fault for this long, then ends it.
async fn stands<T>(fault: T, time: Duration) -> anyhow::Result<()> {
    sleep(time).await;
    drop(fault);
    Ok(())
}

/// Loses a quarter of the flows in both directions; a different quarter each time, as when routes
/// change.
async fn path_lost(site: &Site, time: Duration) -> anyhow::Result<()> {
    let seed = clock::now_ns() as u32;
    let path = |from: &str, to: &str| {
        format!("meta l4proto tcp jhash tcp {from} . tcp {to} mod 4 seed {seed} == 0")
    };
    let _lost = [
        site.lab.lose(PEER, Way::To, &path("sport", "dport"))?,
        site.lab.lose(PEER, Way::From, &path("dport", "sport"))?,
    ];
    sleep(time).await;
    Ok(())
}

/// Connects until no other client can: the servers are stopped and accept nothing.
async fn fill_accept_queue(site: &Site) -> anyhow::Result<Traffic> {
    let (observer, peer) = (site.observer(), site.peer());
    let target = peer.to_string();
    let args = [
        "pool",
        "--target",
        &target,
        "--connections",
        WAITING_TO_BE_ACCEPTED,
    ];
    let waiting = Traffic::start(observer, &args)?;
    let hangs = async || Ok((dial(observer, peer, &[])? == Dialed::Hung).then_some(()));
    testbed::until("the accept queue is full", FILLED_WITHIN, hangs).await?;
    Ok(waiting)
}

pub fn signal(programs: &[Traffic], signal: Signal) -> anyhow::Result<()> {
    programs.iter().try_for_each(|p| p.process.signal(signal))
}
