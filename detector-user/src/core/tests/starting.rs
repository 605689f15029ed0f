//! What happened before the daemon began to watch is no evidence.

use super::*;

/// Flows whose time-outs began long before the daemon did.
fn old(reading: FlowReading) -> FlowReading {
    FlowReading {
        last_heard: Some(ms(0) - Duration::from_secs(5)),
        ..reading
    }
}

fn all_old(mss: u32) -> Vec<FlowReading> {
    let flows = all_stalled(3, 4).into_iter().map(old);
    flows.map(|flow| FlowReading { mss, ..flow }).collect()
}

#[test]
fn a_lone_dead_peer_is_found_by_the_daemon_s_own_probes_and_destroyed_late() {
    for mss in [0, 1448] {
        let mut world = World::new(Settings::default());
        world.keepalives = true;
        world.route(None);
        let dead = world.run_until_dead(5000, |_| all_old(mss));
        let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain()));
        assert!(dead >= 250, "mss {mss}: {dead}");
        world.run(9_990, |_| all_old(mss));
        assert_eq!(world.destroyed, [], "mss {mss}");
        world.run(10_600, |_| all_old(mss));
        assert_eq!(world.destroyed.len(), 1, "mss {mss}");
    }
}

/// Nor is what stood unanswered when an address was added.
#[test]
fn what_an_old_flow_left_unanswered_is_no_evidence() {
    let mut world = World::new(Settings::default());
    world.run(240, |_| all_old(0));
    assert!(!world.verdicts().contains(&Verdict::Dead));
    assert_eq!(world.explain().silence.duration, Duration::ZERO);
}

/// A death that ends at once was none.
#[test]
fn a_false_death_makes_us_wait_longer() {
    let mut world = World::with_keepalives(Settings::default());
    world.answers = NONE;
    let dead = world.run_until_dead(4000, |_| vec![idle(0, 0)]).unwrap();
    world.run(dead + 300, |_| vec![idle(0, 0)]);
    world.answers = ALL;
    world.run(dead + 600, |_| vec![idle(0, 0)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    let waits = world.explain().silence.detection_time;
    assert!(waits >= Duration::from_millis(700), "{waits:?}");
    // It is not found dead again as soon.
    world.run(dead + 3000, |_| vec![idle(0, 0)]);
    world.answers = NONE;
    let again = world.run_until_dead(dead + 8000, |_| vec![idle(0, 0)]);
    let again = again.expect("it is dead");
    assert!(again - (dead + 3000) > 650, "{}", again - dead);
}
