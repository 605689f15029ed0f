//! The next hops towards peers that are not on a link of this host: witnesses that this host
//! is not cut off.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::core::{ProbeTarget, Time, bounds::MAX_GATEWAYS};

/// How often each is asked while all is well.
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
    /// Replaces them; what is known of those that stay, stays.
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

    /// When [`Self::take_due`] is to be asked.
    pub(in crate::core) fn timeout(&self) -> Option<Time> {
        self.due
    }

    /// Whom to ask, when it is time.
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

    /// One was heard; says whether it is one of these.
    pub(in crate::core) fn heard(&mut self, addr: IpAddr, at: Time) -> bool {
        let gateway = self.known.get_mut(&addr);
        gateway.is_some_and(|gateway| {
            gateway.heard = gateway.heard.max(Some(at));
            true
        })
    }

    /// Those that were ever heard, and when last.
    pub(in crate::core) fn last_heard(&self) -> impl Iterator<Item = (Time, IpAddr)> + '_ {
        let heard = |(&addr, gateway): (&IpAddr, &Gateway)| Some((gateway.heard?, addr));
        self.known.iter().filter_map(heard)
    }
}
