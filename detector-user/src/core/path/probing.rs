//! When the path is probed, and by what.
//!
//! While nothing stands unanswered, a path that has connections is probed at a low rate, and
//! only when its host was not heard lately: a caller that waits for a reply sends nothing, so
//! that no other evidence will ever come. In doubt it is probed fast: on its flows, where there
//! are any, and by the neighbour within that budget; by a SYN only where no flow can be
//! probed, or where the link leaves it open whether it is the flows or the host. When dead it
//! is probed with growing intervals until it is back.

use std::time::Duration;

use super::Path;
use crate::core::{
    ProbeTarget, Time, Verdict,
    context::{Around, Context},
    evidence::Layer,
    rule::{Link, SUSPECT_AFTER},
    schedule::{Rhythm, Urgency},
};

/// How long a snapshot may take to come back before the path is probed all the same.
const SNAPSHOT_RETURNS: Duration = Duration::from_millis(10);

/// A peer behind a link that is down, or one that cannot be probed, is thought of again after
/// this time.
const LATER: Duration = Duration::from_secs(1);

/// Many that were refused at once are not to come back at once.
const LATER_JITTER_PERCENT: u32 = 50;

/// A neighbour is probed no more often than this, so that an answer is there whenever a
/// decision is due.
const NEIGHBOUR_EVERY: Duration = Duration::from_millis(200);

/// A peer whose last connection was so long ago is not probed at the idle rate any more.
const CONNECTED_LATELY: Duration = Duration::from_secs(10);

/// SYNs at the idle rate are no closer together than this: a usual limit is one a second.
const CONNECT_EVERY: Duration = Duration::from_secs(1);

/// A witness that has no flow is probed by SYNs no closer together than this: a burst of three
/// passes the usual limit.
const WITNESS_CONNECTS_EVERY: Duration = Duration::from_millis(250);

/// For so long after a flow was reset the others are probed.
const AFTER_RESET: Duration = Duration::from_secs(2);

/// A peer with flows that are stuck is probed this often at least.
const BESIDE_STUCK: Duration = Duration::from_secs(1);

/// The state of a path's probes.
#[derive(Debug)]
pub(super) struct Probing {
    rhythm: Rhythm,
    /// Since when something stands unanswered, before a snapshot confirms it.
    doubt_since: Option<Time>,
    /// Whether the last snapshot showed segments that had arrived lately: before the next
    /// probe the sockets are read.
    was_busy: bool,
    neighbour_at: Option<Time>,
    /// When a SYN was last sent beside a neighbour probe.
    connect_at: Option<Time>,
    /// When its host last reset a flow: it may know none of the others either.
    reset_at: Option<Time>,
    /// When its host was heard, as others were told.
    pub told_witness: Option<Time>,
}

impl Probing {
    pub(super) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            doubt_since: None,
            was_busy: false,
            neighbour_at: None,
            connect_at: None,
            reset_at: None,
            told_witness: None,
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

    /// The host answered.
    pub(super) fn answered(&mut self) {
        self.doubt_since = None;
    }

    pub(super) fn died(&mut self, now: Time) {
        self.rhythm.died(now);
    }

    /// Everything that may answer is probed.
    pub(super) fn survey(&mut self, now: Time) {
        self.rhythm.survey_due = now;
        self.rhythm.soon(now);
    }

    /// A host reset a flow that was probed.
    pub(super) fn flow_reset(&mut self, at: Time) {
        self.reset_at = Some(at);
    }

    /// The silence is measured anew: the path is probed anew.
    pub(super) fn start_over(&mut self, now: Time) {
        self.doubt_since = Some(now);
        self.rhythm.soon(now);
    }

    /// A snapshot came back: it ends a doubt, or begins one.
    pub(super) fn looked(&mut self, at: Time, is_silent: bool) {
        if !is_silent {
            self.doubt_since = None;
        } else if self.doubt_since.is_none() {
            self.doubt_since = Some(at);
            self.rhythm.soon(at);
        }
    }

    /// Whether the last probe is no older than this, and those before it were not far apart,
    /// so that an answer to one of them would have come.
    pub(super) fn is_fresh(&self, at: Time, than: Duration) -> bool {
        self.rhythm.is_fresh(at, than)
    }

    pub(super) fn has_sent_since(&self, at: Time) -> bool {
        self.rhythm.has_sent_since(at)
    }
}

impl Path {
    /// Something sent at `at` seems to be unanswered: the path is probed.
    pub(super) fn doubt(&mut self, now: Time, at: Time) {
        if self.evidence.heard.surely() >= Some(at) || self.is_dead() {
            return;
        }
        self.probing.doubt_since.get_or_insert(now);
        self.probing.rhythm.soon(now);
    }

    /// Whether others are to bear witness that this host is not cut off.
    pub(in crate::core) fn needs_witnesses(&self) -> bool {
        self.verdict() == Verdict::Suspect || self.is_failing()
    }

    /// Whether this peer may bear witness: it is believed to live, and can be probed.
    pub(in crate::core) fn can_witness(&self) -> bool {
        matches!(self.verdict(), Verdict::Alive | Verdict::Degraded) && self.can_ask()
    }

    /// It is probed so that it bears witness.
    pub(in crate::core) fn call_as_witness(&mut self, now: Time, context: &mut Context<'_>) {
        let targets = self.evidence.probes.witnesses();
        let is_connect = |target: &ProbeTarget| target.is_connect();
        let lately = now - WITNESS_CONNECTS_EVERY;
        if targets.iter().any(is_connect) && self.probing.rhythm.has_sent_since(lately) {
            // A limit on SYNs must not make a living witness silent.
            return;
        }
        self.send(now, targets, Urgency::Urgent, context);
    }

    /// Sends what is due; sets the time of the next probe.
    pub(super) fn probe_when_due(&mut self, now: Time, context: &mut Context<'_>) {
        if self.probing.rhythm.due > now {
            return;
        }
        if self.discovered || context.isolation.network.is_link_down(&[self.addr]) {
            self.probing.rhythm.due = now + LATER;
            return;
        }
        if self.is_dead() {
            self.probing.rhythm.next_dead(now);
            let all = self.evidence.probes.all();
            self.send(now, all, Urgency::Urgent, context);
            return;
        }
        self.notice_missing_answer(now);
        if self.doubt.silence.is_some() || self.probing.in_doubt() {
            let targets = self.targets_in_doubt(now, context.around());
            self.send(now, targets, Urgency::Urgent, context);
        } else {
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
            let is_neighbour = is_neighbour(&target);
            match context.probe(now, target, urgency) {
                Some(probe) => {
                    self.evidence.probes.asked(probe, target);
                    self.sent(now, is_neighbour, context);
                }
                // The neighbour is only a witness: it is probed when there is room again.
                None if is_neighbour => {}
                None => self.refused(now),
            }
        }
    }

    fn sent(&mut self, now: Time, is_neighbour: bool, context: &mut Context<'_>) {
        if is_neighbour {
            self.probing.neighbour_at = Some(now);
        } else if !self.is_dead() && (self.can_ask() || !context.isolation.witnesses.anyone()) {
            context.isolation.witnesses.asked(self.addr, now);
        }
        self.probing.rhythm.sent(now);
        // Whoever asked, for itself or as a witness: that no answer comes is to be noticed.
        let is_routine = self.doubt.silence.is_none() && !self.probing.in_doubt();
        if is_routine && !self.is_dead() {
            let missing = now + self.answer_is_missing_after(now);
            self.probing.rhythm.wake(missing);
        }
    }

    /// A probe that could wait was not sent: what it was to find out is found out later.
    fn refused(&mut self, now: Time) {
        if !self.evidence.probes.is_answerable() {
            let rhythm = &mut self.probing.rhythm;
            rhythm.survey_due = now + rhythm.jittered(LATER, LATER_JITTER_PERCENT);
            rhythm.wake(rhythm.survey_due);
        }
    }

    /// An answer that does not come is a reason to doubt.
    fn notice_missing_answer(&mut self, now: Time) {
        let Some(sent) = self.evidence.probes.waiting_since(&self.evidence.heard) else {
            return;
        };
        if now.since(sent) >= self.answer_is_missing_after(now) {
            self.probing.doubt_since.get_or_insert(now);
            self.snapshots.soon(now);
        }
    }

    fn answer_is_missing_after(&self, now: Time) -> Duration {
        self.evidence.history.answer_grace(now).max(SUSPECT_AFTER)
    }

    fn targets_in_doubt(&mut self, now: Time, around: Around<'_>) -> Vec<ProbeTarget> {
        let began = *self.probing.doubt_since.get_or_insert(now);
        let wanted = around.settings.detection_time;
        let detection_time = self.evidence.history.detection_time(now, wanted);
        let required = self.required();
        let lasted = now.since(began);
        let rhythm = &mut self.probing.rhythm;
        rhythm.next_in_doubt(now, lasted, detection_time, required);
        let mut targets = self.neighbour_when_due(now);
        if !self.evidence.probes.has_flow() {
            targets.extend(self.connects_in_doubt(now));
        } else if lasted >= detection_time / 2 && self.link_now(now) != Link::Silent {
            targets.extend(self.evidence.probes.next_connect());
        }
        targets.extend(self.evidence.probes.next_flow());
        targets
    }

    /// Each connect that is known to answer in its turn; all of them while none is, and now
    /// and then.
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

    /// What the link says in the silence as of the last snapshot.
    fn link_now(&self, now: Time) -> Link {
        match self.doubt.silence {
            Some(silence) => self.link(now, &silence),
            None => Link::Unknown,
        }
    }

    fn routine_targets(&mut self, now: Time, around: Around<'_>) -> Vec<ProbeTarget> {
        let missing_after = self.answer_is_missing_after(now);
        let rhythm = &mut self.probing.rhythm;
        if rhythm.survey_due <= now {
            rhythm.surveyed(now);
            rhythm.due = now + missing_after;
            self.evidence.probes.retry_flows();
            return self.evidence.probes.all();
        }
        let waiting = self.evidence.probes.waiting_since(&self.evidence.heard);
        if let Some(sent) = waiting {
            rhythm.due = sent + missing_after;
            return Vec::new();
        }
        let Some(next) = self.next_idle(now, around) else {
            self.probing.rhythm.due = self.probing.rhythm.survey_due;
            return Vec::new();
        };
        let rhythm = &mut self.probing.rhythm;
        if next > now {
            rhythm.due = next.min(rhythm.survey_due);
            return Vec::new();
        }
        if self.probing.was_busy {
            self.probing.was_busy = false;
            self.snapshots.soon(now);
            rhythm.due = now + SNAPSHOT_RETURNS;
            return Vec::new();
        }
        rhythm.due = now + missing_after;
        let mut targets = self.evidence.probes.gentlest();
        if targets.first().is_some_and(is_neighbour) {
            targets.extend(self.connect_when_due(now));
        }
        targets
    }

    /// A card answers for the link alone: a host with connections none of which can be probed
    /// is probed by a SYN now and then.
    fn connect_when_due(&mut self, now: Time) -> Option<ProbeTarget> {
        let last = self.probing.connect_at;
        let is_due = last.is_none_or(|last| now.since(last) >= CONNECT_EVERY);
        if !is_due || !self.evidence.is_connected() {
            return None;
        }
        self.probing.connect_at = Some(now);
        self.evidence.probes.next_connect()
    }

    /// When the next idle probe is due; `None` where there is none to send.
    fn next_idle(&mut self, now: Time, around: Around<'_>) -> Option<Time> {
        let settings = around.settings;
        let interval = match (self.evidence.has_stuck_flow(), settings.idle_probe_interval) {
            (false, interval) => interval,
            // Whether it lives beside them is to be known all the time.
            (true, Duration::ZERO) => BESIDE_STUCK,
            (true, interval) => interval.min(BESIDE_STUCK),
        };
        let lately = self
            .evidence
            .connected_at()
            .is_some_and(|at| now.since(at) < CONNECTED_LATELY);
        let target = *self.evidence.probes.gentlest().first()?;
        let is_known = self.evidence.probes.is_known(target);
        if interval.is_zero() || !lately || !is_known {
            return None;
        }
        let least = if target.is_connect() && !self.evidence.is_connected() {
            CONNECT_EVERY
        } else {
            Duration::ZERO
        };
        let rhythm = &mut self.probing.rhythm;
        let interval = rhythm
            .jittered(interval, settings.idle_probe_jitter_percent)
            .max(least);
        // An answer on the link says nothing of the host, but the next probe can wait.
        let layer = match target {
            ProbeTarget::Neighbour { .. } => Layer::Link,
            _ => Layer::Host,
        };
        let heard = self.evidence.heard.on(layer);
        Some(
            heard
                .max(self.probing.rhythm.last_sent())
                .unwrap_or_default()
                + interval,
        )
    }

    /// After a snapshot: whether the sockets are read before the next probe.
    pub(super) fn notice_traffic(&mut self, at: Time, settings: &crate::core::Settings) {
        let interval = settings.idle_probe_interval;
        // Beside a stuck flow not any segment will do: its host must have acknowledged something.
        let segment = match self.evidence.has_stuck_flow() {
            true => self.evidence.heard.on(Layer::Host),
            false => self.evidence.heard_on_flows(),
        };
        self.probing.was_busy = segment.is_some_and(|heard| at.since(heard) < interval);
        if self.evidence.has_stuck_flow() {
            self.probing.rhythm.wake(at + BESIDE_STUCK);
        }
        if self.evidence.is_connected() && !interval.is_zero() {
            self.probing.rhythm.wake(at + interval);
        }
    }

    /// A host that reset a flow may have been started anew: the others are probed as well, so
    /// that calls which wait on them end.
    pub(super) fn probe_after_reset(&mut self, now: Time, context: &mut Context<'_>) {
        let lately = |at: &Time| now.since(*at) < AFTER_RESET;
        let Some(reset_at) = self.probing.reset_at.filter(lately) else {
            return;
        };
        let unheard = self.evidence.flows_unheard_since(reset_at);
        self.send(now, unheard, Urgency::Urgent, context);
    }

    /// The stalled flows are probed: whether segments without data pass on them.
    pub(super) fn probe_stalled(&mut self, now: Time, context: &mut Context<'_>) {
        let stalled = self.evidence.probes.stalled_flows();
        self.send(now, stalled, Urgency::Routine, context);
    }
}

fn is_neighbour(target: &ProbeTarget) -> bool {
    matches!(target, ProbeTarget::Neighbour { .. })
}
