//! Decides after each socket snapshot, and carries out the decision.
//!
//! ```text
//! facts     gathers the facts for the rule
//! silence   the silence as a snapshot shows it, and what excuses it
//! turning   changes the verdict, and does what follows
//! ```

mod facts;
mod silence;
mod turning;

use std::time::Duration;

use super::Path;
use crate::{
    core::{
        context::{Around, Context},
        evidence::Silence,
        rule::{Certainty, Decision, decide},
        session::{Death, Event, State, Turn},
    },
    model::{Reason, Time, Verdict},
};

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
    /// How long the present silence must last for a death.
    needed: Option<Duration>,
    /// Since when segments of the dead peer have been seen to arrive.
    received_since: Option<Time>,
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
            needed: None,
            received_since: None,
            has_no_link: false,
            began: now,
        }
    }

    pub(super) fn began(&self) -> Time {
        self.began
    }

    /// How long the present silence must last for a death, as last decided.
    pub(super) fn needed_silence(&self) -> Option<Duration> {
        self.needed
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
        self.notice_heard_again(at, context.around());
        let links = self.notice_links(at, context.around());
        let from = self.stalls_count_from(context.around());
        if !self.discovered {
            let calls = !context.settings.idle_probe_interval.is_zero();
            self.evidence.notice_waiting(at, from, calls);
        }
        let outlived_from = self.outlived_count_from(context.around());
        let stalled = self.evidence.stalled(at, from, outlived_from);
        self.evidence.set_stalled(&stalled);
        self.freeing.set_stalled(stalled);
        self.doubt.silence = self.silence_at(at, context.around());
        self.probing.looked(at, self.doubt.silence.is_some());
        let ended = self.heard_since_doubt(at, Reason::PacketReceived, context);
        if self.is_dead() {
            let received = self.notice_received(at, context.settings);
            if self.freeing.may_become_certain() {
                let facts = self.facts(at, context.around());
                self.freeing.weigh(Certainty::of(&facts));
            }
            return (first_of(received, first_of(ended, links)), None);
        }
        if ended == Turn::Returned {
            return (first_of(ended, links), None);
        }
        let weighed = self.weigh_failures(at, context, true);
        let facts = self.facts(at, context.around());
        let decision = decide(&facts, context.settings);
        let again_in = decision.again_in;
        self.doubt.needed = decision.needed_silence;
        let turn = self.carry_out(at, decision, Certainty::of(&facts), context);
        let others = first_of(first_of(ended, weighed), links);
        (first_of(turn, others), again_in)
    }

    fn carry_out(
        &mut self,
        at: Time,
        decision: Decision,
        certainty: Certainty,
        context: &mut Context<'_>,
    ) -> Turn {
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
                certainty,
            });
        let turn = self.turn(at, Event::Decided(state), reason, death, context);
        match turn {
            // Another reason for Degraded is worth publishing.
            Turn::None if state == State::Degraded && self.session.state() == state => {
                self.session.set_reason(at, reason)
            }
            turn => turn,
        }
    }

    /// Too early to decide: `decide` leaves the verdict as it is.
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

    pub(super) fn notice_links(&mut self, now: Time, around: Around<'_>) -> Turn {
        let has_no_link = around.isolation.network.is_cut_off(self.addr, now);
        if self.doubt.has_no_link == has_no_link {
            return Turn::None;
        }
        self.doubt.has_no_link = has_no_link;
        Turn::Changed
    }
}

fn first_of(turn: Turn, other: Turn) -> Turn {
    match turn {
        Turn::None => other,
        turn => turn,
    }
}
