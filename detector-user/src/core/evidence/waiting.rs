//! Flows that wait for an answer, and whether they still carry anything.
//!
//! On some of them a call waits for its reply. Nothing is sent on such a flow, so no retransmission
//! shows that it is lost: if a firewall forgets it, the call waits for as long as its program lets
//! it. On others a retransmission is unanswered. Where much is lost, that may be chance.
//!
//! All these flows are probed, a few at a time (`take_round`), together with a *reference*: another
//! flow of the same namespace or, where none is known to answer keepalives, a SYN from there. A
//! missing answer counts only if the reference was answered, so that neither the host, nor this
//! node, nor a pause of either can be the cause.
//!
//! A firewall may drop keepalives. So, where much is lost, the missing answers of a stuck flow count
//! only if a keepalive was ever answered on this path. On a flow on which a call waits they count only
//! if a keepalive was answered on this flow, or on another one to the same address and port.
//!
//! ```text
//! round    the probes of one round
//! rounds   which of these flows are probed when, and what their missing answers count
//! wait     one of these flows
//! ```

mod round;
mod rounds;
mod wait;

use std::{collections::BTreeMap, time::Duration};

pub(in crate::core) use self::rounds::Waiting;
use self::rounds::Wanted;
use super::{
    Evidence,
    stalled::{STALLED_AFTER, Stalled},
    tracked::TrackedFlow,
};
use crate::model::{FlowId, ProbeTarget, Time};

/// Calls that are answered within this time need no probe.
const QUIET_FOR: Duration = Duration::from_millis(500);

/// A keepalive without data is answered only once in this time (`tcp_invalid_ratelimit`).
const ANSWERED_EVERY: Duration = Duration::from_millis(500);

/// A flow on which a segment arrived this long ago is likely to receive the next just as soon.
const BUSY_WITHIN: Duration = Duration::from_millis(100);

/// What to probe in a round.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::core) struct Questions {
    /// The flows that wait for an answer.
    pub flows: Vec<ProbeTarget>,
    pub reference: Reference,
}

/// What shows that the host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Reference {
    pub target: ProbeTarget,
    /// Whether it answers now if its host lives and nothing is lost.
    pub could_answer: bool,
}

impl Evidence {
    /// Looks for the flows that wait for an answer; for those on which calls wait only if `calls`.
    /// What was sent before `from` says nothing.
    pub(in crate::core) fn notice_waiting(&mut self, now: Time, from: Time, calls: bool) {
        if self.waiting.has_missing_before(from) {
            self.waiting.start_over();
        }
        let waits_since = |flow: &TrackedFlow| {
            let stuck = flow.stuck_since(from).filter(|_| flow.can_be_probed());
            stuck.or_else(|| flow.call_waits_since(now).filter(|_| calls))
        };
        let waiting = self.watched_flows();
        let mut waiting: Vec<_> = waiting
            .filter_map(|flow| Some((waits_since(flow)?, flow.reading.id, flow)))
            .collect();
        waiting.sort_unstable_by_key(|(since, id, _)| (*since, *id));
        let longest_first: Vec<_> = waiting
            .into_iter()
            .map(|(_, id, flow)| Wanted {
                flow: id,
                cookie: flow.reading.cookie,
                is_stuck: flow.is_stuck(),
            })
            .collect();
        self.waiting.set(now, longest_first.into_iter());
    }

    /// What to probe in the round that is due; `None` if nothing is due, or nothing can serve as the
    /// reference. The answers of the round before should be here by now; those of this round take
    /// `grace`.
    pub(in crate::core) fn take_round(&mut self, now: Time, grace: Duration) -> Option<Questions> {
        if self.waiting.timeout().is_none_or(|due| due > now) {
            return None;
        }
        let required = self.history.required_transmissions(true);
        let turn = self.waiting.next_round(now, required);
        let reference = self.reference(now, turn.first()?.netns, &turn)?;
        self.waiting
            .wait_for(now, reference.target, grace, required);
        let flows = turn.into_iter().filter_map(|flow| {
            let cookie = self.waiting.cookie(&flow)?;
            Some(ProbeTarget::Flow { flow, cookie })
        });
        Some(Questions {
            flows: flows.collect(),
            reference,
        })
    }

    /// Another flow of the same namespace, the one that was heard last of those that may answer now;
    /// else a connect from there, unless keepalives are dropped.
    fn reference(&self, now: Time, netns: u32, asked: &[FlowId]) -> Option<Reference> {
        let others = self.watched_flows().filter(|flow| {
            let id = flow.reading.id;
            id.netns == netns && !asked.contains(&id) && !self.waiting.is_missing(&id)
        });
        let best = others
            .filter(|flow| flow.can_be_probed() && !flow.is_stuck() && !flow.is_stalled)
            .filter(|flow| self.waiting.unfit_since(&flow.reading.id, now).is_none())
            .max_by_key(|flow| (flow.may_answer_at(now), flow.reading.last_heard));
        if let Some(flow) = best {
            return Some(Reference {
                target: flow.target(),
                could_answer: flow.may_answer_at(now),
            });
        }
        if self.are_keepalives_dropped(now, asked) {
            return None;
        }
        let from = self.places.others().find(|other| *other == netns);
        self.probes.connect_from(from).map(|target| Reference {
            target,
            could_answer: true,
        })
    }

    /// Whether another flow with the same remote port left a keepalive unanswered that was heard
    /// afterwards.
    fn are_keepalives_dropped(&self, now: Time, asked: &[FlowId]) -> bool {
        let is_like = |id: &FlowId| asked.iter().any(|asked| asked.remote == id.remote);
        self.watched_flows().any(|flow| {
            let id = flow.reading.id;
            let unfit = self.waiting.unfit_since(&id, now);
            is_like(&id) && unfit.is_some_and(|since| flow.reading.last_heard > Some(since))
        })
    }

    /// The flows on which calls wait that leave their probes unanswered while the reference answers.
    pub(in crate::core) fn stalled_waiting(&self, now: Time) -> impl Iterator<Item = Stalled> {
        let required = self.history.required_transmissions(true);
        let others = self.watched_flows().filter(|flow| !flow.is_stuck());
        let heard: BTreeMap<_, _> = others
            .map(|flow| (flow.reading.id, flow.reading.last_heard))
            .collect();
        self.waiting
            .missing(required)
            .filter(|missing| missing.has_answered || self.answers_like(&missing.flow))
            .filter_map(move |missing| {
                let heard = *heard.get(&missing.flow)?;
                let since = heard.map_or(missing.since, |heard| heard.max(missing.since));
                (now.since(since) >= STALLED_AFTER).then_some(Stalled {
                    flow: missing.flow,
                    cookie: missing.cookie,
                    since,
                    large_segments: None,
                    is_certain: true,
                })
            })
    }

    /// Whether keepalives were acknowledged on this flow, or on another with the same remote port.
    fn answers_like(&self, flow: &FlowId) -> bool {
        self.watched_flows().any(|other| {
            let id = other.reading.id;
            id.netns == flow.netns && id.remote == flow.remote && other.probe_answered.is_some()
        })
    }
}

impl TrackedFlow {
    /// Whether a keepalive at this moment is answered, if the host lives: the last answer is long
    /// enough ago, or other segments arrive all the time.
    fn may_answer_at(&self, now: Time) -> bool {
        let is_old = |at| now.since(at) >= ANSWERED_EVERY;
        let is_busy = |at| now.since(at) < BUSY_WITHIN;
        self.probe_answered.is_none_or(is_old) || self.reading.last_heard.is_some_and(is_busy)
    }

    /// Since when a call may have been waiting on this flow, if that is long enough to probe it.
    fn call_waits_since(&self, now: Time) -> Option<Time> {
        let reading = &self.reading;
        let is_quiet = reading.unacked_segments == 0
            && reading.unacked_bytes == 0
            && reading.send_window_bytes > 0
            && self.can_be_probed();
        let since = reading.awaiting_since.filter(|_| is_quiet)?;
        (now.since(since) >= QUIET_FOR).then_some(since)
    }
}
