//! Reports the results of probes to the loop.

use std::collections::VecDeque;

use nix::errno::Errno;
use tokio::sync::mpsc::error::TrySendError;

use super::Order;
use crate::{
    clock,
    core::{ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Signal, Time},
    signals::SignalSender,
};

/// Reports to the loop what became of the probes. When the loop does not keep up, the reports wait
/// here, and not the thread, which has deadlines to keep.
#[derive(Debug)]
pub(super) struct Report {
    signals: SignalSender,
    backlog: VecDeque<Signal>,
}

impl Report {
    pub(super) fn new(signals: SignalSender) -> Self {
        Self {
            signals,
            backlog: VecDeque::new(),
        }
    }

    pub(super) fn sent(&mut self, at: Time, order: &Order) {
        self.event(at, order.probe, order.target, ProbeOutcome::Sent);
    }

    pub(super) fn answered(
        &mut self,
        at: Time,
        probe: ProbeId,
        target: ProbeTarget,
        answer: ProbeAnswer,
    ) {
        self.event(at, probe, target, ProbeOutcome::Answered(answer));
    }

    pub(super) fn failed(&mut self, order: &Order, errno: Errno) {
        let errno = errno as u32;
        let outcome = ProbeOutcome::Failed { errno };
        self.event(clock::now(), order.probe, order.target, outcome);
    }

    fn event(&mut self, at: Time, probe: ProbeId, target: ProbeTarget, outcome: ProbeOutcome) {
        self.backlog.push_back(Signal::Probe(ProbeEvent {
            at,
            probe,
            target,
            outcome,
        }));
        self.flush();
    }

    /// Hands over the waiting reports, as far as the loop has room.
    pub(super) fn flush(&mut self) {
        while let Some(signal) = self.backlog.pop_front() {
            match self.signals.try_send(signal) {
                Ok(()) => {}
                Err(TrySendError::Full(signal)) => {
                    self.backlog.push_front(signal);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
    }

    /// How many events the loop has not taken.
    pub(super) fn behind(&self) -> usize {
        self.backlog.len()
    }

    /// Whether the loop has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.signals.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{core::Endpoint, signals};

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
        let (sender, mut signals) = signals::channel(2);
        let mut report = Report::new(sender);
        for id in 0..5 {
            report.sent(Time::default(), &order(id));
        }
        assert_eq!(report.behind(), 3);
        let mut taken = Vec::new();
        while let Ok(signal) = signals.try_recv() {
            taken.push(probe(signal));
            report.flush();
        }
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert_eq!(report.behind(), 0);
    }

    #[test]
    fn without_a_listener_nothing_is_kept() {
        let (sender, signals) = signals::channel(1);
        let mut report = Report::new(sender);
        report.sent(Time::default(), &order(1));
        report.sent(Time::default(), &order(2));
        assert_eq!(report.behind(), 1);
        drop(signals);
        report.flush();
        assert!(report.is_closed());
        assert_eq!(report.behind(), 0);
    }
}
