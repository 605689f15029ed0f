//! Which network card is believed.

use super::*;

/// Another host's.
const OTHER: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 9]);

const OTHER_CARD: Answers = |target| match target {
    ProbeTarget::Neighbour { .. } => Some(ProbeAnswer::Neighbour(OTHER)),
    _ => None,
};

const GATEWAY: [u8; 4] = [10, 0, 0, 1];

fn neighbour(addr: IpAddr, card: HardwareAddress) -> NetworkEvent {
    NetworkEvent::Neighbour {
        addr,
        link: 2,
        state: NeighbourState::Reachable,
        hardware: Some(card),
    }
}

/// A peer on the link, heard under its own card.
fn known() -> World {
    let mut world = World::with_keepalives(Settings::default());
    world.network(neighbour(endpoint().addr, CARD));
    world.run(4000, |_| vec![idle(0, 0)]);
    assert!(!world.state().contested);
    world
}

#[test]
fn another_host_that_answers_for_a_dead_one_does_not_keep_it_alive() {
    let mut world = known();
    world.answers = OTHER_CARD;
    let dead = world.run_until_dead(6000, |_| vec![idle(0, 0)]);
    let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain()));
    // As soon as if nobody answered.
    assert!(dead < 4700, "{dead}");
    let state = world.state();
    assert_eq!(state.reason, Reason::ProbeUnanswered);
    assert!(state.contested);
    world.run(dead + 5000, |_| vec![idle(0, 0)]);
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// The peer lives: that is to be known all the same.
#[test]
fn a_contest_is_published_when_it_begins() {
    let mut world = known();
    world.network(neighbour(endpoint().addr, OTHER));
    assert!(world.state().contested);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

/// A standby router has taken over, and does not know the connections.
#[test]
fn behind_a_next_hop_whose_card_has_changed_nothing_is_destroyed_for_ten_seconds() {
    let mut world = World::with_keepalives(Settings::default());
    world.route(Some(GATEWAY.into()));
    world.network(neighbour(GATEWAY.into(), CARD));
    world.run(4000, |_| vec![idle(0, 0)]);
    world.network(neighbour(GATEWAY.into(), OTHER));
    world.answers = OTHER_CARD;
    let dead = world.run_until_dead(10_000, |_| vec![idle(0, 0)]);
    assert!(dead.is_some(), "{:#?}", world.explain());
    world.run(13_990, |_| vec![idle(0, 0)]);
    assert_eq!(world.destroyed, []);
    world.run(15_000, |_| vec![idle(0, 0)]);
    assert_eq!(world.destroyed.len(), 1);
}

#[test]
fn with_the_same_card_they_are_destroyed_at_the_destroy_delay() {
    let mut world = World::with_keepalives(Settings::default());
    world.route(Some(GATEWAY.into()));
    world.network(neighbour(GATEWAY.into(), CARD));
    world.run(4000, |_| vec![idle(0, 0)]);
    world.answers = NEIGHBOUR;
    let dead = world.run_until_dead(10_000, |_| vec![idle(0, 0)]);
    let dead = dead.expect("it is dead");
    world.run(dead + 2000, |_| vec![idle(0, 0)]);
    assert_eq!(world.destroyed.len(), 1);
}
