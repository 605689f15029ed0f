//! Where a connection exists, the peer is probed on it.

use super::*;

const FLOWS_ONLY: Answers = |target| match target {
    ProbeTarget::Flow { .. } => ALL(target),
    _ => None,
};

fn is_flow(target: ProbeTarget) -> bool {
    matches!(target, ProbeTarget::Flow { .. })
}

fn is_neighbour(target: ProbeTarget) -> bool {
    matches!(target, ProbeTarget::Neighbour { .. })
}

/// When the neighbour was probed.
fn neighbours(world: &World) -> Vec<u64> {
    let probed = world.probed.iter();
    let neighbours = probed.filter(|(_, target)| is_neighbour(*target));
    neighbours.map(|(at, _)| *at).collect()
}

/// The most of these that lie within any one second.
fn most_in_a_second(times: &[u64]) -> usize {
    let within = |from: &u64| {
        times
            .iter()
            .filter(|at| (*from..from + 1000).contains(*at))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn an_idle_connection_is_probed_on_itself() {
    let mut world = World::with_keepalives(Settings::default());
    world.probed.clear();
    world.run(11_000, |_| vec![idle(0, 0)]);
    let all = &world.probed;
    assert!(all.iter().all(|(_, target)| is_flow(*target)), "{all:?}");
    assert!((23..=29).contains(&all.len()), "{} in 9 s", all.len());
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn in_doubt_no_syn_goes_to_a_peer_with_a_connection_and_a_silent_link() {
    let mut world = World::with_keepalives(Settings::default());
    world.probed.clear();
    world.answers = NONE;
    let dead = world.run_until_dead(4000, |_| vec![idle(0, 0)]);
    let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain()));
    assert!(dead < 2700, "{dead}");
    assert_eq!(world.state().reason, Reason::ProbeUnanswered);
    let in_doubt = world.probed.iter().filter(|(at, _)| *at < dead);
    let connects = in_doubt.filter(|(_, target)| target.is_connect());
    assert_eq!(connects.count(), 0);
    world.run(20_000, |_| vec![idle(0, 0)]);
    let neighbours = neighbours(&world);
    assert!(neighbours.len() > 10, "{}", neighbours.len());
    assert!(most_in_a_second(&neighbours) <= 5, "{neighbours:?}");
}

#[test]
fn in_doubt_the_first_probes_are_no_syns_whatever_the_link_says() {
    let mut world = World::with_keepalives(Settings::default());
    world.probed.clear();
    world.answers = NEIGHBOUR;
    world.run_until_dead(4000, |_| vec![idle(0, 0)]);
    let first = world.probed[0].0;
    let syn = world.probed.iter().find(|(_, t)| t.is_connect());
    let syn = syn.expect("the link leaves it open whether it is the flows or the host");
    assert!(syn.0 >= first + 125, "{first} {}", syn.0);
}

/// A full connection table, or a limit on SYNs, on the way: nothing new passes.
#[test]
fn a_peer_whose_connections_answer_is_never_dead_for_unanswered_syns() {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = FLOWS_ONLY;
    for second in 2..200 {
        let at = second * 1000;
        world.event(at, FlowEventKind::Tlp, established(0, ms(0)));
        world.run(at + 999, |_| vec![established(0, ms(0))]);
    }
    let syn = FlowReading {
        state: TcpState::SynSent,
        last_heard: None,
        ..established(9, ms(0))
    };
    for (at, count) in [(201_000, 1), (203_000, 2), (207_000, 3)] {
        let kind = FlowEventKind::SynRetransmit { count };
        let waits = FlowReading {
            rto_count: count,
            ..syn.clone()
        };
        world.event(at, kind, waits.clone());
        world.run(at + 1999, |_| vec![established(0, ms(0)), waits.clone()]);
    }
    let wrong = world.published.iter().find(|s| s.verdict == Verdict::Dead);
    assert_eq!(wrong, None);
}

/// It has restarted, and knows nothing of the connection.
#[test]
fn a_host_that_resets_a_flow_lives_and_ends_a_death() {
    const RESET: Answers = |target| is_flow(target).then_some(ProbeAnswer::Reset);
    let mut world = World::with_keepalives(Settings::default());
    world.answers = RESET;
    world.run(10_000, |_| vec![idle(0, 0)]);
    assert!(!world.verdicts().contains(&Verdict::Dead));
    world.answers = NONE;
    let dead = world.run_until_dead(12_000, |_| vec![idle(0, 0)]);
    let dead = dead.expect("it is dead");
    world.answers = RESET;
    world.run(dead + 500, |_| vec![idle(0, 0)]);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.breaker, state.breaker_reason),
        (Verdict::Alive, Breaker::Closed, Reason::ResetReceived)
    );
}

#[test]
fn keepalives_of_a_kernel_that_cannot_send_them_are_not_tried_again() {
    let mut world = World::with_keepalives(Settings::default());
    world.keepalives = false;
    world.run(10_000, |_| vec![idle(0, 0)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    world.keepalives = true;
    world.probed.clear();
    world.run(20_000, |_| vec![idle(0, 0)]);
    assert!(!world.probed.is_empty());
    assert!(!world.probed.iter().any(|(_, target)| is_flow(*target)));
}

#[test]
fn no_probe_of_a_neighbour_is_sent_where_it_is_switched_off() {
    let mut world = World::with_keepalives(Settings {
        neighbour_probes: false,
        ..Settings::default()
    });
    world.answers = NONE;
    let dead = world.run_until_dead(6000, |_| vec![idle(0, 0)]);
    // Nothing is known of the link: SYNs have to say it, too.
    assert!(dead.is_some(), "{:#?}", world.explain());
    world.run(20_000, |_| vec![idle(0, 0)]);
    assert!(neighbours(&world).is_empty());
}

#[test]
fn a_peer_whose_only_answers_were_its_card_s_is_unknown() {
    let mut world = World::new(Settings::default());
    world.answers = NEIGHBOUR;
    world.route(None);
    world.run(60_000, |_| Vec::new());
    assert!(neighbours(&world).len() > 1);
    assert_eq!(world.verdicts(), [Verdict::Unknown]);
    assert_eq!(world.state().last_heard, None);
}

/// Hosts limit how often they say so: that they do not, says nothing.
#[test]
fn who_said_unreachable_and_falls_silent_is_not_dead() {
    let mut world = World::new(Settings::default());
    world.answers = |target| target.is_connect().then_some(ProbeAnswer::Unreachable);
    world.route(Some([10, 0, 0, 1].into()));
    world.run(2000, |_| vec![idle(0, 0)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    world.answers = NONE;
    world.event(2100, FlowEventKind::Tlp, established(0, ms(0)));
    assert_eq!(world.run_until_dead(60_000, |_| vec![stalled(0, 1)]), None);
    let lines = world.explain().probes;
    let mut connects = lines.iter().filter(|line| line.target.is_connect());
    assert!(connects.all(|line| !line.known_to_answer && line.sent > 0));
}

/// Its host may have been started anew, and know none of the other connections.
#[test]
fn after_a_reset_the_other_flows_are_probed() {
    for kind in [
        FlowEventKind::Closed { errno: 104 },
        FlowEventKind::ErrorReport { errno: 104 },
    ] {
        let mut world = World::with_keepalives(Settings::default());
        world.run(1000, |_| vec![idle(0, 0), idle(1, 0)]);
        world.probed.clear();
        world.event(1010, kind, idle(0, 0));
        world.look(1015, vec![idle(1, 0)]);
        let flow = idle(1, 0).id;
        let is_asked = |(_, target): &(_, ProbeTarget)| matches!(target, ProbeTarget::Flow { flow: asked, .. } if *asked == flow);
        assert!(
            world.probed.iter().any(is_asked),
            "{kind:?}: {:?}",
            world.probed
        );
    }
}
