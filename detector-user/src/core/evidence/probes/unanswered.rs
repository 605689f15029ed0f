//! The probes that wait for answers, and what missing answers teach.

use std::time::Duration;

use super::{GIVE_UP_AFTER, Probes, Target, target::way_of};
use crate::{
    core::evidence::{
        heard::{Heard, Layer},
        history::PathHistory,
        silence::Way,
        tracked::Sent,
    },
    model::{ProbeLine, ProbeTarget, Time},
};

/// A peer that is heard within this time after a probe could have answered the probe.
const CONTRADICTED_WITHIN: Duration = Duration::from_millis(50);

impl Probes {
    /// The probes whose answers have been missing for at least `grace`: when each was sent, and to
    /// what.
    pub(in crate::core) fn unanswered(
        &self,
        now: Time,
        grace: Duration,
    ) -> impl Iterator<Item = (Sent, ProbeTarget)> + '_ {
        self.counting()
            .filter(move |(sent, _)| now.since(*sent) >= grace)
            .map(|(sent, target)| (Sent::at(sent), target))
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

    /// Whether a probe that should be answered has not been, or is still to be sent.
    pub(in crate::core) fn is_waiting(&self, heard: &Heard) -> bool {
        let is_due = |target: &Target| self.counts(target) && !target.is_stalled;
        let unsent = self.outstanding.iter().filter(|asked| asked.sent.is_none());
        let mut unsent = unsent.filter_map(|asked| self.target(asked.target));
        unsent.any(is_due) || self.waiting_since(heard).is_some()
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
            let target = self.target(asked.target)?;
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
            let answered = heard.on(layer_of(asked.target));
            let settled = now.since(sent) > GIVE_UP_AFTER && answered > Some(sent);
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
            let answered = heard.on(layer_of(target));
            let waiting = self.outstanding.iter().filter(|o| o.target == target);
            waiting
                .filter_map(|o| o.sent)
                .filter(|&sent| Some(sent) > answered && now.since(sent) >= grace)
                .count()
        };
        self.targets
            .iter()
            .map(|target| target.line(self.counts(target), unanswered(target.target)))
            .collect()
    }
}

/// The layer on which an answer to this target is heard.
fn layer_of(target: ProbeTarget) -> Layer {
    match way_of(target) {
        Way::Link => Layer::Link,
        Way::Connect | Way::Flow => Layer::Host,
    }
}
