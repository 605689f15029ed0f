//! What makes a peer Dead, and when.

use std::time::Duration;

use super::*;

#[test]
fn three_silent_flows_are_dead_at_the_detection_time_and_not_before() {
    let mut world = World::alive(3);
    world.cut(3);
    // What is known to have been sent first was sent at 10 ms.
    world.look(259, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(260, all_stalled(3, 1));
    let state = world.state();
    assert_eq!(state.verdict, Verdict::Dead);
    assert_eq!(state.breaker, Breaker::Open);
    assert_eq!(state.reason, Reason::RtoUnanswered);
    assert_eq!(state.detection_latency, Some(Duration::from_millis(250)));
}

#[test]
fn a_look_is_asked_for_at_the_moment_of_decision() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(216, all_stalled(3, 1));
    world.look(226, all_stalled(3, 1));
    // 0.9 of the detection time after it was asked again.
    assert_eq!(world.next_look(), 236);
    world.look(236, all_stalled(3, 1));
    let before = world.looks_asked;
    world.at(259);
    assert_eq!(world.looks_asked, before);
    assert_eq!(world.detector.poll_timeout(), Some(ms(260)));
    world.at(260);
    assert_eq!(world.looks_asked, before + 1);
}

#[test]
fn a_single_flow_needs_more_time_outs() {
    let mut world = World::alive(1);
    world.cut(1);
    world.look(626, all_stalled(1, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.event(627, FlowEventKind::Rto { count: 2 }, stalled(0, 1));
    world.look(1460, all_stalled(1, 2));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.event(1461, FlowEventKind::Rto { count: 3 }, stalled(0, 2));
    world.look(1462, all_stalled(1, 3));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn events_alone_never_make_a_peer_dead() {
    let mut world = World::alive(3);
    world.cut(3);
    for count in 2..10 {
        for n in 0..3 {
            let at = 1000 * u64::from(count);
            world.event(at, FlowEventKind::Rto { count }, stalled(n, count));
        }
    }
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn a_flow_the_peer_dialled_is_watched_by_our_port() {
    let mut world = World::alive(1);
    let accepted = |n: u16, mut flow: FlowReading| {
        flow.id.local.set_port(9000);
        flow.id.remote.set_port(50_000 + n);
        flow
    };
    for n in 0..3 {
        let flow = accepted(n, established(n, ms(0)));
        world.event(10, FlowEventKind::Tlp, flow);
    }
    world.look(300, (0..3).map(|n| accepted(n, stalled(n, 1))).collect());
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn our_own_kill_is_no_answer() {
    let mut world = World::alive(3);
    world.cut(3);
    world.event(245, FlowEventKind::Closed { errno: 103 }, stalled(0, 1));
    world.look(260, (1..3).map(|n| stalled(n, 1)).collect());
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn connects_that_were_given_up_add_up() {
    let mut world = World::alive(1);
    world.look(1, Vec::new());
    give_up_three_connects(&mut world);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason),
        (Verdict::Dead, Reason::ConnectUnanswered)
    );
}

/// The whole cluster lost power, and this node boots first.
#[test]
fn a_peer_that_was_never_heard_is_not_dead_yet() {
    let mut world = World::new(Settings::default());
    give_up_three_connects(&mut world);
    let state = world.state();
    assert_eq!(state.verdict, Verdict::Suspect);
    assert_eq!(state.breaker, Breaker::Closed);
}

fn give_up_three_connects(world: &mut World) {
    let syn = |n: u16, rto_count: u32| FlowReading {
        state: TcpState::SynSent,
        last_heard: None,
        rto_count,
        rto: Duration::from_secs(1),
        ..established(n, ms(0))
    };
    for n in 0..3 {
        let start = 3000 * u64::from(n);
        for count in 1..3 {
            world.event(
                start + 1000 * u64::from(count),
                FlowEventKind::SynRetransmit { count },
                syn(n, count - 1),
            );
        }
        world.event(
            start + 2900,
            FlowEventKind::ConnectFailed { errno: 0 },
            syn(n, 2),
        );
        world.look(start + 2950, Vec::new());
    }
}

#[test]
fn a_stall_that_recovered_makes_us_more_patient() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(216, all_stalled(3, 1));
    world.look(240, (0..3).map(|n| idle(n, 230)).collect());
    assert_eq!(world.state().verdict, Verdict::Alive);
    // The next silence begins at 1000 ms; 230 ms were recovered from, so 345 are asked for.
    for n in 0..3 {
        world.event(1010, FlowEventKind::Tlp, established(n, ms(1000)));
        world.event(
            1214,
            FlowEventKind::Rto { count: 1 },
            established(n, ms(1000)),
        );
    }
    let silent = |rto_count| {
        (0..3)
            .map(|n| FlowReading {
                last_heard: Some(ms(1000)),
                ..stalled(n, rto_count)
            })
            .collect::<Vec<_>>()
    };
    world.look(1330, silent(1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(1350, silent(1));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// A stamp of the kernel's coarse clock may read as younger than what was sent after it.
#[test]
fn what_was_sent_just_before_the_last_packet_counts_and_the_silence_is_shorter() {
    let coarse = |rto_count| {
        let coarse = |n| FlowReading {
            last_heard: Some(ms(14)),
            ..stalled(n, rto_count)
        };
        (0..3).map(coarse).collect::<Vec<_>>()
    };
    let mut world = World::alive(3);
    world.cut(3);
    world.look(263, coarse(1));
    assert_eq!(world.unanswered(), 9);
    assert_eq!(world.state().verdict, Verdict::Suspect);
    // The time-outs at 214 ms are the first that surely came after it.
    world.look(438, coarse(1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(439, coarse(1));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn the_strongest_reason_is_given() {
    let mut world = World::alive(3);
    for n in 0..3 {
        world.event(10, FlowEventKind::Tlp, established(n, ms(0)));
    }
    world.event(214, FlowEventKind::Rto { count: 1 }, established(2, ms(0)));
    let mut flows = all_stalled(2, 0);
    flows.push(stalled(2, 1));
    world.look(260, flows);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason),
        (Verdict::Dead, Reason::RtoUnanswered)
    );
}

#[test]
fn what_the_kernel_gave_up_on_makes_us_look() {
    for kind in [
        FlowEventKind::Closed { errno: 110 },
        FlowEventKind::Closed { errno: 113 },
        FlowEventKind::ConnectFailed { errno: 0 },
    ] {
        let mut world = World::alive(1);
        let asked = world.looks_asked;
        world.event(100, kind, idle(5, 0));
        world.at(100);
        assert_eq!(world.looks_asked, asked + 1, "{kind:?}");
    }
}

#[test]
fn what_is_kept_of_closed_flows_is_bounded() {
    let mut world = World::alive(1);
    for n in 0..1000 {
        let closed = FlowEventKind::Closed { errno: 110 };
        world.event(10, closed, established(n, ms(0)));
    }
    assert_eq!(world.unanswered(), 64);
}

#[test]
fn loss_is_learnt_from_what_was_answered_only() {
    let sent = |heard_ms, sent, retransmitted| FlowReading {
        segments_sent: sent,
        segments_retransmitted: retransmitted,
        ..idle(0, heard_ms)
    };
    let mut world = World::new(Settings::default());
    world.look(0, vec![sent(0, 1000, 0)]);
    let clean = world.explain().silence.loss_estimate;
    world.look(1000, vec![sent(0, 1100, 100)]);
    assert_eq!(world.explain().silence.loss_estimate, clean);
    world.look(1001, vec![sent(1001, 1100, 100)]);
    let lossy = world.explain().silence.loss_estimate;
    assert!(lossy > 0.4, "{lossy}");
    // Nothing new is no loss, and what was counted is not counted again.
    world.look(1002, vec![sent(1002, 1100, 100)]);
    let after = world.explain().silence.loss_estimate;
    assert!((after - lossy).abs() < 0.01, "{after}, {lossy}");
    world.look(1020, vec![sent(1020, 2100, 100)]);
    let better = world.explain().silence.loss_estimate;
    assert!(better < lossy && better > clean, "{better}");
}
