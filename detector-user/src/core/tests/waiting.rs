//! Flows on which calls wait, while their peer lives.

use super::*;

/// The first flow and the third answer nothing.
const OTHERS: Answers = |target| match target {
    ProbeTarget::Flow { flow, .. } if [40_000, 40_002].contains(&flow.local.port()) => None,
    _ => ALL(target),
};

/// Connects are answered, and no flow is.
const CONNECTS: Answers = |target| match target {
    ProbeTarget::Flow { .. } => None,
    _ => ALL(target),
};

/// A call waits on the `n`th flow since 1000 ms; the flow was last heard then.
fn waiting(n: u16) -> FlowReading {
    FlowReading {
        awaiting_since: Some(ms(1000)),
        mss: 1448,
        ..idle(n, 1000)
    }
}

/// A busy flow beside it.
fn busy(at: u64) -> FlowReading {
    FlowReading {
        mss: 1448,
        bytes_acked: at,
        ..idle(1, at - 5)
    }
}

fn world() -> World {
    let mut world = World::with_keepalives(Settings::default());
    world.run(4000, |at| vec![waiting(0), busy(at)]);
    assert_eq!(world.state().stalled_flows, 0);
    world
}

#[test]
fn a_call_on_a_flow_that_answers_nothing_is_freed_while_its_peer_lives() {
    let mut world = world();
    world.answers = OTHERS;
    world.run(8000, |at| vec![waiting(0), busy(at)]);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason, state.breaker),
        (Verdict::Degraded, Reason::FlowsStalled, Breaker::Closed)
    );
    assert_eq!((state.stalled_flows, world.destroyed.len()), (1, 0));
    world.run(9500, |at| vec![waiting(0), busy(at)]);
    let [Effect::DestroySockets(teardown)] = &world.destroyed[..] else {
        panic!("{:?}", world.destroyed)
    };
    assert_eq!(teardown.sockets, [(waiting(0).id, waiting(0).cookie)]);
    let Spare::ProgressedSince(since) = teardown.spare else {
        panic!("{teardown:?}")
    };
    assert!((ms(3300)..ms(4000)).contains(&since), "{since:?}");
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

/// The flow was heard after the last probe on it was answered: that is no progress which would
/// spare it.
#[test]
fn a_flow_is_stalled_since_it_was_last_heard() {
    let mut world = world();
    world.answers = OTHERS;
    let last = FlowReading {
        last_heard: Some(ms(4100)),
        ..waiting(0)
    };
    world.run(9500, |at| vec![last.clone(), busy(at)]);
    let [Effect::DestroySockets(teardown)] = &world.destroyed[..] else {
        panic!("{:?}", world.destroyed)
    };
    assert_eq!(teardown.spare, Spare::ProgressedSince(ms(4100)));
}

#[test]
fn a_flow_that_answers_is_left_alone_however_long_its_call_waits() {
    let mut world = world();
    world.run(60_000, |at| vec![waiting(0), busy(at)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert_eq!(world.destroyed, []);
}

/// Each call is answered, by data that shows that the flow works.
#[test]
fn a_flow_whose_calls_take_no_time_is_not_probed() {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = OTHERS;
    let calls = |at| FlowReading {
        awaiting_since: Some(ms(at - 300)),
        ..waiting(0)
    };
    world.run(12_000, |at| vec![calls(at), busy(at)]);
    assert_eq!(world.state().stalled_flows, 0);
}

/// It may be the host, or this node: the reference is not answered either.
#[test]
fn a_missing_answer_says_nothing_while_the_reference_is_not_answered() {
    let mut world = world();
    world.answers = CONNECTS;
    world.run(12_000, |at| vec![waiting(0), busy(at)]);
    assert_eq!(world.state().stalled_flows, 0);
    assert_eq!(world.destroyed, []);
}

/// A busy flow that the peer has connected to this node.
fn accepted(at: u64) -> FlowReading {
    let mut flow = busy(at);
    (flow.id.local, flow.id.remote) =
        (([10, 0, 0, 1], 9000).into(), ([10, 0, 0, 4], 50_000).into());
    flow
}

/// A firewall may drop keepalives: those on the only other flow, with another port, are answered.
#[test]
fn a_flow_on_which_keepalives_were_never_answered_is_left_alone() {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = OTHERS;
    world.run(15_000, |at| vec![waiting(2), accepted(at)]);
    assert_eq!(world.state().stalled_flows, 0);
    assert_eq!(world.destroyed, []);
}

#[test]
fn the_only_flow_is_freed_too_if_connects_are_answered() {
    let mut world = World::with_keepalives(Settings::default());
    world.run(5000, |_| vec![waiting(0)]);
    world.answers = OTHERS;
    // A SYN a second.
    world.run(20_000, |_| vec![waiting(0)]);
    assert_eq!(world.state().stalled_flows, 0);
    world.run(60_000, |_| vec![waiting(0)]);
    assert_eq!(world.destroyed.len(), 1);
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn nothing_is_probed_where_peers_are_probed_only_in_doubt() {
    let mut world = World::with_keepalives(Settings {
        idle_probe_interval: Duration::ZERO,
        ..Settings::default()
    });
    world.run(4000, |at| vec![waiting(0), busy(at)]);
    world.answers = OTHERS;
    world.run(20_000, |at| vec![waiting(0), busy(at)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn the_reference_is_a_connect_that_is_known_to_be_answered() {
    const SERVICE: Answers = |target| match target {
        ProbeTarget::Connect(Endpoint { port: 9000, .. }) => ALL(target),
        _ => None,
    };
    let mut world = World::new(Settings::default());
    world.keepalives = true;
    world.answers = |target| match target {
        ProbeTarget::Flow { .. } => ALL(target),
        _ => SERVICE(target),
    };
    world.run(5000, |_| vec![waiting(0)]);
    world.answers = SERVICE;
    world.run(60_000, |_| vec![waiting(0)]);
    assert_eq!(world.destroyed.len(), 1);
}

/// Each flow answers a keepalive only now and then, so the same one is not the reference each time.
#[test]
fn the_flows_that_answer_take_turns_as_the_reference() {
    let mut world = World::with_keepalives(Settings::default());
    let flows = |_| vec![waiting(0), waiting(1), waiting(3)];
    world.run(4000, flows);
    world.answers = OTHERS;
    world.run(6000, flows);
    let asked_since = |from, port| {
        let is_asked = |(at, target): &&(u64, ProbeTarget)| {
            let of = |flow: &FlowId| flow.local.port() == port;
            *at >= from && matches!(target, ProbeTarget::Flow { flow, .. } if of(flow))
        };
        world.probed.iter().filter(is_asked).count()
    };
    let missing = asked_since(5000, 40_000);
    let references = [40_001, 40_003].map(|port| asked_since(5000, port));
    assert!(missing >= 5, "{missing}");
    assert!(references.iter().all(|asked| *asked >= 2), "{references:?}");
}

/// The other flow, with another port, never answers keepalives, so it cannot serve as the reference.
#[test]
fn after_a_flow_that_does_not_answer_the_reference_is_a_connect() {
    const FIRST: Answers = |target| match target {
        ProbeTarget::Flow { flow, .. } if flow.local.port() != 40_000 => None,
        _ => ALL(target),
    };
    let mut world = World::with_keepalives(Settings::default());
    world.answers = FIRST;
    world.run(5000, |at| vec![waiting(0), accepted(at)]);
    world.answers = CONNECTS;
    world.run(60_000, |at| vec![waiting(0), accepted(at)]);
    assert_eq!(world.destroyed.len(), 1);
}

/// The other flow is lost too, and nobody waits on it: it is not heard again.
#[test]
fn a_lost_flow_is_not_the_reference_for_ever() {
    let mut world = World::with_keepalives(Settings::default());
    let flows = |_| vec![waiting(0), idle(1, 1000)];
    world.run(5000, flows);
    world.answers = CONNECTS;
    world.run(60_000, flows);
    assert_eq!(world.destroyed.len(), 1);
}

/// With rare idle probes the rounds show a death first.
#[test]
fn a_reference_that_is_not_answered_has_the_host_probed() {
    let mut world = World::with_keepalives(Settings {
        idle_probe_interval: Duration::from_secs(5),
        ..Settings::default()
    });
    world.run(12_000, |_| vec![waiting(0)]);
    world.answers = |_| None;
    world.run(15_000, |_| vec![waiting(0)]);
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// A container that is cut off by itself: connects from the daemon's namespace are answered, and
/// show nothing about the container.
#[test]
fn a_flow_of_another_namespace_is_compared_only_with_what_is_sent_from_there() {
    const FROM_THERE_NOTHING: Answers = |target| match target {
        ProbeTarget::Flow { .. } | ProbeTarget::ConnectFrom { .. } => None,
        _ => ALL(target),
    };
    let mut world = World::with_keepalives(Settings::default());
    let (at, netns) = (world.now, waiting(0).id.netns);
    let change = NamespaceChange::Watched;
    world.signal(Signal::Namespace { at, netns, change });
    world.run(5000, |_| vec![waiting(0)]);
    world.answers = FROM_THERE_NOTHING;
    world.run(60_000, |_| vec![waiting(0)]);
    assert_eq!(world.state().stalled_flows, 0);
    assert_eq!(world.destroyed, []);
}

/// The first flow is kept, and stays as it is.
#[test]
fn a_flow_that_is_stalled_for_long_hides_no_other() {
    let mut world = World::with_keepalives(Settings {
        destroy_stalled_after: Duration::ZERO,
        ..Settings::default()
    });
    let flows = |at| vec![waiting(0), waiting(2), busy(at)];
    world.run(4000, flows);
    world.answers = |target| match target {
        ProbeTarget::Flow { flow, .. } if flow.local.port() == 40_000 => None,
        _ => ALL(target),
    };
    world.run(30_000, flows);
    assert_eq!(world.state().stalled_flows, 1);
    world.answers = OTHERS;
    world.run(40_000, flows);
    assert_eq!(world.state().stalled_flows, 2);
}
