//! When socket snapshots are taken.

use super::*;

/// How long after each look at a Dead peer the next is asked for.
fn intervals(world: &mut World, start: u64, looks: usize) -> Vec<u64> {
    let mut now = start;
    (0..looks)
        .map(|_| {
            let before = std::mem::replace(&mut now, world.next_look());
            world.look(now, all_stalled(3, 1));
            now - before
        })
        .collect()
}

#[test]
fn a_dead_peer_is_looked_at_more_and_more_seldom_at_moments_shared_with_others() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(230, all_stalled(3, 1));
    world.look(260, all_stalled(3, 1));
    // At 1000 ms destroy delay ends.
    assert_eq!(intervals(&mut world, 260, 5), [40, 200, 400, 100, 500]);

    world.look(9000, (0..3).map(|n| idle(n, 8990)).collect());
    for n in 0..3 {
        world.event(9010, FlowEventKind::Tlp, established(n, ms(8990)));
    }
    let rto = FlowEventKind::Rto { count: 1 };
    (0..3).for_each(|n| world.event(9214, rto, established(n, ms(8990))));
    let silent = |n| FlowReading {
        last_heard: Some(ms(8990)),
        ..stalled(n, 1)
    };
    for millis in [9230, 9300] {
        world.look(millis, (0..3).map(silent).collect());
    }
    assert_eq!(world.state().verdict, Verdict::Dead);
    assert_eq!(intervals(&mut world, 9300, 1), [100]);
}

#[test]
fn looks_are_as_frequent_as_what_is_known_needs() {
    // Before an idle probe there is one, too.
    let mut world = World::new(Settings {
        idle_probe_interval: Duration::ZERO,
        idle_probe_jitter_percent: 0,
        ..Settings::default()
    });
    world.look(0, Vec::new());
    assert_eq!(world.next_look(), 1000);
    // The last moment within ten seconds that it shares with others.
    world.look(1000, vec![idle(0, 1000)]);
    assert_eq!(world.next_look(), 10_000);
    let mut world = World::alive(1);
    let closed = FlowReading {
        send_window_bytes: 0,
        ..established(0, ms(2000))
    };
    world.look(2000, vec![closed]);
    assert!((2600..=3000).contains(&world.next_look()));
    world.look(3000, vec![idle(0, 3000)]);
    // Suspicion, decision, and between them now and then.
    world.event(4000, FlowEventKind::Tlp, established(0, ms(3990)));
    for (millis, next) in [(4005, 4015), (4015, 4065), (4065, 4115), (4230, 4250)] {
        world.look(millis, vec![established(0, ms(3990))]);
        assert_eq!(world.next_look(), next, "at {millis}");
    }
}

#[test]
fn events_do_not_make_looks_follow_each_other_closer_than_their_spacing() {
    let mut world = World::alive(1);
    world.look(1000, vec![established(0, ms(999))]);
    world.event(1003, FlowEventKind::Tlp, established(0, ms(999)));
    assert_eq!(world.next_look(), 1010);
}

/// However rare the looks, the recovery time-out comes in time.
#[test]
fn the_recovery_timeout_is_waited_for() {
    let mut world = World::new(Settings {
        recovery_timeout: Duration::from_millis(30),
        ..Settings::default()
    });
    world.look(0, (0..3).map(|n| idle(n, 0)).collect());
    world.cut(3);
    world.look(230, all_stalled(3, 1));
    world.look(260, all_stalled(3, 1));
    world.at(289);
    assert_eq!(world.state().breaker, Breaker::Open);
    world.at(290);
    assert_eq!(world.state().breaker, Breaker::HalfOpen);
    assert_eq!(world.next_look(), 300);
}

#[test]
fn a_look_that_took_long_is_not_asked_for_again_at_once() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look_late(5000, 230, all_stalled(3, 1));
    assert_eq!(world.next_look(), 5010);
}

#[test]
fn a_look_that_does_not_come_back_is_asked_for_again() {
    let mut world = World::new(Settings::default());
    world.at(0);
    world.at(1999);
    assert_eq!(world.looks_asked, 1);
    world.at(2000);
    assert_eq!(world.looks_asked, 2);
    world.signal(Signal::SocketsUnreadable {
        peer: peer(),
        addr: endpoint().addr,
    });
    world.at(2099);
    assert_eq!(world.looks_asked, 2);
    world.at(2100);
    assert_eq!(world.looks_asked, 3);
}

#[test]
fn what_happens_while_a_look_is_taken_makes_us_look_again() {
    let mut world = World::alive(1);
    world.event(5000, FlowEventKind::Tlp, established(0, ms(4990)));
    world.at(5000);
    let asked = world.looks_asked;
    world.event(5001, FlowEventKind::Tlp, established(0, ms(4990)));
    world.look(5002, vec![idle(0, 5002)]);
    world.at(5011);
    assert_eq!(world.looks_asked, asked);
    world.at(5012);
    assert_eq!(world.looks_asked, asked + 1);
}

#[test]
fn a_connection_made_while_a_look_is_taken_is_looked_for_again() {
    let mut world = World::new(Settings::default());
    world.at(0);
    world.event(1, FlowEventKind::Established, idle(0, 1));
    world.look(2, Vec::new());
    assert!(world.next_look() <= 102);
}

#[test]
fn new_addresses_are_looked_at_at_once() {
    let mut world = World::new(Settings::default());
    world.look(0, Vec::new());
    let asked = world.looks_asked;
    world.now = ms(100);
    world.signal(Signal::PeerConfigured {
        peer: peer(),
        endpoints: vec![
            endpoint(),
            Endpoint {
                addr: [10, 0, 0, 5].into(),
                ..endpoint()
            },
        ],
        discovered: false,
    });
    world.at(100);
    assert_eq!(world.looks_asked, asked + 1);
}
