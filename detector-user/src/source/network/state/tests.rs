//! The state of links, routes and neighbours, driven by messages.

use std::time::Duration;

use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState as Nud};

use super::{super::decode::Ages, *};

const NOW: Time = Time::from_nanos(1_000_000_000_000);
const ETH0: u32 = 2;
const ETH1: u32 = 3;
const CARD: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 1]);
const OTHER_CARD: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 2]);

fn addr(last: u8) -> IpAddr {
    [10, 77, 0, last].into()
}

fn far() -> IpAddr {
    [10, 99, 0, 1].into()
}

fn link(index: u32, up: bool) -> Link {
    Link {
        index,
        name: Some(format!("eth{}", index - 2)),
        up,
    }
}

fn told_link(index: u32, up: bool) -> NetworkEvent {
    NetworkEvent::Link {
        link: index,
        name: format!("eth{}", index - 2),
        up,
    }
}

fn on_link(link: u32) -> Option<Route> {
    Some(Route {
        link,
        gateway: None,
    })
}

fn by(link: u32, gateway: IpAddr) -> Option<Route> {
    Some(Route {
        link,
        gateway: Some(gateway),
    })
}

fn told_route(addr: IpAddr, route: Option<Route>) -> NetworkEvent {
    NetworkEvent::Route { addr, route }
}

fn entry(addr: IpAddr, link: u32, state: Nud) -> Neighbour {
    Neighbour {
        addr,
        link,
        state,
        flags: NeighbourFlags::empty(),
        hardware: (state != Nud::Failed).then_some(CARD),
        ages: Some(Ages {
            confirmed: Duration::ZERO,
            updated: Duration::ZERO,
        }),
        by_request: false,
    }
}

fn told_neighbour(addr: IpAddr, link: u32, state: NeighbourState) -> NetworkEvent {
    NetworkEvent::Neighbour {
        addr,
        link,
        state,
        hardware: (state != NeighbourState::Failed).then_some(CARD),
    }
}

/// The entry after the address went to another card.
fn moved(entry: Neighbour) -> Neighbour {
    let hardware = Some(OTHER_CARD);
    Neighbour { hardware, ..entry }
}

fn told_moved(addr: IpAddr, link: u32, state: NeighbourState) -> NetworkEvent {
    let hardware = Some(OTHER_CARD);
    NetworkEvent::Neighbour {
        addr,
        link,
        state,
        hardware,
    }
}

/// Two links that are up; 10.77.0.2 on eth0 and 10.99.0.1 by 10.77.0.3 are watched.
struct Host {
    state: State,
}

impl Host {
    fn new() -> Self {
        let mut host = Self {
            state: State::default(),
        };
        host.told(|state, tell| {
            state.all_links(NOW, vec![link(ETH0, true), link(ETH1, true)], tell);
        });
        host.state.watch([addr(2), far()].into());
        host.look(&[(addr(2), on_link(ETH0)), (far(), by(ETH0, addr(3)))]);
        host
    }

    /// What a step tells, without the times.
    fn told(&mut self, step: impl FnOnce(&mut State, &mut Vec<Told>)) -> Vec<NetworkEvent> {
        let mut tell = Vec::new();
        step(&mut self.state, &mut tell);
        tell.into_iter().map(|(_, event)| event).collect()
    }

    /// Looks at what is due.
    fn look(&mut self, routes: &[(IpAddr, Option<Route>)]) -> Vec<NetworkEvent> {
        self.told(|state, tell| {
            let due = state.take_due(usize::MAX);
            let asked: Vec<_> = routes.iter().map(|(addr, _)| *addr).collect();
            assert_eq!(due, asked);
            for &(addr, route) in routes {
                state.route(NOW, addr, route, tell);
            }
            state.find_next_hops();
        })
    }

    fn link(&mut self, link: Link) -> Vec<NetworkEvent> {
        self.told(|state, tell| {
            state.link(NOW, link, tell);
        })
    }

    fn gone(&mut self, index: u32) -> Vec<NetworkEvent> {
        self.told(|state, tell| {
            state.link_gone(NOW, index, tell);
        })
    }

    fn neighbour(&mut self, entry: &Neighbour) -> Vec<NetworkEvent> {
        self.told(|state, tell| state.neighbour(NOW, entry, tell))
    }

    fn dumped(&mut self, entry: &Neighbour) -> Vec<NetworkEvent> {
        self.told(|state, tell| state.neighbour_there(NOW, entry, tell))
    }
}

#[test]
fn a_route_is_told_after_the_link_it_leaves_by() {
    let mut host = Host {
        state: State::default(),
    };
    host.link(link(ETH0, true));
    host.state.watch([addr(1), addr(2), addr(3)].into());
    let told = host.look(&[
        (addr(1), None),
        (addr(2), on_link(ETH0)),
        (addr(3), on_link(ETH0)),
    ]);
    let expected = [
        told_route(addr(1), None),
        told_link(ETH0, true),
        told_route(addr(2), on_link(ETH0)),
        told_route(addr(3), on_link(ETH0)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn only_changes_of_a_route_are_told() {
    let mut host = Host::new();
    host.state.all_routes_changed();
    let told = host.look(&[(addr(2), on_link(ETH0)), (far(), by(ETH1, addr(3)))]);
    let expected = [told_link(ETH1, true), told_route(far(), by(ETH1, addr(3)))];
    assert_eq!(told, expected);
    host.state.all_routes_changed();
    let told = host.look(&[(addr(2), None), (far(), by(ETH1, addr(3)))]);
    assert_eq!(told, [told_route(addr(2), None)]);
}

#[test]
fn a_link_that_no_route_leaves_by_is_not_told() {
    let mut host = Host::new();
    assert_eq!(host.link(link(ETH1, false)), []);
    assert_eq!(host.link(link(9, true)), []);
    assert_eq!(host.gone(9), []);
}

#[test]
fn a_link_s_turns_are_told_once_each() {
    let mut host = Host::new();
    assert_eq!(host.link(link(ETH0, true)), []);
    assert_eq!(host.link(link(ETH0, false)), [told_link(ETH0, false)]);
    assert_eq!(host.link(link(ETH0, false)), []);
    assert_eq!(host.link(link(ETH0, true)), [told_link(ETH0, true)]);
}

/// Taken down by an operator, it loses its routes before it comes up again.
#[test]
fn a_link_that_was_told_stays_told_without_its_routes() {
    let mut host = Host::new();
    host.link(link(ETH0, false));
    host.state.all_routes_changed();
    host.look(&[(addr(2), None), (far(), None)]);
    assert_eq!(host.link(link(ETH0, true)), [told_link(ETH0, true)]);
}

#[test]
fn a_link_that_is_gone_is_down() {
    let mut host = Host::new();
    assert_eq!(host.gone(ETH0), [told_link(ETH0, false)]);
    assert_eq!(host.gone(ETH0), []);
}

#[test]
fn one_that_was_down_before_it_went_is_not_told_again() {
    let mut host = Host::new();
    host.link(link(ETH0, false));
    assert_eq!(host.gone(ETH0), []);
}

#[test]
fn a_name_is_kept_where_a_message_has_none() {
    let mut host = Host::new();
    let nameless = Link {
        name: None,
        ..link(ETH0, false)
    };
    assert_eq!(host.link(nameless), [told_link(ETH0, false)]);
}

/// The message of the route came first.
#[test]
fn a_link_that_a_route_led_to_is_told_as_soon_as_it_is_known() {
    let mut host = Host::new();
    host.state.all_routes_changed();
    let told = host.look(&[(addr(2), on_link(7)), (far(), by(ETH0, addr(3)))]);
    assert_eq!(told, [told_route(addr(2), on_link(7))]);
    assert_eq!(host.link(link(7, true)), [told_link(7, true)]);
}

#[test]
fn reading_all_links_again_tells_what_was_missed() {
    let mut host = Host::new();
    let told = host.told(|state, tell| {
        state.all_links(NOW, vec![link(ETH0, false), link(ETH1, true)], tell);
    });
    assert_eq!(told, [told_link(ETH0, false)]);
    let mut host = Host::new();
    let told = host.told(|state, tell| state.all_links(NOW, vec![link(ETH1, true)], tell));
    assert_eq!(told, [told_link(ETH0, false)]);
}

#[test]
fn only_a_turn_of_a_link_makes_routes_due() {
    let mut host = Host::new();
    let mut turn = |link| {
        let mut tell = Vec::new();
        host.state.link(NOW, link, &mut tell)
    };
    assert!(!turn(link(ETH1, true)));
    assert!(turn(link(ETH1, false)));
    assert!(!turn(link(ETH1, false)));
    // Its routes will come with messages of their own.
    assert!(!turn(link(9, true)));
    let mut gone = |index| host.state.link_gone(NOW, index, &mut Vec::new());
    assert!(gone(9));
    assert!(!gone(9));
}

#[test]
fn only_addresses_that_a_changed_route_covers_are_due() {
    let mut host = Host::new();
    assert!(!host.state.routes_changed(addr(3), addr(255)));
    assert!(host.state.routes_changed(addr(0), addr(255)));
    assert_eq!(host.state.take_due(8), [addr(2)]);
    assert!(
        host.state
            .routes_changed([0, 0, 0, 0].into(), [255; 4].into())
    );
    assert_eq!(host.state.take_due(1), [addr(2)]);
    assert_eq!(host.state.take_due(8), [far()]);
    assert_eq!(host.state.due(), 0);
}

#[test]
fn a_change_that_covers_many_is_one_of_all() {
    let mut state = State::default();
    let many: BTreeSet<IpAddr> = (0..=200).map(addr).collect();
    state.watch(many.iter().copied().chain([far()]).collect());
    assert_eq!(state.take_due(usize::MAX).len(), 202);
    assert!(state.routes_changed(addr(0), addr(63)));
    assert_eq!(state.due(), 64);
    assert!(state.routes_changed(addr(0), addr(64)));
    assert_eq!(state.due(), 202);
    assert_eq!(state.take_due(200).len(), 200);
    assert_eq!(state.due(), 2);
    // Nothing is watched any more: nothing is due.
    state.all_routes_changed();
    state.watch(BTreeSet::new());
    assert!(state.take_due(usize::MAX).is_empty());
    assert!(!state.all_routes_changed());
}

#[test]
fn what_could_not_be_asked_stays_due_while_it_is_watched() {
    let mut host = Host::new();
    host.state.all_routes_changed();
    let taken = host.state.take_due(8);
    host.state.watch([far()].into());
    host.state.still_due(&taken);
    assert_eq!(host.state.take_due(8), [far()]);
}

#[test]
fn a_new_set_asks_for_what_is_new_and_forgets_what_is_not_in_it() {
    let mut host = Host::new();
    assert!(!host.state.watch([addr(2), far()].into()));
    assert!(host.state.watch([addr(4), far()].into()));
    assert_eq!(host.state.take_due(8), [addr(4)]);
    // An answer that comes late is about nobody.
    let told = host.told(|s, t| s.route(NOW, addr(2), None, t));
    assert_eq!(told, []);
    // Back again, its route is told again.
    host.state.watch([addr(2), far()].into());
    let told = host.look(&[(addr(2), on_link(ETH0))]);
    assert_eq!(told, [told_route(addr(2), on_link(ETH0))]);
}

#[test]
fn neighbours_that_a_watched_route_leads_to_are_told() {
    use NeighbourState::{Failed, Reachable};
    let mut host = Host::new();
    for (hop, nud, state) in [
        (addr(2), Nud::Reachable, Reachable),
        (addr(2), Nud::Failed, Failed),
        // The gateway.
        (addr(3), Nud::Failed, Failed),
        (addr(3), Nud::Reachable, Reachable),
        // Each answer is one more.
        (addr(3), Nud::Reachable, Reachable),
    ] {
        let told = host.neighbour(&entry(hop, ETH0, nud));
        assert_eq!(told, [told_neighbour(hop, ETH0, state)]);
    }
}

#[test]
fn other_neighbours_are_not_told() {
    let mut host = Host::new();
    for other in [
        entry(addr(9), ETH0, Nud::Reachable),
        // Not by this link.
        entry(addr(2), ETH1, Nud::Reachable),
        // Behind a gateway it is no neighbour, whatever someone answers.
        entry(far(), ETH0, Nud::Failed),
    ] {
        assert_eq!(host.neighbour(&other), [], "{other:?}");
    }
    host.state.watch([far()].into());
    let told = host.neighbour(&entry(addr(2), ETH0, Nud::Reachable));
    assert_eq!(told, [], "no longer watched");
}

#[test]
fn of_a_dump_only_what_is_new_is_told() {
    use NeighbourState::{Failed, Reachable};
    let mut host = Host::new();
    let failed = entry(addr(2), ETH0, Nud::Failed);
    let told = [told_neighbour(addr(2), ETH0, Failed)];
    assert_eq!(host.dumped(&failed), told);
    assert_eq!(host.dumped(&failed), []);
    assert_eq!(host.neighbour(&failed), told, "it was asked again, in vain");
    let reachable = entry(addr(2), ETH0, Nud::Reachable);
    let told = [told_neighbour(addr(2), ETH0, Reachable)];
    assert_eq!(host.dumped(&reachable), told);
    assert_eq!(host.dumped(&entry(addr(2), ETH0, Nud::Stale)), []);
}

#[test]
fn a_next_hop_s_card_is_told_once_and_told_again_when_it_is_another() {
    use NeighbourState::{Failed, Reachable, Stale};
    let mut host = Host::new();
    let (hop, gateway) = (addr(2), addr(3));
    let entry_of = |hop, nud| entry(hop, ETH0, nud);
    let told = host.dumped(&entry_of(gateway, Nud::Stale));
    assert_eq!(told, [told_neighbour(gateway, ETH0, Stale)], "the first");
    for nud in [Nud::Stale, Nud::Delay, Nud::Probe] {
        assert_eq!(host.neighbour(&entry_of(gateway, nud)), [], "unchanged");
        assert_eq!(host.dumped(&entry_of(gateway, nud)), [], "unchanged");
    }
    let told = host.neighbour(&moved(entry_of(gateway, Nud::Stale)));
    assert_eq!(told, [told_moved(gateway, ETH0, Stale)]);
    assert_eq!(host.neighbour(&moved(entry_of(gateway, Nud::Delay))), []);

    // An answer by another card is an answer, also in a dump after one by the first.
    host.neighbour(&entry_of(hop, Nud::Reachable));
    let told = host.dumped(&moved(entry_of(hop, Nud::Reachable)));
    assert_eq!(told, [told_moved(hop, ETH0, Reachable)]);

    // A failure has no card, and does not make the one before it new.
    let told = host.neighbour(&entry_of(hop, Nud::Failed));
    assert_eq!(told, [told_neighbour(hop, ETH0, Failed)]);
    assert_eq!(host.neighbour(&moved(entry_of(hop, Nud::Stale))), []);
    let told = host.neighbour(&entry_of(hop, Nud::Stale));
    assert_eq!(told, [told_neighbour(hop, ETH0, Stale)]);
}

/// What was set is no evidence of life, and yet it is where the packets go from now on.
#[test]
fn a_card_that_was_set_by_hand_is_told() {
    let mut host = Host::new();
    let by_hand = |entry| Neighbour {
        by_request: true,
        ..entry
    };
    host.neighbour(&entry(addr(2), ETH0, Nud::Reachable));
    let set = by_hand(entry(addr(2), ETH0, Nud::Permanent));
    assert_eq!(host.neighbour(&set), []);
    let told = host.neighbour(&moved(set));
    assert_eq!(told, [told_moved(addr(2), ETH0, NeighbourState::Stale)]);
}

#[test]
fn new_next_hops_are_noticed() {
    let mut host = Host::new();
    assert!(!host.state.find_next_hops());
    host.state.all_routes_changed();
    host.state.take_due(8);
    let mut tell = Vec::new();
    host.state.route(NOW, far(), by(ETH0, addr(8)), &mut tell);
    assert!(host.state.find_next_hops());
    host.state.route(NOW, far(), None, &mut tell);
    assert!(!host.state.find_next_hops());
}
