//! A peer that was dead when the daemon stopped: its breaker is open until this run knows better.

use super::{super::testing::report, *};

/// The memories of a run in which the peer died.
fn memories() -> Vec<Memory> {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = NONE;
    let dead = world.run_until_dead(6000, |_| vec![idle(0, 0)]);
    assert!(dead.is_some());
    world.detector.memories(&peer())
}

/// The next run, in which these answer.
fn restarted(answers: Answers, memories: &[Memory]) -> World {
    let mut world = World::new(Settings::default());
    world.answers = answers;
    world.route(None);
    for memory in memories {
        world.detector.remember(world.now, &peer(), memory);
    }
    world.timeout(world.now);
    world
}

fn breakers(world: &World) -> Vec<Breaker> {
    // The first state is published before anything is remembered.
    let states = world.published.iter().skip(1);
    states.map(|state| state.breaker).collect()
}

#[test]
fn the_breaker_of_a_peer_that_stays_dead_never_closes() {
    let mut world = restarted(NONE, &memories());
    let state = world.state();
    assert_eq!(
        (state.verdict, state.breaker, state.breaker_reason),
        (Verdict::Unknown, Breaker::Open, Reason::DeadBeforeStart)
    );
    assert!(state.presumed_down, "nothing is refused or destroyed");
    let dead = world.run_until_dead(3000, |_| Vec::new());
    assert!(dead.is_some(), "{:#?}", world.explain());
    assert!(breakers(&world).iter().all(|b| *b == Breaker::Open));
    assert!(!world.state().presumed_down);
}

#[test]
fn the_first_answer_closes_the_breaker() {
    let mut world = restarted(ALL, &memories());
    world.run(300, |_| Vec::new());
    assert_eq!(world.state().verdict, Verdict::Alive);
    assert_eq!(world.state().breaker, Breaker::Closed);
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

/// A card proves no host.
#[test]
fn an_answer_on_the_link_closes_nothing() {
    let mut world = restarted(NEIGHBOUR, &memories());
    world.run(500, |_| Vec::new());
    assert_eq!(world.state().breaker, Breaker::Open);
}

/// A call is answered, and the peer is configured again while the kernel still knows nothing.
#[test]
fn it_opens_once_in_a_run() {
    let memories = memories();
    let mut world = restarted(NONE, &memories);
    world.at(20);
    world.signal(Signal::Reported {
        reports: vec![OperationReport {
            peer: Some(peer()),
            ..report(20, Operation::Control, Outcome::Succeeded)
        }],
    });
    let closed = (Verdict::Unknown, Breaker::Closed);
    assert_eq!((world.state().verdict, world.state().breaker), closed);
    for memory in &memories {
        world.detector.remember(world.now, &peer(), memory);
    }
    world.timeout(world.now);
    assert_eq!((world.state().verdict, world.state().breaker), closed);
}
