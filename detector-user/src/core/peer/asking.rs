//! When the peer is probed, and who of it is asked.
//!
//! While nothing stands unanswered, a peer that has connections is asked at a low rate, and
//! only when it was not heard lately: a caller that waits for a reply sends nothing, so that
//! no other evidence will ever come. In doubt it is asked fast, by everything that is known
//! to answer; when dead, with growing intervals until it is back.

use std::time::Duration;

use super::{Peer, SUSPECT_AFTER, Surroundings};
use crate::core::{
    ProbeId, ProbeTarget, Time, Verdict, budget::Urgency, rhythm::Rhythm, witness::Heard,
};

/// How long a look may take to come back before the peer is asked all the same.
const LOOK_RETURNS: Duration = Duration::from_millis(10);

/// A peer behind a link that is down, or one that cannot be asked, is thought of again after
/// this time.
const ASK_LATER: Duration = Duration::from_secs(1);

/// Many that were refused at once are not to come back at once.
const ASK_LATER_JITTER_PERCENT: u32 = 50;

/// The state of a peer's questions.
#[derive(Debug)]
pub(in crate::core) struct Asking {
    rhythm: Rhythm,
    /// Since when something stands unanswered, before a look confirms it.
    doubt_since: Option<Time>,
    /// Whether the last look showed segments that had arrived lately: the next question is
    /// put to the sockets first.
    was_busy: bool,
}

impl Asking {
    pub(super) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            doubt_since: None,
            was_busy: false,
        }
    }

    pub(super) fn timeout(&self) -> Time {
        self.rhythm.due
    }

    pub(super) fn in_doubt(&self) -> bool {
        self.doubt_since.is_some()
    }

    pub(super) fn soon(&mut self, now: Time) {
        self.rhythm.soon(now);
    }

    /// The peer answered.
    pub(super) fn answered(&mut self) {
        self.doubt_since = None;
    }

    pub(super) fn died(&mut self, now: Time) {
        self.rhythm.died(now);
    }

    /// Everyone who may answer is asked.
    pub(super) fn survey(&mut self, now: Time) {
        self.rhythm.survey_due = now;
        self.rhythm.soon(now);
    }

    /// Whether the peer was asked anything at this time or later.
    pub(super) fn has_asked_since(&self, at: Time) -> bool {
        self.rhythm.has_asked_since(at)
    }

    /// The verdict is no longer held: the peer is asked anew.
    pub(super) fn hold_ended(&mut self, now: Time) {
        self.doubt_since = Some(now);
        self.rhythm.soon(now);
    }

    /// A look came back: it ends a doubt, or begins one.
    pub(super) fn looked(&mut self, at: Time, is_silent: bool) {
        if !is_silent {
            self.doubt_since = None;
        } else if self.doubt_since.is_none() {
            self.doubt_since = Some(at);
            self.rhythm.soon(at);
        }
    }
}

impl Peer {
    /// Something sent at `at` seems to be unanswered: the peer itself is asked.
    pub(super) fn doubt(&mut self, now: Time, at: Time) {
        if self.evidence.surely_heard() >= Some(at) || self.verdict == Verdict::Dead {
            return;
        }
        self.asking.doubt_since.get_or_insert(now);
        self.asking.rhythm.soon(now);
    }

    /// The ways to the peer are known anew: whom it can be asked by.
    pub(super) fn set_routes(&mut self, now: Time, around: Surroundings<'_>) {
        self.evidence.set_routes(|addr| around.network.route(addr));
        self.asking.survey(now);
    }

    /// Whether others are to bear witness that this host is not cut off.
    pub(in crate::core) fn needs_witnesses(&self) -> bool {
        self.verdict == Verdict::Suspect || self.is_failing()
    }

    /// What this peer's last packet says for others: nothing if it is believed to be dead.
    pub(in crate::core) fn witness(&self) -> Option<Heard> {
        let heard = Heard {
            at: self.evidence.last_heard()?,
            host: *self.evidence.addresses().first()?,
            can_ask: self.can_ask(),
        };
        (self.verdict != Verdict::Dead).then_some(heard)
    }

    /// Whether its verdict is held because nobody else is heard either.
    pub(in crate::core) fn is_held_alone(&self) -> bool {
        self.held && !self.cut_off
    }

    /// A question that could wait was not sent: what it was to find out is asked later.
    pub(in crate::core) fn refused(&mut self, now: Time) {
        if !self.evidence.probes.is_answerable() {
            let rhythm = &mut self.asking.rhythm;
            rhythm.survey_due = now + rhythm.jittered(ASK_LATER, ASK_LATER_JITTER_PERCENT);
            rhythm.wake(rhythm.survey_due);
        }
    }

    /// Whether this peer may bear witness: it is believed to live, and can be asked.
    pub(in crate::core) fn can_witness(&self) -> bool {
        !self.discovered
            && matches!(self.verdict, Verdict::Alive | Verdict::Degraded)
            && self.evidence.probes.is_answerable()
    }

    /// The question by which it does.
    pub(in crate::core) fn witness_question(&self) -> Vec<ProbeTarget> {
        self.evidence.probes.gentlest()
    }

    /// A probe to this target was sent on its way.
    pub(in crate::core) fn asked(&mut self, now: Time, probe: ProbeId, target: ProbeTarget) {
        self.evidence.probes.asked(probe, target);
        self.asking.rhythm.sent(now);
        // Whoever asked, for itself or as a witness: that no answer comes is to be noticed.
        let is_routine = self.silence.is_none() && !self.asking.in_doubt() && !self.awaits_tcp;
        if is_routine && self.verdict != Verdict::Dead {
            let missing = now + self.answer_is_missing_after(now);
            self.asking.rhythm.wake(missing);
        }
    }

    /// Whether those who are known to answer were asked, and do not.
    pub(super) fn is_known_dead(&self) -> bool {
        self.verdict == Verdict::Dead && !self.discovered && self.evidence.probes.is_answerable()
    }

    /// Whom to ask now, when it is time; sets the time of the next question.
    pub(in crate::core) fn take_questions(
        &mut self,
        now: Time,
        around: Surroundings<'_>,
    ) -> (Vec<ProbeTarget>, Urgency) {
        if self.asking.rhythm.due > now {
            return (Vec::new(), Urgency::Routine);
        }
        if self.discovered || around.network.is_link_down(&self.evidence.addresses()) {
            self.asking.rhythm.due = now + ASK_LATER;
            return (Vec::new(), Urgency::Routine);
        }
        if self.verdict == Verdict::Dead {
            self.asking.rhythm.next_dead(now);
            return (self.evidence.probes.all(), Urgency::Urgent);
        }
        self.notice_missing_answer(now);
        if self.silence.is_some() || self.asking.in_doubt() {
            return (self.questions_in_doubt(now, around), Urgency::Urgent);
        }
        if self.awaits_tcp {
            self.asking.rhythm.next_dead(now);
            return (self.evidence.probes.all(), Urgency::Urgent);
        }
        (self.routine_questions(now, around), Urgency::Routine)
    }

    /// An answer that does not come is a reason to doubt.
    fn notice_missing_answer(&mut self, now: Time) {
        let heard = self.evidence.surely_heard();
        let Some(sent) = self.evidence.probes.waiting_since(heard) else {
            return;
        };
        if now.since(sent) >= self.answer_is_missing_after(now) {
            self.asking.doubt_since.get_or_insert(now);
            self.looks.soon(now);
        }
    }

    fn answer_is_missing_after(&self, now: Time) -> Duration {
        self.evidence.path.answer_grace(now).max(SUSPECT_AFTER)
    }

    fn questions_in_doubt(&mut self, now: Time, around: Surroundings<'_>) -> Vec<ProbeTarget> {
        let began = *self.asking.doubt_since.get_or_insert(now);
        let path = &self.evidence.path;
        let (detection_time, required) = (
            path.detection_time(now, around.settings.detection_time),
            self.required(),
        );
        let lasted = now.since(began);
        let rhythm = &mut self.asking.rhythm;
        rhythm.next_in_doubt(now, lasted, detection_time, required);
        if lasted < SUSPECT_AFTER && rhythm.take_all(now) {
            return self.evidence.probes.all();
        }
        self.evidence.probes.next_in_turn()
    }

    fn routine_questions(&mut self, now: Time, around: Surroundings<'_>) -> Vec<ProbeTarget> {
        let missing_after = self.answer_is_missing_after(now);
        let heard = self.evidence.last_heard();
        let interval = around.settings.idle_probe_interval;
        let rhythm = &mut self.asking.rhythm;
        if rhythm.survey_due <= now {
            rhythm.surveyed(now);
            rhythm.due = now + missing_after;
            return self.evidence.probes.all();
        }
        let surely = self.evidence.surely_heard();
        if let Some(sent) = self.evidence.probes.waiting_since(surely) {
            rhythm.due = sent + missing_after;
            return Vec::new();
        }
        let is_connected = self.evidence.is_connected();
        if interval.is_zero() || !is_connected || !self.evidence.probes.is_answerable() {
            rhythm.due = rhythm.survey_due;
            return Vec::new();
        }
        let interval = rhythm.jittered(interval, around.settings.idle_probe_jitter_percent);
        let next = heard.unwrap_or_default() + interval;
        if next > now {
            rhythm.due = next.min(rhythm.survey_due);
            return Vec::new();
        }
        if self.asking.was_busy {
            self.asking.was_busy = false;
            self.looks.soon(now);
            rhythm.due = now + LOOK_RETURNS;
            return Vec::new();
        }
        rhythm.due = now + missing_after;
        self.evidence.probes.gentlest()
    }

    /// After a look: whether the next question goes to the sockets first.
    pub(super) fn notice_traffic(&mut self, at: Time, around: Surroundings<'_>) {
        let interval = around.settings.idle_probe_interval;
        let segment = self.evidence.heard_on_flows();
        self.asking.was_busy = segment.is_some_and(|heard| at.since(heard) < interval);
        if self.evidence.is_connected() && !interval.is_zero() {
            self.asking.rhythm.wake(at + interval);
        }
    }
}
