//! Probes while something seems unanswered: at a high rate, on flows where there are any.

use std::time::Duration;

use crate::{
    core::{
        context::{Around, Context},
        path::Path,
        rule::{Link, SUSPECT_AFTER},
        turns::Rate,
    },
    model::{ProbeTarget, Time},
};

/// In doubt a neighbour is probed no more often than this, which is often enough for an answer to
/// be there whenever a decision is due.
const NEIGHBOUR_EVERY: Duration = Duration::from_millis(200);

/// A path that waits for its turn is probed this often.
const WAITING_EVERY: Duration = Duration::from_millis(100);

/// With a long detection time, connects are sent this long after a doubt began.
const CONNECTS_AT_LATEST: Duration = Duration::from_secs(1);

/// How long a doubt lasts before a peer with flows is asked by connects, too: all of its flows may be
/// stuck while it lives.
pub(in crate::core::path) fn connects_after(detection_time: Duration) -> Duration {
    (detection_time / 2).min(CONNECTS_AT_LATEST)
}

impl Path {
    /// Something sent at `at` seems to be unanswered: the path is probed.
    pub(in crate::core::path) fn doubt(&mut self, now: Time, at: Time) {
        if self.evidence.heard.surely() >= Some(at) || self.is_dead() {
            return;
        }
        self.probing.doubt_since.get_or_insert(now);
        self.probing.rhythm.soon(now);
    }

    /// How often the path is probed, beside all others that are in doubt. One that waits for its
    /// turn is probed now and then, unless probes leave late: most doubts end with the first answer.
    pub(super) fn rate_in_doubt(&mut self, now: Time, context: &mut Context<'_>) -> Rate {
        let since = *self.probing.turn_since.get_or_insert(now);
        let turns = &mut context.prober.turns;
        let rate = turns.rate(now, since, self.addr);
        let is_due = !self.probing.has_sent_since(now - WAITING_EVERY);
        match rate {
            Rate::Wait if is_due && !turns.are_late(now) => Rate::Spare,
            rate => rate,
        }
    }

    /// The doubt is over.
    pub(super) fn end_turn(&mut self, context: &mut Context<'_>) {
        if let Some(since) = self.probing.turn_since.take() {
            context.prober.turns.over(since, self.addr);
        }
    }

    /// A missing answer begins a doubt.
    pub(super) fn notice_missing_answer(&mut self, now: Time) {
        let Some(sent) = self.evidence.probes.waiting_since(&self.evidence.heard) else {
            return;
        };
        if now.since(sent) >= self.answer_is_missing_after(now) {
            self.probing.doubt_since.get_or_insert(now);
            self.snapshots.soon(now);
        }
    }

    pub(super) fn answer_is_missing_after(&self, now: Time) -> Duration {
        self.evidence.history.answer_grace(now).max(SUSPECT_AFTER)
    }

    pub(super) fn targets_in_doubt(
        &mut self,
        now: Time,
        rate: Rate,
        around: Around<'_>,
    ) -> Vec<ProbeTarget> {
        let began = *self.probing.doubt_since.get_or_insert(now);
        let wanted = around.settings.detection_time;
        let detection_time = self.evidence.history.detection_time(now, wanted);
        let required = match rate {
            Rate::Full => self.required(),
            // A third more than is required, instead of twice as many.
            Rate::Spare | Rate::Wait => self.required() * 2 / 3,
        };
        let lasted = now.since(began);
        let rhythm = &mut self.probing.rhythm;
        rhythm.next_in_doubt(now, lasted, detection_time, required);
        let mut targets = self.neighbour_when_due(now);
        if !self.evidence.probes.has_flow() {
            targets.extend(self.connects_in_doubt(now));
        } else if lasted >= connects_after(detection_time) && self.link_now(now) != Link::Silent {
            if rate == Rate::Full || !self.probing.was_connect {
                // If none is known to answer, all are tried: a stuck flow alone is no dead host.
                targets.extend(self.connects_in_doubt(now));
            }
            self.probing.was_connect = !self.probing.was_connect;
            if rate != Rate::Full && self.probing.was_connect {
                return targets;
            }
        }
        targets.extend(self.evidence.probes.next_flow());
        targets
    }

    /// The connect whose turn it is, of those that are known to answer; all connects while none is
    /// known to, and also from time to time.
    fn connects_in_doubt(&mut self, now: Time) -> Vec<ProbeTarget> {
        let is_first = self.probing.rhythm.take_all(now);
        match self.evidence.probes.next_connect() {
            Some(connect) if !is_first => vec![connect],
            _ => self.evidence.probes.connects(),
        }
    }

    fn neighbour_when_due(&self, now: Time) -> Vec<ProbeTarget> {
        let last = self.probing.neighbour_at;
        let is_due = last.is_none_or(|last| now.since(last) >= NEIGHBOUR_EVERY);
        let neighbour = self.evidence.probes.neighbour().filter(|_| is_due);
        neighbour.into_iter().collect()
    }

    /// Whether the link answers in the silence that the last snapshot showed.
    fn link_now(&self, now: Time) -> Link {
        match self.doubt.silence {
            Some(_) => self.link(now),
            None => Link::Unknown,
        }
    }
}
