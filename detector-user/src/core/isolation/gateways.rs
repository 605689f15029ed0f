//! The next hops towards peers that are not on a link of this host: witnesses that this host
//! is not cut off.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::witness::HEARD_APART;
use crate::{
    core::schedule::Grid,
    model::{MAX_GATEWAYS, ProbeTarget, Time},
};

/// How often each is probed while nothing is wrong.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// While a peer is in doubt, each is probed twice in this time, which is what the budget of neighbour
/// probes allows. If the two were evenly spaced, one of them might always fall between the silences
/// that are measured.
const ASK_TWICE_IN: Duration = Duration::from_millis(520);

/// Witnesses are called every 20 ms, so that a probe may be as late.
const CALLED_LATE: Duration = Duration::from_millis(20);

/// A second probe that is later than this is the first of another pair: otherwise probes that were once
/// evenly spaced would stay so.
const SECOND_WITHIN: Duration = Duration::from_millis(60);

/// The two are so close together that the second may use the last probe of the budget.
const PAIR_WITHIN: Duration = Duration::from_millis(350);

/// A pair begins only when the budget has its second probe by the time that it is sent, if a pair was
/// sent this long ago. Before that, a single probe may be enough.
const PAIRED_LATELY: Duration = Duration::from_secs(2);

/// What the budget must hold for that, in probes: 0.34 come within the 88 ms between the two.
const FOR_A_PAIR: f64 = 1.66;

#[derive(Debug, Default)]
pub(in crate::core) struct Gateways {
    known: BTreeMap<IpAddr, Gateway>,
    due: Option<Time>,
}

#[derive(Debug)]
struct Gateway {
    link: u32,
    /// When it was last probed while a peer was in doubt, and when the time before.
    asked: (Option<Time>, Option<Time>),
    heard: Option<Time>,
}

impl Gateway {
    fn new(link: u32) -> Self {
        Self {
            link,
            asked: (None, None),
            heard: None,
        }
    }

    /// Whether to probe it for a peer in doubt whose silence must last for `needed`.
    fn is_wanted(&self, now: Time, needed: Duration) -> bool {
        let Some(last) = self.asked.0 else {
            return true;
        };
        let apart = needed
            .mul_f64(HEARD_APART)
            .min(ASK_TWICE_IN / 2 - CALLED_LATE);
        let ago = now.since(last);
        let is_pair = (apart..apart + SECOND_WITHIN).contains(&ago);
        let is_alone = |before| now.since(before) >= ASK_TWICE_IN;
        is_pair && self.asked.1.is_none_or(is_alone) || ago >= ASK_TWICE_IN - apart
    }

    fn needs_of_budget(&self, now: Time) -> f64 {
        match self.asked.0.map(|at| now.since(at)) {
            Some(ago) if (PAIR_WITHIN..PAIRED_LATELY).contains(&ago) => FOR_A_PAIR,
            _ => 1.0,
        }
    }
}

impl Gateways {
    /// Replaces the gateways; what is known of those that remain is kept.
    pub(in crate::core) fn set(&mut self, now: Time, found: impl Iterator<Item = (IpAddr, u32)>) {
        let mut before = std::mem::take(&mut self.known);
        for (addr, link) in found {
            if self.known.len() < MAX_GATEWAYS {
                let known = before.remove(&addr).unwrap_or_else(|| Gateway::new(link));
                self.known.entry(addr).or_insert(Gateway { link, ..known });
            }
        }
        self.due = (!self.known.is_empty()).then(|| self.due.unwrap_or(now).min(now));
    }

    pub(in crate::core) fn is_known(&self, addr: IpAddr) -> bool {
        self.known.contains_key(&addr)
    }

    /// When [`Self::take_due`] should be called.
    pub(in crate::core) fn timeout(&self) -> Option<Time> {
        self.due
    }

    /// The gateways to probe, when it is time.
    pub(in crate::core) fn take_due(&mut self, now: Time, grid: Grid) -> Vec<ProbeTarget> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = Some(grid.before(now + ASK_EVERY, now));
        self.known.iter().map(target).collect()
    }

    /// The gateways to probe while a peer is in doubt, those first that have waited longest.
    pub(in crate::core) fn wanted(&self, now: Time, needed: Duration) -> Vec<ProbeTarget> {
        let mut wanted: Vec<_> = self.known.iter().collect();
        wanted.retain(|(_, gateway)| gateway.is_wanted(now, needed));
        wanted.sort_by_key(|(_, gateway)| gateway.asked);
        wanted.into_iter().map(target).collect()
    }

    /// How many probes the link's budget must hold for one of this address: where a gateway is on the
    /// link, the others leave it what it needs to show that this node is not cut off.
    pub(in crate::core) fn needs_of_budget(&self, addr: IpAddr, link: u32, now: Time) -> f64 {
        let is_on_link = |gateway: &Gateway| gateway.link == link;
        match self.known.get(&addr) {
            Some(gateway) => gateway.needs_of_budget(now),
            None if self.known.values().any(is_on_link) => f64::INFINITY,
            None => 1.0,
        }
    }

    /// This gateway was probed.
    pub(in crate::core) fn asked(&mut self, addr: IpAddr, now: Time) {
        if let Some(gateway) = self.known.get_mut(&addr) {
            gateway.asked = (Some(now), gateway.asked.0);
        }
    }

    /// This address was heard; returns whether it is a gateway.
    pub(in crate::core) fn heard(&mut self, addr: IpAddr, at: Time) -> bool {
        let gateway = self.known.get_mut(&addr);
        gateway.is_some_and(|gateway| {
            gateway.heard = gateway.heard.max(Some(at));
            true
        })
    }

    /// The gateways that were ever heard, and when each was last.
    pub(in crate::core) fn last_heard(&self) -> impl Iterator<Item = (Time, IpAddr)> + '_ {
        let heard = |(&addr, gateway): (&IpAddr, &Gateway)| Some((gateway.heard?, addr));
        self.known.iter().filter_map(heard)
    }
}

fn target((&addr, gateway): (&IpAddr, &Gateway)) -> ProbeTarget {
    ProbeTarget::Neighbour {
        addr,
        link: gateway.link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    #[test]
    fn in_doubt_a_gateway_is_probed_in_pairs_that_fit_the_silence() {
        for (needed_ms, expected) in [(250, vec![0, 88, 521, 609]), (1000, vec![0, 240, 520, 760])]
        {
            let gateway = IpAddr::from([10, 0, 0, 254]);
            let mut gateways = Gateways::default();
            gateways.set(ms(0), [(gateway, 2)].into_iter());
            let mut asked = Vec::new();
            for at in 0..1000 {
                let needed = Duration::from_millis(needed_ms);
                if !gateways.wanted(ms(at), needed).is_empty() {
                    gateways.asked(gateway, ms(at));
                    asked.push(at);
                }
            }
            assert_eq!(asked, expected);
        }
    }

    /// As after a silence that had to last a second.
    #[test]
    fn probes_that_were_evenly_spaced_become_pairs_again() {
        let gateway = IpAddr::from([10, 0, 0, 254]);
        let mut gateways = Gateways::default();
        gateways.set(ms(0), [(gateway, 2)].into_iter());
        gateways.asked(gateway, ms(0));
        gateways.asked(gateway, ms(260));
        let mut asked = Vec::new();
        for at in (280..1400).step_by(20) {
            if !gateways
                .wanted(ms(at), Duration::from_millis(50))
                .is_empty()
            {
                gateways.asked(gateway, ms(at));
                asked.push(at);
            }
        }
        assert_eq!(asked, [780, 800, 1320, 1340]);
    }

    #[test]
    fn a_pair_waits_for_its_budget_and_others_leave_it_there() {
        let (gateway, peer) = (IpAddr::from([10, 0, 0, 254]), IpAddr::from([10, 0, 0, 1]));
        let mut gateways = Gateways::default();
        assert_eq!(gateways.needs_of_budget(peer, 2, ms(0)), 1.0);
        gateways.set(ms(0), [(gateway, 2)].into_iter());
        assert_eq!(gateways.needs_of_budget(peer, 2, ms(0)), f64::INFINITY);
        assert_eq!(gateways.needs_of_budget(peer, 3, ms(0)), 1.0);
        gateways.asked(gateway, ms(0));
        for (at, needs) in [(88, 1.0), (600, FOR_A_PAIR), (5000, 1.0)] {
            assert_eq!(gateways.needs_of_budget(gateway, 2, ms(at)), needs, "{at}");
        }
    }
}
