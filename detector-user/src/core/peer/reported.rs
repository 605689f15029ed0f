//! What the node's own reports do to a peer.
//!
//! A failed call is a demand to check: the peer is looked at and asked at once, and whatever
//! comes of that is the kernel's evidence. Failures in a row, with no call answered between
//! them, do one thing more:
//!
//! - the peer was heard after the first of them: it is Degraded, and its breaker stays as it is,
//!   until a call is answered or none has failed for the window;
//! - the kernel has no evidence either way (no connection, nobody known to answer, and who was
//!   asked has not answered): the verdict stays Unknown and the breaker opens. Nothing is
//!   destroyed or refused for it. It is half open after the recovery time-out, and closed by
//!   any packet from the peer and by any answered call;
//! - anything else is for the kernel to decide. It alone finds a peer Dead.
//!
//! Where this node itself may be cut off nothing opens, and calls that began before it could
//! reach the peer again, or before it stood still, are no failures.

use std::time::Duration;

use super::{Change, Peer, Surroundings};
use crate::core::{
    Breaker, EventLine, EventWhat, OperationReport, Reason, SourceKind, Time, Verdict,
    reports::Streak, tracked::HEARD_RESOLUTION,
};

/// However often calls fail, the peer is asked about them, and they are noted, this often at
/// most.
const ASKED_EVERY: Duration = Duration::from_secs(1);

impl Peer {
    /// Takes in a report about a call to the peer.
    pub(in crate::core) fn reported(
        &mut self,
        now: Time,
        report: &OperationReport,
        around: Surroundings<'_>,
    ) -> Change {
        if report.is_answered() {
            self.vitals.reported(now, false);
            self.failures.answered(report.ended_at, around.settings);
            return self.call_answered(now, report.ended_at, around);
        }
        if !report.is_unanswered() || report.ended_at - report.duration < self.excused(around) {
            return Change::None;
        }
        self.vitals.reported(now, true);
        self.failures.failed(now, report.ended_at, around.settings);
        let is_due = self
            .asked_on_report
            .is_none_or(|asked| now.since(asked) >= ASKED_EVERY);
        if is_due {
            self.asked_on_report = Some(now);
            self.check_on(now, report);
        }
        self.weigh_failures(now, around, false)
    }

    /// What the failures come to, now that something else is known: another of them, or a look.
    pub(super) fn weigh_failures(
        &mut self,
        now: Time,
        around: Surroundings<'_>,
        looked: bool,
    ) -> Change {
        self.failures.forget(now, around.settings.failure_window);
        let Some(streak) = self.failures.streak(now, around.settings) else {
            return Change::None;
        };
        if self.circuit.breaker() != Breaker::Closed {
            return Change::None;
        }
        let settings = around.settings;
        match self.verdict {
            Verdict::Alive if self.evidence.surely_heard() > Some(streak.first) => {
                self.failures.set_slow();
                self.set_verdict(now, Verdict::Degraded, Reason::SlownessReported, settings)
            }
            Verdict::Unknown => self.open_without_evidence(now, streak, around, looked),
            Verdict::Alive | Verdict::Suspect | Verdict::Degraded | Verdict::Dead => Change::None,
        }
    }

    /// Ends what only reports had begun, when the peer was heard since.
    pub(super) fn close_if_heard(&mut self, at: Time, reason: Reason) -> Change {
        let Some(opened) = self.open_on_reports else {
            return Change::None;
        };
        if self.evidence.surely_heard() <= Some(opened) {
            return Change::None;
        }
        self.close_on_reports(at, reason)
    }

    /// Whether it is still to be seen what failures come to, so that others are to bear witness.
    pub(super) fn is_failing(&self) -> bool {
        self.verdict == Verdict::Unknown && self.failures.is_pending()
    }

    /// Since when it has been silent, if it is Dead, or its calls have failed, if its breaker
    /// is open on reports.
    pub(super) fn down_since(&self) -> Option<Time> {
        let silent = self.death.map(|death| death.silent_since);
        let failing = self
            .open_on_reports
            .map(|opened| self.failures.first().unwrap_or(opened));
        silent.or(failing)
    }

    fn call_answered(&mut self, now: Time, ended_at: Time, around: Surroundings<'_>) -> Change {
        if self.open_on_reports.is_some_and(|opened| ended_at > opened) {
            return self.close_on_reports(now, self.reason_without_reports());
        }
        if self.reason == Reason::SlownessReported
            && self.verdict == Verdict::Degraded
            && !self.failures.is_slow()
        {
            return self.set_verdict(now, Verdict::Alive, Reason::PacketReceived, around.settings);
        }
        Change::None
    }

    fn reason_without_reports(&self) -> Reason {
        match self.verdict {
            Verdict::Unknown => Reason::NoEvidence,
            _ => Reason::PacketReceived,
        }
    }

    fn close_on_reports(&mut self, at: Time, reason: Reason) -> Change {
        self.open_on_reports = None;
        self.failures.clear();
        if self.circuit.breaker() == Breaker::Closed {
            return Change::None;
        }
        self.circuit.close();
        self.reason = reason;
        self.changed_at = at;
        Change::State
    }

    /// A look, and a question to all who may answer.
    fn check_on(&mut self, now: Time, report: &OperationReport) {
        self.evidence.note(EventLine {
            at: report.ended_at,
            source: SourceKind::Reports,
            what: EventWhat::Report(report.operation, report.outcome),
        });
        self.looks.soon(now);
        if self.verdict != Verdict::Dead {
            self.asking.survey(now);
        }
    }

    /// Opens the breaker where the kernel has no evidence either way. Those who were asked get
    /// the detection time to answer, and the look that opens it is taken after it.
    fn open_without_evidence(
        &mut self,
        now: Time,
        streak: Streak,
        around: Surroundings<'_>,
        looked: bool,
    ) -> Change {
        let decided_at = self.decided_at(now, streak, around);
        if now < decided_at && !looked {
            self.looks.wake(decided_at);
        }
        if now < decided_at || !looked {
            return Change::None;
        }
        if self.has_evidence_since(streak.first) || self.may_be_cut_off(now, streak.first, around) {
            return Change::None;
        }
        self.circuit.open(now, around.settings);
        self.open_on_reports = Some(now);
        self.reason = Reason::FailuresReported;
        self.changed_at = now;
        Change::State
    }

    /// By when those who were asked have answered, if they do.
    fn decided_at(&self, now: Time, streak: Streak, around: Surroundings<'_>) -> Time {
        streak.told
            + self
                .evidence
                .path
                .detection_time(now, around.settings.detection_time)
    }

    /// How long after a look at `at` it is to be seen what failures come to, if it is.
    pub(super) fn until_weighed(&self, at: Time, around: Surroundings<'_>) -> Option<Duration> {
        let streak = self.failures.streak(at, around.settings)?;
        let decided_at = self.decided_at(at, streak, around);
        (decided_at > at).then(|| decided_at.since(at))
    }

    /// Whether the kernel has, or can get, evidence of its own.
    fn has_evidence_since(&self, first: Time) -> bool {
        let heard = self.evidence.last_heard();
        heard.is_some_and(|heard| heard + HEARD_RESOLUTION >= first)
            || self.evidence.is_connected()
            || self.evidence.probes.is_answerable()
    }

    /// Whether it may be this node itself that is cut off.
    fn may_be_cut_off(&self, now: Time, since: Time, around: Surroundings<'_>) -> bool {
        let host = self.evidence.addresses().first().copied();
        let idle = around.settings.idle_probe_interval;
        self.cut_off || self.held || around.witnesses.none_but(host, since, now, idle)
    }
}
