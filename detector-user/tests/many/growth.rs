//! What the core costs while all is well grows no faster than the number of peers, and what a storm
//! costs no faster than the number of connections: counted in timers, probes, snapshots and
//! allocations, which are the same on every machine.

use std::time::Duration;

use detector_user::model::{FlowEventKind, Settings};

use crate::{
    heap,
    plan::{Plan, ms},
    world::World,
};

const FEW: usize = 250;
const MANY: usize = 4 * FEW;
/// Four times as many may cost a little more than four times as much: logarithms of trees, and
/// tables that grow in steps.
const AT_MOST: f64 = 4.0 * 1.3;

/// What one run costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    timers: usize,
    probes: usize,
    looks: usize,
    allocations: usize,
    bytes: usize,
}

impl Cost {
    fn each(&self) -> [(&'static str, usize); 5] {
        [
            ("timers", self.timers),
            ("probes", self.probes),
            ("snapshots", self.looks),
            ("allocations", self.allocations),
            ("bytes", self.bytes),
        ]
    }
}

fn plan(peers: usize, cut: fn(usize) -> Option<(u64, u64)>) -> Plan {
    Plan {
        peers,
        flows: |_| 4,
        cut,
        a_socket_takes: Duration::ZERO,
    }
}

/// The cost of this much time, after the start.
fn cost(plan: Plan, until_ms: u64, act: impl Fn(&mut World)) -> Cost {
    let empty = heap::bytes();
    let settings = Settings {
        max_peers: plan.peers,
        max_probes_per_second: 100 * plan.peers as u32,
        ..Settings::default()
    };
    let mut world = World::new(plan, settings);
    world.run_until(ms(2_000));
    let (before, counts) = (heap::allocations(), world.counts);
    act(&mut world);
    world.run_until(ms(until_ms));
    Cost {
        timers: world.counts.timeouts - counts.timeouts,
        probes: world.counts.probes - counts.probes,
        looks: world.counts.looks - counts.looks,
        allocations: heap::allocations() - before,
        bytes: heap::bytes() - empty,
    }
}

#[track_caller]
fn assert_linear(what: &str, few: Cost, many: Cost) {
    println!("{what}: {few:?} with {FEW} peers, {many:?} with {MANY}");
    for ((name, few), (_, many)) in few.each().into_iter().zip(many.each()) {
        let most = few as f64 * AT_MOST;
        assert!(many as f64 <= most, "{what}, {name}: {few} became {many}");
    }
}

#[test]
fn idle_peers_cost_no_more_than_their_number() {
    heap::alone(|| {
        let idle = |peers| cost(plan(peers, |_| None), 12_000, |_| {});
        assert_linear("idle", idle(FEW), idle(MANY));
    });
}

/// A tenth of the peers is cut, found dead, and comes back.
#[test]
fn deaths_cost_no_more_than_their_number() {
    heap::alone(|| {
        let is_cut = |n: usize| n.is_multiple_of(10).then_some((2_000, 4_500));
        let deaths = |peers| {
            cost(plan(peers, is_cut), 6_000, |world| {
                world.run_until(ms(2_010));
                for n in (0..peers).step_by(10) {
                    world.flow_event(ms(2_010), n, 0, FlowEventKind::Tlp);
                }
            })
        };
        assert_linear("deaths", deaths(FEW), deaths(MANY));
    });
}

/// A peer that is new costs as much whether there are few or many already.
#[test]
fn the_start_costs_no_more_than_the_number_of_peers() {
    heap::alone(|| {
        let start = |peers| {
            let before = heap::allocations();
            let settings = Settings {
                max_peers: peers,
                ..Settings::default()
            };
            let mut world = World::new(plan(peers, |_| None), settings);
            for n in 0..peers {
                world.route(n);
            }
            world.settle();
            Cost {
                timers: 0,
                probes: world.counts.probes,
                looks: world.counts.looks,
                allocations: heap::allocations() - before,
                bytes: 0,
            }
        };
        assert_linear("start", start(FEW), start(MANY));
    });
}
