//! The probes of one round: flows that wait for an answer, and the reference.

use super::Reference;
use crate::model::{FlowId, ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Time};

#[derive(Debug)]
pub(super) struct Round {
    pub reference: ProbeTarget,
    /// Whether the reference answers if its host lives and nothing is lost.
    pub could_answer: bool,
    probe: ProbeId,
    /// When the reference was probed.
    pub sent: Option<Time>,
    /// The reference was answered.
    pub is_answered: bool,
    flows: Vec<Asked>,
}

/// A flow whose probe is not answered.
#[derive(Debug)]
struct Asked {
    flow: FlowId,
    probe: ProbeId,
    sent: Option<Time>,
}

impl Round {
    pub(super) fn new(
        (reference, probe): (Reference, ProbeId),
        flows: &[(ProbeTarget, ProbeId)],
    ) -> Self {
        let asked = flows.iter().filter_map(|&(target, probe)| match target {
            ProbeTarget::Flow { flow, .. } => Some(Asked {
                flow,
                probe,
                sent: None,
            }),
            _ => None,
        });
        Self {
            reference: reference.target,
            could_answer: reference.could_answer,
            probe,
            sent: None,
            is_answered: false,
            flows: asked.collect(),
        }
    }

    /// Takes in what became of a probe; returns the flow if this answers its probe.
    pub(super) fn event(&mut self, event: &ProbeEvent) -> Option<FlowId> {
        match event.outcome {
            ProbeOutcome::Sent if event.probe == self.probe => self.sent = Some(event.at),
            ProbeOutcome::Sent => {
                let mut flows = self.flows.iter_mut();
                if let Some(asked) = flows.find(|asked| asked.probe == event.probe) {
                    asked.sent = Some(event.at);
                }
            }
            ProbeOutcome::Answered(answer) if event.probe == self.probe => {
                // A router may say that the host cannot be reached.
                self.is_answered = answer != ProbeAnswer::Unreachable;
            }
            ProbeOutcome::Answered(_) => return self.remove(event.probe),
            ProbeOutcome::Failed { .. } => {
                self.remove(event.probe);
            }
        }
        None
    }

    /// The flows whose probes were sent and not answered, and when they were sent.
    pub(super) fn missing(&self) -> impl Iterator<Item = (FlowId, Time)> + '_ {
        let flows = self.flows.iter();
        flows.filter_map(|asked| Some((asked.flow, asked.sent?)))
    }

    fn remove(&mut self, probe: ProbeId) -> Option<FlowId> {
        let at = self.flows.iter().position(|asked| asked.probe == probe)?;
        Some(self.flows.swap_remove(at).flow)
    }
}
