//! The daemon's own probes, on real links: who is answered for, and who is not.

mod answers;
mod frames;
mod limits;

use std::{
    net::{IpAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Host, Lab, testbed};
use detector_user::{
    clock,
    core::{
        Bounds, Endpoint, HardwareAddress, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome,
        ProbeTarget, Signal,
    },
    netns::Namespaces,
    source::probe::Prober,
};
use nix::net::if_::if_nametoindex;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Far more than an answer in the lab takes, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);
/// How long to listen for what must not come.
const A_WHILE: Duration = Duration::from_millis(500);
const OPEN: u16 = 9000;
const SHUT: u16 = 9001;

/// A prober in a host's namespace, and what it tells.
struct Asker {
    prober: Prober,
    signals: Receiver<Signal>,
    link: u32,
    next: u64,
}

/// Where the calling thread is, and nowhere else.
fn start(signals: Sender<Signal>) -> anyhow::Result<Prober> {
    Ok(Prober::start(
        signals,
        Namespaces::only_own()?,
        Bounds::new(4),
    )?)
}

impl Asker {
    fn on(host: &Host) -> anyhow::Result<Self> {
        let (sender, signals) = channel(32 * 1024);
        let (prober, link) = host.within(move || (start(sender), if_nametoindex("eth0")))?;
        Ok(Self {
            prober: prober?,
            signals,
            link: link?,
            next: 1,
        })
    }

    fn neighbour(&self, addr: impl Into<IpAddr>) -> ProbeTarget {
        ProbeTarget::Neighbour {
            addr: addr.into(),
            link: self.link,
        }
    }

    fn send(&mut self, target: ProbeTarget, give_up_after: Duration) -> ProbeId {
        let probe = ProbeId(self.next);
        self.next += 1;
        self.prober.send(probe, target, give_up_after);
        probe
    }

    async fn event(&mut self) -> anyhow::Result<ProbeEvent> {
        let signal = timeout(PATIENT, self.signals.recv())
            .await
            .context("the prober says nothing")?;
        match signal {
            Some(Signal::Probe(event)) => Ok(event),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Sends one and takes its first event, which is never the answer.
    async fn first(&mut self, target: ProbeTarget) -> anyhow::Result<ProbeOutcome> {
        let probe = self.send(target, PATIENT);
        let event = self.event().await?;
        ensure!((event.probe, event.target) == (probe, target), "{event:?}");
        Ok(event.outcome)
    }

    /// Asks and takes both events.
    async fn answer(&mut self, target: ProbeTarget) -> anyhow::Result<ProbeAnswer> {
        let before = clock::now();
        let probe = self.send(target, PATIENT);
        let sent = self.event().await;
        let sent = sent.with_context(|| format!("{target} is not sent"))?;
        let answered = self.event().await;
        let answered = answered.with_context(|| format!("{target} is not answered"))?;
        ensure!(sent.outcome == ProbeOutcome::Sent, "{sent:?}");
        ensure!(
            (sent.probe, answered.probe) == (probe, probe),
            "{sent:?} {answered:?}"
        );
        ensure!(answered.target == target, "{answered:?}");
        let times = [before, sent.at, answered.at, clock::now()];
        ensure!(times.is_sorted(), "{target}: {times:?}");
        match answered.outcome {
            ProbeOutcome::Answered(answer) => Ok(answer),
            other => anyhow::bail!("{target}: {other:?}"),
        }
    }

    /// Asks one after the other, and sees that each is answered by the host as its kind is.
    async fn answers(&mut self, targets: &[ProbeTarget], host: &Host) -> anyhow::Result<()> {
        let card = card(host)?;
        for &target in targets {
            let answer = self.answer(target).await?;
            ensure!(answer == wanted(target, card), "{target}: {answer:?}");
        }
        Ok(())
    }

    /// Asks all of them, and sees that each is sent and none is answered.
    async fn silence(&mut self, targets: &[ProbeTarget], give_up: Duration) -> anyhow::Result<()> {
        for &target in targets {
            self.send(target, give_up);
        }
        for target in targets {
            let event = self.event().await?;
            ensure!(event.outcome == ProbeOutcome::Sent, "{target}: {event:?}");
        }
        self.quiet(give_up + A_WHILE).await
    }

    async fn quiet(&mut self, within: Duration) -> anyhow::Result<()> {
        match timeout(within, self.signals.recv()).await {
            Err(_) => Ok(()),
            Ok(signal) => anyhow::bail!("told {signal:?}"),
        }
    }
}

/// A lab whose links are in use: the kernel sees a carrier on its own time, and until then
/// takes frames and drops them.
async fn ready(hosts: usize) -> anyhow::Result<Lab> {
    let lab = Lab::new(hosts)?;
    for host in lab.hosts() {
        testbed::until("the link is up", PATIENT, async || {
            let shown = host.exec("ip", &["-o", "link", "show", "dev", "eth0"])?;
            Ok(shown.contains("state UP").then_some(()))
        })
        .await?;
    }
    Ok(lab)
}

fn connect(addr: impl Into<IpAddr>, port: u16) -> ProbeTarget {
    let addr = addr.into();
    ProbeTarget::Connect(Endpoint { addr, port })
}

fn listen(host: &Host) -> anyhow::Result<[TcpListener; 2]> {
    let (v4, v6) = (host.v4(), host.v6());
    let (v4, v6) =
        host.within(|| (TcpListener::bind((v4, OPEN)), TcpListener::bind((v6, OPEN))))?;
    Ok([v4?, v6?])
}

/// Every kind of probe that can be sent to the host.
fn all(asker: &Asker, host: &Host) -> [ProbeTarget; 6] {
    let (v4, v6) = (host.v4(), host.v6());
    [
        asker.neighbour(v4),
        asker.neighbour(v6),
        connect(v4, OPEN),
        connect(v6, OPEN),
        connect(v4, SHUT),
        connect(v6, SHUT),
    ]
}

fn card(host: &Host) -> anyhow::Result<HardwareAddress> {
    host.card()?.parse().map_err(anyhow::Error::msg)
}

/// The answer to a probe of this kind, of the host with this card.
fn wanted(target: ProbeTarget, card: HardwareAddress) -> ProbeAnswer {
    match target {
        ProbeTarget::Neighbour { .. } => ProbeAnswer::Neighbour(card),
        ProbeTarget::Connect(Endpoint { port: OPEN, .. }) => ProbeAnswer::SynAck,
        ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => ProbeAnswer::Reset,
        ProbeTarget::Flow { .. } => ProbeAnswer::Ack,
    }
}
