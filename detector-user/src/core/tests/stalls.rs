//! Flows that are stuck while their peer lives.

use super::*;

/// Who answers but the first flow.
const OTHERS: Answers = |target| match target {
    ProbeTarget::Flow { flow, .. } if flow.local.port() == 40_000 => None,
    _ => ALL(target),
};

/// A firewall drops keepalives.
const CONNECTS: Answers = |target| match target {
    ProbeTarget::Flow { .. } => None,
    _ => ALL(target),
};

/// When its time-outs come, after it was cut at 2000 ms.
const TIME_OUTS: [(u64, u32); 4] = [(2204, 1), (2612, 2), (3428, 3), (5060, 4)];

fn stuck(at: u64) -> FlowReading {
    let count = TIME_OUTS.iter().rfind(|(out, _)| *out <= at);
    FlowReading {
        mss: 1448,
        unacked_bytes: 2896,
        last_heard: Some(ms(1990)),
        ..stalled(0, count.map_or(0, |(_, count)| *count))
    }
}

/// Two flows, of which the first is cut at 2000 ms.
fn one_stuck(settings: Settings) -> World {
    let mut world = World::with_keepalives(settings);
    world.answers = OTHERS;
    world
}

/// The first flow and the second until then.
fn run(world: &mut World, until: u64, first: impl Fn(u64) -> FlowReading) {
    run_beside(world, until, first, |at| Some(idle(1, at - 5)));
}

/// The first flow and another, if there is one, until then.
fn run_beside(
    world: &mut World,
    until: u64,
    first: impl Fn(u64) -> FlowReading,
    other: impl Fn(u64) -> Option<FlowReading>,
) {
    let flows = |at| [first(at)].into_iter().chain(other(at)).collect();
    for (at, count) in TIME_OUTS {
        if (millis(world.now)..until).contains(&at) {
            world.run(at, flows);
            let before = FlowReading {
                rto_count: count - 1,
                // It is read before the kernel backs it off.
                rto: Duration::from_millis(204 << (count - 1)),
                ..first(at)
            };
            world.event(at, FlowEventKind::Rto { count }, before);
        }
    }
    world.run(until, flows);
}

#[test]
fn a_stalled_flow_is_told_and_freed_once_while_its_peer_lives() {
    let mut world = one_stuck(Settings::default());
    run(&mut world, 3400, stuck);
    assert_ne!(world.state().verdict, Verdict::Degraded, "two time-outs");
    run(&mut world, 4500, stuck);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason, state.breaker),
        (Verdict::Degraded, Reason::FlowsStalled, Breaker::Closed)
    );
    assert_eq!(state.stalled_flows, 1);
    assert!(state.oldest_stall >= Some(Duration::from_secs(1)));
    let health = state.health.expect("it lives");
    assert!(health.score < 100, "{health:?}");
    run(&mut world, 6900, stuck);
    assert_eq!(world.destroyed, []);
    run(&mut world, 7500, stuck);
    let [Effect::DestroySockets(teardown)] = &world.destroyed[..] else {
        panic!("{:?}", world.destroyed)
    };
    assert_eq!(teardown.sockets, [(stuck(0).id, stuck(0).cookie)]);
    // Its first segment was sent a time-out before its first expiry.
    assert_eq!(teardown.spare, Spare::ProgressedSince(ms(2000)));
    run(&mut world, 20_000, stuck);
    assert_eq!(world.destroyed.len(), 1);
    assert!(!world.verdicts().contains(&Verdict::Dead));
    // It is gone.
    world.run(22_000, |at| vec![idle(1, at - 5)]);
    let state = world.state();
    assert_eq!((state.verdict, state.stalled_flows), (Verdict::Alive, 0));
}

#[test]
fn it_is_told_and_left_alone_where_freeing_is_switched_off() {
    let mut world = one_stuck(Settings {
        destroy_stalled_after: Duration::ZERO,
        ..Settings::default()
    });
    run(&mut world, 30_000, stuck);
    assert_eq!(world.state().reason, Reason::FlowsStalled);
    assert_eq!(world.destroyed, []);
}

#[test]
fn it_is_told_and_left_alone_while_an_administrator_holds_the_breaker_closed() {
    let mut world = one_stuck(Settings::default());
    let held = Override {
        kind: OverrideKind::Closed,
        until: ms(3_600_000),
        reason: "false alarm".into(),
        uid: 0,
    };
    world.detector.set_override(world.now, &peer(), Some(held));
    run(&mut world, 30_000, stuck);
    assert_eq!(world.state().reason, Reason::FlowsStalled);
    assert_eq!(world.destroyed, []);
}

/// The program behind it does not read: it may, at any moment.
#[test]
fn a_flow_with_a_closed_window_is_never_freed() {
    let mut world = one_stuck(Settings::default());
    run(&mut world, 30_000, |at| FlowReading {
        send_window_bytes: 0,
        probes_out: 1,
        ..stuck(at)
    });
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason, state.stalled_flows),
        (Verdict::Degraded, Reason::ZeroWindow, 0)
    );
    assert_eq!(world.destroyed, []);
}

/// Small segments pass on the very flow.
#[test]
fn where_the_flow_itself_answers_probes_its_large_segments_are_lost() {
    let mut world = one_stuck(Settings::default());
    world.answers = ALL;
    run(&mut world, 5000, stuck);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason),
        (Verdict::Degraded, Reason::LargeSegmentsLost)
    );
    let summary = world.explain().summary;
    assert!(summary.contains("1448 bytes"), "{summary}");
    assert!(summary.contains("tcp_mtu_probing"), "{summary}");
    run(&mut world, 8000, stuck);
    assert_eq!(world.destroyed.len(), 1, "keepalives are no progress");
}

/// Where nobody else answers either, the silence is the peer's.
#[test]
fn a_stuck_flow_of_a_silent_peer_is_not_stalled() {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = NONE;
    world.event(2010, FlowEventKind::Tlp, stuck(2010));
    let dead = world.run_until_dead(5000, |at| vec![stuck(at)]);
    assert!(dead.is_some());
    assert!(world.published.iter().all(|s| s.stalled_flows == 0));
}

/// Its host answered connects since the flow was sent again: a lost ARP answer beside it is no
/// silence of the host.
#[test]
fn one_stuck_flow_and_one_lost_arp_answer_are_no_death() {
    const NO_FLOW: Answers = |target| match target {
        ProbeTarget::Flow { .. } => None,
        _ => ALL(target),
    };
    const CONNECTS: Answers = |target| match target.is_connect() {
        true => ALL(target),
        false => None,
    };
    let mut world = World::with_keepalives(Settings::default());
    world.answers = NO_FLOW;
    run_beside(&mut world, 2600, stuck, |_| None);
    world.answers = CONNECTS;
    run_beside(&mut world, 6000, stuck, |_| None);
    let verdicts = world.verdicts();
    assert!(!verdicts.contains(&Verdict::Dead), "{verdicts:?}");
}

/// What it sent again while its host was silent says nothing of the flow: it waits long between
/// two retransmissions by then.
#[test]
fn a_flow_that_was_not_sent_again_since_its_host_returned_is_not_stalled() {
    let mut world = World::with_keepalives(Settings {
        destroy_sockets: false,
        ..Settings::default()
    });
    world.answers = NONE;
    world.run(6000, |at| vec![stuck(at)]);
    assert_eq!(world.state().verdict, Verdict::Dead);
    world.answers = ALL;
    run(&mut world, 11_000, stuck);
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert!(world.published.iter().all(|s| s.stalled_flows == 0));
    // Now it is, and goes unanswered.
    let sent = FlowReading {
        rto_count: 4,
        rto: Duration::from_millis(6528),
        ..stuck(11_500)
    };
    world.event(11_500, FlowEventKind::Rto { count: 5 }, sent);
    let again = |at| FlowReading {
        rto_count: 5,
        ..stuck(at)
    };
    world.run(13_000, |at| vec![again(at), idle(1, at - 5)]);
    assert_eq!(world.state().stalled_flows, 0);
    world.run(15_000, |at| vec![again(at), idle(1, at - 5)]);
    assert_eq!(world.state().stalled_flows, 1);
}

/// A path on which a tenth of all segments is seen to be lost, as where a fifth is.
fn lossy(at: u64) -> FlowReading {
    FlowReading {
        segments_sent: at,
        segments_retransmitted: at / 10,
        ..idle(1, at - 5)
    }
}

/// The number of flows that are destroyed within 10 s after the first is cut.
fn freed_where_much_is_lost(before: Answers, answers: Answers) -> usize {
    let mut world = one_stuck(Settings::default());
    world.answers = before;
    run_beside(&mut world, 1990, stuck_later, |at| Some(lossy(at)));
    world.answers = answers;
    run_beside(&mut world, 12_000, five_times, |at| Some(lossy(at)));
    assert!(!world.verdicts().contains(&Verdict::Dead));
    world.destroyed.len()
}

fn stuck_later(at: u64) -> FlowReading {
    idle(0, at - 5)
}

fn five_times(at: u64) -> FlowReading {
    let expired = TIME_OUTS.iter().filter(|(out, _)| *out <= at).count() as u32;
    FlowReading {
        rto_count: expired + u32::from(at >= 8324),
        ..stuck(at)
    }
}

/// Five retransmissions of one flow are lost by chance on such a path.
#[test]
fn where_much_is_lost_a_flow_is_freed_only_if_its_probes_go_unanswered_too() {
    assert_eq!(freed_where_much_is_lost(ALL, OTHERS), 1);
    assert_eq!(freed_where_much_is_lost(ALL, ALL), 0);
    assert_eq!(freed_where_much_is_lost(CONNECTS, CONNECTS), 0);
}

/// Beside many flows on each of which something was just retransmitted, five expiries of one flow may
/// be chance: it is not known yet how much the path loses. Keepalives are dropped here, so nothing
/// else speaks for the flow or against it.
#[test]
fn where_other_flows_are_retransmitted_as_well_a_flow_is_not_freed_by_its_expiries_alone() {
    let freed = |others: u16| {
        let mut world = World::with_keepalives(Settings::default());
        world.answers = CONNECTS;
        let flows = |at: u64| -> Vec<FlowReading> {
            let other = |n| FlowReading {
                mss: 1448,
                bytes_acked: at,
                segments_sent: at,
                segments_retransmitted: at / 100,
                ..established(n, ms(at - 5))
            };
            let first = five_times(at);
            [first].into_iter().chain((1..=others).map(other)).collect()
        };
        world.run(12_000, flows);
        assert_eq!(world.state().reason, Reason::FlowsStalled, "{others}");
        world.destroyed.len()
    };
    assert_eq!((freed(1), freed(30)), (1, 0));
}
