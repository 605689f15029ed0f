//! Which of the flows that wait for an answer are probed when, and what missing answers count.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Reference,
    round::Round,
    wait::{Missed, Wait},
};
use crate::model::{FlowId, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Time};

/// While all are answered the next flows are probed after this time, which is longer than the host
/// takes to answer on the same flow again (`ANSWERED_EVERY`).
pub(super) const ROUND_EVERY: Duration = Duration::from_millis(650);

/// Once an answer is missing. So soon it is also seen whether a flow answers that was not probed
/// before.
const MISSING_EVERY: Duration = Duration::from_millis(50);

/// Once an answer is missing and the reference is a SYN: a usual rate limit is one SYN per second.
const WITH_SYN_EVERY: Duration = Duration::from_secs(1);

/// A flow that did not answer as the reference, although it could have, is not the reference for
/// this time: it may be lost itself, or a firewall drops keepalives.
const UNFIT_FOR: Duration = Duration::from_secs(2);

/// The most flows that are probed in one round: while all are answered, and of urgent ones.
const AT_ONCE: (usize, usize) = (4, 16);

/// After so many answers small segments are known to pass on a flow, if no more than one in as many
/// was missing. Where 36 % of all round trips are lost, that happens by chance once in 3,000 times.
const PASSES_AFTER: u32 = 18;

/// The most flows of one path that are watched in this way.
const WAITING_KEPT: usize = 64;

/// The flows of one path that wait for an answer.
#[derive(Debug, Default)]
pub(in crate::core) struct Waiting {
    flows: BTreeMap<FlowId, Wait>,
    round: Option<Round>,
    /// When flows were last probed as the reference and did not answer, although they could have.
    unfit: BTreeMap<FlowId, Time>,
    /// When the next round is due, if there is anything to probe.
    due: Time,
    /// When the last round began.
    began: Option<Time>,
    turn: usize,
}

/// A flow that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub flow: FlowId,
    pub cookie: u64,
    /// Its own retransmissions are unanswered.
    pub is_stuck: bool,
}

/// A flow that leaves its probes unanswered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    pub flow: FlowId,
    pub cookie: u64,
    /// When the flow was last known to work.
    pub since: Time,
    /// Whether a probe on it was ever answered.
    pub has_answered: bool,
}

impl Waiting {
    /// When the next round is due.
    pub(in crate::core) fn timeout(&self) -> Option<Time> {
        (!self.flows.is_empty()).then_some(self.due)
    }

    /// Nothing that was missed until now counts: the host was silent, or this node was.
    pub(in crate::core) fn start_over(&mut self) {
        self.round = None;
        self.unfit.clear();
        for wait in self.flows.values_mut() {
            wait.missing = Missed::default();
        }
    }

    /// When the reference of the last round was probed, if it has not been answered.
    pub(in crate::core) fn unanswered_reference(&self) -> Option<Time> {
        let round = self.round.as_ref().filter(|round| !round.is_answered)?;
        round.sent
    }

    /// Replaces the flows; what is known of those that remain is kept.
    pub(super) fn set(&mut self, now: Time, wanted: impl Iterator<Item = Wanted>) {
        let known = std::mem::take(&mut self.flows);
        for wanted in wanted.take(WAITING_KEPT) {
            let (cookie, is_stuck) = (wanted.cookie, wanted.is_stuck);
            let known = known.get(&wanted.flow).copied();
            let wait = Wait {
                cookie,
                is_stuck,
                ..known
                    .filter(|wait| wait.cookie == cookie)
                    .unwrap_or_default()
            };
            self.flows.insert(wanted.flow, wait);
        }
        self.due = self.due.max(now);
    }

    /// Settles the last round and begins the next, with the flows whose turn it is, all of one
    /// namespace; none if all were answered and it is too early to probe others. Those that are stuck
    /// or whose answers are missing come first, as long as the answers have not been missing for long.
    pub(super) fn next_round(&mut self, now: Time, required: u32) -> Vec<FlowId> {
        self.settle();
        self.due = now + ROUND_EVERY;
        let flows = self.flows.iter();
        let urgent = flows.filter(|(_, wait)| wait.is_urgent(now, required));
        let mut flows: Vec<FlowId> = urgent.map(|(flow, _)| *flow).collect();
        let mut at_once = AT_ONCE.1;
        let next = self.began.map(|began| began + ROUND_EVERY);
        if let Some(next) = next.filter(|next| *next > now && flows.is_empty()) {
            self.due = next;
            return Vec::new();
        }
        self.began = Some(now);
        if flows.is_empty() {
            flows = self.flows.keys().copied().collect();
            at_once = AT_ONCE.0;
        }
        let first = self.turn % flows.len().max(1);
        flows.rotate_left(first);
        let netns = flows.first().map(|flow| flow.netns);
        let turn = flows.iter().take(at_once);
        let turn: Vec<_> = turn
            .take_while(|flow| Some(flow.netns) == netns)
            .copied()
            .collect();
        self.turn = first + turn.len();
        turn
    }

    /// Sets the time of the next round, after one with this reference. By then the answers of this
    /// round are here, which takes `grace`.
    pub(super) fn wait_for(
        &mut self,
        now: Time,
        reference: ProbeTarget,
        grace: Duration,
        required: u32,
    ) {
        let is_missing = |wait: &Wait| wait.is_missing_lately(required);
        let every = match self.flows.values().any(is_missing) {
            true if reference.is_connect() => WITH_SYN_EVERY,
            true => MISSING_EVERY,
            false if self.flows.values().any(Wait::is_new) => MISSING_EVERY,
            false => ROUND_EVERY,
        };
        self.due = now + every.max(grace);
    }

    pub(super) fn cookie(&self, flow: &FlowId) -> Option<u64> {
        self.flows.get(flow).map(|wait| wait.cookie)
    }

    /// Whether the last answer on this flow is missing.
    pub(super) fn is_missing(&self, flow: &FlowId) -> bool {
        let wait = self.flows.get(flow);
        wait.is_some_and(|wait| wait.missing.since.is_some())
    }

    /// Whether anything that was sent before `from` is missing its answer.
    pub(super) fn has_missing_before(&self, from: Time) -> bool {
        let missing = |wait: &Wait| wait.missing.since.is_some_and(|since| since < from);
        self.flows.values().any(missing)
    }

    /// The flows that leave at least so many probes unanswered in a row.
    pub(super) fn missing(&self, required: u32) -> impl Iterator<Item = Missing> {
        self.flows.iter().filter_map(move |(flow, wait)| {
            let missing_since = wait.missing.since?;
            (wait.missing.count >= required).then_some(Missing {
                flow: *flow,
                cookie: wait.cookie,
                // The flow was last known to work when it was last answered.
                since: wait.answered.max(Some(missing_since - ROUND_EVERY))?,
                has_answered: wait.answered.is_some(),
            })
        })
    }

    /// How many probes on this flow have gone unanswered in a row, of those that the host would have
    /// answered each.
    pub(in crate::core::evidence) fn unanswered_on(&self, flow: &FlowId) -> u32 {
        self.flows.get(flow).map_or(0, |wait| wait.missing.apart)
    }

    /// Whether so many probes on this flow were answered, and so few were not, that small segments
    /// are hardly ever lost on it.
    pub(in crate::core::evidence) fn passes(&self, flow: &FlowId) -> bool {
        let total = self.flows.get(flow).map(|wait| wait.total);
        total.is_some_and(|(answered, missed)| {
            answered >= PASSES_AFTER && missed.saturating_mul(PASSES_AFTER) <= answered
        })
    }

    /// The probes of a round were requested.
    pub(in crate::core) fn asked(
        &mut self,
        reference: (Reference, ProbeId),
        flows: &[(ProbeTarget, ProbeId)],
    ) {
        self.round = Some(Round::new(reference, flows));
    }

    /// When this flow was probed as the reference, if it did not answer, and that was lately.
    pub(super) fn unfit_since(&self, flow: &FlowId, now: Time) -> Option<Time> {
        let asked = self.unfit.get(flow).copied();
        asked.filter(|asked| now.since(*asked) < UNFIT_FOR)
    }

    /// Takes in what became of a probe, of a round or not.
    pub(in crate::core::evidence) fn event(&mut self, event: &ProbeEvent) {
        if let (ProbeTarget::Flow { flow, cookie }, ProbeOutcome::Answered(ProbeAnswer::Ack)) =
            (event.target, event.outcome)
            && let Some(wait) = self.flows.get_mut(&flow)
            && wait.cookie == cookie
        {
            wait.answered = wait.answered.max(Some(event.at));
            wait.missing = Missed::default();
        }
        let answered = self.round.as_mut().and_then(|round| round.event(event));
        if let Some(wait) = answered.and_then(|flow| self.flows.get_mut(&flow)) {
            wait.total.0 = wait.total.0.saturating_add(1);
        }
    }

    fn note_fitness(&mut self, round: &Round) {
        let (ProbeTarget::Flow { flow, .. }, Some(sent)) = (round.reference, round.sent) else {
            return;
        };
        self.unfit.retain(|_, asked| sent.since(*asked) < UNFIT_FOR);
        if round.is_answered {
            self.unfit.remove(&flow);
        } else if round.could_answer && self.unfit.len() < WAITING_KEPT {
            self.unfit.insert(flow, sent);
        }
    }

    /// Counts the answers that the last round lacks.
    fn settle(&mut self) {
        let Some(round) = self.round.take() else {
            return;
        };
        self.note_fitness(&round);
        if !round.is_answered {
            return;
        }
        for (flow, sent) in round.missing() {
            if let Some(wait) = self.flows.get_mut(&flow) {
                wait.missing.add(sent);
                wait.total.1 = wait.total.1.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
