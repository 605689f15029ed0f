//! Derives the silence of a peer's host from the evidence.
//!
//! A demand is something that was sent to the peer and must be answered. It is answered on its own
//! layer or above, never below: an ARP answer does not answer a segment.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Evidence,
    heard::Layer,
    orphans::{ORPHAN_LIFE, Orphan},
    probes::way_of,
    tracked::{Sent, TrackedFlow},
};
use crate::model::{FlowId, ProbeTarget, Reason, TcpState, Time};

/// How many requests the kernel sends before it gives up on a neighbour (`ucast_probes` or
/// `mcast_probes`, net/ipv4/arp.c and net/ipv6/ndisc.c).
const NEIGHBOUR_PROBES: usize = 3;

/// The way by which a demand was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Way {
    /// A request for the neighbour's hardware address.
    Link,
    /// A SYN.
    Connect,
    /// A retransmission or a probe on an established flow.
    Flow,
}

/// One transmission that stands unanswered.
#[derive(Clone, Copy, Debug)]
struct Demand {
    sent: Sent,
    way: Way,
    /// The established flow on which it was sent.
    flow: Option<FlowId>,
    reason: Reason,
    /// Whether it was sent again, and was not the original transmission.
    again: bool,
}

/// The silence of a peer's host while something stands unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Silence {
    /// When the silence began: when the host was last heard, or at the first transmission after
    /// that.
    pub since: Time,
    /// For how long the host has been asked again and again, by retransmissions and by probes.
    pub asked_for: Duration,
    /// The same, by SYNs alone.
    pub connects_for: Duration,
    /// How many transmissions were sent to the peer since its host was last heard, over all flows.
    /// Earlier ones that are still unanswered do not count: the peer has answered others since, so
    /// the trouble is one flow's and not the peer's.
    pub transmissions: u32,
    /// At how many separate moments these were sent: what was sent together may be lost together.
    pub moments: u32,
    /// How many of the transmissions were SYNs, and how many went out on established flows.
    pub connects: u32,
    pub on_flows: u32,
    /// On how many different established flows.
    pub flows: u32,
    pub reason: Reason,
}

/// How transmissions count that are close together or far apart.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Spacing {
    /// Transmissions within this time of each other are one moment: they may be lost together.
    pub apart: Duration,
    /// A transmission covers at most this time after it: beyond that the peer was not asked.
    pub gap: Duration,
}

impl Evidence {
    /// The present silence; `None` if no demand stands. What was sent before `excused` does not
    /// count.
    pub(in crate::core) fn silence(
        &self,
        now: Time,
        excused: Time,
        spacing: Spacing,
    ) -> Option<Silence> {
        let heard = self.heard.on(Layer::Host).unwrap_or_default().max(excused);
        let demands: Vec<_> = self
            .demands(now)
            .filter(|demand| self.stands(demand, excused))
            .collect();
        let first = demands.iter().map(|demand| demand.sent.latest).min()?;
        let by = |way| count(demands.iter().filter(|demand| demand.way == way).count());
        let asked_for = |ways: &[Way]| {
            let again = demands.iter().filter(|demand| {
                demand.again && demand.sent.latest > heard && ways.contains(&demand.way)
            });
            spacing.asked_for(again.map(|demand| demand.sent.latest).collect(), now)
        };
        Some(Silence {
            since: first.max(heard),
            asked_for: asked_for(&[Way::Link, Way::Connect, Way::Flow]),
            connects_for: asked_for(&[Way::Connect]),
            transmissions: count(demands.len()),
            moments: spacing.moments(demands.iter().map(|d| d.sent.latest).collect()),
            connects: by(Way::Connect),
            on_flows: by(Way::Flow),
            flows: flows(&demands),
            reason: demands
                .iter()
                .fold(Reason::NoEvidence, |known, d| stronger(known, d.reason)),
        })
    }

    /// Whether the demand still stands: nothing heard since answers it. If the times are too coarse
    /// to tell, it counts as sent before the peer was heard, and is answered.
    fn stands(&self, demand: &Demand, excused: Time) -> bool {
        let answered = match demand.way {
            Way::Link => self.heard.on(Layer::Link),
            Way::Connect | Way::Flow => self.heard.surely(),
        };
        demand.sent.earliest > answered.unwrap_or_default().max(excused)
    }

    /// Everything that was sent to the peer and got no answer of its own.
    fn demands(&self, now: Time) -> impl Iterator<Item = Demand> + '_ {
        let standing = self
            .watched_flows()
            .filter(|flow| !flow.is_stalled && !flow.is_contradicted(self.heard.surely()))
            .filter_map(|flow| Some((flow.demand()?, flow)))
            .flat_map(|(reason, flow)| on_flow(reason, flow));
        let orphans = self.orphans(now).map(|orphan| {
            let was_established =
                matches!(orphan.reason, Reason::RtoUnanswered | Reason::TlpUnanswered);
            Demand {
                sent: orphan.sent,
                way: if was_established {
                    Way::Flow
                } else {
                    Way::Connect
                },
                flow: was_established.then_some(orphan.flow),
                reason: orphan.reason,
                again: true,
            }
        });
        standing
            .chain(orphans)
            .chain(self.unanswered_probes(now))
            .chain(self.unanswered_neighbour())
    }

    fn unanswered_neighbour(&self) -> impl Iterator<Item = Demand> {
        let failed = self.neighbour_failed.into_iter();
        failed.flat_map(|at| {
            let demand = Demand {
                sent: Sent::at(at),
                way: Way::Link,
                flow: None,
                reason: Reason::NeighbourFailed,
                again: true,
            };
            std::iter::repeat_n(demand, NEIGHBOUR_PROBES)
        })
    }

    fn orphans(&self, now: Time) -> impl Iterator<Item = &Orphan> {
        let is_young = move |orphan: &&Orphan| now.since(orphan.sent.latest) < ORPHAN_LIFE;
        self.orphans.iter().filter(is_young)
    }

    fn unanswered_probes(&self, now: Time) -> impl Iterator<Item = Demand> + '_ {
        self.probes
            .unanswered(now, self.history.answer_grace(now))
            .map(|(sent, target)| Demand {
                sent,
                way: way_of(target),
                flow: match target {
                    ProbeTarget::Flow { flow, .. } => Some(flow),
                    _ => None,
                },
                reason: Reason::ProbeUnanswered,
                again: true,
            })
    }
}

/// What stands unanswered on a flow: the original transmission, then each retransmission.
fn on_flow(reason: Reason, flow: &TrackedFlow) -> impl Iterator<Item = Demand> + '_ {
    let way = match flow.reading.state {
        TcpState::SynSent => Way::Connect,
        TcpState::Established | TcpState::Closing => Way::Flow,
    };
    let demand = move |sent, again| Demand {
        sent,
        way,
        flow: (way == Way::Flow).then_some(flow.reading.id),
        reason,
        again,
    };
    let original = flow.original().map(move |sent| demand(sent, false));
    let resent = flow.resent().map(move |sent| demand(sent, true));
    original.into_iter().chain(resent)
}

fn flows(demands: &[Demand]) -> u32 {
    let flows: BTreeSet<_> = demands.iter().filter_map(|demand| demand.flow).collect();
    count(flows.len())
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Spacing {
    /// How many separate moments these times are.
    fn moments(self, mut times: Vec<Time>) -> u32 {
        times.sort_unstable();
        let mut last = None;
        let is_another = |at: &&Time| {
            let another = last.is_none_or(|last: Time| at.since(last) >= self.apart);
            if another {
                last = Some(**at);
            }
            another
        };
        count(times.iter().filter(is_another).count())
    }

    /// For how long the peer was asked, given the times of the transmissions.
    fn asked_for(self, mut times: Vec<Time>, now: Time) -> Duration {
        times.sort_unstable();
        times.push(now);
        let gap = |pair: &[Time]| pair[1].since(pair[0]).min(self.gap);
        times.windows(2).map(gap).sum()
    }
}

/// The reason that says more about why a peer is not answering.
fn stronger(a: Reason, b: Reason) -> Reason {
    let strength = |reason| match reason {
        Reason::RtoUnanswered => 6,
        Reason::ConnectUnanswered => 5,
        Reason::ErrorReported => 4,
        Reason::NeighbourFailed => 3,
        Reason::ProbeUnanswered => 2,
        Reason::TlpUnanswered => 1,
        _ => 0,
    };
    if strength(b) > strength(a) { b } else { a }
}
