//! Which targets to probe: the gentlest, those in turn, or all.

use super::{Probes, target::Target};
use crate::model::ProbeTarget;

/// A target that has left so many probes unanswered is tried again in surveys only.
const TRIALS: u64 = 3;

impl Probes {
    /// All targets, to find out which ones answer. One flow is enough.
    pub(in crate::core) fn all(&self) -> Vec<ProbeTarget> {
        let flows = self.flows().take(1).map(|flow| flow.target);
        let others = self.others().map(|target| target.target);
        flows.chain(others).collect()
    }

    /// The targets to probe while nothing is wrong, those first that disturb least: a flow, else the
    /// neighbour, else a closed port, else an open one. All targets while none may answer.
    pub(in crate::core) fn gentlest(&self) -> Vec<ProbeTarget> {
        let flow = self.flows().find(|flow| flow.may_answer());
        if let Some(flow) = flow.filter(|flow| self.counts(flow)) {
            return vec![flow.target];
        }
        let known = self.others().filter(|target| self.counts(target));
        let other = known.min_by_key(|target| target.disturbance());
        // A flow is probed as well, to learn whether keepalives are answered on this path.
        let both: Vec<_> = other.into_iter().chain(flow).map(|t| t.target).collect();
        match both.is_empty() {
            true => self.others().map(|target| target.target).collect(),
            false => both,
        }
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

    /// A connect that is known to be answered, from this namespace or, by default, from the daemon's
    /// own; the one that disturbs least.
    pub(in crate::core) fn connect_from(&self, netns: Option<u32>) -> Option<ProbeTarget> {
        let is_from = |target: &&Target| match target.target {
            ProbeTarget::Connect(_) => netns.is_none(),
            ProbeTarget::ConnectFrom { netns: from, .. } => netns == Some(from),
            _ => false,
        };
        let connects = self.targets.iter().filter(is_from);
        let known = connects.filter(|target| self.counts(target));
        let gentlest = known.min_by_key(|target| target.disturbance());
        gentlest.map(|target| target.target)
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

    /// The neighbour and one flow, while it is not known whether they answer. Of all paths that are
    /// surveyed together the budget for neighbour probes lets only a few have theirs; and a flow
    /// that is busy from its beginning is not probed.
    pub(in crate::core) fn untried(&self) -> Vec<ProbeTarget> {
        let neighbour = |t: &&Target| matches!(t.target, ProbeTarget::Neighbour { .. });
        let flow = self.flows().next().filter(|_| !self.flows_answer);
        let both = self.targets.iter().find(neighbour).into_iter().chain(flow);
        both.filter(|t| t.last_answer.is_none() && t.sent < TRIALS)
            .map(|t| t.target)
            .collect()
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

    /// The flows to probe: none that is stalled, and none at all where keepalives cannot be sent.
    fn flows(&self) -> impl Iterator<Item = &Target> {
        let is_flow = |target: &&Target| matches!(target.target, ProbeTarget::Flow { .. });
        let usable = move |target: &&Target| is_flow(target) && !target.is_stalled;
        self.targets
            .iter()
            .filter(usable)
            .filter(|_| !self.no_keepalives)
    }

    fn others(&self) -> impl Iterator<Item = &Target> {
        self.targets
            .iter()
            .filter(|target| !matches!(target.target, ProbeTarget::Flow { .. }))
    }
}

/// The next target in turn.
fn in_turn(turn: &mut usize, targets: &[ProbeTarget]) -> Option<ProbeTarget> {
    *turn = turn.wrapping_add(1);
    (!targets.is_empty()).then(|| targets[*turn % targets.len()])
}
