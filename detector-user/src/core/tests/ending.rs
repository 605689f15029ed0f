//! The teardown of a dead peer's sockets.

use super::*;

/// A world whose peer is Dead since 260 ms, silent since 10 ms.
fn dead(settings: Settings) -> World {
    let mut world = World::new(settings);
    world.look(0, (0..3).map(|n| idle(n, 0)).collect());
    // The first that is heard since the daemon began.
    world.event(1, FlowEventKind::Established, idle(9, 1));
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
    world
}

fn look_until(world: &mut World, until: u64) {
    loop {
        let at = world.next_look();
        if at > until {
            return;
        }
        world.look(at, all_stalled(3, 1));
    }
}

#[test]
fn sockets_are_destroyed_at_destroy_delay_once() {
    let mut world = dead(Settings::default());
    world.look(999, all_stalled(3, 1));
    assert_eq!(world.destroyed, []);
    let at = world.next_look();
    assert_eq!(at, 1009, "one look's spacing after the last");
    world.look(at, all_stalled(3, 1));
    let sockets = (0..3).map(|n| (stalled(n, 1).id, stalled(n, 1).cookie));
    let expected = Effect::DestroySockets(Teardown {
        peer: peer(),
        addr: endpoint().addr,
        generation: world.state().generation,
        sockets: sockets.collect(),
        spare: Spare::HeardSince(ms(10)),
    });
    assert_eq!(world.destroyed, [expected]);
    look_until(&mut world, 20_000);
    assert_eq!(world.destroyed.len(), 1);
    let result = Destroyed {
        destroyed: 3,
        ..Destroyed::default()
    };
    ended(&mut world, result);
    assert_eq!(world.explain().destroyed, Some(result));
}

fn ended(world: &mut World, result: Destroyed) {
    world.signal(Signal::SocketsDestroyed {
        at: world.now,
        peer: peer(),
        addr: endpoint().addr,
        generation: world.state().generation,
        result,
    });
}

/// A teardown of three sockets of a dead peer, with this result, and a later snapshot: how often
/// sockets are destroyed then.
fn destroyed_again(result: Destroyed, later: Vec<FlowReading>) -> usize {
    let mut world = dead(Settings::default());
    look_until(&mut world, 1100);
    assert_eq!(world.destroyed.len(), 1);
    ended(&mut world, result);
    let at = world.next_look();
    world.look(at, later.clone());
    let at = world.next_look();
    world.look(at, later);
    world.destroyed.len()
}

#[test]
fn a_connection_that_was_missed_is_destroyed_then() {
    let missed = Destroyed {
        destroyed: 2,
        gone: 1,
        ..Destroyed::default()
    };
    assert_eq!(destroyed_again(missed, all_stalled(1, 1)), 2);
    assert_eq!(destroyed_again(missed, Vec::new()), 1);
    let connecting = FlowReading {
        state: TcpState::SynSent,
        ..stalled(7, 1)
    };
    assert_eq!(destroyed_again(missed, vec![connecting]), 1);
    let failed = Destroyed {
        failed: 1,
        ..missed
    };
    assert_eq!(destroyed_again(failed, all_stalled(1, 1)), 1);
}

/// A peer on the link with this many idle flows falls silent at 2 s, but for those who answer then;
/// returns how long after the first unanswered probe its sockets are destroyed.
fn destroyed_after(flows: u16, settings: Settings, answers: Answers) -> (u64, String) {
    let idle_flows = |_| (0..flows).map(|n| idle(n, 0)).collect::<Vec<_>>();
    let mut world = World::new(settings);
    world.keepalives = true;
    world.answers = ALL;
    world.route(None);
    world.run(2000, idle_flows);
    world.answers = answers;
    world.run_until_dead(5000, idle_flows).expect("it dies");
    let explained = world.explain();
    let silent_since = millis(world.now) - explained.silence.duration.as_millis() as u64;
    while world.destroyed.is_empty() {
        let next = millis(world.now) + 1;
        assert!(next < 10_000, "{explained:#?}");
        world.run(next, idle_flows);
    }
    (millis(world.now) - silent_since, explained.summary)
}

#[test]
fn where_every_layer_is_silent_on_several_flows_sockets_are_destroyed_soon() {
    let (after, summary) = destroyed_after(3, Settings::default(), NONE);
    assert!((300..350).contains(&after), "{after} ms");
    let plan = "its sockets are destroyed after 300 ms of silence (every layer is silent, and 3 flows agree)";
    assert!(summary.contains(plan), "{summary}");
}

#[test]
fn the_shorter_destroy_delay_counts() {
    let settings = Settings {
        destroy_delay: Duration::from_millis(400),
        fast_destroy_delay: Duration::from_millis(600),
        ..Settings::default()
    };
    let (after, _) = destroyed_after(3, settings, NONE);
    assert!((250..450).contains(&after), "{after} ms");
}

/// The destroy delay counts from when the host was last heard, up to 385 ms before the silence.
#[test]
fn otherwise_sockets_are_destroyed_later() {
    let (after, summary) = destroyed_after(2, Settings::default(), NONE);
    assert!((600..1050).contains(&after), "{after} ms");
    let plan = "after 1000 ms of silence (2 unanswered flows, 3 needed for less)";
    assert!(summary.contains(plan), "{summary}");
    let (after, summary) = destroyed_after(3, Settings::default(), NEIGHBOUR);
    assert!((1000..1100).contains(&after), "{after} ms");
    assert!(summary.contains("a lower layer still answers"), "{summary}");
}

#[test]
fn a_peer_that_returns_before_destroy_delay_keeps_its_sockets() {
    let mut world = dead(Settings::default());
    world.look(900, (0..3).map(|n| idle(n, 890)).collect());
    assert_eq!(world.state().verdict, Verdict::Alive);
    world.look(1100, all_stalled(3, 1));
    assert_eq!(world.destroyed, []);
}

#[test]
fn nothing_is_destroyed_when_switched_off_or_only_observing() {
    for settings in [
        Settings {
            destroy_sockets: false,
            ..Settings::default()
        },
        Settings {
            mode: Mode::Observe,
            ..Settings::default()
        },
    ] {
        let mut world = dead(settings);
        look_until(&mut world, 5000);
        assert_eq!(world.destroyed, []);
    }
}

#[test]
fn flows_on_other_ports_are_left_alone() {
    let mut world = dead(Settings::default());
    let mut other = stalled(7, 1);
    other.id.remote.set_port(22);
    let mut flows = all_stalled(3, 1);
    flows.push(other);
    world.look(1020, flows);
    let [Effect::DestroySockets(Teardown { sockets, .. })] = &world.destroyed[..] else {
        panic!("{:?}", world.destroyed)
    };
    assert!(sockets.iter().all(|(flow, _)| flow.remote.port() == 9000));
}

#[test]
fn each_death_is_an_occasion_of_its_own() {
    let mut world = dead(Settings::default());
    world.look(1020, all_stalled(3, 1));
    assert_eq!(world.destroyed.len(), 1);
    world.look(30_000, (0..3).map(|n| idle(n, 29_999)).collect());
    assert_eq!(world.state().verdict, Verdict::Alive);
    let silent = |n, rto_count| FlowReading {
        last_heard: Some(ms(39_999)),
        ..stalled(n, rto_count)
    };
    world.look(40_000, (0..3).map(|n| idle(n, 39_999)).collect());
    for n in 0..3 {
        world.event(40_010, FlowEventKind::Tlp, silent(n, 0));
    }
    for n in 0..3 {
        world.event(40_214, FlowEventKind::Rto { count: 1 }, silent(n, 0));
    }
    for at in [40_300, 41_020] {
        world.look(at, (0..3).map(|n| silent(n, 1)).collect());
    }
    assert_eq!(world.destroyed.len(), 2);
}

#[test]
fn a_death_that_is_only_observed_is_looked_at_no_more_often() {
    let mut world = dead(Settings {
        mode: Mode::Observe,
        ..Settings::default()
    });
    let looks = world.looks_asked;
    look_until(&mut world, 11_000);
    let looks = world.looks_asked - looks;
    assert!(looks < 30, "{looks} in ten seconds");
}
