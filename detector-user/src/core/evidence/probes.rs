//! The daemon's own probes of one path: its targets, and the results.
//!
//! An unanswered probe means something only if the target is known to answer: a firewall may drop
//! what is sent to a port, and a router does not answer for the hosts behind it. So a target counts
//! once it has answered. It no longer counts when it stops answering while the peer is heard
//! otherwise, on the target's own layer or above.

mod target;

use std::{collections::VecDeque, time::Duration};

use super::{
    heard::{Heard, Layer},
    history::PathHistory,
    silence::Way,
    tracked::Sent,
};
use crate::core::{ProbeAnswer, ProbeEvent, ProbeId, ProbeLine, ProbeOutcome, ProbeTarget, Time};
use target::Target;
pub(in crate::core) use target::{FlowTarget, means_gone, targets, way_of};

/// The port that is probed besides a peer's own: discard (RFC 863). It is closed nearly everywhere,
/// and a reset from a closed port disturbs no program.
pub(in crate::core) const CLOSED_PORT: u16 = 9;

/// How long a probe waits for its answer: less than the second after which the kernel would send a
/// SYN again.
pub(in crate::core) const GIVE_UP_AFTER: Duration = Duration::from_millis(900);

/// A peer that is heard within this time after a probe could have answered the probe.
const CONTRADICTED_WITHIN: Duration = Duration::from_millis(50);

/// The most unanswered probes that are remembered: more than any path needs, even if it is probed
/// in two ways at once, until its host detection time has passed.
const OUTSTANDING_KEPT: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    probe: ProbeId,
    target: ProbeTarget,
    /// When the probe was sent; `None` while that is not known yet.
    sent: Option<Time>,
    /// The peer was heard otherwise just after the probe was sent.
    contradicted: bool,
}

#[derive(Debug, Default)]
pub(in crate::core) struct Probes {
    targets: Vec<Target>,
    outstanding: VecDeque<Outstanding>,
    /// Counters for taking turns: of the flows, and of the connects.
    turns: (usize, usize),
    /// Keepalives have been acknowledged on this path: a missing answer counts.
    flows_answer: bool,
    /// Keepalives cannot be sent on this machine.
    no_keepalives: bool,
}

/// The answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Answered {
    pub answer: ProbeAnswer,
    /// How long the answer took; `None` if the probe is no longer remembered.
    pub after: Option<Duration>,
}

impl Probes {
    /// Replaces the targets other than flows; what is known of those that remain is kept.
    pub(in crate::core) fn set_targets(&mut self, wanted: &[ProbeTarget]) {
        let is_flow = |target: &Target| matches!(target.target, ProbeTarget::Flow { .. });
        self.keep(
            |known| is_flow(known) || wanted.contains(&known.target),
            wanted,
        );
    }

    /// Replaces the flows among the targets; what is known of those that remain is kept.
    pub(in crate::core) fn set_flows(&mut self, flows: &[FlowTarget]) {
        let wanted: Vec<_> = flows.iter().map(FlowTarget::target).collect();
        let is_flow = |target: &Target| matches!(target.target, ProbeTarget::Flow { .. });
        self.keep(
            |known| !is_flow(known) || wanted.contains(&known.target),
            &wanted,
        );
        for flow in flows {
            if let Some(target) = self.target_mut(flow.target()) {
                (target.is_troubled, target.is_stalled) = (flow.is_troubled, flow.is_stalled);
                target.is_contradicted = flow.is_contradicted;
            }
        }
    }

    fn keep(&mut self, stays: impl Fn(&Target) -> bool, wanted: &[ProbeTarget]) {
        self.targets.retain(stays);
        for target in wanted {
            if !self.targets.iter().any(|known| known.target == *target) {
                self.targets.push(Target::new(*target));
            }
        }
        let targets = &self.targets;
        self.outstanding
            .retain(|asked| targets.iter().any(|known| known.target == asked.target));
    }

    /// Makes keepalives be tried again.
    pub(in crate::core) fn retry_flows(&mut self) {
        self.no_keepalives = false;
    }

    /// All targets, to find out which ones answer. One flow is enough.
    pub(in crate::core) fn all(&self) -> Vec<ProbeTarget> {
        let flows = self.flows().take(1).map(|flow| flow.target);
        let others = self.others().map(|target| target.target);
        flows.chain(others).collect()
    }

    /// The target to probe while nothing is wrong, which disturbs least: a flow, else the
    /// neighbour, else a closed port, else an open one. All targets while none is known to answer.
    pub(in crate::core) fn gentlest(&self) -> Vec<ProbeTarget> {
        let flow = self.flows().find(|flow| flow.may_answer());
        if let Some(flow) = flow.filter(|flow| self.counts(flow)) {
            return vec![flow.target];
        }
        // A flow is probed as well, to learn whether keepalives are answered on this path.
        let flow = flow.map(|flow| flow.target);
        self.others()
            .filter(|target| self.counts(target))
            .min_by_key(|target| target.disturbance())
            .map_or_else(
                || self.others().map(|target| target.target).collect(),
                |target| vec![target.target],
            )
            .into_iter()
            .chain(flow)
            .collect()
    }

    /// The flow whose turn it is; contradicted flows only if there are no others.
    pub(in crate::core) fn next_flow(&mut self) -> Option<ProbeTarget> {
        let is_first = |flow: &&Target| !flow.is_contradicted;
        let first = self.flows().filter(is_first).map(|flow| flow.target);
        let mut flows: Vec<_> = first.collect();
        if flows.is_empty() {
            flows = self.flows().map(|flow| flow.target).collect();
        }
        in_turn(&mut self.turns.0, &flows)
    }

    /// The connect whose turn it is, of those that are known to answer.
    pub(in crate::core) fn next_connect(&mut self) -> Option<ProbeTarget> {
        let connects: Vec<_> = self
            .targets
            .iter()
            .filter(|target| target.target.is_connect() && self.counts(target))
            .map(|target| target.target)
            .collect();
        in_turn(&mut self.turns.1, &connects)
    }

    /// All connects.
    pub(in crate::core) fn connects(&self) -> Vec<ProbeTarget> {
        let connects = self.targets.iter().filter(|t| t.target.is_connect());
        connects.map(|target| target.target).collect()
    }

    /// The targets to probe when this host is needed as a witness: a flow, else a connect. A flow
    /// that did not answer for a while is tried again beside the connect: connects alone are sent
    /// too rarely to show that this node is not cut off.
    pub(in crate::core) fn witnesses(&self) -> Vec<ProbeTarget> {
        if let Some(flow) = self.flows().find(|flow| flow.may_answer()) {
            return vec![flow.target];
        }
        let connects = self.targets.iter().filter(|t| t.target.is_connect());
        connects
            .filter(|target| self.counts(target))
            .min_by_key(|target| target.disturbance())
            .into_iter()
            .chain(self.flows().next())
            .map(|target| target.target)
            .collect()
    }

    /// Whether this target has left so many probes unanswered that one more means nothing.
    pub(in crate::core) fn has_stopped_answering(&self, target: ProbeTarget) -> bool {
        let known = self.targets.iter().find(|known| known.target == target);
        known.is_some_and(|known| !known.may_answer())
    }

    /// Whether this target may be probed at the idle rate.
    pub(in crate::core) fn is_known(&self, target: ProbeTarget) -> bool {
        let known = self.targets.iter().find(|known| known.target == target);
        known.is_some_and(|known| match target {
            // Whether a flow's keepalives are answered is learnt by probing it.
            ProbeTarget::Flow { .. } => true,
            _ => self.counts(known),
        })
    }

    /// The neighbour target; `None` if the address is not on a link of this host.
    pub(in crate::core) fn neighbour(&self) -> Option<ProbeTarget> {
        let is_neighbour = |t: &&Target| matches!(t.target, ProbeTarget::Neighbour { .. });
        self.targets.iter().find(is_neighbour).map(|t| t.target)
    }

    /// Whether there is a flow that is known to answer keepalives.
    pub(in crate::core) fn has_flow(&self) -> bool {
        self.flows().any(|flow| self.counts(flow))
    }

    /// Whether a connect is known to be answered.
    pub(in crate::core) fn has_connect(&self) -> bool {
        self.targets
            .iter()
            .any(|target| target.target.is_connect() && self.counts(target))
    }

    /// Whether any target that proves the host is known to answer.
    pub(in crate::core) fn is_answerable(&self) -> bool {
        self.has_flow() || self.has_connect()
    }

    /// The flows to probe: none that is stalled.
    fn flows(&self) -> impl Iterator<Item = &Target> {
        let is_flow = |target: &&Target| matches!(target.target, ProbeTarget::Flow { .. });
        let usable = move |target: &&Target| is_flow(target) && !target.is_stalled;
        self.targets
            .iter()
            .filter(usable)
            .filter(|_| !self.no_keepalives)
    }

    /// The stalled flows, probed to learn whether segments without data pass on them.
    pub(in crate::core) fn stalled_flows(&self) -> Vec<ProbeTarget> {
        let stalled = self.targets.iter().filter(|target| target.is_stalled);
        let stalled = stalled.filter(|_| !self.no_keepalives);
        stalled.map(|target| target.target).collect()
    }

    fn others(&self) -> impl Iterator<Item = &Target> {
        self.targets
            .iter()
            .filter(|target| !matches!(target.target, ProbeTarget::Flow { .. }))
    }

    /// A probe was requested.
    pub(in crate::core) fn asked(&mut self, probe: ProbeId, target: ProbeTarget) {
        if self.outstanding.len() == OUTSTANDING_KEPT {
            // The first is kept: it shows since when nothing has been answered.
            self.outstanding.remove(1);
        }
        self.outstanding.push_back(Outstanding {
            probe,
            target,
            sent: None,
            contradicted: false,
        });
    }

    /// Takes in what became of a probe; returns the answer, if it is one.
    pub(in crate::core) fn event(&mut self, event: &ProbeEvent) -> Option<Answered> {
        let place = self.outstanding.iter().position(|o| o.probe == event.probe);
        match event.outcome {
            ProbeOutcome::Sent => {
                self.outstanding[place?].sent = Some(event.at);
                self.target_mut(event.target)?.sent += 1;
                None
            }
            ProbeOutcome::Failed { errno } => {
                self.no_keepalives |= target::means_no_keepalives(event.target, errno);
                self.outstanding.remove(place?);
                None
            }
            ProbeOutcome::Answered(answer) => {
                let asked = place.and_then(|place| self.outstanding.remove(place));
                if answer == ProbeAnswer::Ack {
                    self.flows_answer = true;
                    // One ACK answers all earlier probes on the flow.
                    self.outstanding.retain(|o| o.target != event.target);
                }
                if let Some(target) = self.target_mut(event.target) {
                    target.answered(event.at, answer);
                }
                let sent = asked.and_then(|asked| asked.sent);
                Some(Answered {
                    answer,
                    after: sent.map(|sent| event.at.since(sent)),
                })
            }
        }
    }

    /// The probes whose answers have been missing for at least `grace`: when each was sent, and by
    /// which way.
    pub(in crate::core) fn unanswered(
        &self,
        now: Time,
        grace: Duration,
    ) -> impl Iterator<Item = (Sent, Way)> + '_ {
        self.counting()
            .filter(move |(sent, _)| now.since(*sent) >= grace)
            .map(|(sent, target)| (Sent::at(sent), way_of(target)))
    }

    /// When the first probe was sent that nothing heard since answers.
    pub(in crate::core) fn waiting_since(&self, heard: &Heard) -> Option<Time> {
        let is_answered = |sent: Time, target| match way_of(target) {
            Way::Link => heard.on(Layer::Link) >= Some(sent),
            Way::Connect | Way::Flow => heard.surely() >= Some(sent),
        };
        self.counting()
            .find(|(sent, target)| !is_answered(*sent, *target))
            .map(|(sent, _)| sent)
    }

    /// When the neighbour was first probed after `heard`, the last time that the link was heard.
    pub(in crate::core) fn neighbour_waits_since(&self, heard: Option<Time>) -> Option<Time> {
        let neighbours = self.counting().filter(|(_, t)| way_of(*t) == Way::Link);
        let sent = neighbours.map(|(sent, _)| sent);
        sent.filter(|sent| Some(*sent) > heard).min()
    }

    /// The sent probes of targets whose missing answers count.
    fn counting(&self) -> impl Iterator<Item = (Time, ProbeTarget)> + '_ {
        self.outstanding.iter().filter_map(|asked| {
            let target = self.targets.iter().find(|t| t.target == asked.target)?;
            let counts = self.counts(target) && !target.is_stalled;
            counts.then_some((asked.sent?, asked.target))
        })
    }

    /// The peer was heard on this layer at `at`, whether by an answer or otherwise.
    pub(in crate::core) fn heard(&mut self, layer: Layer, at: Time) {
        for asked in &mut self.outstanding {
            let answers = way_of(asked.target) == Way::Link || layer == Layer::Host;
            asked.contradicted |= answers
                && asked
                    .sent
                    .is_some_and(|sent| sent <= at && at.since(sent) <= CONTRADICTED_WITHIN);
        }
    }

    /// Forgets probes that can no longer be answered. If the peer was heard just after a probe, the
    /// probe or its answer was lost on the way: the path's history learns this, unless the probe
    /// was sent before `learn_from`.
    pub(in crate::core) fn settle(
        &mut self,
        now: Time,
        heard: &Heard,
        learn_from: Time,
        history: &mut PathHistory,
    ) {
        let (targets, flows_answer) = (&mut self.targets, self.flows_answer);
        self.outstanding.retain(|asked| {
            let Some(sent) = asked.sent else { return true };
            let layer = match way_of(asked.target) {
                Way::Link => Layer::Link,
                Way::Connect | Way::Flow => Layer::Host,
            };
            let settled = now.since(sent) > GIVE_UP_AFTER && heard.on(layer) > Some(sent);
            if settled && asked.contradicted && sent >= learn_from {
                let target = targets.iter_mut().find(|t| t.target == asked.target);
                if let Some(target) = target
                    && target.counts(flows_answer)
                    && !target.is_stalled
                {
                    target.misses += 1;
                    // A stuck flow may lose what is sent on it while the path loses nothing.
                    if !target.is_troubled {
                        history.progress(now, 1, 1);
                    }
                }
            }
            !settled
        });
    }

    /// The targets as explanations show them.
    pub(in crate::core) fn lines(
        &self,
        now: Time,
        heard: &Heard,
        grace: Duration,
    ) -> Vec<ProbeLine> {
        let unanswered = |target: ProbeTarget| {
            let layer = match way_of(target) {
                Way::Link => heard.on(Layer::Link),
                Way::Connect | Way::Flow => heard.on(Layer::Host),
            };
            let waiting = self.outstanding.iter().filter(|o| o.target == target);
            waiting
                .filter_map(|o| o.sent)
                .filter(|&sent| Some(sent) > layer && now.since(sent) >= grace)
                .count()
        };
        self.targets
            .iter()
            .map(|target| target.line(self.counts(target), unanswered(target.target)))
            .collect()
    }

    fn counts(&self, target: &Target) -> bool {
        target.counts(self.flows_answer)
    }

    fn target_mut(&mut self, target: ProbeTarget) -> Option<&mut Target> {
        self.targets.iter_mut().find(|known| known.target == target)
    }
}

/// The next target in turn.
fn in_turn(turn: &mut usize, targets: &[ProbeTarget]) -> Option<ProbeTarget> {
    *turn = turn.wrapping_add(1);
    (!targets.is_empty()).then(|| targets[*turn % targets.len()])
}

#[cfg(test)]
mod tests;
