//! The effect of the node's own reports on a path.
//!
//! A failed call is a reason to check: the sockets are read and the path is probed at once, and the
//! result is evidence from the kernel. Failures in a row, with no answered call between them, do
//! one thing more:
//!
//! - if the host was heard after the first of them, the peer is Degraded, and its breaker stays as
//!   it is, until a call is answered or none has failed for the window;
//! - if the kernel has no evidence either way (no connection, no target that is known to answer,
//!   and no answer to what was probed), the verdict stays Unknown and the breaker opens. Nothing is
//!   destroyed or refused. The breaker becomes half open after the recovery time-out, and is closed
//!   by any sign of the host and by any answered call;
//! - in all other cases the evidence from the kernel decides. Reports alone never make a peer Dead.
//!
//! While this node itself may be isolated no breaker opens. Calls that began before this node could
//! reach the peer again, or before the end of a pause of this machine, do not count as failures.

use std::time::Duration;

use super::Path;
use crate::{
    core::{
        context::{Around, Context},
        evidence::Layer,
        reports::Streak,
        session::{Event, State, Turn},
    },
    model::{
        EventLine, EventWhat, HEARD_RESOLUTION, OperationReport, Reason, SourceKind, Time, Verdict,
    },
};

/// However often calls fail, they cause a probe and an entry among the recent events no more often
/// than this.
const PROBED_EVERY: Duration = Duration::from_secs(1);

impl Path {
    /// Takes in a report about a call to the peer.
    pub(in crate::core) fn reported(
        &mut self,
        now: Time,
        report: &OperationReport,
        context: &mut Context<'_>,
    ) -> Turn {
        if report.is_answered() {
            self.vitals.reported(now, false);
            self.failures.answered(report.ended_at, context.settings);
            return self.call_answered(now, report.ended_at, context);
        }
        if !report.is_unanswered()
            || report.ended_at - report.duration < self.excused_calls(context.around())
        {
            return Turn::None;
        }
        self.vitals.reported(now, true);
        self.failures.failed(now, report.ended_at, context.settings);
        let is_due = self
            .probed_on_report
            .is_none_or(|probed| now.since(probed) >= PROBED_EVERY);
        if is_due {
            self.probed_on_report = Some(now);
            self.check_on(now, report);
        }
        let weighed = self.weigh_failures(now, context, false);
        if self.is_slow_by_reports(now, context.around()) {
            let degraded = Event::Decided(State::Degraded);
            return self.turn(now, degraded, Reason::SlownessReported, None, context);
        }
        weighed
    }

    /// A call that began before this moment is no failure: this machine was paused, or could not
    /// reach the peer. Calls from before the daemon began to watch are not excused.
    fn excused_calls(&self, around: Around<'_>) -> Time {
        match self.excused(around) {
            excused if excused == self.doubt.began() => Time::default(),
            excused => excused,
        }
    }

    /// Acts on the failures when something new is known: another failure, or a socket snapshot
    /// (`looked`).
    pub(super) fn weigh_failures(
        &mut self,
        now: Time,
        context: &mut Context<'_>,
        looked: bool,
    ) -> Turn {
        self.failures.forget(now, context.settings.failure_window);
        let Some(streak) = self.failures.streak(now, context.settings) else {
            return Turn::None;
        };
        if !self.session.is_closed_by_evidence() {
            return Turn::None;
        }
        if self.is_slow_by_reports(now, context.around()) {
            self.failures.set_slow();
        }
        match self.verdict() {
            Verdict::Unknown => self.open_without_evidence(now, streak, context, looked),
            _ => Turn::None,
        }
    }

    /// Whether the host was heard after its calls began to fail.
    fn is_slow_by_reports(&self, now: Time, around: Around<'_>) -> bool {
        let streak = self.failures.streak(now, around.settings);
        self.verdict() == Verdict::Alive
            && self.session.is_closed_by_evidence()
            && streak.is_some_and(|streak| self.evidence.heard.surely() > Some(streak.first))
    }

    /// Whether calls fail and nothing is known of the peer yet, so that witnesses are needed.
    pub(super) fn is_failing(&self) -> bool {
        self.verdict() == Verdict::Unknown && self.failures.is_pending()
    }

    /// Since when the host has been silent, or calls to it have failed; `None` when neither.
    pub(in crate::core) fn down_since(&self) -> Option<Time> {
        let silent = self.session.death().map(|death| death.silent_since);
        silent.or_else(|| self.failures.first())
    }

    fn call_answered(&mut self, now: Time, ended_at: Time, context: &mut Context<'_>) -> Turn {
        let ends = self
            .session
            .presumed_down()
            .is_some_and(|opened| ended_at > opened);
        if ends {
            self.failures.clear();
            let reason = match self.verdict() {
                Verdict::Unknown => Reason::NoEvidence,
                _ => Reason::PacketReceived,
            };
            return self.turn(now, Event::CallAnswered, reason, None, context);
        }
        if self.session.reason() == Reason::SlownessReported
            && self.session.state() == State::Degraded
            && !self.failures.is_slow()
        {
            let alive = Event::Decided(State::Alive);
            return self.turn(now, alive, Reason::PacketReceived, None, context);
        }
        Turn::None
    }

    /// Requests a socket snapshot, and a probe of all targets.
    fn check_on(&mut self, now: Time, report: &OperationReport) {
        self.evidence.note(EventLine {
            at: report.ended_at,
            source: SourceKind::Reports,
            what: EventWhat::Report(report.operation, report.outcome),
        });
        self.snapshots.soon(now);
        if !self.is_dead() {
            self.probing.survey(now);
        }
    }

    /// Opens the breaker where the kernel has no evidence either way. The targets that were probed
    /// get the detection time to answer; the breaker opens on a snapshot after that.
    fn open_without_evidence(
        &mut self,
        now: Time,
        streak: Streak,
        context: &mut Context<'_>,
        looked: bool,
    ) -> Turn {
        let decided_at = self.decided_at(now, streak, context.around());
        if now < decided_at && !looked {
            self.snapshots.wake(decided_at);
        }
        if now < decided_at || !looked {
            return Turn::None;
        }
        if self.has_evidence_since(streak.first)
            || self.may_be_isolated(now, streak.first, context.around())
        {
            return Turn::None;
        }
        let event = Event::FailuresReported;
        self.turn(now, event, Reason::FailuresReported, None, context)
    }

    /// The moment by which the probed targets should have answered.
    fn decided_at(&self, now: Time, streak: Streak, around: Around<'_>) -> Time {
        let wanted = around.settings.detection_time;
        streak.told + self.evidence.history.detection_time(now, wanted)
    }

    /// How long after a snapshot at `at` the failures can be acted on; `None` if there are not
    /// enough, or if it is time already.
    pub(super) fn until_weighed(&self, at: Time, around: Around<'_>) -> Option<Duration> {
        let streak = self.failures.streak(at, around.settings)?;
        let decided_at = self.decided_at(at, streak, around);
        (decided_at > at).then(|| decided_at.since(at))
    }

    /// Whether the kernel has, or can get, evidence of its own.
    fn has_evidence_since(&self, first: Time) -> bool {
        let heard = self.evidence.heard.on(Layer::Received);
        heard.is_some_and(|heard| heard + HEARD_RESOLUTION >= first)
            || self.evidence.is_connected()
            || self.evidence.probes.is_answerable()
    }

    /// Whether this node itself may be cut off.
    fn may_be_isolated(&self, now: Time, since: Time, around: Around<'_>) -> bool {
        self.is_isolated() || self.are_others_silent(now, since, around)
    }
}
