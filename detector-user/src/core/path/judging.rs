//! Gathers the facts for the rule, and carries out its decision.

use std::time::Duration;

use super::Path;
use crate::core::{
    Reason, Settings, Time, Verdict,
    context::{Around, Context},
    evidence::{Layer, PathHistory, Silence},
    isolation::{Isolated, WITNESSES_ANSWER_WITHIN},
    rule::{
        ANSWERS_WITHIN, Decision, Facts, LastProbe, Life, Link, Needs, STARVED_FACTOR, Starved,
        Stuck, decide,
    },
    session::{Death, Event, State, Turn},
};

/// A peer that was not probed for this long may have come back unnoticed.
const PROBE_IS_OLD_AFTER: Duration = Duration::from_millis(100);

/// A death that ends within this time was a false one: the path gets a longer detection time from
/// then on.
const FALSE_DEATH: Duration = Duration::from_secs(1);

/// In a silence of the host that lasts this long a flow is retransmitted more than once: this
/// proves nothing about the flow.
const LONG_SILENCE: Duration = Duration::from_millis(500);

/// What is remembered from one decision to the next.
#[derive(Debug)]
pub(super) struct Doubt {
    /// The silence at the last snapshot; if it ends, the path's history learns from it.
    pub silence: Option<Silence>,
    /// The moment after which the host must be heard for a Suspect or Dead verdict to become Alive.
    since: Option<Time>,
    /// What was sent before this is no evidence: the daemon has just begun to watch, or this node
    /// was isolated.
    excused: Time,
    /// No other host was heard for half of the detection time: if one is heard now, the measurement
    /// of this silence starts over.
    were_others_silent: bool,
    /// Since when a last probe has been due before the path may be found Dead. It is kept because a
    /// snapshot that comes back late would otherwise find each probe too old.
    last_probe_due: Option<Time>,
    /// When the host was heard again after a long silence: what was sent before says nothing about
    /// single flows.
    heard_again: Time,
    /// This node has no usable link to the peer.
    pub has_no_link: bool,
    /// Since when the daemon has watched the path.
    began: Time,
}

impl Doubt {
    pub(super) fn new(now: Time) -> Self {
        Self {
            silence: None,
            since: None,
            excused: now,
            were_others_silent: false,
            last_probe_due: None,
            heard_again: now,
            has_no_link: false,
            began: now,
        }
    }

    pub(super) fn began(&self) -> Time {
        self.began
    }

    pub(super) fn start_over(&mut self, now: Time) {
        self.excused = now;
    }

    /// An answer that is reported late may have come before the snapshot that found the path Dead;
    /// its time is exact, unlike that of a snapshot.
    pub(super) fn heard_exactly(&mut self, at: Time, death: Option<&Death>) {
        if let Some(death) = death
            && at > death.silent_since
        {
            self.since = Some(death.silent_since);
        }
    }
}

impl Path {
    /// Decides after a snapshot; returns when to decide again, if something stands unanswered.
    pub(super) fn judge(
        &mut self,
        at: Time,
        context: &mut Context<'_>,
    ) -> (Turn, Option<Duration>) {
        self.evidence.settle_probes(at);
        self.learn_from_recovery(at);
        self.notice_heard_again();
        let links = self.notice_links(at, context.around());
        let from = self.stalls_count_from(context.around());
        let stalled = self.evidence.stalled(at, from);
        self.evidence.set_stalled(&stalled);
        self.freeing.set_stalled(stalled);
        self.doubt.silence = self.silence_at(at, context.around());
        self.probing.looked(at, self.doubt.silence.is_some());
        let ended = self.heard_since_doubt(at, Reason::PacketReceived, context);
        if self.is_dead() || ended == Turn::Returned {
            return (first_of(ended, links), None);
        }
        let weighed = self.weigh_failures(at, context, true);
        let decision = decide(&self.facts(at, context.around()), context.settings);
        let again_in = decision.again_in;
        let turn = self.carry_out(at, decision, context);
        let others = first_of(first_of(ended, weighed), links);
        (first_of(turn, others), again_in)
    }

    fn carry_out(&mut self, at: Time, decision: Decision, context: &mut Context<'_>) -> Turn {
        let settings = context.settings;
        let (verdict, reason) = (decision.verdict, decision.reason);
        if let Some(silence) = self.doubt.silence {
            self.remember(at, &decision, &silence, context);
        } else {
            self.doubt.were_others_silent = false;
            self.doubt.last_probe_due = None;
            self.failures.forget(at, settings.failure_window);
        }
        let state = match decision.is_isolated {
            true => State::Isolated,
            false if self.is_too_early(at) => return Turn::None,
            false => State::from(verdict),
        };
        self.follow_isolation(at, state);
        let death = self
            .doubt
            .silence
            .filter(|_| verdict == Verdict::Dead)
            .map(|silence| Death {
                silent_since: silence.since,
                unheard_since: self.unheard_since(&silence, context.around()),
                found_at: at,
                clauses: decision.clauses,
            });
        let turn = self.turn(at, Event::Decided(state), reason, death, context);
        match turn {
            Turn::None if self.is_news(reason) => self.session.set_reason(at, reason),
            turn => turn,
        }
    }

    /// Whether another reason for the same verdict is worth publishing.
    fn is_news(&self, reason: Reason) -> bool {
        let is_stuck = |reason| {
            matches!(
                reason,
                Reason::ZeroWindow
                    | Reason::FlowsStalled
                    | Reason::LargeSegmentsLost
                    | Reason::SlownessReported
            )
        };
        is_stuck(reason) && is_stuck(self.session.reason())
    }

    fn is_too_early(&self, at: Time) -> bool {
        let silence = self.doubt.silence;
        silence.is_some_and(|silence| at.since(silence.since) < crate::core::rule::SUSPECT_AFTER)
    }

    /// Remembers what the next decision needs to know about this one.
    fn remember(
        &mut self,
        at: Time,
        decision: &Decision,
        silence: &Silence,
        context: &mut Context<'_>,
    ) {
        if self.is_too_early(at) {
            return;
        }
        self.doubt.since = Some(match decision.verdict {
            Verdict::Dead => at,
            _ => silence.since,
        });
        self.doubt.were_others_silent |=
            self.are_others_silent_half_way(at, silence, context.around());
        if decision.starts_over {
            self.doubt.were_others_silent = false;
            self.doubt.last_probe_due = None;
            self.doubt.excused = at;
            self.probing.start_over(at);
        }
        if decision.probes {
            self.doubt.last_probe_due.get_or_insert(at);
            self.probing.soon(at);
        }
        if decision.is_isolated && !self.doubt.has_no_link {
            context.isolation.witnesses.lose();
        }
    }

    /// While this node is isolated, the path's history learns nothing.
    fn follow_isolation(&mut self, at: Time, next: State) {
        let was = self.session.state() == State::Isolated;
        if !was && next == State::Isolated {
            self.evidence.died();
        } else if was && next != State::Isolated {
            self.evidence.returned(at);
        }
    }

    /// Applies an event to the session, and does what follows from the new state.
    pub(super) fn turn(
        &mut self,
        now: Time,
        event: Event,
        reason: Reason,
        death: Option<Death>,
        context: &mut Context<'_>,
    ) -> Turn {
        let found_at = self
            .session
            .death()
            .map(|death| (death.found_at, death.silent_since));
        let turn = self
            .session
            .apply(now, event, reason, death, context.settings);
        match turn {
            Turn::Died => {
                self.evidence.died();
                self.pace.died();
                self.probing.died(now);
                self.failures.clear();
                self.freeing.died(self.session.death());
                context.isolation.witnesses.forget(self.addr);
            }
            Turn::Returned => {
                self.evidence.returned(now);
                self.freeing.called_off();
                context
                    .effects
                    .push_back(crate::core::Effect::CancelTeardown {
                        peer: self.peer.clone(),
                        addr: self.addr,
                    });
                self.learn_from_false_death(now, found_at);
            }
            Turn::None | Turn::Changed => {}
        }
        if turn != Turn::None {
            self.tell_awaiting(context);
        }
        turn
    }

    fn learn_from_false_death(&mut self, now: Time, death: Option<(Time, Time)>) {
        if let Some((found_at, silent_since)) = death
            && now.since(found_at) < FALSE_DEATH
        {
            self.evidence
                .history
                .stall_recovered(now, now.since(silent_since));
        }
    }

    /// Ends a death, or an open breaker that only reports had opened, once the host was heard
    /// since.
    pub(super) fn heard_since_doubt(
        &mut self,
        now: Time,
        reason: Reason,
        context: &mut Context<'_>,
    ) -> Turn {
        let heard = self.evidence.heard.on(Layer::Host);
        let ends = match self.session.state() {
            State::Dead => heard > self.doubt.since,
            _ => self
                .session
                .opened_by_reports()
                .is_some_and(|opened| self.evidence.heard.surely() > Some(opened)),
        };
        if !ends {
            return Turn::None;
        }
        if !self.is_dead() {
            self.failures.clear();
        }
        self.turn(now, Event::HostHeard, reason, None, context)
    }

    /// The facts of this moment.
    pub(super) fn facts(&self, at: Time, around: Around<'_>) -> Facts {
        let detection_time = self
            .evidence
            .history
            .detection_time(at, around.settings.detection_time);
        let silence = self.silence_at(at, around);
        let heard = self.evidence.heard.on(Layer::Received);
        let (freed, freed_large) = self.freeing.freed_lately(at);
        Facts {
            now: at,
            believed: (self.verdict(), self.session.reason()),
            silence,
            starved: self.starved(at, detection_time, around),
            needs: Needs {
                detection_time,
                transmissions: self.required(),
                can_ask: self.can_ask(),
            },
            link: silence.map_or(Link::Unknown, |silence| self.link(at, &silence)),
            is_receiving: silence.is_some_and(|silence| self.is_receiving(at, &silence)),
            has_flow: self.can_ask() && self.evidence.probes.has_flow(),
            has_connect: self.can_ask() && self.evidence.probes.has_connect(),
            last_probe: self.last_probe(at),
            isolated: silence.map_or(Isolated::No, |silence| self.isolated(at, &silence, around)),
            was_isolated: self.session.state() == State::Isolated || self.doubt.were_others_silent,
            stuck: Stuck {
                zero_window: self.evidence.flows().any(|flow| flow.is_zero_window()),
                flows_stalled: freed || self.freeing.stalled_flows() > 0,
                large_segments_lost: freed_large || self.freeing.large_segments().is_some(),
                calls_fail: self.failures.is_slow(),
            },
            life: Life {
                heard_since_doubt: self.evidence.heard.on(Layer::Host) > self.doubt.since,
                is_connected: self.evidence.heard_on_flows().is_some(),
                heard_ago: heard.map(|heard| at.since(heard)),
            },
        }
    }

    fn last_probe(&self, at: Time) -> LastProbe {
        let was_sent = self
            .doubt
            .last_probe_due
            .is_some_and(|due| at.since(due) >= ANSWERS_WITHIN && self.probing.has_sent_since(due));
        match !self.can_ask() || was_sent || self.probing.is_fresh(at, PROBE_IS_OLD_AFTER) {
            true => LastProbe::Fresh,
            false => LastProbe::Due,
        }
    }

    /// How many transmissions, or moments, must go unanswered.
    pub(super) fn required(&self) -> u32 {
        self.evidence.history.required_transmissions(self.can_ask())
    }

    pub(super) fn link(&self, at: Time, silence: &Silence) -> Link {
        let evidence = &self.evidence;
        let heard = evidence.heard.on(Layer::Link);
        let asked = evidence.probes.neighbour_waits_since(heard);
        let grace = evidence.history.answer_grace(at);
        let is_missing = asked.is_some_and(|asked| at.since(asked) >= grace);
        if is_missing {
            Link::Silent
        } else if evidence.heard.card() > Some(silence.since) {
            Link::Answers
        } else {
            Link::Unknown
        }
    }

    /// Whether segments still arrive. What arrived just as the silence began proves nothing.
    fn is_receiving(&self, at: Time, silence: &Silence) -> bool {
        let half = at.since(silence.since) / 2;
        self.evidence.heard.on(Layer::Received) > Some(at - half)
    }

    fn isolated(&self, at: Time, silence: &Silence, around: Around<'_>) -> Isolated {
        match self.doubt.has_no_link {
            true => Isolated::NoLink,
            false if self.are_others_silent(at, silence.since, around) => Isolated::NobodyHeard,
            false => Isolated::No,
        }
    }

    /// Whether other hosts are as silent as this one.
    pub(super) fn are_others_silent(&self, at: Time, since: Time, around: Around<'_>) -> bool {
        let idle = around.settings.idle_probe_interval;
        around
            .isolation
            .witnesses
            .none_but(Some(self.addr), since, at, idle)
    }

    /// The same, already after half of the detection time, once witnesses have had the time to
    /// answer: they are probed as soon as the path is Suspect.
    fn are_others_silent_half_way(&self, at: Time, silence: &Silence, around: Around<'_>) -> bool {
        let wanted = around.settings.detection_time;
        let detection_time = self.evidence.history.detection_time(at, wanted);
        let suspected = self.verdict() == Verdict::Suspect
            && at.since(self.session.changed_at()) >= WITNESSES_ANSWER_WITHIN;
        suspected
            && at.since(silence.since) >= detection_time / 2
            && self.are_others_silent(at, silence.since, around)
    }

    /// The silence as this snapshot shows it. A silence that goes on keeps its first beginning,
    /// even if the demand that showed it then is forgotten.
    pub(super) fn silence_at(&self, at: Time, around: Around<'_>) -> Option<Silence> {
        let excused = self.excused(around);
        let wanted = around.settings.detection_time;
        let detection_time = self.evidence.history.detection_time(at, wanted);
        let spacing = PathHistory::spacing(detection_time, self.can_ask());
        let Some(silence) = self.evidence.silence(at, excused, spacing) else {
            return self.starved_silence(at, detection_time, around);
        };
        let heard = self.evidence.heard.on(Layer::Host);
        let heard = heard.unwrap_or_default().max(excused);
        let since = match self.doubt.silence {
            Some(before) => before.since.max(heard).min(silence.since),
            None => silence.since,
        };
        Some(Silence { since, ..silence })
    }

    /// The silence on a machine that is never on time, where each pause would excuse all that was
    /// sent before it.
    fn starved_silence(
        &self,
        at: Time,
        detection_time: Duration,
        around: Around<'_>,
    ) -> Option<Silence> {
        self.starved(at, detection_time, around)
            .filter(|starved| starved.silent >= detection_time * STARVED_FACTOR)
            .map(|starved| starved.silence)
    }

    /// The silence if pauses of this machine are only subtracted from its length, and excuse no
    /// demand.
    fn starved(&self, at: Time, detection_time: Duration, around: Around<'_>) -> Option<Starved> {
        let usable = around.isolation.network.usable_since(&[self.addr]);
        let excused = usable.unwrap_or_default().max(self.doubt.excused);
        let spacing = PathHistory::spacing(detection_time, self.can_ask());
        let silence = self.evidence.silence(at, excused, spacing)?;
        let paused = around.isolation.pauses.within(silence.since, at);
        Some(Starved {
            silence,
            silent: at.since(silence.since).saturating_sub(paused),
        })
    }

    /// What was sent before this moment is no evidence: this machine was paused, had no link, or
    /// was not watching yet.
    pub(super) fn excused(&self, around: Around<'_>) -> Time {
        let usable = around.isolation.network.usable_since(&[self.addr]);
        let paused = around.isolation.pauses.last_end();
        usable
            .unwrap_or_default()
            .max(paused.unwrap_or_default())
            .max(self.doubt.excused)
    }

    /// What a flow sent before this moment says nothing about the flow: its host was silent, or the
    /// demand is excused.
    pub(super) fn stalls_count_from(&self, around: Around<'_>) -> Time {
        self.excused(around).max(self.doubt.heard_again)
    }

    fn notice_heard_again(&mut self) {
        let heard = self.evidence.heard.on(Layer::Host);
        if let (Some(silence), Some(heard)) = (self.doubt.silence, heard)
            && heard.since(silence.since) >= LONG_SILENCE
        {
            self.doubt.heard_again = heard;
        }
    }

    pub(super) fn notice_links(&mut self, now: Time, around: Around<'_>) -> Turn {
        let has_no_link = around.isolation.network.is_cut_off(&[self.addr], now);
        if self.doubt.has_no_link == has_no_link {
            return Turn::None;
        }
        self.doubt.has_no_link = has_no_link;
        Turn::Changed
    }

    /// When the peer was last heard, but no earlier than one idle probe interval before the
    /// silence, which is the longest that a loss of the peer goes unnoticed. From then on a call
    /// that waits for a reply is stuck. Any segment counts as heard here: on a flow that is seen
    /// for the first time it is not known whether its segments acknowledged anything. So does a
    /// refused connect.
    fn unheard_since(&self, silence: &Silence, around: Around<'_>) -> Time {
        let Settings {
            idle_probe_interval: idle,
            idle_probe_jitter_percent,
            ..
        } = *around.settings;
        let jitter = idle * idle_probe_jitter_percent / 100;
        let heard = self.evidence.heard.on(Layer::Received);
        heard
            .max(self.evidence.refused)
            .unwrap_or_default()
            .max(self.excused(around))
            .max(silence.since - (idle + jitter))
            .min(silence.since)
    }

    /// Learns from a silence that ended while the path was only Suspect: the peer was alive.
    fn learn_from_recovery(&mut self, at: Time) {
        let heard = self.evidence.heard.on(Layer::Host);
        let (Some(silence), Some(heard)) = (self.doubt.silence, heard) else {
            return;
        };
        let was_suspect = self.session.state() == State::Suspect && !self.doubt.has_no_link;
        if was_suspect && heard > silence.since {
            // Time that is excused by this host's own faults is no stall of the peer.
            let since = silence.since.max(self.doubt.excused);
            if self.evidence.stall_recovered(at, since, heard) {
                self.vitals.stall_recovered(at, heard.since(since));
            }
        }
    }
}

fn first_of(turn: Turn, other: Turn) -> Turn {
    match turn {
        Turn::None => other,
        turn => turn,
    }
}
