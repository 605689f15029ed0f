//! The next hops towards peers that are not on a link of this host: witnesses that this host
//! is not cut off.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::core::{ProbeTarget, Time, bounds::MAX_GATEWAYS};

/// How often each is probed while nothing is wrong.
const ASK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(in crate::core) struct Gateways {
    known: BTreeMap<IpAddr, Gateway>,
    due: Option<Time>,
}

#[derive(Debug)]
struct Gateway {
    link: u32,
    heard: Option<Time>,
}

impl Gateways {
    /// Replaces the gateways; what is known of those that remain is kept.
    pub(in crate::core) fn set(&mut self, now: Time, found: impl Iterator<Item = (IpAddr, u32)>) {
        let mut before = std::mem::take(&mut self.known);
        for (addr, link) in found {
            if self.known.len() < MAX_GATEWAYS {
                let heard = before.remove(&addr).and_then(|gateway| gateway.heard);
                self.known.entry(addr).or_insert(Gateway { link, heard });
            }
        }
        self.due = (!self.known.is_empty()).then(|| self.due.unwrap_or(now).min(now));
    }

    /// When [`Self::take_due`] should be called.
    pub(in crate::core) fn timeout(&self) -> Option<Time> {
        self.due
    }

    /// The gateways to probe, when it is time.
    pub(in crate::core) fn take_due(&mut self, now: Time) -> Vec<ProbeTarget> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = Some(now + ASK_EVERY);
        self.all()
    }

    pub(in crate::core) fn all(&self) -> Vec<ProbeTarget> {
        let target = |(&addr, gateway): (&IpAddr, &Gateway)| ProbeTarget::Neighbour {
            addr,
            link: gateway.link,
        };
        self.known.iter().map(target).collect()
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
