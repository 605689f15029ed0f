//! Reports the results of probes to the loop.

use nix::errno::Errno;
use tokio::sync::mpsc::error::TrySendError;

use super::Order;
use crate::{
    clock,
    model::{ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal, Time},
    signals::SignalSender,
};

/// Reports to the loop what became of the probes. When the loop does not keep up, the thread waits
/// for its turn like all others that send signals. Nothing may be reported later than what others
/// send after it: a socket snapshot that overtakes an answer would make the answer missing, and a
/// living peer dead.
#[derive(Debug)]
pub(super) struct Report {
    signals: SignalSender,
}

impl Report {
    pub(super) fn new(signals: SignalSender) -> Self {
        Self { signals }
    }

    pub(super) fn sent(&mut self, at: Time, order: &Order) {
        self.tell(at, order.probe, order.target, ProbeOutcome::Sent);
    }

    pub(super) fn answered(
        &mut self,
        at: Time,
        probe: ProbeId,
        target: ProbeTarget,
        answer: ProbeAnswer,
    ) {
        self.tell(at, probe, target, ProbeOutcome::Answered(answer));
    }

    pub(super) fn failed(&mut self, order: &Order, errno: Errno) {
        let errno = errno as u32;
        let outcome = ProbeOutcome::Failed { errno };
        self.tell(clock::now(), order.probe, order.target, outcome);
    }

    fn tell(&mut self, at: Time, probe: ProbeId, target: ProbeTarget, outcome: ProbeOutcome) {
        self.event(ProbeEvent {
            at,
            probe,
            target,
            outcome,
        });
    }

    pub(super) fn event(&mut self, event: ProbeEvent) {
        if let Err(TrySendError::Full(signal)) = self.signals.try_send(Signal::Probe(event)) {
            // An error means that the loop has ended, and then this thread ends too.
            let _ = self.signals.blocking_send(signal);
        }
    }

    /// Whether the loop has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.signals.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::{model::Endpoint, signals};

    fn order(probe: u64) -> Order {
        Order {
            probe: ProbeId(probe),
            target: ProbeTarget::Connect(Endpoint {
                addr: "10.0.0.1".parse().unwrap(),
                port: 9000,
            }),
            give_up_after: Duration::from_millis(100),
        }
    }

    fn probe(signal: Signal) -> u64 {
        match signal {
            Signal::Probe(event) => event.probe.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_queue_delays_and_loses_nothing() {
        let (sender, mut signals) = signals::channel(1);
        let mut report = Report::new(sender);
        let thread = thread::spawn(move || {
            (0..100).for_each(|id| report.sent(Time::default(), &order(id)));
        });
        let taken = std::iter::from_fn(|| signals.blocking_recv().map(probe));
        assert_eq!(taken.collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        thread.join().unwrap();
    }

    #[test]
    fn without_a_listener_it_does_not_wait() {
        let (sender, signals) = signals::channel(1);
        let mut report = Report::new(sender);
        report.sent(Time::default(), &order(1));
        drop(signals);
        report.sent(Time::default(), &order(2));
        assert!(report.is_closed());
    }
}
