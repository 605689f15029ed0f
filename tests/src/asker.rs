//! One of the daemon's probers, running on a host of the lab under a test's control.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, ensure};
use detector_user::{
    clock,
    model::{Bounds, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal},
    netns::Namespaces,
    signals::{SignalSender, channel},
    source::probe::Prober,
};
use nix::net::if_::if_nametoindex;
use tokio::{sync::mpsc::Receiver, time::timeout};

use crate::Host;

/// Far longer than an answer takes in the lab, even on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

/// How long a test listens for something that must not come.
const A_WHILE: Duration = Duration::from_millis(500);

/// More signals than any test leaves unread.
const SIGNALS: usize = 32 * 1024;

/// A prober in a host's namespace, and the signals that it sends.
#[derive(Debug)]
pub struct Asker {
    pub prober: Prober,
    pub signals: Receiver<Signal>,
    link: u32,
    next: u64,
}

/// Starts a prober in the calling thread's network namespace only.
pub fn start(signals: SignalSender) -> anyhow::Result<Prober> {
    Prober::start(signals, Namespaces::only_own()?, Bounds::new(4))
}

impl Asker {
    pub fn on(host: &Host) -> anyhow::Result<Self> {
        Self::with(host, start)
    }

    /// Runs the given start of a prober in the host's network namespace.
    pub fn with(
        host: &Host,
        start: impl FnOnce(SignalSender) -> anyhow::Result<Prober> + Send,
    ) -> anyhow::Result<Self> {
        let (sender, signals) = channel(SIGNALS);
        let (prober, link) = host.within(move || (start(sender), if_nametoindex("eth0")))?;
        Ok(Self {
            prober: prober?,
            signals,
            link: link?,
            next: 1,
        })
    }

    /// The target for a neighbour probe of this address on the host's link.
    pub fn neighbour(&self, addr: impl Into<IpAddr>) -> ProbeTarget {
        ProbeTarget::Neighbour {
            addr: addr.into(),
            link: self.link,
        }
    }

    pub fn send(&mut self, target: ProbeTarget, give_up_after: Duration) -> ProbeId {
        let probe = ProbeId(self.next);
        self.next += 1;
        self.prober.send(probe, target, give_up_after);
        probe
    }

    pub async fn event(&mut self) -> anyhow::Result<ProbeEvent> {
        let signal = timeout(PATIENT, self.signals.recv())
            .await
            .context("the prober says nothing")?;
        match signal {
            Some(Signal::Probe(event)) => Ok(event),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Sends one probe and takes its first event, which is never the answer.
    pub async fn first(
        &mut self,
        target: ProbeTarget,
        give_up_after: Duration,
    ) -> anyhow::Result<ProbeOutcome> {
        let probe = self.send(target, give_up_after);
        let event = self.event().await?;
        ensure!((event.probe, event.target) == (probe, target), "{event:?}");
        Ok(event.outcome)
    }

    /// The same, as an errno; 0 means that the probe was sent.
    pub async fn errno(
        &mut self,
        target: ProbeTarget,
        give_up_after: Duration,
    ) -> anyhow::Result<u32> {
        match self.first(target, give_up_after).await? {
            ProbeOutcome::Sent => Ok(0),
            ProbeOutcome::Failed { errno } => Ok(errno),
            answered => anyhow::bail!("{target}: {answered:?}"),
        }
    }

    /// Sends one probe. It must be answered, with a time between the sending and now.
    pub async fn answer(&mut self, target: ProbeTarget) -> anyhow::Result<ProbeAnswer> {
        let before = clock::now();
        let probe = self.send(target, PATIENT);
        let sent = self.event().await;
        let sent = sent.with_context(|| format!("{target} is not sent"))?;
        ensure!(sent.outcome == ProbeOutcome::Sent, "{target}: {sent:?}");
        let answered = self.event().await;
        let answered = answered.with_context(|| format!("{target} is not answered"))?;
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

    /// Sends all these probes. None may be answered within `give_up_after` and a while longer.
    pub async fn silence(
        &mut self,
        targets: &[ProbeTarget],
        give_up_after: Duration,
    ) -> anyhow::Result<()> {
        for &target in targets {
            self.send(target, give_up_after);
        }
        for target in targets {
            let event = self.event().await?;
            ensure!(event.outcome == ProbeOutcome::Sent, "{target}: {event:?}");
        }
        self.quiet(give_up_after + A_WHILE).await
    }

    pub async fn quiet(&mut self, within: Duration) -> anyhow::Result<()> {
        match timeout(within, self.signals.recv()).await {
            Err(_) => Ok(()),
            Ok(signal) => anyhow::bail!("unexpected {signal:?}"),
        }
    }
}
