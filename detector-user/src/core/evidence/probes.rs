//! The daemon's own probes of one path: its targets, and the results.
//!
//! An unanswered probe means something only if the target is known to answer: a firewall may drop
//! what is sent to a port, and a router does not answer for the hosts behind it. So a target counts
//! once it has answered. It no longer counts when it stops answering while the peer is heard
//! otherwise, on the target's own layer or above.
//!
//! ```text
//! target       one target: whether its missing answers count
//! choice       which targets to probe
//! unanswered   the probes that wait for answers, and what missing answers teach
//! ```

mod choice;
mod target;
mod unanswered;

use std::{collections::VecDeque, time::Duration};

use crate::model::{ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Remembered, Time};
use target::Target;
pub(in crate::core) use target::{FlowTarget, means_gone, targets, way_of};

/// The port that is probed besides a peer's own: discard (RFC 863). It is closed nearly everywhere,
/// and a reset from a closed port disturbs no program.
pub(in crate::core) const CLOSED_PORT: u16 = 9;

/// How long a probe waits for its answer: less than the second after which the kernel would send a
/// SYN again.
pub(in crate::core) const GIVE_UP_AFTER: Duration = Duration::from_millis(900);

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
    /// What answered before the daemon was restarted, also where it is no target yet.
    remembered: Vec<Remembered>,
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
                let mut new = Target::new(*target);
                new.remember(&self.remembered);
                self.targets.push(new);
            }
        }
        let targets = &self.targets;
        self.outstanding
            .retain(|asked| targets.iter().any(|known| known.target == asked.target));
    }

    /// The targets other than flows that are known to answer, with their last answers.
    pub(in crate::core) fn known_answers(&self) -> Vec<Remembered> {
        let known = self.targets.iter().filter(|target| self.counts(target));
        known.filter_map(Target::memory).collect()
    }

    /// Targets that were known to answer before the daemon was restarted.
    pub(in crate::core) fn remember(&mut self, answers: &[Remembered]) {
        self.remembered = answers.to_vec();
        for target in &mut self.targets {
            target.remember(answers);
        }
    }

    /// Makes keepalives be tried again.
    pub(in crate::core) fn retry_flows(&mut self) {
        self.no_keepalives = false;
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

    /// Whether a keepalive was ever answered on this path.
    pub(in crate::core) fn do_flows_answer(&self) -> bool {
        self.flows_answer
    }

    /// Whether connects to the same port were answered at the same time, but not in the same way,
    /// from the daemon's own namespace and from another: then these are two hosts.
    pub(in crate::core) fn is_other_host_here(&self) -> bool {
        self.targets.iter().any(|here| match here.target {
            ProbeTarget::Connect(endpoint) => self.targets.iter().any(|there| {
                let is_same = matches!(there.target,
                    ProbeTarget::ConnectFrom { endpoint: same, .. } if same == endpoint);
                is_same && here.contradicts(there)
            }),
            _ => false,
        })
    }

    fn counts(&self, target: &Target) -> bool {
        target.counts(self.flows_answer)
    }

    fn target(&self, target: ProbeTarget) -> Option<&Target> {
        self.targets.iter().find(|known| known.target == target)
    }

    fn target_mut(&mut self, target: ProbeTarget) -> Option<&mut Target> {
        self.targets.iter_mut().find(|known| known.target == target)
    }
}

#[cfg(test)]
mod tests;
