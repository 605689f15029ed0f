//! What is known of the network, and what the core knows of it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::decode::{Link, Neighbour};
use super::neighbour::evidence;
use crate::model::{HardwareAddress, NeighbourState, NetworkEvent, Route, Time};

/// If a change covers more watched addresses than this, all are looked up.
const FEW: usize = 64;

/// A report to the core: when something happened, and what.
pub(super) type Told = (Time, NetworkEvent);

#[derive(Debug, Default)]
pub(super) struct State {
    /// All links of this host, because a route may move to any of them: the name, and whether the
    /// link is up.
    links: BTreeMap<u32, (String, bool)>,
    /// Links as last reported to the core. A link that was reported once is reported from then on.
    told_links: BTreeMap<u32, (String, bool)>,
    watched: BTreeSet<IpAddr>,
    /// Routes as last reported to the core.
    routes: BTreeMap<IpAddr, Option<Route>>,
    /// Addresses whose routes should be looked up.
    due: BTreeSet<IpAddr>,
    /// Whether the routes of all watched addresses should be looked up.
    all_due: bool,
    /// The neighbours whose entries matter: the watched addresses that are on a link, and the
    /// gateways of the others.
    next_hops: BTreeSet<(u32, IpAddr)>,
    /// Neighbours as last reported to the core.
    neighbours: BTreeMap<(u32, IpAddr), Hop>,
}

/// A neighbour as last reported to the core.
#[derive(Debug, Default)]
struct Hop {
    /// The last answer or failure; `None` if neither was seen.
    shown: Option<NeighbourState>,
    /// The last hardware address; it is kept after a failure.
    hardware: Option<HardwareAddress>,
}

impl State {
    /// Replaces the addresses of interest; returns whether any is new.
    pub(super) fn watch(&mut self, addrs: BTreeSet<IpAddr>) -> bool {
        let new: Vec<_> = addrs.difference(&self.watched).copied().collect();
        self.watched = addrs;
        let watched = &self.watched;
        self.routes.retain(|addr, _| watched.contains(addr));
        self.due.retain(|addr| watched.contains(addr));
        self.due.extend(&new);
        self.find_next_hops();
        !new.is_empty()
    }

    /// A link exists or has changed; returns whether that may change routes. (New routes of a new
    /// link are reported by separate messages; routes that a link loses when it goes down may not
    /// be.)
    pub(super) fn link(&mut self, at: Time, link: Link, tell: &mut Vec<Told>) -> bool {
        let known = self.links.get(&link.index);
        let name = match (link.name, known) {
            (Some(name), _) => name,
            (None, Some((name, _))) => name.clone(),
            (None, None) => format!("if{}", link.index),
        };
        let turned = known.is_some_and(|(_, up)| *up != link.up);
        self.links.insert(link.index, (name, link.up));
        if self.told_links.contains_key(&link.index) || self.is_used(link.index) {
            self.tell_link(at, link.index, tell);
        }
        turned
    }

    /// A link is gone; returns whether that may change routes.
    pub(super) fn link_gone(&mut self, at: Time, index: u32, tell: &mut Vec<Told>) -> bool {
        let known = self.links.remove(&index).is_some();
        if let Some((name, true)) = self.told_links.remove(&index) {
            let event = NetworkEvent::Link {
                link: index,
                name,
                up: false,
            };
            tell.push((at, event));
        }
        known
    }

    /// Takes in the complete list of links.
    pub(super) fn all_links(&mut self, at: Time, links: Vec<Link>, tell: &mut Vec<Told>) {
        let there: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        let known = self.links.keys().chain(self.told_links.keys());
        let gone: BTreeSet<u32> = known.filter(|i| !there.contains(i)).copied().collect();
        for index in gone {
            self.link_gone(at, index, tell);
        }
        for link in links {
            self.link(at, link, tell);
        }
    }

    /// Routes to these addresses may have changed; returns whether that matters. This is cheap,
    /// because a routing daemon may change thousands at a time.
    pub(super) fn routes_changed(&mut self, first: IpAddr, last: IpAddr) -> bool {
        if self.all_due {
            return true;
        }
        let mut covered = self.watched.range(first..=last);
        let few: Vec<_> = covered.by_ref().take(FEW).copied().collect();
        if covered.next().is_some() {
            return self.all_routes_changed();
        }
        let matters = !few.is_empty();
        self.due.extend(few);
        matters
    }

    /// Any route may have changed; returns whether that matters.
    pub(super) fn all_routes_changed(&mut self) -> bool {
        self.all_due = !self.watched.is_empty();
        self.all_due
    }

    /// The links that were reported: those by which routes leave, or once left.
    pub(super) fn told_links(&self, most: usize) -> Vec<u32> {
        self.told_links.keys().copied().take(most).collect()
    }

    /// How many routes should be looked up.
    pub(super) fn due(&self) -> usize {
        match self.all_due {
            true => self.watched.len(),
            false => self.due.len(),
        }
    }

    /// Takes some of the addresses whose routes should be looked up.
    pub(super) fn take_due(&mut self, most: usize) -> Vec<IpAddr> {
        if std::mem::take(&mut self.all_due) {
            self.due.clone_from(&self.watched);
        }
        let taken: Vec<_> = self.due.iter().copied().take(most).collect();
        for addr in &taken {
            self.due.remove(addr);
        }
        taken
    }

    /// The lookup of these addresses failed: they remain due.
    pub(super) fn still_due(&mut self, addrs: &[IpAddr]) {
        let watched = addrs.iter().filter(|addr| self.watched.contains(addr));
        self.due.extend(watched);
    }

    /// The kernel's answer for one address. A link that is new to the core is reported first.
    pub(super) fn route(
        &mut self,
        at: Time,
        addr: IpAddr,
        route: Option<Route>,
        tell: &mut Vec<Told>,
    ) {
        if !self.watched.contains(&addr) || self.routes.get(&addr) == Some(&route) {
            return;
        }
        self.routes.insert(addr, route);
        if let Some(route) = route {
            self.tell_link(at, route.link, tell);
        }
        tell.push((at, NetworkEvent::Route { addr, route }));
    }

    /// Call this after a round of lookups; returns whether there are new neighbours to look up.
    pub(super) fn find_next_hops(&mut self) -> bool {
        let found: BTreeSet<_> = self
            .routes
            .iter()
            .filter_map(|(addr, route)| {
                route.map(|route| (route.link, route.gateway.unwrap_or(*addr)))
            })
            .collect();
        let new = !found.is_subset(&self.next_hops);
        self.neighbours.retain(|hop, _| found.contains(hop));
        self.next_hops = found;
        new
    }

    /// A neighbour entry changed.
    pub(super) fn neighbour(&mut self, received: Time, entry: &Neighbour, tell: &mut Vec<Told>) {
        let hop = (entry.link, entry.addr);
        if !self.next_hops.contains(&hop) {
            return;
        }
        let shown = evidence(entry, received);
        let moved = self
            .is_elsewhere(entry)
            .then(|| changed_at(entry, received));
        let moved = moved.map(|at| (at, NeighbourState::Stale));
        let Some((at, state)) = shown.or(moved) else {
            return;
        };
        let told = self.neighbours.entry(hop).or_default();
        told.shown = shown.map(|(_, state)| state).or(told.shown);
        told.hardware = entry.hardware.or(told.hardware);
        let event = NetworkEvent::Neighbour {
            addr: entry.addr,
            link: entry.link,
            state,
            hardware: entry.hardware,
        };
        tell.push((at, event));
    }

    /// Whether the kernel sends to another card than was last reported, or to one for the first
    /// time. This is where the packets go, no matter what set the entry.
    fn is_elsewhere(&self, entry: &Neighbour) -> bool {
        let told = self.neighbours.get(&(entry.link, entry.addr));
        entry.hardware.is_some() && entry.hardware != told.and_then(|hop| hop.hardware)
    }

    /// Takes in a neighbour entry of a dump: it is reported if it differs from the last report.
    pub(super) fn neighbour_there(
        &mut self,
        received: Time,
        entry: &Neighbour,
        tell: &mut Vec<Told>,
    ) {
        let told = self.neighbours.get(&(entry.link, entry.addr));
        let shown = evidence(entry, received).map(|(_, state)| state);
        if shown != told.and_then(|hop| hop.shown) || self.is_elsewhere(entry) {
            self.neighbour(received, entry, tell);
        }
    }

    fn tell_link(&mut self, at: Time, index: u32, tell: &mut Vec<Told>) {
        let Some(link) = self.links.get(&index) else {
            // The link's own message will follow.
            return;
        };
        if self.told_links.get(&index) == Some(link) {
            return;
        }
        self.told_links.insert(index, link.clone());
        let (name, up) = link.clone();
        let event = NetworkEvent::Link {
            link: index,
            name,
            up,
        };
        tell.push((at, event));
    }

    /// Whether a route leaves by this link.
    fn is_used(&self, index: u32) -> bool {
        let mut routes = self.routes.values().flatten();
        routes.any(|route| route.link == index)
    }
}

/// When the entry last changed its state or its address.
fn changed_at(entry: &Neighbour, received: Time) -> Time {
    entry.ages.map_or(received, |ages| received - ages.updated)
}

#[cfg(test)]
mod tests;
