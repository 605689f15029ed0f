//! This node's own switch dies, or was dead when the daemon started: several peers are silent at
//! once, and none of them is dead.

use super::{
    cluster::{Cluster, NODES, at_node, name},
    *,
};

/// The most probes of neighbours on one link within any second.
fn most_neighbours_in_a_second(cluster: &Cluster) -> usize {
    let times: Vec<Time> = cluster
        .probed
        .iter()
        .filter(|(_, target)| matches!(target, ProbeTarget::Neighbour { .. }))
        .map(|(at, _)| *at)
        .collect();
    let within = |from: &Time| {
        let until = *from + Duration::from_secs(1);
        times
            .iter()
            .filter(|at| (*from..until).contains(*at))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

/// Two peers: with one there is no connection, so that it was last heard long ago, and it is
/// probed, as now and then it is, while the switch is dead.
#[test]
fn a_peer_that_was_last_heard_long_ago_and_one_that_was_just_now_are_no_two_deaths() {
    for silent_from in [38_000, 31_549] {
        let mut cluster = Cluster::unwatched(Settings::default());
        cluster.unconnected = vec![4];
        cluster.busy = vec![5];
        cluster.watch(None);
        cluster.signal(Signal::PeerRemoved { peer: name(6) });
        cluster.run(silent_from);
        assert_eq!(cluster.verdict(4), Verdict::Alive);
        cluster.silence(&[4, 5]);
        cluster.run(17_000);
        assert!(!cluster.ever_dead, "{silent_from}");
        assert!(cluster.isolated(5));
        cluster.alive = vec![4, 5];
        cluster.run(60_000);
        assert!(!cluster.ever_dead, "{silent_from}");
        assert_eq!(cluster.verdict(4), Verdict::Alive);
        assert_eq!(cluster.verdict(5), Verdict::Alive);
    }
}

/// It is not for want of looking: where a third peer answers, both are dead.
#[test]
fn where_somebody_else_answers_they_are_two_deaths() {
    let mut cluster = Cluster::unwatched(Settings::default());
    cluster.unconnected = vec![4];
    cluster.busy = vec![5, 6];
    cluster.watch(None);
    cluster.run(38_000);
    cluster.silence(&[4, 5]);
    cluster.run(17_000);
    assert_eq!(cluster.verdict(4), Verdict::Dead);
    assert_eq!(cluster.verdict(5), Verdict::Dead);
    assert_eq!(cluster.verdict(6), Verdict::Alive);
}

#[test]
fn a_daemon_that_begins_while_everyone_is_silent_destroys_nothing() {
    for heard_before in [5, 600] {
        let mut cluster = Cluster::unwatched(Settings::default());
        cluster.alive.clear();
        cluster.busy = NODES.to_vec();
        let heard = cluster.now - Duration::from_secs(heard_before);
        cluster.heard = NODES.iter().map(|n| (*n, heard)).collect();
        cluster.watch(None);
        cluster.run(60_000);
        assert!(!cluster.ever_dead, "heard {heard_before} s before");
        assert!(NODES.iter().all(|n| cluster.isolated(*n)));
        assert_eq!(cluster.destroyed, 0);
        cluster.alive = NODES.to_vec();
        cluster.run(3000);
        assert!(NODES.iter().all(|n| cluster.verdict(*n) == Verdict::Alive));
        assert_eq!(cluster.destroyed, 0);
    }
}

/// All are surveyed together, and the budget lets two pass.
#[test]
fn of_each_neighbour_it_is_soon_known_whether_it_answers() {
    for busy in [vec![], NODES.to_vec()] {
        let mut cluster = Cluster::unwatched(Settings::default());
        cluster.busy = busy;
        cluster.watch(None);
        cluster.run(5_000);
        let is_probed = |n: &u8| {
            let mut probed = cluster.probed.iter().map(|(_, target)| target);
            probed.any(|target| {
                matches!(target, ProbeTarget::Neighbour { addr, .. } if *addr == at_node(*n).addr)
            })
        };
        assert!(NODES.iter().all(is_probed), "{:?}", cluster.probed);
    }
}

#[test]
fn no_link_carries_more_than_five_probes_of_neighbours_in_a_second() {
    for (gateway, silent) in [
        (None, vec![4]),
        (None, NODES.to_vec()),
        (Some(1), vec![4, 5]),
    ] {
        let mut cluster = Cluster::new(gateway);
        cluster.busy = NODES.to_vec();
        cluster.run(3000);
        cluster.silence(&silent);
        cluster.run(20_000);
        let most = most_neighbours_in_a_second(&cluster);
        assert!((1..=5).contains(&most), "{most} {silent:?}");
    }
}
