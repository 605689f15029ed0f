//! Probes on flows that wait for an answer, while their peer lives.

use crate::{
    core::{context::Context, path::Path, schedule::Urgency, session::State},
    model::{ProbeTarget, Time},
};

impl Path {
    /// Sends the probes of a round that is due. They are no evidence about the host: if the
    /// reference of the round before was not answered, the host itself is probed.
    pub(in crate::core::path) fn probe_waiting_when_due(
        &mut self,
        now: Time,
        context: &mut Context<'_>,
    ) {
        let grace = self.answer_is_missing_after(now);
        let is_due = self
            .evidence
            .waiting
            .timeout()
            .is_some_and(|due| due <= now);
        let unanswered = self.evidence.waiting.unanswered_reference();
        if let Some(sent) = unanswered.filter(|_| is_due) {
            self.doubt(now, sent);
        }
        let Some(questions) = self.evidence.take_round(now, grace) else {
            return;
        };
        let is_alive = matches!(self.session.state(), State::Alive | State::Degraded);
        if !is_alive || self.discovered {
            self.evidence.waiting.start_over();
            return;
        }
        let stalled = self.evidence.stalled_waiting(now);
        let known = self.freeing.stalled();
        if stalled
            .into_iter()
            .any(|found| !known.iter().any(|known| known.flow == found.flow))
        {
            self.snapshots.soon(now);
        }
        let mut asked: Vec<(ProbeTarget, _)> = Vec::new();
        for target in questions.flows {
            if let Some(probe) = context.probe(now, target, Urgency::Routine) {
                asked.push((target, probe));
            }
        }
        if let Some(reference) = context.probe(now, questions.reference.target, Urgency::Routine) {
            if questions.reference.target.is_connect() {
                self.probing.witness_syns.sent(now);
            }
            let reference = (questions.reference, reference);
            self.evidence.waiting.asked(reference, &asked);
        }
    }
}
