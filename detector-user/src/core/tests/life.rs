//! What shows that a peer lives, and what shows nothing.

use super::*;

#[test]
fn a_packet_on_any_flow_ends_the_silence() {
    let mut world = World::alive(4);
    world.cut(3);
    let mut flows = all_stalled(3, 1);
    flows.push(idle(3, 240));
    world.look(260, flows);
    assert_ne!(world.state().verdict, Verdict::Dead);
}

#[test]
fn a_packet_on_an_unwatched_port_counts_as_life() {
    let mut world = World::alive(3);
    world.cut(3);
    let mut flows = all_stalled(3, 1);
    let mut ssh = idle(3, 240);
    ssh.id.remote.set_port(22);
    flows.push(ssh);
    world.look(260, flows);
    assert_ne!(world.state().verdict, Verdict::Dead);
}

#[test]
fn stalls_on_an_unwatched_port_are_no_demand() {
    let mut world = World::alive(1);
    let stalled = (0..9)
        .map(|n| {
            let mut flow = stalled(n, 3);
            flow.id.remote.set_port(22);
            flow
        })
        .collect();
    world.look(5000, stalled);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

/// A path that swallows large segments: one flow is stuck for ever, the others are answered
/// and then have nothing to say.
#[test]
fn one_stuck_flow_beside_answered_ones_is_not_a_dead_peer() {
    let mut world = World::alive(4);
    let mut millis = 214;
    for count in 1..8 {
        world.event(millis, FlowEventKind::Rto { count }, stalled(0, count - 1));
        let heard = millis + 20;
        let mut flows: Vec<_> = (1..4).map(|n| idle(n, heard)).collect();
        flows.push(stalled(0, count));
        for later in [30, 100, 300] {
            world.look(millis + later, flows.clone());
        }
        millis += 204 << count;
    }
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn a_zero_window_is_slow_and_never_dead() {
    let mut world = World::alive(3);
    world.cut(3);
    for millis in (250..60_000).step_by(500) {
        let flows = (0..3)
            .map(|n| FlowReading {
                send_window_bytes: 0,
                probes_out: 1,
                last_heard: Some(ms(millis - 200)),
                ..stalled(n, 3)
            })
            .collect();
        world.look(millis, flows);
    }
    assert_eq!(world.state().verdict, Verdict::Degraded);
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn a_reset_is_an_answer() {
    for errno in [104, 32] {
        let mut world = World::alive(3);
        world.cut(3);
        world.event(245, FlowEventKind::Closed { errno }, stalled(0, 1));
        world.look(260, (1..3).map(|n| stalled(n, 1)).collect());
        assert_ne!(world.state().verdict, Verdict::Dead, "errno {errno}");
    }
}

/// A router or a firewall may have refused it in the host's name.
#[test]
fn a_refused_connect_is_no_answer() {
    let mut world = World::alive(3);
    world.cut(3);
    let refused = FlowEventKind::ConnectFailed { errno: 111 };
    for millis in [100, 200, 300] {
        world.event(millis, refused, stalled(9, 0));
    }
    let dead = world.run_until_dead(2000, |_| all_stalled(3, 1));
    assert!(dead.is_some(), "{:#?}", world.explain());
}

#[test]
fn a_demand_that_went_away_unanswered_proves_nothing() {
    let mut world = World::alive(1);
    world.cut(1);
    world.look(260, all_stalled(1, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(60_000, Vec::new());
    assert_eq!(world.state().verdict, Verdict::Unknown);
}

#[test]
fn unknown_is_not_alive_again_before_it_is_heard() {
    let mut world = World::alive(2);
    world.cut(1);
    world.look(260, vec![stalled(0, 1), idle(1, 0)]);
    assert_eq!(world.state().verdict, Verdict::Suspect);
    for millis in [60_000, 61_000] {
        world.look(millis, vec![idle(1, 0)]);
        assert_eq!(world.state().verdict, Verdict::Unknown, "at {millis}");
    }
    world.look(62_000, vec![idle(1, 61_990)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn a_young_demand_is_no_suspicion_and_ends_none() {
    let mut world = World::alive(1);
    world.event(10, FlowEventKind::Tlp, established(0, ms(0)));
    world.look(19, vec![established(0, ms(0))]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    world.look(20, vec![established(0, ms(0))]);
    assert_eq!(world.state().verdict, Verdict::Suspect);
    assert_eq!(world.state().reason, Reason::TlpUnanswered);
    world.event(45, FlowEventKind::Tlp, established(0, ms(40)));
    world.look(50, vec![established(0, ms(40))]);
    assert_eq!(world.state().verdict, Verdict::Suspect);
}

#[test]
fn an_idle_flow_keeps_a_peer_alive_and_none_forgets_it() {
    let mut world = World::alive(1);
    world.look(3_600_000, vec![idle(0, 0)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    world.look(3_700_000, vec![idle(0, 3_690_000)]);
    world.look(3_779_000, Vec::new());
    assert_eq!(world.state().verdict, Verdict::Alive);
    world.look(3_780_000, Vec::new());
    assert_eq!(world.state().verdict, Verdict::Unknown);
}

#[test]
fn a_close_with_nothing_unanswered_is_no_demand() {
    let mut world = World::alive(3);
    for errno in [0, 103, 5] {
        world.event(10, FlowEventKind::Closed { errno }, idle(0, 0));
    }
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn what_was_closed_on_an_unwatched_port_is_no_demand() {
    let mut world = World::alive(1);
    let mut flows = all_stalled(3, 2);
    flows
        .iter_mut()
        .for_each(|flow| flow.id.remote.set_port(22));
    world.look(1000, flows);
    world.look(1010, Vec::new());
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn events_on_an_unwatched_port_are_not_even_a_reason_to_look() {
    let mut world = World::alive(1);
    let looks = world.looks_asked;
    let mut ssh = established(0, ms(0));
    ssh.id.remote.set_port(22);
    world.event(100, FlowEventKind::Closed { errno: 110 }, ssh);
    world.at(200);
    assert_eq!((world.unanswered(), world.looks_asked), (0, looks));
}

/// Without BTF an event carries no reading of its socket.
#[test]
fn an_answered_flow_has_no_demand_even_before_it_is_read() {
    let mut world = World::alive(1);
    world.cut(1);
    assert!(world.explain().flows.iter().any(|flow| flow.demand));
    world.at(240);
    world.signal(Signal::Flow(FlowEvent {
        at: world.now,
        source: SourceKind::Ebpf,
        flow: established(0, ms(0)).id,
        kind: FlowEventKind::Recovered,
        reading: None,
    }));
    assert!(world.explain().flows.iter().all(|flow| !flow.demand));
}
