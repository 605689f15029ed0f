//! The daemon's own questions to one peer: whom it can ask, and what came of it.
//!
//! A question that nobody answers says something only where answers are known to come: a
//! firewall may drop what is sent to a port, a router does not answer for the hosts behind
//! it. So a target counts once it has answered, and no longer when it stops answering while
//! the peer is heard otherwise.

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use super::{
    Endpoint, ProbeAnswer, ProbeEvent, ProbeId, ProbeLine, ProbeOutcome, ProbeTarget, Route, Time,
    path::PathHistory, tracked::Sent,
};

/// The port that is asked beside a peer's own: discard (RFC 863), closed nearly everywhere,
/// and a reset from a closed port disturbs no program.
pub(super) const BESIDE_PORT: u16 = 9;

/// How long an answer is waited for. Less than the second after which the kernel would send
/// a SYN again.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_millis(900);

/// Answers that may be missing in a row, of a peer that is heard otherwise, before a target
/// no longer counts.
const MAX_MISSES: u32 = 8;

/// A peer that is heard this soon after a question it does not answer could have answered.
const CONTRADICTED_WITHIN: Duration = Duration::from_millis(50);

/// The most questions that are remembered at a time: more than any path asks for.
const OUTSTANDING_KEPT: usize = 128;

/// The most targets of one peer.
const TARGETS_KEPT: usize = 48;

#[derive(Debug)]
struct Target {
    target: ProbeTarget,
    last_answer: Option<(Time, ProbeAnswer)>,
    /// Answers missing in a row, while the peer was heard otherwise.
    misses: u32,
    sent: u64,
    answered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    probe: ProbeId,
    target: ProbeTarget,
    /// When it left; `None` while that is not known yet.
    sent: Option<Time>,
    /// The peer was heard otherwise just after it left.
    contradicted: bool,
}

#[derive(Debug, Default)]
pub(super) struct Probes {
    targets: Vec<Target>,
    outstanding: VecDeque<Outstanding>,
    turn: usize,
}

/// What an event of a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub answer: ProbeAnswer,
    /// `None` for an answer to a question that is no longer remembered.
    pub after: Option<Duration>,
}

impl Probes {
    /// Replaces the targets; what is known of those that stay, stays. Beside the daemon's own
    /// network namespace connects come from those where the peer has flows.
    pub(super) fn set_targets(
        &mut self,
        endpoints: &[Endpoint],
        namespaces: &BTreeSet<u32>,
        route: impl Fn(IpAddr) -> Option<Route>,
    ) {
        let mut wanted = Vec::new();
        for endpoint in endpoints {
            if let Some(Route {
                link,
                gateway: None,
            }) = route(endpoint.addr)
            {
                wanted.push(ProbeTarget::Neighbour {
                    addr: endpoint.addr,
                    link,
                });
            }
            let beside = Endpoint {
                port: BESIDE_PORT,
                ..*endpoint
            };
            for endpoint in [beside, *endpoint] {
                wanted.push(ProbeTarget::Connect(endpoint));
                let from = |&netns: &u32| ProbeTarget::ConnectFrom { netns, endpoint };
                wanted.extend(namespaces.iter().map(from));
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(TARGETS_KEPT);
        self.targets.retain(|known| wanted.contains(&known.target));
        for target in wanted {
            if !self.targets.iter().any(|known| known.target == target) {
                self.targets.push(Target {
                    target,
                    last_answer: None,
                    misses: 0,
                    sent: 0,
                    answered: 0,
                });
            }
        }
        let targets = &self.targets;
        self.outstanding
            .retain(|asked| targets.iter().any(|known| known.target == asked.target));
    }

    /// All targets: to find out who answers, and when everything is at stake.
    pub(super) fn all(&self) -> Vec<ProbeTarget> {
        self.targets.iter().map(|target| target.target).collect()
    }

    /// The one whose answer costs and disturbs least: a neighbour before a closed port
    /// before an open one. All of them while none is known to answer.
    pub(super) fn gentlest(&self) -> Vec<ProbeTarget> {
        self.targets
            .iter()
            .filter(|target| target.counts())
            .min_by_key(|target| match target.last_answer {
                Some((_, ProbeAnswer::Neighbour(_))) => 0,
                Some((_, ProbeAnswer::Reset)) => 1,
                Some((_, ProbeAnswer::SynAck | ProbeAnswer::Ack)) | None => 2,
            })
            .map_or_else(|| self.all(), |target| vec![target.target])
    }

    /// Each one that is known to answer in its turn; all of them while none is.
    pub(super) fn next_in_turn(&mut self) -> Vec<ProbeTarget> {
        let counting: Vec<_> = self.targets.iter().filter(|t| t.counts()).collect();
        if counting.is_empty() {
            return self.all();
        }
        self.turn = self.turn.wrapping_add(1);
        vec![counting[self.turn % counting.len()].target]
    }

    /// Whether a TCP answer can be expected of the peer.
    pub(super) fn has_connect(&self) -> bool {
        self.targets
            .iter()
            .any(|t| t.target.is_connect() && t.last_answer.is_some())
    }

    /// Whether any target is known to answer.
    pub(super) fn is_answerable(&self) -> bool {
        self.targets.iter().any(Target::counts)
    }

    /// A probe was asked for.
    pub(super) fn asked(&mut self, probe: ProbeId, target: ProbeTarget) {
        if self.outstanding.len() == OUTSTANDING_KEPT {
            // The first shows since when nothing is answered.
            self.outstanding.remove(1);
        }
        self.outstanding.push_back(Outstanding {
            probe,
            target,
            sent: None,
            contradicted: false,
        });
    }

    /// Takes in what became of a probe; says how it was answered.
    pub(super) fn event(&mut self, event: &ProbeEvent) -> Option<Answered> {
        let place = self.outstanding.iter().position(|o| o.probe == event.probe);
        let target = self.targets.iter_mut().find(|t| t.target == event.target);
        match event.outcome {
            ProbeOutcome::Sent => {
                self.outstanding[place?].sent = Some(event.at);
                target?.sent += 1;
                None
            }
            ProbeOutcome::Failed { .. } => {
                self.outstanding.remove(place?);
                None
            }
            ProbeOutcome::Answered(answer) => {
                let asked = place.and_then(|place| self.outstanding.remove(place));
                if let Some(target) = target {
                    target.last_answer = Some((event.at, answer));
                    target.misses = 0;
                    target.answered += 1;
                }
                let sent = asked.and_then(|asked| asked.sent);
                Some(Answered {
                    answer,
                    after: sent.map(|sent| event.at.since(sent)),
                })
            }
        }
    }

    /// When probes left whose answers have been missing for `grace`.
    pub(super) fn unanswered(&self, now: Time, grace: Duration) -> impl Iterator<Item = Sent> + '_ {
        self.outstanding
            .iter()
            .filter(|asked| self.counts(asked.target))
            .filter_map(|asked| asked.sent)
            .filter(move |&sent| now.since(sent) >= grace)
            .map(Sent::at)
    }

    /// When the first probe after `heard` left whose answer is still to come.
    pub(super) fn waiting_since(&self, heard: Option<Time>) -> Option<Time> {
        self.outstanding
            .iter()
            .filter(|asked| self.counts(asked.target))
            .find_map(|asked| asked.sent.filter(|&sent| Some(sent) > heard))
    }

    /// The peer was heard at `at`, by an answer or otherwise.
    pub(super) fn heard(&mut self, at: Time) {
        for asked in &mut self.outstanding {
            asked.contradicted |= asked
                .sent
                .is_some_and(|sent| sent <= at && at.since(sent) <= CONTRADICTED_WITHIN);
        }
    }

    /// Forgets what can no longer be answered. Where the peer was heard just after, the
    /// answer was lost on the way: the path learns of it, unless the probe left before
    /// `learn_from`.
    pub(super) fn settle(
        &mut self,
        now: Time,
        heard: Option<Time>,
        learn_from: Time,
        path: &mut PathHistory,
    ) {
        let targets = &mut self.targets;
        self.outstanding.retain(|asked| {
            let Some(sent) = asked.sent else { return true };
            let settled = now.since(sent) > GIVE_UP_AFTER && heard > Some(sent);
            if settled && asked.contradicted && sent >= learn_from {
                let target = targets.iter_mut().find(|t| t.target == asked.target);
                if let Some(target) = target
                    && target.counts()
                {
                    target.misses += 1;
                    path.progress(now, 1, 1);
                }
            }
            !settled
        });
    }

    /// For explanations; `since` is when the peer was last heard.
    pub(super) fn lines(&self, now: Time, since: Option<Time>, grace: Duration) -> Vec<ProbeLine> {
        let unanswered = |target: ProbeTarget| {
            let waiting = self.outstanding.iter().filter(|o| o.target == target);
            waiting
                .filter_map(|o| o.sent)
                .filter(|&sent| Some(sent) > since && now.since(sent) >= grace)
                .count()
        };
        self.targets
            .iter()
            .map(|t| ProbeLine {
                target: t.target,
                known_to_answer: t.counts(),
                sent: t.sent,
                answered: t.answered,
                unanswered: u32::try_from(unanswered(t.target)).unwrap_or(u32::MAX),
                last_answer: t.last_answer,
            })
            .collect()
    }

    fn counts(&self, target: ProbeTarget) -> bool {
        self.targets
            .iter()
            .any(|known| known.target == target && known.counts())
    }
}

impl Target {
    /// Whether a missing answer counts.
    fn counts(&self) -> bool {
        self.last_answer.is_some() && self.misses < MAX_MISSES
    }
}
