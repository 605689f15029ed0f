//! What follows when the verdict turns: for the breaker, for what is asked, and for what the
//! path is believed to be like.

use super::{Change, Peer, pace::LOOK_DEAD};
use crate::core::{Reason, Settings, Time, Verdict};

impl Peer {
    /// Ends a death as soon as the peer was heard after it. A neighbour's answer shows that
    /// the host is there: its breaker is HalfOpen until TCP answers too, where it ever did.
    pub(super) fn heard_again(&mut self, at: Time, reason: Reason) -> Change {
        let by_tcp = self.evidence.heard_by_tcp() > self.deaf_since;
        if self.verdict == Verdict::Dead && self.is_heard_again() {
            self.become_verdict(at, Verdict::Alive, reason);
            if by_tcp || !self.evidence.probes.has_connect() {
                self.circuit.close();
                return Change::Closing;
            }
            self.awaits_tcp = true;
            self.circuit.half_open();
            self.asking.soon(at);
            return Change::State;
        }
        if self.awaits_tcp && by_tcp {
            self.awaits_tcp = false;
            self.circuit.close();
            self.reason = reason;
            self.changed_at = at;
            return Change::State;
        }
        self.close_if_heard(at, reason)
    }

    pub(super) fn is_heard_again(&self) -> bool {
        self.evidence.last_heard() > self.deaf_since
    }

    pub(super) fn set_verdict(
        &mut self,
        at: Time,
        verdict: Verdict,
        reason: Reason,
        settings: &Settings,
    ) -> Change {
        if verdict == self.verdict {
            return Change::None;
        }
        self.become_verdict(at, verdict, reason);
        match verdict {
            Verdict::Dead => {
                self.awaits_tcp = false;
                self.open_on_reports = None;
                self.failures.clear();
                self.circuit.open(at, settings);
            }
            Verdict::Alive if !self.awaits_tcp => {
                self.open_on_reports = None;
                self.circuit.close();
            }
            Verdict::Unknown | Verdict::Alive | Verdict::Suspect | Verdict::Degraded => {}
        }
        Change::State
    }

    pub(super) fn become_verdict(&mut self, at: Time, verdict: Verdict, reason: Reason) {
        self.verdict = verdict;
        self.reason = reason;
        self.generation += 1;
        self.changed_at = at;
        if verdict == Verdict::Dead {
            self.evidence.died();
            self.dead_interval = LOOK_DEAD.0;
            self.asking.died(at);
            self.ending.died(self.generation, self.death);
        } else {
            if self.death.take().is_some() {
                self.evidence.returned(at);
                self.ending.called_off();
            }
            self.detection_latency = None;
        }
    }

    /// A silence that ended while the peer was still only Suspect was a live peer's.
    pub(super) fn learn_from_recovery(&mut self, at: Time) {
        let (Some(silence), Some(heard)) = (self.silence, self.evidence.last_heard()) else {
            return;
        };
        if self.verdict == Verdict::Suspect && !self.held && !self.cut_off && heard > silence.since
        {
            // What was this host's own fault is not the peer's stall.
            let since = silence.since.max(self.held_until);
            if self.evidence.stall_recovered(at, since, heard) {
                self.vitals.stall_recovered(at, heard.since(since));
            }
        }
    }
}
