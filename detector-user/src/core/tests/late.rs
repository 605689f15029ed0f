//! Probes and socket snapshots that come late.

use super::{
    asking::{asked, dead_at},
    *,
};

#[test]
fn a_stuck_wait_for_a_reply_ends_at_destroy_delay_after_the_peer_was_last_heard() {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = NONE;
    let dead = world.run_until_dead(4000, |_| vec![idle(0, 0)]);
    assert!(dead.is_some());
    let heard = millis(world.state().last_heard.expect("it was heard"));
    let silent = world.explain().silence.duration.as_millis() as u64;
    assert!(millis(world.now) - silent > heard + 100, "asked late");
    while world.destroyed.is_empty() {
        let next = millis(world.now) + 1;
        world.run(next, |_| vec![idle(0, 0)]);
        assert!(next < 5000, "nothing is destroyed");
    }
    let after = millis(world.now) - heard;
    assert!((1000..=1010).contains(&after), "destroyed after {after} ms");
}

#[test]
fn a_peer_that_nobody_asked_for_long_has_its_destroy_delay_from_the_first_question() {
    let settings = Settings::default();
    let mut world = asked(Settings {
        idle_probe_interval: Duration::ZERO,
        fast_destroy_delay: settings.destroy_delay,
        ..settings
    });
    world.look(20_000, vec![idle(0, 0)]);
    world.answers = NONE;
    for n in 0..3 {
        world.event(20_010, FlowEventKind::Tlp, stalled(n, 0));
    }
    let dead = dead_at(&mut world, 23_000, |_| all_stalled(3, 1)).expect("it is dead");
    while world.destroyed.is_empty() {
        let at = world.next_look();
        world.look(at, all_stalled(3, 1));
        assert!(at < 24_000, "nothing is destroyed");
    }
    let after = millis(world.now) - dead;
    assert!(after > 500, "destroyed {after} ms after it was found dead");
}

/// A peer falls silent; looks come back late, so that questions are old when they do. It comes
/// back after the question at `back_after`. Says when it is dead.
fn looked_at_late(back_after: Option<u64>) -> (World, Option<u64>) {
    let mut world = asked(Settings {
        detection_time: Duration::from_secs(20),
        ..Settings::default()
    });
    world.look(1000, vec![idle(0, 0)]);
    world.probed.clear();
    world.answers = NONE;
    while millis(world.now) < 60_000 {
        let at = world.next_look();
        if let Some(asked) = back_after.filter(|asked| *asked < at + 200) {
            world.at(asked.max(at));
            world.answers = ALL;
        }
        world.look(at + 200, vec![idle(0, 0)]);
        if world.state().verdict == Verdict::Dead {
            return (world, Some(at + 200));
        }
    }
    (world, None)
}

#[test]
fn a_peer_that_was_not_asked_for_a_while_is_asked_again_before_it_is_dead() {
    let (world, dead) = looked_at_late(None);
    let dead = dead.expect("it is dead");
    let asked = world.probed.iter().map(|(at, _)| *at);
    let mut asked: Vec<u64> = asked.filter(|at| *at < dead).collect();
    asked.dedup();
    let [.., earlier, before, last] = asked[..] else {
        panic!("{asked:?}");
    };
    assert!(before - earlier > 300, "they are far apart: {asked:?}");
    assert!(last - before < 250, "the last was out of turn: {asked:?}");
    // The last question finds out that it is back.
    let (world, dead) = looked_at_late(Some(before));
    assert_eq!(dead, None);
    assert_eq!(world.state().verdict, Verdict::Alive);
}
