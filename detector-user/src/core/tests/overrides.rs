//! An administrator's override of a breaker takes precedence over the evidence.

use super::*;

impl World {
    /// Overrides the breaker until this millisecond.
    fn overrides(&mut self, kind: OverrideKind, until: u64) {
        let overridden = Override {
            kind,
            until: ms(until),
            reason: "new disk".into(),
            uid: 1000,
        };
        self.set_override(Some(overridden));
    }

    fn set_override(&mut self, overridden: Option<Override>) {
        assert!(self.detector.set_override(self.now, &peer(), overridden));
        self.settle();
    }

    fn breaker(&self) -> (Breaker, Reason) {
        (self.state().breaker, self.state().breaker_reason)
    }
}

const FAR: u64 = 3_600_000;

/// Its peer is Dead since 260 ms.
fn dead() -> World {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
    world
}

#[test]
fn each_override_is_published_and_ended() {
    let mut world = World::alive(1);
    let evidence = world.breaker();
    for (kind, shown) in [
        (OverrideKind::Open, (Breaker::Open, Reason::ForcedOpen)),
        (
            OverrideKind::Closed,
            (Breaker::Closed, Reason::ForcedClosed),
        ),
        (
            OverrideKind::Maintenance,
            (Breaker::Open, Reason::Maintenance),
        ),
    ] {
        let revision = world.state().revision;
        world.overrides(kind, FAR);
        assert_eq!(world.breaker(), shown);
        assert_eq!(world.state().verdict, Verdict::Alive);
        assert!(!world.state().presumed_down);
        assert_eq!(world.state().revision, revision + 1);
        world.overrides(kind, FAR);
        assert_eq!(world.state().revision, revision + 1, "it is no news");
    }
    world.set_override(None);
    assert_eq!(world.breaker(), evidence);
    assert_eq!(world.state().overridden, None);
}

#[test]
fn an_override_ends_with_its_time() {
    let mut world = World::alive(1);
    world.overrides(OverrideKind::Open, 5_000);
    // A later one replaces the first, and its end.
    world.overrides(OverrideKind::Open, 8_000);
    world.run(7_990, |at| vec![idle(0, at - 5)]);
    assert_eq!(world.state().breaker, Breaker::Open);
    world.run(8_010, |at| vec![idle(0, at - 5)]);
    assert_eq!(world.state().breaker, Breaker::Closed);
    assert_eq!(world.overrides_ended, [OverrideEnd::Expired]);
}

#[test]
fn maintenance_ends_when_the_peer_is_back_from_the_dead() {
    let mut world = World::alive(3);
    world.overrides(OverrideKind::Maintenance, FAR);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
    assert_eq!(world.breaker(), (Breaker::Open, Reason::Maintenance));
    let published = world.published.len();
    world.look(900, (0..3).map(|n| idle(n, 890)).collect());
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert_eq!(world.breaker().0, Breaker::Closed);
    assert_eq!(world.overrides_ended, [OverrideEnd::PeerReturned]);
    assert!(
        world.published[published..]
            .iter()
            .all(|state| state.verdict == Verdict::Dead || state.overridden.is_none()),
        "a peer that is back is not published as in maintenance"
    );
}

#[test]
fn what_is_held_open_stays_open_when_the_peer_returns() {
    let mut world = dead();
    world.overrides(OverrideKind::Open, FAR);
    world.look(900, (0..3).map(|n| idle(n, 890)).collect());
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert_eq!(world.breaker(), (Breaker::Open, Reason::ForcedOpen));
    assert_eq!(world.overrides_ended, []);
}

#[test]
fn nothing_is_destroyed_of_a_peer_whose_breaker_is_held_closed() {
    let mut world = dead();
    world.overrides(OverrideKind::Closed, FAR);
    assert_eq!(world.state().breaker, Breaker::Closed);
    assert_eq!(world.state().verdict, Verdict::Dead);
    world.run(10_000, |_| all_stalled(3, 1));
    assert_eq!(world.destroyed, []);
    world.set_override(None);
    assert_eq!(world.state().breaker, Breaker::Open);
    world.run(12_000, |_| all_stalled(3, 1));
    assert_eq!(world.destroyed.len(), 1);
}

/// Neither is a reason to end what works; a death in maintenance frees blocked calls as always.
#[test]
fn an_open_breaker_destroys_nothing_of_a_living_peer() {
    for kind in [OverrideKind::Open, OverrideKind::Maintenance] {
        let mut world = World::alive(3);
        world.overrides(kind, FAR);
        world.run(10_000, |at| (0..3).map(|n| idle(n, at - 5)).collect());
        assert_eq!(world.state().breaker, Breaker::Open);
        assert_eq!(world.destroyed, []);
    }
    let mut world = dead();
    world.overrides(OverrideKind::Maintenance, FAR);
    world.run(12_000, |_| all_stalled(3, 1));
    assert_eq!(world.destroyed.len(), 1);
}

/// The breaker of an address that is resolved later is overridden as well.
#[test]
fn a_new_address_is_overridden_too() {
    let mut world = World::alive(1);
    world.overrides(OverrideKind::Open, FAR);
    let other = Endpoint {
        addr: [10, 0, 0, 5].into(),
        ..endpoint()
    };
    world.signal(Signal::PeerConfigured {
        peer: peer(),
        endpoints: vec![endpoint(), other],
        discovered: false,
    });
    let breakers = world.state().paths.iter().map(|path| path.breaker);
    assert_eq!(breakers.collect::<Vec<_>>(), [Breaker::Open, Breaker::Open]);
}

#[test]
fn a_peer_that_is_not_watched_has_no_override() {
    let mut world = World::alive(1);
    let other = PeerName::from_canonical("http://node5:9000");
    let now = world.now;
    assert!(!world.detector.set_override(now, &other, None));
    world.overrides(OverrideKind::Open, 5_000);
    world.signal(Signal::PeerRemoved { peer: peer() });
    let due = world.detector.poll_timeout();
    assert_eq!(due, None, "the end of its override has gone with it");
}
