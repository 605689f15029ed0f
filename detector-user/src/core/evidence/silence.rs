//! What the evidence adds up to: a silence.

use std::time::Duration;

use super::{
    Evidence,
    orphans::{ORPHAN_LIFE, Orphan},
};
use crate::core::{
    Reason, Time,
    tracked::{Sent, TrackedFlow},
};

/// What the kernel asks before it gives up on a neighbour (`ucast_probes` and
/// `mcast_probes`, net/ipv4/arp.c and net/ipv6/ndisc.c), the latest of them counted.
const NEIGHBOUR_PROBES: usize = 3;

/// The silence of a peer while something stands unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Silence {
    /// Since the last segment from the peer, or the first transmission after it.
    pub since: Time,
    /// For how long it has been asked again and again: by retransmissions, by probes.
    pub asked_for: Duration,
    /// What was sent to the peer since it was last heard, over all flows. What was sent
    /// before and is still unanswered does not count: the peer has answered others since,
    /// so that one flow's trouble is not the peer's.
    pub transmissions: u32,
    /// The moments at which that was sent: what was sent at once may be lost at once.
    pub moments: u32,
    pub reason: Reason,
}

/// How questions count that lie close together or far apart.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Spacing {
    /// What follows within this time is the same moment: it may be lost with the other.
    pub apart: Duration,
    /// A question speaks for this long after it at most: nobody was asked beyond.
    pub gap: Duration,
}

impl Evidence {
    /// The silence now, where a demand stands. What was sent before `excused` does not
    /// count.
    pub(in crate::core) fn silence(
        &self,
        now: Time,
        excused: Time,
        spacing: Spacing,
    ) -> Option<Silence> {
        let heard = self.last_heard.unwrap_or_default().max(excused);
        // In doubt it was sent before the peer was heard, and the silence began late.
        let floor = self.surely_heard().unwrap_or_default().max(excused);
        let counts = |sent: &Sent| sent.earliest > floor;
        let all = self.demands(now).filter(|(sent, _)| counts(sent));
        let silence = all.fold(None, |silence: Option<Silence>, (sent, reason)| {
            let silence = silence.unwrap_or(Silence {
                since: sent.latest,
                asked_for: Duration::ZERO,
                transmissions: 0,
                moments: 0,
                reason,
            });
            Some(Silence {
                since: silence.since.min(sent.latest),
                transmissions: silence.transmissions.saturating_add(1),
                reason: stronger(silence.reason, reason),
                ..silence
            })
        })?;
        let again = self.asked_again(now).map(|sent| sent.latest);
        let all = self.demands(now).filter(|(sent, _)| counts(sent));
        Some(Silence {
            since: silence.since.max(heard),
            asked_for: spacing.asked_for(again.filter(|sent| *sent > heard).collect(), now),
            moments: spacing.moments(all.map(|(sent, _)| sent.latest).collect()),
            ..silence
        })
    }

    /// Everything that was sent to the peer and is not answered, and what it says.
    fn demands(&self, now: Time) -> impl Iterator<Item = (Sent, Reason)> + '_ {
        let standing = self
            .standing()
            .flat_map(|(reason, flow)| flow.transmissions().map(move |sent| (sent, reason)));
        let orphans = self.orphans(now).map(|orphan| (orphan.sent, orphan.reason));
        let probes = self
            .unanswered_probes(now)
            .map(|sent| (sent, Reason::ProbeUnanswered));
        let neighbour = self.neighbour_failed.into_iter().flat_map(|at| {
            std::iter::repeat_n((Sent::at(at), Reason::NeighbourFailed), NEIGHBOUR_PROBES)
        });
        standing.chain(orphans).chain(probes).chain(neighbour)
    }

    /// Of those, what was not the first to be sent.
    fn asked_again(&self, now: Time) -> impl Iterator<Item = Sent> + '_ {
        let resent = self.standing().flat_map(|(_, flow)| flow.resent());
        let orphans = self.orphans(now).map(|orphan| orphan.sent);
        let neighbour = self.neighbour_failed.map(Sent::at);
        resent
            .chain(orphans)
            .chain(self.unanswered_probes(now))
            .chain(neighbour)
    }

    fn standing(&self) -> impl Iterator<Item = (Reason, &TrackedFlow)> {
        self.watched_flows()
            .filter_map(|flow| Some((flow.demand()?, flow)))
    }

    fn orphans(&self, now: Time) -> impl Iterator<Item = &Orphan> {
        let is_young = move |orphan: &&Orphan| now.since(orphan.sent.latest) < ORPHAN_LIFE;
        self.orphans.iter().filter(is_young)
    }

    fn unanswered_probes(&self, now: Time) -> impl Iterator<Item = Sent> + '_ {
        self.probes.unanswered(now, self.path.answer_grace(now))
    }
}

impl Spacing {
    /// How many moments these are.
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
        u32::try_from(times.iter().filter(is_another).count()).unwrap_or(u32::MAX)
    }

    /// For how long the peer was asked, at these times.
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
