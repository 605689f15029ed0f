//! Flows in other network namespaces than the daemon's own.

use super::*;
use crate::core::isolation::Network;

/// Where the flows of these tests are.
const CONTAINER: u32 = 1;
const HOST: u32 = 2;

impl World {
    fn namespace(&mut self, netns: u32, change: NamespaceChange) {
        let at = self.now;
        self.signal(Signal::Namespace { at, netns, change });
    }

    /// The namespaces that the peer was asked from between these moments, but for the
    /// daemon's own.
    fn asked_from(&self, from_ms: u64, to_ms: u64) -> Vec<u32> {
        let asked = self
            .probed
            .iter()
            .filter(|(at, _)| (from_ms..to_ms).contains(at));
        let mut from: Vec<_> = asked
            .filter_map(|(_, target)| match target {
                ProbeTarget::ConnectFrom { netns, .. } => Some(*netns),
                _ => None,
            })
            .collect();
        from.sort_unstable();
        from.dedup();
        from
    }
}

fn on_host(reading: FlowReading) -> FlowReading {
    FlowReading {
        id: FlowId {
            netns: HOST,
            ..reading.id
        },
        ..reading
    }
}

/// Its processes are gone, its links are gone, and with them whatever they still waited for.
#[test]
fn a_container_that_is_stopped_says_nothing_about_its_peers() {
    for change in [NamespaceChange::Gone, NamespaceChange::Unreadable] {
        let mut world = World::alive(3);
        world.cut(3);
        world.look(230, all_stalled(3, 1));
        assert_eq!(world.unanswered(), 9);
        world.namespace(CONTAINER, change);
        assert_eq!(world.unanswered(), 0, "{change:?}");
        world.look(300, Vec::new());
        world.at(10_000);
        assert!(!world.verdicts().contains(&Verdict::Dead), "{change:?}");
    }
    // It is that which keeps it.
    let mut world = World::alive(3);
    world.cut(3);
    world.look(300, Vec::new());
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// A look that found them gone may be told first.
#[test]
fn what_ended_just_before_is_forgotten_too() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(240, Vec::new());
    assert_eq!(world.unanswered(), 9);
    world.namespace(CONTAINER, NamespaceChange::Gone);
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn the_other_namespaces_flows_still_tell() {
    let mut world = World::alive(3);
    world.cut(3);
    let both = |count| {
        let elsewhere = all_stalled(3, count).into_iter().map(on_host);
        all_stalled(3, count).into_iter().chain(elsewhere).collect()
    };
    world.look(230, both(1));
    world.namespace(CONTAINER, NamespaceChange::Unreadable);
    let host = |count| all_stalled(3, count).into_iter().map(on_host).collect();
    world.look(300, host(1));
    assert_eq!(world.unanswered(), 3);
    world.look(700, host(2));
    // The first time-out may have been before the daemon began: it does not count.
    world.look(924, host(2));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(925, host(2));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn a_peer_is_asked_from_where_its_flows_are() {
    let mut world = World::new(Settings::default());
    world.answers = |target| target.is_connect().then_some(ProbeAnswer::Reset);
    // Not one that is watched: it is the daemon's own.
    world.look(0, vec![idle(0, 0)]);
    world.at(2_000);
    assert!(world.asked_from(0, 2_000).is_empty());

    world.namespace(CONTAINER, NamespaceChange::Watched);
    world.look(2_000, vec![on_host(idle(0, 2_000))]);
    world.at(4_000);
    assert!(world.asked_from(0, 4_000).is_empty(), "no flow is there");

    world.look(4_000, vec![idle(0, 4_000), on_host(idle(1, 4_000))]);
    world.at(5_000);
    assert_eq!(world.asked_from(4_000, 5_000), [CONTAINER]);
    let explained = world.explain().probes;
    let from = |line: &&ProbeLine| matches!(line.target, ProbeTarget::ConnectFrom { .. });
    assert_eq!(explained.iter().filter(from).count(), 2);
    let mut connects = explained.iter().filter(|line| line.target.is_connect());
    assert!(connects.all(|line| line.known_to_answer));
}

/// A dead peer's sockets are destroyed: whoever asked on until it is back could ask from there
/// alone.
#[test]
fn it_is_still_asked_from_there_when_they_have_ended() {
    let mut world = World::new(Settings::default());
    world.namespace(CONTAINER, NamespaceChange::Watched);
    // There is no other way to it.
    world.answers =
        |target| matches!(target, ProbeTarget::ConnectFrom { .. }).then_some(ProbeAnswer::SynAck);
    world.look(0, vec![idle(0, 0)]);
    world.at(1_000);
    world.answers = |_| None;
    world.look(1_001, vec![established(0, ms(1_000))]);
    world.event(
        1_300,
        FlowEventKind::Rto { count: 1 },
        established(0, ms(1_000)),
    );
    for millis in [1_310, 1_700, 2_200] {
        world.look(millis, vec![stalled(0, 1)]);
    }
    assert_eq!(world.state().verdict, Verdict::Dead);
    world.look(3_000, Vec::new());
    world.at(5_000);
    assert_eq!(world.asked_from(4_000, 5_000), [CONTAINER]);

    world.answers =
        |target| matches!(target, ProbeTarget::ConnectFrom { .. }).then_some(ProbeAnswer::SynAck);
    world.at(7_000);
    assert_ne!(world.state().verdict, Verdict::Dead);
    world.namespace(CONTAINER, NamespaceChange::Gone);
    world.at(20_000);
    assert!(world.asked_from(7_001, 20_000).is_empty());
}

/// A proxy that accepts every connect, or another host with this address, answers in the daemon's
/// own namespace.
#[test]
fn who_answers_here_does_not_answer_for_a_container_s_peer() {
    const HERE: Answers =
        |target| matches!(target, ProbeTarget::Connect(_)).then_some(ProbeAnswer::SynAck);
    let mut world = World::new(Settings::default());
    world.namespace(CONTAINER, NamespaceChange::Watched);
    world.answers = |target| match target {
        ProbeTarget::ConnectFrom { .. } => Some(ProbeAnswer::Reset),
        _ => HERE(target),
    };
    world.look(0, vec![idle(0, 0)]);
    world.at(1_000);
    world.answers = HERE;
    world.look(1_001, vec![established(0, ms(1_000))]);
    let rto = FlowEventKind::Rto { count: 1 };
    world.event(1_300, rto, established(0, ms(1_000)));
    for millis in [1_310, 1_700, 2_200] {
        world.look(millis, vec![stalled(0, 1)]);
    }
    assert_eq!(world.state().verdict, Verdict::Dead);
    world.look(3_000, Vec::new());
    world.at(9_000);
    assert_eq!(world.state().verdict, Verdict::Dead);
    // Once the container is gone, there is nobody else to ask.
    world.namespace(CONTAINER, NamespaceChange::Gone);
    world.at(10_000);
    assert_ne!(world.state().verdict, Verdict::Dead);
}

/// Only another host bears witness that this one is not cut off.
#[test]
fn a_container_is_no_witness_for_itself() {
    let mut network = Network::new(Bounds::new(4));
    let [own, peer, elsewhere] = [1, 4, 5].map(|n| std::net::IpAddr::from([10, 0, 0, n]));
    // The daemon has a way to the container, which names itself as a peer, and to one more.
    let route = Some(Route {
        link: 2,
        gateway: None,
    });
    for (addr, route) in [(own, route), (peer, None), (elsewhere, route)] {
        network.event(ms(0), &NetworkEvent::Route { addr, route });
    }
    let flows = [idle(0, 0)];
    network.flows(&flows);
    assert!(
        network.is_elsewhere(own),
        "nothing is known of other namespaces"
    );
    assert!(!network.is_elsewhere(peer));

    network.namespace(CONTAINER, NamespaceChange::Watched);
    network.flows(&flows);
    assert!(!network.is_elsewhere(own));
    assert!(network.is_elsewhere(peer));
    assert!(network.is_elsewhere(elsewhere));

    network.namespace(CONTAINER, NamespaceChange::Gone);
    assert!(network.is_elsewhere(own));
    assert!(!network.is_elsewhere(peer));
}
