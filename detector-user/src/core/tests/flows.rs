//! Evidence is neither lost nor counted twice, however signals overtake each other.

use super::*;

#[test]
fn a_flow_closed_while_its_sockets_were_read_counts_once() {
    let mut world = World::alive(1);
    world.cut(1);
    assert_eq!(world.unanswered(), 3);
    world.event(300, FlowEventKind::Closed { errno: 0 }, stalled(0, 1));
    world.look_late(301, 299, all_stalled(1, 1));
    world.look(311, Vec::new());
    assert!(world.unanswered() <= 3);
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn a_flow_that_one_reading_missed_counts_once() {
    let mut world = World::alive(1);
    world.cut(1);
    world.look(270, Vec::new());
    assert_eq!(world.unanswered(), 3);
    world.event(626, FlowEventKind::Rto { count: 2 }, stalled(0, 1));
    assert!(world.unanswered() <= 3);
}

#[test]
fn a_port_used_again_does_not_hide_what_was_unanswered() {
    let again = |n| FlowReading {
        cookie: 100 + u64::from(n),
        state: TcpState::SynSent,
        last_heard: None,
        ..stalled(n, 0)
    };
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, (0..3).map(again).collect());
    assert_eq!(world.state().verdict, Verdict::Dead);

    let mut world = World::alive(3);
    world.cut(3);
    for n in 0..3 {
        world.event(250, FlowEventKind::Established, again(n));
    }
    assert_eq!(world.unanswered(), 0, "a handshake is an answer");
    let mut world = World::alive(3);
    world.cut(3);
    for n in 0..3 {
        let kind = FlowEventKind::ErrorReport { errno: 103 };
        world.event(250, kind, again(n));
    }
    assert_eq!(world.unanswered(), 9);
}

#[test]
fn flows_beyond_the_bound_are_not_taken_for_closed() {
    let mut world = World::new(Settings {
        max_flows_per_peer: 2,
        ..Settings::default()
    });
    world.look(0, vec![idle(0, 0), idle(1, 0)]);
    for n in 0..2 {
        world.event(10, FlowEventKind::Tlp, established(n, ms(0)));
    }
    assert_eq!(world.unanswered(), 4);
    let mut flows = vec![stalled(5, 1), stalled(6, 1)];
    flows.extend([established(0, ms(0)), established(1, ms(0))]);
    world.look(230, flows);
    // Of those kept it is known that they were sent; when they were sent again is not.
    assert_eq!(world.unanswered(), 2);
}

/// After a full ring the source tells the latest record of each flow, which may be known.
#[test]
fn what_is_told_again_counts_once() {
    let mut world = World::alive(1);
    for again in 0..10 {
        let millis = 10 + 100 * again;
        world.told_late(millis, 10, FlowEventKind::Tlp, established(0, ms(0)));
    }
    assert_eq!(world.unanswered(), 2);
    world.look(1000, vec![established(0, ms(0))]);
    assert_eq!(world.state().verdict, Verdict::Suspect);
}

#[test]
fn an_older_look_changes_nothing() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(230, all_stalled(3, 1));
    let before = (0..3).map(|n| established(n, ms(0))).collect();
    world.look_late(232, 213, before);
    assert_eq!(world.unanswered(), 9);
    assert!(
        world
            .detector
            .poll_timeout()
            .is_some_and(|at| at <= ms(260))
    );
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn an_older_look_does_not_bring_an_old_verdict_back() {
    let mut world = World::alive(1);
    let closed = FlowReading {
        send_window_bytes: 0,
        ..established(0, ms(490))
    };
    world.look(500, vec![closed]);
    assert_eq!(world.state().verdict, Verdict::Degraded);
    world.look_late(501, 480, vec![idle(0, 470)]);
    assert_eq!(world.state().verdict, Verdict::Degraded);
}

#[test]
fn a_look_that_events_overtook_takes_nothing_away() {
    let mut world = World::alive(3);
    world.cut(3);
    let before = (0..3).map(|n| established(n, ms(0))).collect();
    world.look_late(215, 213, before);
    assert_eq!(world.unanswered(), 9);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// Time-outs that no event told of may have been as early as one reading allows or as late:
/// the detection time runs from the latest, and most of it from when the peer was asked again.
#[test]
fn a_demand_first_seen_by_a_look_is_as_young_as_it_may_be() {
    let mut world = World::alive(3);
    world.look(1000, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(1224, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(1225, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// One flow was stuck before the peer answered others: its next time-out was sent after
/// that, at the latest when it was seen.
#[test]
fn a_time_out_between_two_looks_may_have_been_just_now() {
    let mut world = World::alive(4);
    world.look(100, (0..4).map(|n| established(n, ms(0))).collect());
    let mut flows = all_stalled(3, 1);
    flows.push(idle(3, 240));
    world.look(300, flows.clone());
    flows.iter_mut().take(3).for_each(|flow| flow.rto_count = 2);
    world.look(600, flows);
    assert_eq!(world.explain().silence.duration, Duration::ZERO);
}

#[test]
fn other_addresses_take_their_evidence_with_them() {
    let other = Endpoint {
        addr: [10, 0, 0, 5].into(),
        ..endpoint()
    };
    let configured = |endpoints| Signal::PeerConfigured {
        peer: peer(),
        endpoints,
        discovered: false,
    };
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    world.signal(configured(vec![endpoint(), other]));
    // Nothing is known of the new address; the old one is what it was.
    let state = world.state();
    assert_eq!(
        (state.verdict, state.breaker),
        (Verdict::Unknown, Breaker::Closed)
    );
    let old = (state.paths[0].verdict, state.paths[0].breaker);
    assert_eq!(old, (Verdict::Dead, Breaker::Open));
    assert_eq!(world.unanswered(), 9);

    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    let generation = world.state().generation;
    world.signal(configured(vec![other]));
    let state = world.state();
    assert_eq!(
        (state.verdict, state.breaker, state.reason),
        (Verdict::Unknown, Breaker::Closed, Reason::NoEvidence)
    );
    assert_eq!(state.generation, generation + 1);
    assert_eq!(state.last_heard, None);
    assert_eq!(world.unanswered(), 0);
    assert!(world.explain().flows.is_empty());
    // A look that was asked for under the old address.
    world.look(600, all_stalled(3, 2));
    assert_eq!(world.state().verdict, Verdict::Unknown);
    assert_eq!(world.state().last_heard, None);
    // Nor is an event on a flow with the old one anything.
    let published = world.published.len();
    let looks = world.looks_asked;
    world.event(650, FlowEventKind::Established, idle(9, 650));
    world.at(650);
    assert_eq!(
        (world.published.len(), world.looks_asked),
        (published, looks)
    );
    // The new host, last heard before the old one was found dead.
    let mut flow = idle(0, 100);
    flow.id.remote.set_ip(other.addr);
    world.at(700);
    world.read(ms(700), other.addr, vec![flow]);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn connects_to_an_address_that_left_are_forgotten() {
    let mut world = World::alive(3);
    world.cut(3);
    for n in 0..3 {
        world.event(230, FlowEventKind::Closed { errno: 110 }, stalled(n, 1));
    }
    assert_eq!(world.unanswered(), 12);
    world.signal(Signal::PeerConfigured {
        peer: peer(),
        endpoints: vec![Endpoint {
            addr: [10, 0, 0, 5].into(),
            ..endpoint()
        }],
        discovered: false,
    });
    assert_eq!(world.unanswered(), 0);
}

/// Its last segment looks a little younger at each look (the kernel's clock is coarse), and
/// its retransmissions may be in the kernel's totals before their events are told.
#[test]
fn the_retransmissions_of_a_death_are_not_learnt_as_loss() {
    let mut world = World::new(Settings::default());
    let quiet = |heard_ms: u64, retransmitted: u64, reading: FlowReading| FlowReading {
        last_heard: Some(ms(heard_ms)),
        segments_sent: 6 + retransmitted,
        segments_retransmitted: retransmitted,
        ..reading
    };
    world.look(0, vec![quiet(0, 0, idle(0, 0))]);
    world.event(204, FlowEventKind::Tlp, established(0, ms(0)));
    world.look(205, vec![quiet(4, 2, established(0, ms(0)))]);
    world.look(260, vec![quiet(5, 3, stalled(0, 1))]);
    let explanation = world.detector.explain(world.now, &peer()).unwrap();
    assert_eq!(explanation.silence.required_transmissions, 5);
}

/// On its return all that was in flight is sent again, which says nothing of the path.
#[test]
fn what_a_return_sends_again_is_not_learnt_as_loss() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(230, all_stalled(3, 1));
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
    let sent_again = |heard_ms| -> Vec<_> {
        (0..3)
            .map(|n| FlowReading {
                segments_sent: 1300,
                segments_retransmitted: 300,
                ..idle(n, heard_ms)
            })
            .collect()
    };
    for millis in [900, 1000, 5000] {
        world.look(millis, sent_again(millis));
    }
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert_eq!(world.explain().silence.required_transmissions, 5);
}
