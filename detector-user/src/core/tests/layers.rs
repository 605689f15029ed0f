//! An answer on a lower layer never counts as one on a higher layer: it changes only the reason and
//! the time that must pass.

use super::*;

const MSS: u32 = 1448;

/// A flow on which segments of the peer arrive and nothing of ours is acknowledged.
fn one_way(n: u16, heard_ms: u64, rto_count: u32) -> FlowReading {
    FlowReading {
        mss: MSS,
        bytes_acked: 5000,
        last_heard: Some(ms(heard_ms)),
        ..stalled(n, rto_count)
    }
}

/// The same with nothing in flight, and everything acknowledged.
fn acknowledged(n: u16, heard_ms: u64) -> FlowReading {
    FlowReading {
        mss: MSS,
        bytes_acked: 5000,
        ..idle(n, heard_ms)
    }
}

#[test]
fn a_deaf_host_behind_a_card_that_answers_is_dead_at_its_own_time() {
    for keepalives in [true, false] {
        let mut world = World::with_keepalives(Settings::default());
        if !keepalives {
            world.keepalives = false;
            world.run(3000, |_| vec![idle(0, 0)]);
        }
        let deaf = millis(world.now);
        world.answers = NEIGHBOUR;
        world.event(deaf + 1, FlowEventKind::Tlp, established(0, ms(0)));
        let dead = world.run_until_dead(deaf + 5000, |_| vec![established(0, ms(0))]);
        let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain()));
        assert!((1000..1300).contains(&(dead - deaf)), "{}", dead - deaf);
        let state = world.state();
        assert_eq!(
            (state.reason, state.breaker),
            (Reason::HostUnanswered, Breaker::Open)
        );
        // Its card's answers do not end it.
        world.run(dead + 10_000, |_| vec![established(0, ms(0))]);
        assert_eq!(world.state().verdict, Verdict::Dead);
    }
}

/// A card that answers again makes a dead peer's host be probed at once.
#[test]
fn what_the_kernel_hears_of_a_dead_peer_s_card_has_its_host_probed() {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = NONE;
    let dead = world.run_until_dead(4000, |_| vec![idle(0, 0)]).unwrap();
    world.run(dead + 5000, |_| vec![idle(0, 0)]);
    let last = world.probed.last().unwrap().0;
    // Not when it is due anyway.
    world.run(last + 50, |_| vec![idle(0, 0)]);
    world.answers = ALL;
    world.network(NetworkEvent::Neighbour {
        addr: endpoint().addr,
        link: 2,
        state: NeighbourState::Reachable,
        hardware: Some(CARD),
    });
    assert_eq!(
        world.state().verdict,
        Verdict::Dead,
        "it is no sign of life"
    );
    world.run(last + 53, |_| vec![idle(0, 0)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn segments_that_arrive_do_not_say_that_ours_do() {
    for answers in [NONE, NEIGHBOUR] {
        let mut world = World::with_keepalives(Settings::default());
        world.run(2500, |at| vec![acknowledged(0, at - 5)]);
        world.answers = answers;
        let flows = |at: u64| vec![one_way(0, at - 5, 1)];
        world.event(2510, FlowEventKind::Tlp, one_way(0, 2505, 0));
        let dead = world.run_until_dead(6000, flows);
        let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain()));
        assert!((1000..1300).contains(&(dead - 2500)), "{dead}");
        assert_eq!(world.state().reason, Reason::SendsUnanswered);
        // Its segments neither end the death nor spare its sockets.
        world.run(dead + 10_000, flows);
        assert_eq!(world.state().verdict, Verdict::Dead);
        let [Effect::DestroySockets(teardown)] = &world.destroyed[..] else {
            panic!("{:?}", world.destroyed)
        };
        assert_eq!(teardown.spare, Spare::Nothing);
        assert!(world.explain().state.last_heard > Some(ms(dead + 9000)));
    }
}

/// The peer's own segments may be as rare as its retransmissions, so none may have come when it is
/// found dead.
#[test]
fn segments_that_arrive_after_the_death_do_not_say_that_ours_do() {
    let mut world = World::with_keepalives(Settings::default());
    world.run(2500, |at| vec![acknowledged(0, at - 5)]);
    world.answers = NEIGHBOUR;
    let silent = |_: u64| vec![one_way(0, 2505, 1)];
    world.event(2510, FlowEventKind::Tlp, one_way(0, 2505, 0));
    let dead = world.run_until_dead(6000, silent).expect("it is silent");
    assert_eq!(world.state().reason, Reason::HostUnanswered);
    // One segment, which may be the first of a peer that is back.
    world.run(dead + 500, |_| vec![one_way(0, dead + 450, 1)]);
    assert_eq!(world.state().reason, Reason::HostUnanswered);
    world.run(dead + 2000, |at| vec![one_way(0, at - 5, 1)]);
    let state = world.state();
    let told = (state.verdict, state.reason, state.breaker);
    assert_eq!(
        told,
        (Verdict::Dead, Reason::SendsUnanswered, Breaker::Open)
    );
    let Some(Effect::DestroySockets(teardown)) = world.destroyed.last() else {
        panic!("{:?}", world.destroyed)
    };
    assert_eq!(teardown.spare, Spare::Nothing);
}

/// The kernel counts retransmissions of what has arrived before, and notes no time of them.
#[test]
fn retransmissions_of_the_peer_are_segments_that_arrive() {
    let mut world = World::with_keepalives(Settings::default());
    world.run(2500, |at| vec![acknowledged(0, at - 5)]);
    world.answers = NEIGHBOUR;
    let flows = |at: u64| {
        vec![FlowReading {
            segments_received: 100 + u32::try_from(at / 200).unwrap(),
            ..one_way(0, 2505, 1)
        }]
    };
    world.event(2510, FlowEventKind::Tlp, one_way(0, 2505, 0));
    let dead = world.run_until_dead(6000, flows);
    let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain()));
    assert!((1000..1300).contains(&(dead - 2500)), "{dead}");
    assert_eq!(world.state().reason, Reason::SendsUnanswered);
    world.run(dead + 3000, |_| vec![one_way(0, 2505, 1)]);
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// The peer sent for a moment longer than it acknowledged: that does not spare its sockets for ever.
#[test]
fn what_arrived_before_the_death_spares_nothing() {
    let mut world = World::with_keepalives(Settings::default());
    world.run(2500, |at| vec![acknowledged(0, at - 5)]);
    world.answers = NEIGHBOUR;
    let flows = |at: u64| vec![one_way(0, 2560.min(at - 5), 1)];
    world.event(2510, FlowEventKind::Tlp, one_way(0, 2505, 0));
    let dead = world.run_until_dead(6000, flows).expect("it is silent");
    assert_eq!(world.state().reason, Reason::HostUnanswered);
    world.run(dead + 3000, flows);
    let [Effect::DestroySockets(teardown)] = &world.destroyed[..] else {
        panic!("{:?}", world.destroyed)
    };
    let Spare::HeardSince(since) = teardown.spare else {
        panic!("{teardown:?}")
    };
    assert!(since >= ms(2560), "{since:?}");
    assert!(since < ms(dead), "what arrives from now on spares them");
}

/// It is the same but for one thing: what is acknowledged grows.
#[test]
fn segments_that_acknowledge_ours_do() {
    let mut world = World::with_keepalives(Settings::default());
    world.run(2500, |at| vec![acknowledged(0, at - 5)]);
    world.answers = NONE;
    let flows = |at: u64| {
        vec![FlowReading {
            bytes_acked: 5000 + at,
            ..one_way(0, at - 5, 1)
        }]
    };
    world.event(2510, FlowEventKind::Tlp, one_way(0, 2505, 0));
    assert_eq!(world.run_until_dead(12_000, flows), None);
}

/// A usual limit on SYNs is one a second.
#[test]
fn a_silence_that_only_syns_show_must_be_longer() {
    let mut world = World::new(Settings::default());
    world.answers = ALL;
    world.route(Some([10, 0, 0, 1].into()));
    world.run(2000, |_| vec![idle(0, 0)]);
    // The gateway's card.
    world.answers = NEIGHBOUR;
    world.probed.clear();
    let dead = world.run_until_dead(8000, |_| vec![idle(0, 0)]);
    let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain().clauses));
    let first = world.probed.iter().find(|(_, target)| target.is_connect());
    let first = first.expect("it is probed").0;
    assert!((2000..2300).contains(&(dead - first)), "{first} {dead}");
}

/// As a pod that is killed: its kernel closes its connections, and soon nobody has its address.
#[test]
fn who_closes_its_connections_is_asked_soon_whether_it_is_still_there() {
    let mut world = World::new(Settings::default());
    world.answers = ALL;
    world.route(Some([10, 0, 0, 1].into()));
    world.run(2000, |_| vec![idle(0, 0)]);
    // The gateway's card.
    world.answers = NEIGHBOUR;
    world.probed.clear();
    let dead = world.run_until_dead(8000, |_| Vec::new());
    let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain().clauses));
    let first = world.probed.iter().find(|(_, target)| target.is_connect());
    let first = first.expect("it is probed").0;
    assert!((2000..2400).contains(&first), "{first}");
    assert!((4000..4700).contains(&dead), "{dead}");
}
