//! When the path is probed, and on which targets.
//!
//! While nothing stands unanswered, a path that has connections is probed at a low rate, and only
//! when its host was not heard lately: a caller that waits for a reply sends nothing, so that no
//! other evidence will ever come. In doubt it is probed at a high rate: on its flows, where there
//! are any, and on the link within the budget for neighbour probes. It is probed by a SYN only if
//! no flow can be probed, or if the link does not show whether the flows or the host are the
//! trouble. When Dead it is probed at growing intervals until it is back.

mod doubt;
mod routine;
mod waiting;
mod witness;

pub(in crate::core::path) use self::doubt::connects_after;

use std::time::Duration;

use self::witness::WitnessSyns;
use super::Path;
use crate::{
    core::{
        context::Context,
        schedule::{Rhythm, Urgency},
        turns::{self, Rate},
    },
    model::{ProbeTarget, Time},
};

/// A peer behind a link that is down, or one that cannot be probed, is considered again after this
/// time.
const LATER: Duration = Duration::from_secs(1);

/// Random variation, so that peers whose probes were refused together do not try again together.
const LATER_JITTER_PERCENT: u32 = 50;

/// The shortest and the longest interval between SYNs at the idle rate. A usual rate limit is one
/// SYN per second. If SYNs repeatedly go unanswered while the host lives, there is a limit, and
/// what it admits should be left to the programs: the interval doubles up to the longest.
const CONNECT_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// For this time after a flow was reset the other flows are probed.
const AFTER_RESET: Duration = Duration::from_secs(2);

/// The state of a path's probes.
#[derive(Debug)]
pub(in crate::core::path) struct Probing {
    rhythm: Rhythm,
    /// Since when something stands unanswered, before a snapshot confirms it.
    doubt_since: Option<Time>,
    /// Whether the last snapshot showed segments that had arrived lately: then the sockets are read
    /// before the next probe.
    was_busy: bool,
    /// When the last answer came.
    answered_at: Option<Time>,
    neighbour_at: Option<Time>,
    /// When SYNs were last sent because this peer is a witness.
    witness_syns: WitnessSyns,
    /// When a SYN was last sent beside a neighbour probe.
    connect_at: Option<Time>,
    /// The present interval between SYNs at the idle rate.
    connect_every: Duration,
    /// When the host last reset a flow: it may not know the other flows either.
    reset_at: Option<Time>,
    /// Since when it has had a turn among all that are in doubt, or has waited for one.
    turn_since: Option<Time>,
    /// Whether SYNs were sent instead of a probe on a flow.
    was_connect: bool,
    /// When the host was last heard, as last passed on to isolation.
    pub told_witness: Option<Time>,
}

impl Probing {
    pub(in crate::core::path) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            doubt_since: None,
            was_busy: false,
            answered_at: None,
            neighbour_at: None,
            witness_syns: WitnessSyns::default(),
            connect_at: None,
            connect_every: CONNECT_EVERY.0,
            reset_at: None,
            turn_since: None,
            was_connect: false,
            told_witness: None,
        }
    }

    pub(in crate::core::path) fn timeout(&self) -> Time {
        self.rhythm.due
    }

    pub(in crate::core::path) fn in_doubt(&self) -> bool {
        self.doubt_since.is_some()
    }

    pub(in crate::core::path) fn soon(&mut self, now: Time) {
        self.rhythm.soon(now);
    }

    /// The host answered a SYN (`to_connect`) or something else.
    pub(in crate::core::path) fn answered(&mut self, at: Time, to_connect: bool) {
        self.answered_at = self.answered_at.max(Some(at));
        let was_doubted = self.doubt_since.take().is_some();
        let (least, most) = CONNECT_EVERY;
        match (to_connect, was_doubted) {
            (true, true) => self.connect_every = (self.connect_every * 2).min(most),
            (true, false) => self.connect_every = (self.connect_every / 2).max(least),
            (false, _) => {}
        }
    }

    pub(in crate::core::path) fn died(&mut self, now: Time) {
        self.rhythm.died(now);
    }

    /// Makes all targets be probed now.
    pub(in crate::core::path) fn survey(&mut self, now: Time) {
        self.rhythm.survey_due = now;
        self.rhythm.soon(now);
    }

    /// The host reset a flow.
    pub(in crate::core::path) fn flow_reset(&mut self, at: Time) {
        self.reset_at = Some(at);
    }

    /// The silence is measured anew, so the path is probed anew.
    pub(in crate::core::path) fn start_over(&mut self, now: Time) {
        self.doubt_since = Some(now);
        self.rhythm.soon(now);
    }

    /// A snapshot came back: this ends a doubt, or begins one.
    pub(in crate::core::path) fn looked(&mut self, at: Time, is_silent: bool) {
        if !is_silent {
            self.doubt_since = None;
        } else if self.doubt_since.is_none() {
            self.doubt_since = Some(at);
            self.rhythm.soon(at);
        }
    }

    /// Whether the last probe is no older than `than`, and those before it were not far apart, so
    /// that one of them has had the time to be answered.
    pub(in crate::core::path) fn is_fresh(&self, at: Time, than: Duration) -> bool {
        self.rhythm.is_fresh(at, than)
    }

    pub(in crate::core::path) fn has_sent_since(&self, at: Time) -> bool {
        self.rhythm.has_sent_since(at)
    }
}

impl Path {
    /// Sends the probes that are due; sets the time of the next one.
    pub(in crate::core::path) fn probe_when_due(&mut self, now: Time, context: &mut Context<'_>) {
        if self.probing.rhythm.due > now {
            return;
        }
        if self.discovered || context.isolation.network.is_link_down(self.addr) {
            self.probing.rhythm.due = now + LATER;
            return;
        }
        if self.is_dead() {
            self.end_turn(context);
            self.probing.rhythm.next_dead(now);
            let all = self.evidence.probes.all();
            self.send(now, all, Urgency::Dead, context);
            return;
        }
        self.notice_missing_answer(now);
        if self.doubt.silence.is_some() || self.probing.in_doubt() {
            let rate = self.rate_in_doubt(now, context);
            if rate == Rate::Wait {
                self.probing.rhythm.due = now + turns::ASK_AGAIN_AFTER;
                return;
            }
            let targets = self.targets_in_doubt(now, rate, context.around());
            self.send(now, targets, Urgency::Urgent, context);
        } else {
            self.end_turn(context);
            let targets = self.routine_targets(now, context.around());
            self.send(now, targets, Urgency::Routine, context);
        }
    }

    fn send(
        &mut self,
        now: Time,
        targets: Vec<ProbeTarget>,
        urgency: Urgency,
        context: &mut Context<'_>,
    ) {
        for target in targets {
            match context.probe(now, target, urgency) {
                Some(probe) => {
                    self.evidence.probes.asked(probe, target);
                    self.sent(now, target, context);
                }
                // A neighbour probe is not essential: it is sent when the budget has room again.
                None if is_neighbour(&target) => {}
                None => self.refused(now),
            }
        }
    }

    fn sent(&mut self, now: Time, target: ProbeTarget, context: &mut Context<'_>) {
        if is_neighbour(&target) {
            self.probing.neighbour_at = Some(now);
        } else if self.should_answer(target, context) {
            context.isolation.witnesses.asked(self.addr, now);
        }
        self.probing.rhythm.sent(now);
        // A missing answer should be noticed, also if the peer was probed as a witness.
        let is_routine = self.doubt.silence.is_none() && !self.probing.in_doubt();
        if is_routine && !self.is_dead() {
            let missing = now + self.answer_is_missing_after(now);
            self.probing.rhythm.wake(missing);
        }
    }

    /// Whether a missing answer to this target may be this node's own fault.
    fn should_answer(&self, target: ProbeTarget, context: &Context<'_>) -> bool {
        let is_known = self.can_ask() && !self.evidence.probes.has_stopped_answering(target);
        !self.is_dead() && (is_known || !context.isolation.witnesses.does_anyone_answer())
    }

    /// The budget refused a probe: if no target is known to answer, all are probed again later. Dead
    /// peers try again at random, so that each has its chance.
    fn refused(&mut self, now: Time) {
        if self.is_dead() {
            self.probing.rhythm.next_dead_by_chance(now);
            return;
        }
        if !self.evidence.probes.is_answerable() {
            let rhythm = &mut self.probing.rhythm;
            rhythm.survey_due = now + rhythm.jittered(LATER, LATER_JITTER_PERCENT);
            rhythm.wake(rhythm.survey_due);
        }
    }

    /// A host that reset a flow may have restarted: its other flows are probed as well, so that
    /// calls which wait on them end.
    pub(in crate::core::path) fn probe_after_reset(
        &mut self,
        now: Time,
        context: &mut Context<'_>,
    ) {
        let lately = |at: &Time| now.since(*at) < AFTER_RESET;
        let Some(reset_at) = self.probing.reset_at.filter(lately) else {
            return;
        };
        let unheard = self.evidence.flows_unheard_since(reset_at);
        self.send(now, unheard, Urgency::Urgent, context);
    }
}

fn is_neighbour(target: &ProbeTarget) -> bool {
    matches!(target, ProbeTarget::Neighbour { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_syns_are_limited_fewer_are_sent() {
        let now = Time::default();
        let mut probing = Probing::new(Rhythm::new(now, 7));
        let mut every = |was_doubted: bool, to_connect: bool| {
            probing.doubt_since = was_doubted.then_some(now);
            probing.answered(now, to_connect);
            assert!(!probing.in_doubt());
            probing.connect_every.as_secs()
        };
        assert_eq!([every(true, true), every(true, true)], [2, 4]);
        assert_eq!(every(true, false), 4, "a flow that answers shows no limit");
        assert_eq!([every(true, true), every(true, true)], [8, 8]);
        assert_eq!([every(false, true), every(false, true)], [4, 2]);
        assert_eq!([every(false, true), every(false, true)], [1, 1]);
    }
}
