//! Cascades: their patterns, windows and bounds.

use super::*;
use crate::{
    core::testing::{ms, report},
    insight::Correlations,
    model::{Operation, OperationReport, Outcome, PeerName},
};

fn node(n: u8) -> PeerName {
    PeerName::from_canonical(&format!("http://node{n}:9000"))
}

#[derive(Default)]
struct World {
    all: Correlations,
    now: u64,
}

impl World {
    fn report(&mut self, millis: u64, operation: Operation, outcome: Outcome, peer: Option<u8>) {
        self.now = self.now.max(millis);
        let report = OperationReport {
            peer: peer.map(node),
            lock: (operation == Operation::Lock).then(|| "iam/users".into()),
            ..report(millis, operation, outcome)
        };
        self.all.reported(ms(self.now), &[report]);
    }

    fn lock(&mut self, millis: u64) {
        self.report(millis, Operation::Lock, Outcome::TimedOut, None);
    }

    fn iam(&mut self, millis: u64) {
        self.report(millis, Operation::IamRead, Outcome::TimedOut, None);
    }

    fn disk(&mut self, millis: u64) {
        self.report(millis, Operation::DiskState, Outcome::TimedOut, Some(3));
    }

    fn unreachable(&mut self, millis: u64, peer: u8) {
        self.report(millis, Operation::Control, Outcome::Unreachable, Some(peer));
    }

    fn dead(&mut self, millis: u64, peer: u8, since: u64) {
        self.now = millis;
        self.all.peer_down(ms(millis), &node(peer), ms(since), true);
    }

    /// The pattern and component of each cascade, oldest first.
    fn cascades(&self) -> Vec<(&'static str, String)> {
        let list = self.all.cascades(ms(self.now)).into_iter().rev();
        list.map(|c| (c.pattern.name, c.component.to_string()))
            .collect()
    }
}

#[test]
fn a_dead_peer_then_a_lock_and_iam_is_one_cascade_with_the_peer_as_its_root() {
    let mut world = World::default();
    world.dead(400, 4, 100);
    world.lock(3000);
    assert_eq!(world.cascades(), []);
    world.iam(10_000);
    world.iam(10_500);
    world.lock(11_000);
    let expected = ("peer_unreachable_locks_iam", "http://node4:9000".to_owned());
    assert_eq!(world.cascades(), [expected]);
    let cascade = &world.all.cascades(ms(world.now))[0];
    assert!(cascade.kernel_verdict);
    assert_eq!((cascade.followed, cascade.recurring), (4, false));
    assert_eq!(
        (cascade.began_at, cascade.detected_at),
        (ms(100), ms(10_000))
    );
    let summary = cascade.summary();
    assert!(
        summary.contains("http://node4:9000 is dead by the kernel's evidence"),
        "{summary}"
    );
    assert!(summary.contains("root cause"), "{summary}");
    assert_eq!(world.all.take_detected().len(), 1);
    assert_eq!(world.all.take_detected(), []);
}

#[test]
fn each_pattern_has_its_window() {
    for (pattern, window, follow) in [
        (0, 30_000, World::iam as fn(&mut World, u64)),
        (1, 60_000, World::disk),
        (2, 45_000, World::disk),
    ] {
        for late in [0, 1] {
            let mut world = World::default();
            match pattern {
                1 => world.lock(0),
                _ => world.dead(0, 4, 0),
            }
            follow(&mut world, window);
            follow(&mut world, window + late);
            let found = world.cascades();
            let found: Vec<_> = found.iter().map(|(name, _)| *name).collect();
            let expected: &[_] = if late == 0 {
                &[PATTERNS[pattern].name]
            } else {
                &[]
            };
            assert_eq!(found, expected, "{pattern} {late}");
        }
    }
}

#[test]
fn one_following_failure_or_one_before_is_no_cascade() {
    let mut world = World::default();
    world.iam(0);
    world.iam(10);
    world.dead(500, 4, 20);
    world.iam(600);
    assert_eq!(world.cascades(), []);
    world.iam(700);
    assert_eq!(world.cascades().len(), 1);
}

/// Independent failures, without an initial failure among them.
#[test]
fn failures_that_follow_from_nothing_are_no_cascade() {
    let mut world = World::default();
    for n in 0..100 {
        world.iam(n * 100);
        world.disk(n * 100);
        world.report(n * 100, Operation::Upload, Outcome::TimedOut, None);
        world.report(n * 100, Operation::Control, Outcome::TimedOut, Some(2));
    }
    assert_eq!(world.cascades(), []);
}

#[test]
fn an_initial_failure_told_after_what_it_led_to_is_found() {
    let mut world = World::default();
    world.lock(3000);
    world.iam(3100);
    world.dead(3200, 4, 2900);
    assert_eq!(world.cascades().len(), 1);
}

/// A peer that stays unreachable, or a lock that times out repeatedly, is one initial failure.
#[test]
fn what_goes_on_is_one_initial_failure() {
    let mut world = World::default();
    for n in 0..600 {
        world.unreachable(n * 1000, 4);
        world.iam(n * 1000 + 1);
    }
    assert_eq!(world.cascades().len(), 1, "{:?}", world.cascades());
    let mut world = World::default();
    for n in 0..600 {
        world.lock(n * 1000);
        world.disk(n * 1000 + 1);
    }
    assert_eq!(world.cascades().len(), 1, "{:?}", world.cascades());
}

#[test]
fn a_peer_that_is_known_to_be_down_begins_nothing_and_one_that_was_back_does() {
    let mut world = World::default();
    world.dead(0, 4, 0);
    world.unreachable(120_000, 4);
    world.iam(120_001);
    world.iam(120_002);
    assert_eq!(world.cascades(), [], "two minutes later");
    world.all.peer_up(&node(4));
    world.unreachable(240_000, 4);
    world.iam(240_001);
    world.iam(240_002);
    assert_eq!(world.cascades().len(), 1);
    assert!(!world.all.cascades(ms(world.now))[0].kernel_verdict);
}

#[test]
fn the_kernel_s_verdict_is_added_to_what_was_reported_first() {
    let mut world = World::default();
    world.unreachable(500, 4);
    world.iam(600);
    world.iam(700);
    assert!(!world.all.cascades(ms(700))[0].kernel_verdict);
    world.dead(800, 4, 400);
    let cascades = world.all.cascades(ms(800));
    assert_eq!(cascades.len(), 1);
    assert!(cascades[0].kernel_verdict);
    assert_eq!(cascades[0].began_at, ms(400));
}

#[test]
fn three_within_the_hour_are_recurring() {
    let mut world = World::default();
    let minute = 60_000;
    for (n, (at, recurring)) in [
        (0, false),
        (29, false),
        (58, true),
        (100, false),
        (110, true),
    ]
    .into_iter()
    .enumerate()
    {
        let at = at * minute;
        world.dead(at, 4, at);
        world.iam(at + 1);
        world.iam(at + 2);
        world.all.peer_up(&node(4));
        let newest = &world.all.cascades(ms(world.now))[0];
        assert_eq!(newest.recurring, recurring, "{n}");
    }
    let of_pattern = |now| world.all.pattern_totals(now).next().unwrap();
    assert_eq!(
        (of_pattern(ms(world.now)).1, of_pattern(ms(world.now)).2),
        (5, true)
    );
    assert!(!of_pattern(ms(world.now + 60 * minute)).2);
}

#[test]
fn everything_is_bounded() {
    let mut world = World::default();
    for n in 0..3000u64 {
        let name = PeerName::from_canonical(&format!("http://node{n}:9000"));
        world.all.peer_down(ms(n), &name, ms(n), true);
        world.now = n;
        world.iam(n);
        world.iam(n);
        world.all.peer_up(&name);
    }
    let cascades = &world.all.cascades;
    assert_eq!(cascades.events.len(), EVENTS_KEPT);
    assert_eq!(cascades.incidents.len(), INCIDENTS_KEPT);
    assert_eq!(cascades.cascades.len(), CASCADES_KEPT);
    assert!(world.all.take_detected().len() <= CASCADES_KEPT);
    world.iam(4_000_000);
    let cascades = &world.all.cascades;
    assert_eq!((cascades.events.len(), cascades.incidents.len()), (1, 0));
}
