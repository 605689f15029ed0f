//! This host's own links, routes and neighbours: whether a silence may be our own fault.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use crate::model::{
    Bounds, FlowReading, NAMESPACES_KEPT, NamespaceChange, NeighbourState, NetworkEvent, Route,
    RouteLine, Time,
};

/// After a link came up, a switch may take this long to forward (spanning tree, 802.1D, twice
/// over). Anything heard through the link ends the wait.
const LINK_SETTLES: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(in crate::core) struct Network {
    /// The most links, and the most addresses, that are kept.
    kept: usize,
    links: BTreeMap<u32, Link>,
    routes: BTreeMap<IpAddr, Option<Route>>,
    neighbours: BTreeMap<(IpAddr, u32), NeighbourState>,
    /// The network namespaces that are watched besides the daemon's own.
    namespaces: BTreeSet<u32>,
    /// Addresses of this machine, and of hosts that are reached from another namespace. They are
    /// learnt from flows, and only where other namespaces are watched, because the routes of the
    /// daemon's own namespace do not show them.
    local: BTreeSet<IpAddr>,
    reached: BTreeSet<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    up: bool,
    /// When the link came up or went down; `None` if it has not changed since the start.
    changed: Option<Time>,
    /// When anything was last heard through it, since that change.
    heard: Option<Time>,
}

impl Network {
    pub(in crate::core) fn new(bounds: Bounds) -> Self {
        Self {
            kept: bounds.known_addresses(),
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            namespaces: BTreeSet::new(),
            local: BTreeSet::new(),
            reached: BTreeSet::new(),
        }
    }

    /// Takes in an event; returns whether it changed anything.
    pub(in crate::core) fn event(&mut self, at: Time, event: &NetworkEvent) -> bool {
        match event {
            NetworkEvent::Link { link, up, .. } => self.link(at, *link, *up),
            NetworkEvent::Route { addr, route } => {
                self.has_room(&self.routes, addr)
                    && self.routes.insert(*addr, *route) != Some(*route)
            }
            NetworkEvent::Neighbour {
                addr, link, state, ..
            } => {
                let key = (*addr, *link);
                self.has_room(&self.neighbours, &key)
                    && self.neighbours.insert(key, *state) != Some(*state)
            }
        }
    }

    /// Takes in what became of a network namespace.
    pub(in crate::core) fn namespace(&mut self, netns: u32, change: NamespaceChange) {
        match change {
            NamespaceChange::Watched if self.namespaces.len() < NAMESPACES_KEPT => {
                self.namespaces.insert(netns);
            }
            NamespaceChange::Watched | NamespaceChange::Unreadable => {}
            NamespaceChange::Gone => {
                self.namespaces.remove(&netns);
                // Another machine may have a container's address next. Snapshots will show them
                // again.
                self.local.clear();
                self.reached.clear();
            }
        }
    }

    /// Learns from flows which addresses are on this machine, and which are reached from another
    /// namespace.
    pub(in crate::core) fn flows(&mut self, flows: &[FlowReading]) {
        if self.namespaces.is_empty() {
            return;
        }
        for FlowReading { id, .. } in flows {
            let (local, remote) = (id.local.ip(), id.remote.ip());
            if self.local.len() < self.kept {
                self.local.insert(local);
            }
            if self.is_other_namespace(id.netns) && self.reached.len() < self.kept {
                self.reached.insert(remote);
            }
        }
    }

    /// Whether this is a watched namespace other than the daemon's own.
    pub(in crate::core) fn is_other_namespace(&self, netns: u32) -> bool {
        self.namespaces.contains(&netns)
    }

    /// How an address is reached, as far as known.
    pub(in crate::core) fn route(&self, addr: IpAddr) -> Option<Route> {
        self.routes.get(&addr).copied().flatten()
    }

    /// Whether this address may be another host's. The kernel reports no route to an address of this
    /// host; nor does it to a host that only another namespace can reach.
    pub(in crate::core) fn is_elsewhere(&self, addr: IpAddr) -> bool {
        let has_way = self.routes.get(&addr) != Some(&None) || self.reached.contains(&addr);
        has_way && !self.local.contains(&addr)
    }

    /// Something was heard from this address.
    pub(in crate::core) fn heard(&mut self, addr: IpAddr, at: Time) {
        if let Some(route) = self.route(addr)
            && let Some(link) = self.links.get_mut(&route.link)
            && Some(at) > link.changed
        {
            link.heard = link.heard.max(Some(at));
        }
    }

    /// Whether this address cannot be reached, for a reason on this host: its link is down, or came
    /// up just now and nothing was heard through it yet.
    pub(in crate::core) fn is_cut_off(&self, addr: IpAddr, now: Time) -> bool {
        self.link_to(addr).is_some_and(|link| !link.carries(now))
    }

    /// Whether the link to this address is down.
    pub(in crate::core) fn is_link_down(&self, addr: IpAddr) -> bool {
        self.link_to(addr).is_some_and(|link| !link.up)
    }

    /// Since when the link to this address has been up, where it was down before.
    pub(in crate::core) fn usable_since(&self, addr: IpAddr) -> Option<Time> {
        self.link_to(addr).filter(|link| link.up)?.changed
    }

    pub(in crate::core) fn lines(&self, addrs: &[IpAddr]) -> Vec<RouteLine> {
        let line = |&addr: &IpAddr| {
            let route = self.route(addr)?;
            Some(RouteLine {
                addr,
                route,
                link_up: self.links.get(&route.link).is_none_or(|link| link.up),
                neighbour: self.neighbours.get(&(addr, route.link)).copied(),
            })
        };
        addrs.iter().filter_map(line).collect()
    }

    /// The next hops that stand between this host and its peers, with their links.
    pub(in crate::core) fn gateways(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        let gateway = |route: &Option<Route>| {
            let route = (*route)?;
            Some((route.gateway?, route.link))
        };
        self.routes.values().filter_map(gateway)
    }

    fn link(&mut self, at: Time, link: u32, up: bool) -> bool {
        let known = self.links.get(&link).copied();
        if known.is_some_and(|known| known.up == up) || !self.has_room(&self.links, &link) {
            return false;
        }
        // A link that is reported for the first time did not change just now, unless it is down.
        let changed = (known.is_some() || !up).then_some(at);
        self.links.insert(
            link,
            Link {
                up,
                changed,
                heard: None,
            },
        );
        true
    }

    /// Whether there is room for one more, or an entry of this key to replace.
    fn has_room<K: Ord, V>(&self, kept: &BTreeMap<K, V>, key: &K) -> bool {
        kept.len() < self.kept || kept.contains_key(key)
    }

    fn link_to(&self, addr: IpAddr) -> Option<&Link> {
        self.links.get(&self.route(addr)?.link)
    }
}

impl Link {
    fn carries(&self, now: Time) -> bool {
        let settling = self
            .changed
            .is_some_and(|changed| now.since(changed) < LINK_SETTLES && self.heard.is_none());
        self.up && !settling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn addr(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    fn network() -> Network {
        let mut network = Network::new(Bounds::new(4));
        let route = Some(Route {
            link: 2,
            gateway: None,
        });
        network.event(ms(0), &link(true));
        for n in [4, 5] {
            let event = NetworkEvent::Route {
                addr: addr(n),
                route,
            };
            assert!(network.event(ms(0), &event));
            assert!(!network.event(ms(0), &event));
        }
        network
    }

    fn link(up: bool) -> NetworkEvent {
        NetworkEvent::Link {
            link: 2,
            name: "eth0".to_owned(),
            up,
        }
    }

    #[test]
    fn a_link_that_is_down_cuts_off_what_is_behind_it() {
        let mut network = network();
        assert!(!network.is_cut_off(addr(4), ms(0)));
        network.event(ms(10), &link(false));
        assert!(network.is_cut_off(addr(4), ms(10)));
        // Nothing is known of the way to this one.
        assert!(!network.is_cut_off(addr(9), ms(10)));
        assert!(!network.lines(&[addr(4)])[0].link_up);
    }

    #[test]
    fn a_link_settles_once_something_is_heard_by_it_or_after_a_time() {
        let mut network = network();
        network.event(ms(10), &link(false));
        network.event(ms(1000), &link(true));
        assert!(network.is_cut_off(addr(4), ms(60_999)));
        assert!(!network.is_cut_off(addr(4), ms(61_000)));
        assert_eq!(network.usable_since(addr(4)), Some(ms(1000)));
        network.heard(addr(5), ms(999));
        assert!(network.is_cut_off(addr(4), ms(1100)), "heard before");
        network.heard(addr(5), ms(1200));
        assert!(!network.is_cut_off(addr(4), ms(1200)));
    }

    #[test]
    fn gateways_are_found_in_the_routes() {
        let mut network = network();
        assert_eq!(network.gateways().count(), 0);
        let route = Some(Route {
            link: 2,
            gateway: Some(addr(1)),
        });
        let event = NetworkEvent::Route {
            addr: [10, 9, 0, 4].into(),
            route,
        };
        network.event(ms(0), &event);
        assert_eq!(network.gateways().collect::<Vec<_>>(), [(addr(1), 2)]);
    }
}
