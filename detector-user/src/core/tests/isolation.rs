//! When this host itself may be cut off.

use super::{
    cluster::{Cluster, NODES, at_node, name},
    *,
};

#[test]
fn one_peer_that_dies_while_all_others_are_idle_is_dead() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4];
    cluster.run(1000);
    cluster.silence(&[4]);
    cluster.run(280);
    assert_eq!(cluster.verdict(4), Verdict::Dead);
    assert!([5, 6].iter().all(|n| cluster.verdict(*n) == Verdict::Alive));
}

#[test]
fn two_of_three_that_die_together_are_dead() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4, 5];
    cluster.run(1000);
    cluster.silence(&[4, 5]);
    cluster.run(400);
    assert_eq!(
        (cluster.verdict(4), cluster.verdict(5)),
        (Verdict::Dead, Verdict::Dead)
    );
}

#[test]
fn when_everyone_falls_silent_nobody_is_dead_and_it_is_said() {
    for busy in [vec![4], vec![4, 5, 6], vec![]] {
        let mut cluster = Cluster::new(None);
        cluster.busy = busy.clone();
        cluster.run(1000);
        cluster.silence(&NODES);
        cluster.run(3000);
        assert!(!cluster.ever_dead, "{busy:?}");
        assert!(NODES.iter().all(|n| cluster.isolated(*n)), "{busy:?}");
        assert_eq!(cluster.states[&name(4)].reason, Reason::Isolated);
        assert_eq!(cluster.states[&name(4)].breaker, Breaker::Closed);
        cluster.run(60_000);
        assert!(!cluster.ever_dead, "{busy:?}");
        cluster.alive = NODES.to_vec();
        cluster.run(2000);
        assert!(NODES.iter().all(|n| cluster.verdict(*n) == Verdict::Alive));
        assert!(!NODES.iter().any(|n| cluster.isolated(*n)));
    }
}

#[test]
fn a_switch_that_comes_back_without_one_peer_shows_that_it_is_dead() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4, 5, 6];
    cluster.run(1000);
    cluster.silence(&NODES);
    cluster.run(3000);
    cluster.alive = vec![5, 6];
    cluster.run(1000);
    assert_eq!(cluster.verdict(4), Verdict::Dead);
    assert_eq!(cluster.verdict(5), Verdict::Alive);
}

#[test]
fn a_gateway_that_answers_shows_that_we_are_not_cut_off() {
    let mut cluster = Cluster::new(Some(1));
    cluster.run(6000);
    cluster.silence(&NODES);
    cluster.run(1500);
    let verdicts = NODES.map(|n| cluster.verdict(n));
    assert_eq!(verdicts, [Verdict::Dead; 3]);
    let mut cluster = Cluster::new(Some(1));
    cluster.run(6000);
    cluster.silence(&[4, 5, 6, 1]);
    cluster.run(5000);
    assert!(!cluster.ever_dead);
}

#[test]
fn our_own_link_down_holds_every_verdict_at_once() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4, 5];
    cluster.run(1000);
    cluster.link(false);
    assert!(NODES.iter().all(|n| cluster.isolated(*n)));
    cluster.silence(&NODES);
    cluster.run(60_000);
    assert!(!cluster.ever_dead);
    // It comes up, and the switch takes its time to forward.
    cluster.link(true);
    cluster.run(3000);
    assert!(!cluster.ever_dead);
    cluster.alive = vec![4, 6];
    cluster.run(3000);
    assert_eq!(cluster.verdict(4), Verdict::Alive);
    assert_eq!(cluster.verdict(5), Verdict::Dead, "it died meanwhile");
    assert!(!NODES.iter().any(|n| cluster.isolated(*n)));
}

/// Nothing is in doubt any more: the others are probed at the idle rate.
#[test]
fn a_dead_peer_needs_no_witnesses() {
    let mut cluster = Cluster::new(None);
    cluster.busy = NODES.to_vec();
    cluster.silence(&[4]);
    cluster.run(1000);
    assert_eq!(cluster.verdict(4), Verdict::Dead);
    let first = cluster.probed.len();
    cluster.run(5000);
    let probed = cluster.probed[first..].iter();
    let others = probed.filter(|(_, target)| target.addr() != at_node(4).addr);
    assert!(others.count() <= 2 * 5000 / 315);
}

/// A peer that was dead before cannot bear witness for this host's own troubles.
#[test]
fn a_peer_that_was_dead_already_is_no_witness() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4, 5, 6];
    cluster.run(1000);
    cluster.silence(&[5, 6]);
    cluster.run(1000);
    assert_eq!(cluster.verdict(5), Verdict::Dead);
    cluster.silence(&[4]);
    cluster.run(400);
    assert_eq!(
        cluster.verdict(4),
        Verdict::Dead,
        "nobody else was there to ask"
    );
}

/// What was sent while nobody could answer is no evidence once somebody does.
#[test]
fn a_switch_that_comes_back_gives_everyone_the_detection_time_anew() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4, 5, 6];
    cluster.run(1000);
    cluster.silence(&NODES);
    cluster.run(20_000);
    // One is heard before the other two are asked again.
    cluster.alive = vec![5];
    cluster.run(200);
    cluster.alive = NODES.to_vec();
    cluster.run(5000);
    assert!(!cluster.ever_dead);
    assert!(NODES.iter().all(|n| cluster.verdict(*n) == Verdict::Alive));
}

/// Clusters name all of their nodes on each of them: a node always hears itself.
#[test]
fn this_host_itself_is_no_witness() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4, 5];
    cluster.network(NetworkEvent::Route {
        addr: at_node(6).addr,
        route: None,
    });
    cluster.run(1000);
    cluster.silence(&[4, 5]);
    cluster.run(5000);
    assert!(!cluster.ever_dead);
    assert!(cluster.isolated(4) && cluster.isolated(5));
}

/// A peer that is first asked long after everyone else fell silent.
#[test]
fn once_cut_off_that_goes_for_peers_asked_later_too() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4, 5];
    cluster.run(1000);
    cluster.silence(&NODES);
    cluster.run(20_000);
    cluster.signal(Signal::PeerRemoved { peer: name(6) });
    let before = cluster.ever_dead;
    cluster.run(20_000);
    assert!(!before && !cluster.ever_dead);
}

/// The first witness that is heard again proves nothing about the time before.
#[test]
fn a_switch_that_flaps_for_about_the_detection_time_kills_nobody() {
    let mut cluster = Cluster::new(None);
    cluster.busy = vec![4];
    cluster.run(1000);
    cluster.silence(&NODES);
    cluster.run(230);
    cluster.alive = vec![5, 6];
    cluster.run(60);
    cluster.alive = NODES.to_vec();
    cluster.run(2000);
    assert!(!cluster.ever_dead);
}

/// The daemon's own namespace has no way to the peers: that they all fall silent is the
/// container's own fault all the same.
#[test]
fn a_container_that_is_cut_off_is_isolated_too() {
    let silence_all = |change| {
        let mut cluster = Cluster::new(None);
        cluster.busy = NODES.to_vec();
        let at = cluster.now;
        let netns = established(0, at).id.netns;
        cluster.signal(Signal::Namespace { at, netns, change });
        for n in NODES {
            let addr = at_node(n).addr;
            cluster.network(NetworkEvent::Route { addr, route: None });
        }
        cluster.run(2000);
        cluster.silence(&NODES);
        cluster.run(10_000);
        cluster
    };
    let cluster = silence_all(NamespaceChange::Watched);
    assert!(!cluster.ever_dead);
    assert!(NODES.iter().all(|&n| cluster.isolated(n)));
}

/// Nobody was asked in the first half of this silence: that nobody was heard in it says nothing.
#[test]
fn a_demand_that_is_old_when_it_is_seen_is_not_taken_for_isolation() {
    let mut cluster = Cluster::with(
        None,
        Settings {
            idle_probe_interval: Duration::from_secs(8),
            ..Settings::default()
        },
    );
    cluster.alive.retain(|n| *n != 4);
    cluster.run(2000);
    let mut reading = FlowReading {
        state: TcpState::SynSent,
        last_heard: None,
        rto_count: 1,
        rto: Duration::from_secs(1),
        ..established(9, ms(0))
    };
    reading.id.remote = (at_node(4).addr, 9000).into();
    let at = cluster.now;
    cluster.signal(Signal::Flow(FlowEvent {
        at,
        source: SourceKind::Ebpf,
        flow: reading.id,
        kind: FlowEventKind::SynRetransmit { count: 1 },
        reading: Some(reading),
    }));
    cluster.run(350);
    assert_eq!(cluster.verdict(4), Verdict::Dead);
}

/// It was asked before anybody was heard, and never answers.
#[test]
fn a_peer_that_is_away_since_before_the_start_holds_nothing() {
    let mut cluster = Cluster::unwatched(Settings::default());
    cluster.alive = vec![5, 6];
    cluster.unconnected = vec![4];
    cluster.busy = vec![5];
    cluster.watch(None);
    cluster.run(20_000);
    cluster.silence(&[5]);
    cluster.run(3000);
    assert_eq!(cluster.verdict(5), Verdict::Dead);
    assert_eq!(cluster.destroyed, 1);
}

/// This node is cut off just after the start: what was heard until then came without being asked for.
#[test]
fn while_nobody_has_answered_since_the_start_nobody_is_dead() {
    let mut cluster = Cluster::unwatched(Settings::default());
    cluster.alive = Vec::new();
    let start = cluster.now;
    for n in [5, 6] {
        cluster.heard.insert(n, start + Duration::from_millis(2));
    }
    cluster.watch(None);
    cluster.run(18_000);
    cluster.busy = vec![4];
    cluster.tail_loss_probes(&[4]);
    cluster.run(10_000);
    assert!(!cluster.ever_dead, "{:?}", cluster.states[&name(4)]);
}
