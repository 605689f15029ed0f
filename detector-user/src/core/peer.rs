//! One peer: the sum of the paths to its addresses.

use std::{collections::BTreeSet, net::IpAddr};

use super::{isolation::Isolation, path::Path, session::Session};
use crate::model::{
    Breaker, Health, Mode, Override, PeerName, PeerState, Reason, Settings, Time, Verdict,
};

#[derive(Debug)]
pub(super) struct Peer {
    pub name: PeerName,
    pub discovered: bool,
    pub addresses: BTreeSet<IpAddr>,
    pub overridden: Option<Override>,
    revision: u64,
    generation: u64,
    /// The verdict that was published last.
    verdict: Verdict,
    created_at: Time,
    changed_at: Time,
}

impl Peer {
    pub(super) fn new(now: Time, name: PeerName) -> Self {
        Self {
            name,
            discovered: false,
            addresses: BTreeSet::new(),
            overridden: None,
            revision: 0,
            generation: 0,
            verdict: Verdict::Unknown,
            created_at: now,
            changed_at: now,
        }
    }

    /// Sums the paths up for publication; counts a change of the verdict as a new generation.
    pub(super) fn publish(
        &mut self,
        now: Time,
        revision: u64,
        paths: &[&Path],
        isolation: &Isolation,
        settings: &Settings,
    ) -> PeerState {
        self.revision = revision;
        let verdict = sum(paths).0;
        if verdict != self.verdict {
            self.verdict = verdict;
            self.generation += 1;
        }
        let changed = paths.iter().map(|path| path.session().changed_at()).max();
        self.changed_at = changed.unwrap_or(self.created_at).max(self.changed_at);
        self.state(now, paths, isolation, settings)
    }

    pub(super) fn state(
        &self,
        now: Time,
        paths: &[&Path],
        isolation: &Isolation,
        settings: &Settings,
    ) -> PeerState {
        let mode = match self.discovered {
            true => Mode::Observe,
            false => settings.mode,
        };
        let (verdict, reason) = sum(paths);
        let (breaker, breaker_reason) = breaker(paths);
        let shown = paths
            .iter()
            .max_by_key(|path| path.state().last_heard)
            .map(|path| path.vitals())
            .unwrap_or_default();
        let oldest = paths.iter().filter_map(|path| path.oldest_stall()).min();
        let state = PeerState {
            peer: self.name.clone(),
            verdict,
            breaker: Breaker::Closed,
            would_be_breaker: Breaker::Closed,
            reason,
            isolated: paths.iter().any(|path| path.is_isolated()),
            generation: self.generation,
            revision: self.revision,
            mode,
            addresses: self.addresses.iter().copied().collect(),
            changed_at: self.changed_at,
            last_heard: paths.iter().filter_map(|p| p.state().last_heard).max(),
            detection_latency: match verdict {
                Verdict::Dead => paths
                    .iter()
                    .filter_map(|p| p.session().detection_latency())
                    .max(),
                _ => None,
            },
            presumed_down: breaker != Breaker::Closed
                && paths.iter().all(|p| p.session().presumed_down().is_some()),
            srtt: shown.rtt.map(|rtt| rtt.srtt),
            rtt_variance: shown.rtt.map(|rtt| rtt.variance),
            health: match verdict {
                Verdict::Unknown => None,
                Verdict::Dead => Some(Health {
                    score: 0,
                    ..shown.health
                }),
                Verdict::Alive | Verdict::Suspect | Verdict::Degraded => Some(shown.health),
            },
            breaker_reason,
            stalled_flows: paths.iter().map(|path| path.stalled_flows()).sum(),
            oldest_stall: oldest.map(|since| now.since(since)),
            contested: self.is_contested(now, isolation),
            overridden: self.overridden.clone(),
            paths: paths.iter().map(|path| path.state()).collect(),
            down_since: paths.iter().filter_map(|path| path.down_since()).min(),
        };
        state.with_breaker(breaker)
    }

    fn is_contested(&self, now: Time, isolation: &Isolation) -> bool {
        self.addresses.iter().any(|addr| {
            let next_hop = isolation.next_hop(*addr);
            isolation.cards.is_contested(next_hop, now)
        })
    }
}

/// The verdict over all paths: Dead only where all of them are Dead; Degraded where one is Dead and
/// another lives.
fn sum(paths: &[&Path]) -> (Verdict, Reason) {
    let known: Vec<&Session> = paths.iter().map(|path| path.session()).collect();
    let of = |verdict| known.iter().find(|session| session.verdict() == verdict);
    let said = |session: &&Session| (session.verdict(), session.reason());
    let is_dead = |session: &&&Session| session.verdict() == Verdict::Dead;
    if known.is_empty() {
        return (Verdict::Unknown, Reason::NoEvidence);
    }
    if known.iter().all(|session| is_dead(&session)) {
        return said(&known[0]);
    }
    if of(Verdict::Dead).is_some()
        && (of(Verdict::Alive).is_some() || of(Verdict::Degraded).is_some())
    {
        return (Verdict::Degraded, Reason::PathDead);
    }
    [
        Verdict::Degraded,
        Verdict::Suspect,
        Verdict::Alive,
        Verdict::Unknown,
    ]
    .into_iter()
    .find_map(|verdict| of(verdict).map(said))
    .unwrap_or((Verdict::Unknown, Reason::NoEvidence))
}

/// The breaker over all paths: Open only where all of them are Open, Closed where one is Closed.
fn breaker(paths: &[&Path]) -> (Breaker, Reason) {
    [Breaker::Closed, Breaker::HalfOpen, Breaker::Open]
        .into_iter()
        .find_map(|breaker| {
            let path = paths.iter().find(|p| p.session().breaker() == breaker)?;
            Some((breaker, path.session().breaker_reason()))
        })
        .unwrap_or((Breaker::Closed, Reason::NoEvidence))
}
