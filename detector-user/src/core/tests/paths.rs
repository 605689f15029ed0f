//! A peer with two addresses: a verdict for each, and the sum.

use super::*;

const OTHER: [u8; 4] = [10, 0, 0, 5];

/// Who answers at the other address alone.
const OTHER_ALONE: Answers = |target| match target.addr() == IpAddr::from(OTHER) {
    true => ALL(target),
    false => None,
};

fn there(reading: FlowReading) -> FlowReading {
    let mut id = reading.id;
    id.remote.set_ip(OTHER.into());
    FlowReading { id, ..reading }
}

/// One connection to each address.
fn both(addr: IpAddr, _: u64) -> Vec<FlowReading> {
    match addr == endpoint().addr {
        true => vec![idle(0, 0)],
        false => vec![there(idle(1, 0))],
    }
}

fn two_addresses() -> World {
    let mut world = World::with_keepalives(Settings::default());
    let other = Endpoint {
        addr: OTHER.into(),
        ..endpoint()
    };
    world.signal(Signal::PeerConfigured {
        peer: peer(),
        endpoints: vec![endpoint(), other],
        discovered: false,
    });
    world.network(NetworkEvent::Route {
        addr: other.addr,
        route: Some(Route {
            link: 2,
            gateway: None,
        }),
    });
    world.run_each(4000, both);
    assert_eq!(world.state().paths.len(), 2);
    assert!(
        world
            .state()
            .paths
            .iter()
            .all(|p| p.verdict == Verdict::Alive)
    );
    world
}

#[test]
fn one_dead_address_of_two_leaves_its_peer_degraded() {
    let mut world = two_addresses();
    world.answers = OTHER_ALONE;
    world.run_each(8000, both);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason, state.breaker),
        (Verdict::Degraded, Reason::PathDead, Breaker::Closed)
    );
    let verdicts: Vec<_> = state.paths.iter().map(|p| (p.verdict, p.breaker)).collect();
    assert_eq!(
        verdicts,
        [
            (Verdict::Dead, Breaker::Open),
            (Verdict::Alive, Breaker::Closed)
        ]
    );
    let [Effect::DestroySockets(teardown)] = &world.destroyed[..] else {
        panic!("{:?}", world.destroyed)
    };
    assert_eq!(teardown.addr, endpoint().addr);
    assert_eq!(teardown.sockets, [(idle(0, 0).id, idle(0, 0).cookie)]);
}

#[test]
fn a_peer_is_dead_when_both_of_its_addresses_are() {
    let mut world = two_addresses();
    world.answers = OTHER_ALONE;
    world.run_each(8000, both);
    world.answers = NONE;
    world.run_each(12_000, both);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.breaker),
        (Verdict::Dead, Breaker::Open),
        "{:#?}",
        world.explain()
    );
    assert_eq!(world.destroyed.len(), 2);
    world.answers = OTHER_ALONE;
    world.run_each(14_000, both);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason, state.breaker),
        (Verdict::Degraded, Reason::PathDead, Breaker::Closed)
    );
    world.answers = ALL;
    world.run_each(16_000, both);
    assert_eq!(world.state().verdict, Verdict::Alive);
}
