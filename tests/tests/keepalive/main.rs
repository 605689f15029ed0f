//! Keepalive segments on flows, between real kernels: whom an answer speaks for, what is no
//! answer, and that the flow's programs notice nothing.

mod answers;
mod flood;
mod limits;
mod silence;

use std::{
    net::{IpAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Host, Lab, testbed};
use detector_user::{
    core::{Bounds, FlowId, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal},
    netns::Namespaces,
    source::probe::{PLAIN_SPACING, Prober},
};
use socket2::SockRef;
use tokio::{
    sync::mpsc::{Receiver, channel},
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Far more than an answer in the lab takes, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);
/// How long to listen for what must not come.
const A_WHILE: Duration = Duration::from_millis(300);

/// A prober in a host's namespace, and what it tells.
struct Asker {
    prober: Prober,
    signals: Receiver<Signal>,
    next: u64,
}

impl Asker {
    fn on(host: &Host) -> anyhow::Result<Self> {
        let start = move || -> anyhow::Result<_> {
            let (sender, signals) = channel(1024);
            let prober = Prober::start(sender, Namespaces::only_own()?, Bounds::new(4))?;
            Ok((prober, signals))
        };
        let (prober, signals) = host.within(start)??;
        Ok(Self {
            prober,
            signals,
            next: 1,
        })
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
    async fn first(&mut self, target: ProbeTarget, give_up: Duration) -> anyhow::Result<u32> {
        let probe = self.send(target, give_up);
        let event = self.event().await?;
        ensure!((event.probe, event.target) == (probe, target), "{event:?}");
        match event.outcome {
            ProbeOutcome::Sent => Ok(0),
            ProbeOutcome::Failed { errno } => Ok(errno),
            answered => anyhow::bail!("{target}: {answered:?}"),
        }
    }

    /// Asks and takes both events.
    async fn answer(&mut self, target: ProbeTarget) -> anyhow::Result<ProbeAnswer> {
        let errno = self.first(target, PATIENT).await?;
        ensure!(errno == 0, "{target} is not asked: {errno}");
        let answered = self.event().await;
        let answered = answered.with_context(|| format!("{target} is not answered"))?;
        match answered.outcome {
            ProbeOutcome::Answered(answer) => Ok(answer),
            other => anyhow::bail!("{target}: {other:?}"),
        }
    }

    /// Asks, and sees that it is sent and not answered.
    async fn silence(&mut self, target: ProbeTarget) -> anyhow::Result<()> {
        let errno = self.first(target, SHORT).await?;
        ensure!(errno == 0, "{target} is not asked: {errno}");
        self.quiet(SHORT + A_WHILE).await
    }

    async fn quiet(&mut self, within: Duration) -> anyhow::Result<()> {
        match timeout(within, self.signals.recv()).await {
            Err(_) => Ok(()),
            Ok(signal) => anyhow::bail!("told {signal:?}"),
        }
    }
}

/// A connection between two hosts, from its caller's side.
struct Pair {
    ours: TcpStream,
    theirs: TcpStream,
    target: ProbeTarget,
}

/// The probe that asks on this end of a connection.
fn target(stream: &TcpStream) -> anyhow::Result<ProbeTarget> {
    Ok(ProbeTarget::Flow {
        flow: FlowId {
            netns: 0,
            local: stream.local_addr()?,
            remote: stream.peer_addr()?,
        },
        cookie: SockRef::from(stream).cookie()?,
    })
}

/// Connects `us` to `peer`, where `listen` has prepared the listener.
fn pair(us: &Host, peer: &Host, addr: impl Into<IpAddr>) -> anyhow::Result<Pair> {
    let addr = addr.into();
    let listener = peer.within(|| TcpListener::bind((addr, 0)))??;
    let to = listener.local_addr()?;
    let ours = us.within(|| TcpStream::connect(to))??;
    let (theirs, _) = listener.accept()?;
    for end in [&ours, &theirs] {
        end.set_read_timeout(Some(PATIENT))?;
        end.set_write_timeout(Some(PATIENT))?;
    }
    let target = target(&ours)?;
    Ok(Pair {
        ours,
        theirs,
        target,
    })
}

/// A lab whose links are in use.
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

/// Until the next question is a plain one again.
async fn rest() {
    tokio::time::sleep(PLAIN_SPACING).await;
}
