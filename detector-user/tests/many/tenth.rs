//! Five thousand peers, a flow to each, a tenth of them cut at once: exactly those are Dead.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use detector_user::{
    model::{Breaker, FlowEventKind, Settings, Verdict},
    serve::board::Change,
};

use crate::{
    block_on, heap,
    plan::{Plan, UNANSWERED, ms, name},
    same,
    world::World,
};

const PEERS: usize = 5_000;
/// Every so many is cut.
const OF_WHICH_ONE: usize = 10;
/// Each flow repeats one segment, which is answered: TCP is heard by way of each card.
const HEARD_MS: u64 = 1_000;
const CUT_MS: u64 = 2_000;
const END_MS: u64 = 3_500;

const PLAN: Plan = Plan {
    peers: PEERS,
    flows: |_| 1,
    cut: |n| {
        n.is_multiple_of(OF_WHICH_ONE)
            .then_some((CUT_MS, u64::MAX >> 24))
    },
    a_socket_takes: Duration::ZERO,
};

#[test]
fn of_five_thousand_peers_exactly_the_tenth_that_was_cut_is_dead() {
    heap::alone(|| block_on(run()));
}

async fn run() {
    let mut world = World::new(
        PLAN,
        Settings {
            max_peers: PEERS,
            // All of them have answered before the cut, and who is suspected is asked at once.
            max_probes_per_second: 20 * PEERS as u32,
            ..Settings::default()
        },
    );
    let (_, mut watch) = world.board.watch("this-run", 0);
    world.run_until(ms(HEARD_MS));
    for n in 0..PEERS {
        world.flow_event(ms(HEARD_MS), n, 0, FlowEventKind::Tlp);
    }
    world.run_until(ms(CUT_MS));
    assert_eq!(world.those(|s| s.verdict == Verdict::Alive).len(), PEERS);
    assert_eq!(world.looked_at.len(), PEERS);
    assert_eq!(world.most_looks, PEERS, "all at once, at the start");

    for (after, kind) in UNANSWERED {
        let at = ms(CUT_MS + after);
        world.run_until(at);
        for n in (0..PEERS).step_by(OF_WHICH_ONE) {
            world.flow_event(at, n, 0, kind);
        }
    }
    world.run_until(ms(END_MS));
    let cut: BTreeSet<_> = (0..PEERS).step_by(OF_WHICH_ONE).map(name).collect();
    same("Dead", &world.those(|s| s.verdict == Verdict::Dead), &cut);
    same("Open", &world.those(|s| s.breaker == Breaker::Open), &cut);
    same(
        "not Alive",
        &world.those(|s| s.verdict != Verdict::Alive),
        &cut,
    );
    assert_eq!(world.destroyed.len(), cut.len(), "a flow of each");

    // Who watched from the start and reads only now has missed none of it.
    let mut told = BTreeMap::new();
    while watch.seen() < world.board.snapshot().revision {
        match watch.next().await.expect("the watcher is not left behind") {
            Change::Changed(state) => {
                told.insert(state.peer.clone(), state.verdict);
            }
            other => panic!("{other:?}"),
        }
    }
    let dead = told.iter().filter(|(_, is)| **is == Verdict::Dead);
    assert_eq!(
        dead.map(|(peer, _)| peer.clone()).collect::<BTreeSet<_>>(),
        cut
    );
}
