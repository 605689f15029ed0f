//! The next hops towards peers that are not on a link of this host: witnesses that this host
//! is not cut off.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::core::{ProbeTarget, Time, bounds::MAX_GATEWAYS, schedule::Grid};

/// How often each is probed while nothing is wrong.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How often each is probed while a peer is in doubt: a gateway that was heard within `RARELY`
/// (witness.rs) shows that this node is not cut off.
const ASK_IN_DOUBT_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(in crate::core) struct Gateways {
    known: BTreeMap<IpAddr, Gateway>,
    due: Option<Time>,
}

#[derive(Debug)]
struct Gateway {
    link: u32,
    asked: Option<Time>,
    heard: Option<Time>,
}

impl Gateway {
    fn new(link: u32) -> Self {
        Self {
            link,
            asked: None,
            heard: None,
        }
    }

    fn is_wanted(&self, now: Time) -> bool {
        self.asked
            .is_none_or(|at| now.since(at) >= ASK_IN_DOUBT_EVERY)
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
    pub(in crate::core) fn wanted(&self, now: Time) -> Vec<ProbeTarget> {
        let mut wanted: Vec<_> = self.known.iter().collect();
        wanted.retain(|(_, gateway)| gateway.is_wanted(now));
        wanted.sort_by_key(|(_, gateway)| gateway.asked);
        wanted.into_iter().map(target).collect()
    }

    /// Whether a gateway on this link should be probed while a peer is in doubt.
    pub(in crate::core) fn is_any_wanted(&self, link: u32, now: Time) -> bool {
        let mut known = self.known.values();
        known.any(|gateway| gateway.link == link && gateway.is_wanted(now))
    }

    /// This gateway was probed.
    pub(in crate::core) fn asked(&mut self, addr: IpAddr, now: Time) {
        if let Some(gateway) = self.known.get_mut(&addr) {
            gateway.asked = Some(now);
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
