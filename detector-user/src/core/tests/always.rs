//! What holds whatever happens.

use proptest::prelude::*;

use super::*;

/// One thing that may happen, `after` the one before.
#[derive(Clone, Debug)]
enum Step {
    Event { flow: u16, kind: FlowEventKind },
    Look { flows: Vec<(u16, u32, bool, u64)> },
    Report(Outcome),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let kind = prop_oneof![
        Just(FlowEventKind::Tlp),
        (1..16u32).prop_map(|count| FlowEventKind::Rto { count }),
        (1..6u32).prop_map(|count| FlowEventKind::SynRetransmit { count }),
        Just(FlowEventKind::Recovered),
        Just(FlowEventKind::Established),
        (0..120u32).prop_map(|errno| FlowEventKind::ConnectFailed { errno }),
        (0..120u32).prop_map(|errno| FlowEventKind::Closed { errno }),
        (0..120u32).prop_map(|errno| FlowEventKind::ErrorReport { errno }),
    ];
    let flow = (0..8u16, 0..10u32, any::<bool>(), 0..2000u64);
    let step = prop_oneof![
        (0..8u16, kind).prop_map(|(flow, kind)| Step::Event { flow, kind }),
        prop::collection::vec(flow, 0..8).prop_map(|flows| Step::Look { flows }),
        prop::sample::select(Outcome::ALL).prop_map(Step::Report),
        Just(Step::Wait),
    ];
    prop::collection::vec((0..3000u64, step), 0..60)
}

proptest! {
    /// Whatever happens: a peer heard within the detection time is not found Dead, revisions rise,
    /// generations rise with the verdict, and nothing grows. Reports make nobody Dead.
    #[test]
    fn whatever_happens_the_rules_hold(steps in steps()) {
        let mut world = World::new(Settings { max_flows_per_peer: 4, ..Settings::default() });
        let mut millis = 5000;
        for (after, step) in steps {
            millis += after;
            let before = world.published.len();
            match step {
                Step::Event { flow, kind } => {
                    world.event(millis, kind, established(flow, ms(millis - 1000)));
                    prop_assert!(!newly_dead(&world, before));
                }
                Step::Look { flows } => {
                    let youngest = flows.iter().map(|flow| flow.3).min();
                    let readings = flows.iter().map(|&(n, rto_count, window, age)| FlowReading {
                        last_heard: Some(ms(millis - age)),
                        send_window_bytes: u32::from(window) * 65_535,
                        ..stalled(n, rto_count)
                    }).collect();
                    world.look(millis, readings);
                    if youngest.is_some_and(|age| age < 250) {
                        prop_assert!(!newly_dead(&world, before));
                    }
                }
                Step::Report(outcome) => {
                    world.at(millis);
                    let reports = vec![OperationReport {
                        peer: Some(peer()),
                        ..super::super::testing::report(millis, Operation::Bulk, outcome)
                    }];
                    world.signal(Signal::Reported { reports });
                    prop_assert!(!newly_dead(&world, before));
                }
                Step::Wait => {
                    world.at(millis);
                    prop_assert!(!newly_dead(&world, before));
                }
            }
            for pair in world.published.windows(2) {
                prop_assert!(pair[0].revision < pair[1].revision);
                let changed = pair[0].verdict != pair[1].verdict;
                prop_assert_eq!(pair[1].generation, pair[0].generation + u64::from(changed));
                prop_assert!(!pair[1].presumed_down || pair[1].verdict != Verdict::Dead);
            }
            prop_assert!(world.detector.poll_timeout().is_some());
            let explanation = world.detector.explain(world.now, &peer()).unwrap();
            prop_assert!(explanation.flows.len() <= 4);
            prop_assert!(explanation.events.len() <= 32);
        }
    }
}

fn newly_dead(world: &World, before: usize) -> bool {
    let was_dead = before > 0 && world.published[before - 1].verdict == Verdict::Dead;
    !was_dead
        && world.published[before..]
            .iter()
            .any(|state| state.verdict == Verdict::Dead)
}
