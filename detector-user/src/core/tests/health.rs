//! Health, trend and round-trip times, as they are published.

use super::*;

/// Packets get lost, one in a hundred, then more: the trend tells before the end does.
#[test]
fn a_peer_that_gets_worse_is_worsening_before_it_dies() {
    let mut world = World::alive(1);
    let mut sent = (1000, 0);
    for n in 1..=30 {
        let millis = n * 10_000;
        sent = (sent.0 + 400, sent.1 + 400 * n / 300);
        let reading = FlowReading {
            segments_sent: sent.0,
            segments_retransmitted: sent.1,
            ..idle(0, millis - 5)
        };
        world.look(millis, vec![reading]);
    }
    let health = world.state().health.unwrap();
    assert_eq!(health.trend, Trend::Worsening);
    assert!((65..85).contains(&health.score), "{health:?}");
    assert!(health.loss_penalty > 15);
    let scores = world.published.iter().filter_map(|state| state.health);
    assert!(scores.count() <= 12, "it is not published all the time");
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert!(
        world
            .published
            .iter()
            .all(|state| state.verdict != Verdict::Dead)
    );
}

#[test]
fn a_dead_peer_has_no_health_and_an_unknown_one_has_none_yet() {
    let mut world = World::new(Settings::default());
    assert_eq!(world.state().health, None);
    world.look(0, (0..3).map(|n| idle(n, 0)).collect());
    assert_eq!(world.state().health.map(|health| health.score), Some(100));
    assert_eq!(world.state().srtt, Some(Duration::from_micros(200)));
    assert_eq!(world.state().rtt_variance, Some(Duration::from_micros(50)));
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().health.map(|health| health.score), Some(0));
}

/// Round-trip times that never stay the same are published every five seconds, no more.
#[test]
fn vitals_do_not_flood_watchers() {
    let mut world = World::alive(1);
    let before = world.published.len();
    for n in 1..=600 {
        let millis = n * 100;
        let reading = FlowReading {
            srtt: Duration::from_micros(100 << (n % 8)),
            ..idle(0, millis - 5)
        };
        world.look(millis, vec![reading]);
    }
    let published = world.published.len() - before;
    assert!((6..=12).contains(&published), "{published} in a minute");
}
