//! Flows on which a call waits for its reply, and whether they still carry anything.
//!
//! Nothing is sent on such a flow, so no retransmission shows that it is lost: if a firewall forgets
//! it, the call waits for as long as its program lets it. So these flows are probed, a few at a time
//! ([`Waiting::take_round`]), together with a *reference*: another flow of the same namespace that
//! answers keepalives or, where there is none, a SYN. A missing answer counts only if the reference
//! was answered, so that neither the host, nor this node, nor a pause of either can be the cause.
//! A flow counts only if keepalives are known to be answered on it, or on another flow with the same
//! remote port: a firewall may drop them.

use std::{collections::BTreeMap, time::Duration};

use super::{Evidence, stalled::Stalled, tracked::TrackedFlow};
use crate::core::{
    FlowId, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, TcpState, Time,
};

/// Calls that are answered within this time need no probe.
const QUIET_FOR: Duration = Duration::from_millis(500);

/// While all are answered the next flows are probed after this time. A keepalive without data is
/// answered only once in 500 ms (`tcp_invalid_ratelimit`).
const ROUND_EVERY: Duration = Duration::from_millis(650);

/// Once an answer is missing.
const MISSING_EVERY: Duration = Duration::from_millis(100);

/// Once an answer is missing and the reference is a SYN: a usual rate limit is one SYN per second.
const WITH_SYN_EVERY: Duration = Duration::from_secs(1);

/// A flow that has left this many times the required probes unanswered, and still exists, is probed
/// as rarely as one that answers.
const LONG_MISSING: u32 = 4;

/// The most flows that are probed in one round: while all are answered, and of those with missing
/// answers.
const AT_ONCE: (usize, usize) = (4, 16);

/// The most flows of one path that are watched in this way.
const WAITING_KEPT: usize = 64;

/// The flows of one path on which calls wait.
#[derive(Debug, Default)]
pub(in crate::core) struct Waiting {
    flows: BTreeMap<FlowId, Wait>,
    round: Option<Round>,
    /// When the next round is due, if there is anything to probe.
    due: Time,
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    cookie: u64,
    /// When a probe on it was last answered.
    answered: Option<Time>,
    /// The first of the probes that have gone unanswered since.
    missing_since: Option<Time>,
    misses: u32,
}

/// The probes of one round.
#[derive(Debug)]
struct Round {
    reference: Reference,
    flows: Vec<Asked>,
}

#[derive(Debug)]
struct Reference {
    probe: ProbeId,
    is_answered: bool,
}

#[derive(Debug)]
struct Asked {
    flow: FlowId,
    probe: ProbeId,
    sent: Option<Time>,
}

/// What to probe in a round.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::core) struct Questions {
    /// The flows on which calls wait.
    pub flows: Vec<ProbeTarget>,
    pub reference: ProbeTarget,
}

impl Waiting {
    /// When [`Self::take_round`] should be called.
    pub(in crate::core) fn timeout(&self) -> Option<Time> {
        (!self.flows.is_empty()).then_some(self.due)
    }

    /// Nothing that was missed until now counts: the host was silent, or this node was.
    pub(in crate::core) fn start_over(&mut self) {
        self.round = None;
        for wait in self.flows.values_mut() {
            (wait.missing_since, wait.misses) = (None, 0);
        }
    }

    /// Replaces the flows; what is known of those that remain is kept.
    fn set(&mut self, now: Time, wanted: impl Iterator<Item = (FlowId, u64)>) {
        let known = std::mem::take(&mut self.flows);
        for (flow, cookie) in wanted.take(WAITING_KEPT) {
            let known = known.get(&flow).filter(|wait| wait.cookie == cookie);
            let wait = known.copied().unwrap_or(Wait {
                cookie,
                answered: None,
                missing_since: None,
                misses: 0,
            });
            self.flows.insert(flow, wait);
        }
        if known.is_empty() {
            self.due = now;
        }
    }

    /// The flows whose turn it is, all of one namespace. Those with missing answers come first.
    fn next_flows(&mut self) -> Vec<FlowId> {
        let missing = |wait: &Wait| wait.missing_since.is_some();
        let is_any_missing = self.flows.values().any(missing);
        let mut flows: Vec<FlowId> = self
            .flows
            .iter()
            .filter(|(_, wait)| !is_any_missing || missing(wait))
            .map(|(flow, _)| *flow)
            .collect();
        let at_once = match is_any_missing {
            true => AT_ONCE.1,
            false => AT_ONCE.0,
        };
        if flows.is_empty() {
            return flows;
        }
        let first = self.turn % flows.len();
        flows.rotate_left(first);
        flows.truncate(at_once);
        let netns = flows[0].netns;
        flows.retain(|flow| flow.netns == netns);
        self.turn = first + flows.len();
        flows
    }

    fn next_due(&self, now: Time, reference: ProbeTarget, grace: Duration, required: u32) -> Time {
        let long = required.saturating_mul(LONG_MISSING);
        let is_missing = |wait: &Wait| wait.missing_since.is_some() && wait.misses < long;
        let every = match self.flows.values().any(is_missing) {
            true if reference.is_connect() => WITH_SYN_EVERY,
            true => MISSING_EVERY,
            false => ROUND_EVERY,
        };
        now + every.max(grace)
    }

    /// The probes of a round were requested.
    pub(in crate::core) fn asked(&mut self, reference: ProbeId, flows: &[(ProbeTarget, ProbeId)]) {
        let asked = flows.iter().filter_map(|&(target, probe)| match target {
            ProbeTarget::Flow { flow, .. } => Some(Asked {
                flow,
                probe,
                sent: None,
            }),
            _ => None,
        });
        self.round = Some(Round {
            reference: Reference {
                probe: reference,
                is_answered: false,
            },
            flows: asked.collect(),
        });
    }

    /// Takes in what became of a probe, of a round or not.
    pub(super) fn event(&mut self, event: &ProbeEvent) {
        if let (ProbeTarget::Flow { flow, cookie }, ProbeOutcome::Answered(ProbeAnswer::Ack)) =
            (event.target, event.outcome)
            && let Some(wait) = self.flows.get_mut(&flow)
            && wait.cookie == cookie
        {
            wait.answered = wait.answered.max(Some(event.at));
            (wait.missing_since, wait.misses) = (None, 0);
        }
        let Some(round) = &mut self.round else {
            return;
        };
        match event.outcome {
            ProbeOutcome::Sent => {
                let asked = round
                    .flows
                    .iter_mut()
                    .find(|asked| asked.probe == event.probe);
                if let Some(asked) = asked {
                    asked.sent = Some(event.at);
                }
            }
            ProbeOutcome::Answered(_) if event.probe == round.reference.probe => {
                round.reference.is_answered = true;
            }
            ProbeOutcome::Answered(_) | ProbeOutcome::Failed { .. } => {
                round.flows.retain(|asked| asked.probe != event.probe);
            }
        }
    }

    /// Counts the answers that the last round lacks.
    fn settle(&mut self) {
        let Some(round) = self.round.take().filter(|r| r.reference.is_answered) else {
            return;
        };
        for asked in round.flows {
            if let (Some(sent), Some(wait)) = (asked.sent, self.flows.get_mut(&asked.flow)) {
                wait.missing_since.get_or_insert(sent);
                wait.misses += 1;
            }
        }
    }
}

impl Evidence {
    /// Looks for the flows on which calls wait. What was sent before `from` says nothing.
    pub(in crate::core) fn notice_waiting(&mut self, now: Time, from: Time) {
        let is_old = |wait: &Wait| wait.missing_since.is_some_and(|since| since < from);
        if self.waiting.flows.values().any(is_old) {
            self.waiting.start_over();
        }
        let mut waiting: Vec<_> = self
            .watched_flows()
            .filter_map(|flow| Some((flow.waits_since(now)?, flow)))
            .collect();
        waiting.sort_by_key(|(since, flow)| (*since, flow.reading.id));
        let waiting: Vec<_> = waiting
            .into_iter()
            .map(|(_, flow)| (flow.reading.id, flow.reading.cookie))
            .collect();
        self.waiting.set(now, waiting.into_iter());
    }

    /// What to probe in the round that is due; `None` if nothing is due, or nothing can serve as the
    /// reference. The answers of the round before should be here by now.
    pub(in crate::core) fn take_round(&mut self, now: Time, grace: Duration) -> Option<Questions> {
        if self.waiting.timeout().is_none_or(|due| due > now) {
            return None;
        }
        self.waiting.settle();
        self.waiting.due = now + ROUND_EVERY;
        let flows = self.waiting.next_flows();
        let netns = flows.first()?.netns;
        let reference = self.reference(netns, &flows)?;
        let required = self.history.required_transmissions(true);
        self.waiting.due = self.waiting.next_due(now, reference, grace, required);
        let known = flows.into_iter().filter_map(|flow| {
            let cookie = self.waiting.flows.get(&flow)?.cookie;
            Some(ProbeTarget::Flow { flow, cookie })
        });
        Some(Questions {
            flows: known.collect(),
            reference,
        })
    }

    /// Another flow of the same namespace that answers keepalives, the one that was heard last; else
    /// a connect.
    fn reference(&mut self, netns: u32, asked: &[FlowId]) -> Option<ProbeTarget> {
        let others = self.watched_flows().filter(|flow| {
            let id = flow.reading.id;
            id.netns == netns && !asked.contains(&id) && flow.can_be_probed()
        });
        let is_missing = |flow: &TrackedFlow| {
            let wait = self.waiting.flows.get(&flow.reading.id);
            wait.is_some_and(|wait| wait.missing_since.is_some())
        };
        let best = others
            .filter(|flow| !flow.is_stuck() && !flow.is_stalled && !is_missing(flow))
            .max_by_key(|flow| flow.reading.last_heard);
        match best.map(TrackedFlow::target) {
            Some(flow) => Some(flow),
            None => self.probes.next_connect(),
        }
    }

    /// The waiting flows that leave their probes unanswered while the reference answers.
    pub(in crate::core) fn stalled_waiting(&self, now: Time) -> impl Iterator<Item = Stalled> {
        let required = self.history.required_transmissions(true);
        self.waiting.flows.iter().filter_map(move |(flow, wait)| {
            let missing_since = wait.missing_since?;
            // The flow was last known to work when it was last answered.
            let since = wait.answered.max(Some(missing_since - ROUND_EVERY))?;
            let is_stalled = wait.misses >= required
                && now.since(missing_since) >= super::stalled::STALLED_AFTER
                && (wait.answered.is_some() || self.answers_like(flow));
            is_stalled.then_some(Stalled {
                flow: *flow,
                cookie: wait.cookie,
                since,
                large_segments: None,
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
    /// Since when a call may have been waiting on this flow, if that is long enough to probe it.
    fn waits_since(&self, now: Time) -> Option<Time> {
        let reading = &self.reading;
        let is_quiet = reading.unacked_segments == 0
            && reading.unacked_bytes == 0
            && reading.send_window_bytes > 0
            && self.can_be_probed();
        let since = reading.awaiting_since.filter(|_| is_quiet)?;
        (now.since(since) >= QUIET_FOR).then_some(since)
    }

    fn can_be_probed(&self) -> bool {
        self.reading.state == TcpState::Established && self.reading.cookie != 0
    }

    fn target(&self) -> ProbeTarget {
        ProbeTarget::Flow {
            flow: self.reading.id,
            cookie: self.reading.cookie,
        }
    }
}
