//! The daemon's own probes: is this host alive? A [`Prober`] carries out
//! [`Effect::Probe`](crate::model::Effect::Probe) and answers with [`Signal::Probe`].
//!
//! One thread sends and receives those on which a verdict depends. The answers themselves wake it, so
//! that a probe's times do not depend on how busy the loop is. The keepalives of idle peers can wait:
//! the loop's own thread sends all that are due in one turn, and reads the answers in one turn.
//!
//! ```text
//!   send() → queue → worker ─┬─ connect     a TCP connect, taken back before it is finished
//!                            ├─ keepalive   a keepalive segment on a flow that is there
//!                            └─ neighbour   an ARP request or a neighbour solicitation
//!   send_with_others() → turn() → round     keepalive segments, many at a time
//!   read() ←────────────────────────┘
//! ```
//!
//! Probes are sent from the network namespace of the thread that called [`Prober::start`], except
//! [`ProbeTarget::ConnectFrom`] and [`ProbeTarget::Flow`]: their sockets are made in the namespace
//! that they name, and keep it alive while they wait. A probe that is not answered in time is
//! forgotten. An error from this host or from a router ("no route", "unreachable") is never taken
//! for an answer.

mod connect;
mod keepalive;
mod neighbour;
mod refusal;
mod report;
mod waiting;
mod worker;

pub use self::{
    keepalive::{
        KeepaliveProofError, LEAST_SPACING, PLAIN_SPACING, any_segment, prove as prove_keepalives,
    },
    neighbour::{Access, any_arp, any_ndp},
};

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::errno::Errno;
use tracing::warn;

use self::{
    keepalive::{Flows, Round},
    worker::Probing,
};
use crate::{
    clock,
    model::{Bounds, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal, Time},
    netns::Namespaces,
    signals::SignalSender,
    worker::{Inbox, Worker},
};

/// The most probes that are sent in one turn of the loop: about a millisecond's work.
const IN_ONE_TURN: usize = 128;

/// Sends probes on a thread of its own. Dropping the prober ends the thread and every probe that
/// still waits.
#[derive(Debug)]
pub struct Prober {
    worker: Worker<VecDeque<Order>>,
    signals: SignalSender,
    malformed: Arc<AtomicU64>,
    /// Those that can wait until [`Self::turn`].
    can_wait: VecDeque<Order>,
    round: Round,
    /// The most probes that may wait for the thread, and the most of each kind that may wait for an
    /// answer. One more fails with `EAGAIN`.
    most: usize,
}

/// One probe that should be sent.
#[derive(Clone, Copy, Debug)]
struct Order {
    probe: ProbeId,
    target: ProbeTarget,
    give_up_after: Duration,
}

impl Prober {
    /// Starts the thread, in the caller's network namespace; connects may also come from the
    /// watched ones. Sockets for neighbour probes are opened when the first one is sent.
    pub fn start(
        signals: SignalSender,
        namespaces: Namespaces,
        bounds: Bounds,
    ) -> anyhow::Result<Self> {
        let (malformed, most) = (Arc::default(), bounds.probes());
        let flows = Arc::new(Flows::load(most));
        let round = Round::new(Arc::clone(&flows), namespaces.own(), most);
        let inbox = Inbox::polled(VecDeque::new())?;
        let (sender, count) = (signals.clone(), Arc::clone(&malformed));
        let probing = Probing::new(sender, namespaces, count, flows, most)?;
        let body = move |orders: &Inbox<_>| probing.run(orders);
        let worker = Worker::essential("probe", &signals, inbox, body);
        Ok(Self {
            worker: worker?,
            signals,
            malformed,
            can_wait: VecDeque::new(),
            round,
            most,
        })
    }

    /// Sends a probe with the next [`Self::turn`].
    pub fn send_with_others(
        &mut self,
        probe: ProbeId,
        target: ProbeTarget,
        give_up_after: Duration,
    ) {
        self.can_wait.push_back(Order {
            probe,
            target,
            give_up_after,
        });
    }

    /// Sends some of the probes that could wait: those that this thread cannot send by the other one.
    /// Returns what became of them so far. While some are left, [`Self::due`] is past.
    pub fn turn(&mut self) -> Vec<ProbeEvent> {
        let mut events = Vec::new();
        if !self.can_wait.is_empty() {
            let some = self.can_wait.len().min(IN_ONE_TURN);
            let orders = self.can_wait.drain(..some).collect();
            let elsewhere = self.round.send(orders, &mut events, |_| Ok(()));
            self.queue(&elsewhere);
        }
        events
    }

    /// When [`Self::turn`] and [`Self::read`] should be called, if probes that could wait are to be
    /// sent, or answers to them are missing.
    pub fn due(&self) -> Option<Time> {
        match self.can_wait.is_empty() {
            true => self.round.due(),
            false => Some(Time::default()),
        }
    }

    /// The answers to probes that could wait.
    pub fn read(&mut self) -> Vec<ProbeEvent> {
        let mut events = Vec::new();
        if self.round.due().is_some() {
            self.round.read(&mut events);
        }
        events
    }

    /// Sends a probe and reports what becomes of it. Never blocks: a probe beyond the limit fails.
    pub fn send(&self, probe: ProbeId, target: ProbeTarget, give_up_after: Duration) {
        let order = Order {
            probe,
            target,
            give_up_after,
        };
        self.queue(&[order]);
    }

    fn queue(&self, orders: &[Order]) {
        if orders.is_empty() {
            return;
        }
        let taken = self.worker.inbox().put(|queue| {
            let taken = orders.len().min(self.most.saturating_sub(queue.len()));
            queue.extend(&orders[..taken]);
            taken
        });
        let most = self.most;
        if let Some(Order { target, .. }) = orders.get(taken) {
            warn!(%target, "{most} probes wait to be sent; {} are not", orders.len() - taken);
        }
        orders[taken..].iter().for_each(|order| self.refuse(*order));
    }

    /// Answers to neighbour probes that could not be understood, since the start.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    fn refuse(&self, order: Order) {
        // A probe without `Sent` is no evidence: losing this signal costs only a count.
        self.signals.offer(Signal::Probe(ProbeEvent {
            at: clock::now(),
            probe: order.probe,
            target: order.target,
            outcome: ProbeOutcome::Failed {
                errno: Errno::EAGAIN as u32,
            },
        }));
    }
}

/// The kernel's error number; `EIO` for an error that does not come from the kernel.
fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Endpoint, signals};

    #[test]
    fn one_too_many_for_the_queue_has_failed() {
        let most = Bounds::new(5000).probes();
        assert!(most >= 5000);
        let (signals, mut told) = signals::channel(16);
        let prober = Prober {
            worker: Worker::idle(Inbox::new(VecDeque::new())),
            signals,
            malformed: Arc::default(),
            can_wait: VecDeque::new(),
            round: Round::new(Arc::new(Flows::load(0)), 0, 0),
            most,
        };
        let target = ProbeTarget::Connect(Endpoint {
            addr: "10.0.0.1".parse().unwrap(),
            port: 9000,
        });
        let send = |probe| prober.send(ProbeId(probe), target, Duration::from_secs(1));
        (0..most as u64).for_each(send);
        assert!(told.try_recv().is_err());
        send(77_777);
        let Ok(Signal::Probe(event)) = told.try_recv() else {
            panic!("nothing is told");
        };
        let errno = Errno::EAGAIN as u32;
        assert_eq!(event.probe, ProbeId(77_777));
        assert_eq!(event.outcome, ProbeOutcome::Failed { errno });
        assert_eq!(prober.worker.inbox().take(|orders| orders.len()), most);
    }
}
