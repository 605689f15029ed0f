//! An administrator's setting of a breaker takes precedence over the evidence.

use super::*;

impl World {
    fn administer(&mut self, word: Administrator) {
        assert!(self.detector.administer(self.now, &peer(), word));
        self.settle();
    }

    fn breaker(&self) -> (Breaker, Reason) {
        (self.state().breaker, self.state().breaker_reason)
    }
}

/// Its peer is Dead since 260 ms.
fn dead() -> World {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
    world
}

#[test]
fn a_word_is_published_and_taken_back() {
    let mut world = World::alive(1);
    let evidence = world.breaker();
    for (word, shown) in [
        (
            Administrator::ForcedOpen,
            (Breaker::Open, Reason::ForcedOpen),
        ),
        (
            Administrator::ForcedClosed,
            (Breaker::Closed, Reason::ForcedClosed),
        ),
        (
            Administrator::Maintenance,
            (Breaker::Closed, Reason::Maintenance),
        ),
        (Administrator::Normal, evidence),
    ] {
        let revision = world.state().revision;
        world.administer(word);
        assert_eq!(world.breaker(), shown);
        assert_eq!(world.state().verdict, Verdict::Alive);
        assert!(!world.state().by_reports);
        assert_eq!(world.state().revision, revision + 1);
        world.administer(word);
        assert_eq!(world.state().revision, revision + 1, "it is no news");
    }
}

#[test]
fn nothing_is_destroyed_of_a_peer_that_is_worked_on() {
    for word in [Administrator::Maintenance, Administrator::ForcedClosed] {
        let mut world = dead();
        world.administer(word);
        assert_eq!(world.state().breaker, Breaker::Closed);
        assert_eq!(world.state().verdict, Verdict::Dead);
        world.run(10_000, |_| all_stalled(3, 1));
        assert_eq!(world.destroyed, [], "{word:?}");
        world.administer(Administrator::Normal);
        assert_eq!(world.state().breaker, Breaker::Open);
        world.run(12_000, |_| all_stalled(3, 1));
        assert_eq!(world.destroyed.len(), 1, "{word:?}");
    }
}

/// A breaker that is held open is no reason to end what works.
#[test]
fn nothing_is_destroyed_of_a_living_peer_whose_breaker_is_held_open() {
    let mut world = World::alive(3);
    world.administer(Administrator::ForcedOpen);
    world.run(10_000, |at| (0..3).map(|n| idle(n, at - 5)).collect());
    assert_eq!(world.state().breaker, Breaker::Open);
    assert_eq!(world.destroyed, []);
}

#[test]
fn of_a_peer_that_is_not_watched_nothing_can_be_said() {
    let mut world = World::alive(1);
    let other = PeerName::from_canonical("http://node5:9000");
    let now = world.now;
    assert!(
        !world
            .detector
            .administer(now, &other, Administrator::Maintenance)
    );
}
