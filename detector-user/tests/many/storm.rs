//! A hundred thousand connections with a thousand peers stall within a second, while a thousand
//! other peers are alive. Then all come back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use detector_user::{
    model::{Breaker, FlowEventKind, PeerName, PeerState, Settings, Time, Verdict},
    serve::board::{Change, Watch},
};

use crate::{
    block_on, heap,
    plan::{Plan, UNANSWERED, ms, name},
    same,
    world::World,
};

const STALLED: usize = 1_000;
const OTHERS: usize = 1_000;
const FLOWS: u16 = 100;
const HEARD_MS: u64 = 500;
/// The peers are cut one after the other, a thousandth of a second apart.
const CUT_MS: u64 = 1_000;
const BACK_MS: u64 = 4_500;
const END_MS: u64 = 6_000;

/// Detection time, and what the kernel's timers and the daemon's probes may add.
const OPEN_WITHIN: Duration = Duration::from_millis(300 + 1_000);
/// From the first segment of a peer that is back.
const CLOSED_WITHIN: Duration = Duration::from_millis(250 + 1_000);

/// The room on the ring of the default size: 1 MiB of records of 120 bytes with their header. What
/// does not fit comes from the map, this much later.
const RING_RECORDS: usize = (1 << 20) / 120;
const HEALED_AFTER_MS: u64 = 100;

/// What the core, the board and this test's own bookkeeping may hold, as `docs/benchmarks.md` says.
const BYTES_A_PEER: usize = 24 * 1024;
const BYTES_A_FLOW: usize = 1_536;

const PLAN: Plan = Plan {
    peers: STALLED + OTHERS,
    flows: |n| if is_stalled(n) { FLOWS } else { 1 },
    cut: |n| is_stalled(n).then(|| (CUT_MS + n as u64, BACK_MS)),
    // As measured on 6.18: a dump of all takes 0.13 s.
    a_socket_takes: Duration::from_nanos(1_300),
};

const fn is_stalled(n: usize) -> bool {
    n < STALLED
}

#[test]
fn a_hundred_thousand_flows_stall_within_a_second() {
    heap::alone(|| block_on(run()));
}

async fn run() {
    let empty = heap::bytes();
    let settings = Settings {
        max_peers: PLAN.peers,
        ..Settings::default()
    };
    let mut world = World::new(PLAN, settings);
    let (_, mut watch) = world.board.watch("this-run", 0);
    let mut seen = Seen::default();
    let mut most = 0;

    world.run_until(ms(HEARD_MS));
    for n in 0..PLAN.peers {
        world.flow_event(ms(HEARD_MS), n, 0, FlowEventKind::Tlp);
    }
    world.run_until(ms(CUT_MS));
    let all: BTreeSet<_> = (0..PLAN.peers).map(name).collect();
    same("Alive", &world.those(|s| s.verdict == Verdict::Alive), &all);
    seen.read(&mut watch, &world).await;
    world.told.clear();

    let mut storm = Storm::default();
    for at in CUT_MS..BACK_MS {
        world.run_until(ms(at));
        storm.pass(&mut world, at);
        seen.read(&mut watch, &world).await;
        most = most.max(heap::bytes());
    }
    let cut: BTreeSet<_> = (0..STALLED).map(name).collect();
    same("Dead", &world.those(|s| s.verdict == Verdict::Dead), &cut);
    same("Open", &world.those(|s| s.breaker == Breaker::Open), &cut);
    same("not Alive", &seen.ever_not_alive(), &cut);
    assert!(storm.late > 0, "the ring had room for all of it");
    in_time(
        "open",
        &world,
        OPEN_WITHIN,
        |n| CUT_MS + n as u64,
        |state| state.verdict == Verdict::Dead && state.breaker == Breaker::Open,
    );
    assert_eq!(world.destroyed.len(), STALLED * usize::from(FLOWS));
    assert!(world.destroyed.values().all(|times| *times == 1));

    world.told.clear();
    world.run_until(ms(END_MS));
    seen.read(&mut watch, &world).await;
    let is_well = |s: &PeerState| s.verdict == Verdict::Alive && s.breaker == Breaker::Closed;
    same("well", &world.those(is_well), &all);
    in_time("closed", &world, CLOSED_WITHIN, |_| BACK_MS, is_well);
    same("received by the watcher", &seen.those(is_well), &all);

    let flows = STALLED * usize::from(FLOWS) + OTHERS;
    let bound = PLAN.peers * BYTES_A_PEER + flows * BYTES_A_FLOW;
    let most = most - empty;
    println!("{} MiB at most, of {} MiB", most >> 20, bound >> 20);
    assert!(most < bound, "{most} bytes, and the bound is {bound}");
}

/// Checks that each stalled peer was first published like this soon after this moment.
#[track_caller]
fn in_time(
    what: &str,
    world: &World,
    within: Duration,
    since: impl Fn(usize) -> u64,
    is: impl Fn(&PeerState) -> bool,
) {
    let mut first: BTreeMap<&PeerName, Time> = BTreeMap::new();
    for (at, state) in world.told.iter().filter(|(_, state)| is(state)) {
        first.entry(&state.peer).or_insert(*at);
    }
    let took = |n: usize| first.get(&name(n)).map(|at| at.since(ms(since(n))));
    let took: Vec<_> = (0..STALLED).map(took).collect();
    let never = took.iter().filter(|took| took.is_none()).count();
    let slowest = took.into_iter().flatten().max();
    println!("{what}: the slowest after {slowest:?}");
    assert!(
        never == 0 && slowest < Some(within),
        "{what}: {never} never"
    );
}

/// What the kernel tells of the stalled flows, through a ring that is too small for it.
#[derive(Default)]
struct Storm {
    /// What did not fit on the ring, and when it is found in the map.
    healing: BTreeMap<u64, Vec<(u64, usize, u16, FlowEventKind)>>,
    on_ring: usize,
    late: usize,
}

impl Storm {
    /// The events of this millisecond. The daemon empties the ring ten times a second.
    fn pass(&mut self, world: &mut World, now: u64) {
        if now.is_multiple_of(HEALED_AFTER_MS) {
            self.on_ring = 0;
        }
        for (at, n, flow, kind) in self.healing.remove(&now).unwrap_or_default() {
            world.flow_event(ms(at), n, flow, kind);
        }
        for (after, kind) in UNANSWERED {
            let n = now.wrapping_sub(CUT_MS + after) as usize;
            if is_stalled(n) && !world.destroyed.contains_key(&(n as u64 * 1_000 + 1)) {
                (0..FLOWS).for_each(|flow| self.record(world, now, n, flow, kind));
            }
        }
        world.settle();
    }

    fn record(&mut self, world: &mut World, now: u64, n: usize, flow: u16, kind: FlowEventKind) {
        if self.on_ring < RING_RECORDS {
            self.on_ring += 1;
            return world.flow_event(ms(now), n, flow, kind);
        }
        self.late += 1;
        let healed = self.healing.entry(now + HEALED_AFTER_MS).or_default();
        healed.push((now, n, flow, kind));
    }
}

/// The states that a watcher received.
#[derive(Default)]
struct Seen {
    latest: BTreeMap<PeerName, PeerState>,
    not_alive: BTreeSet<PeerName>,
    was_alive: BTreeSet<PeerName>,
}

impl Seen {
    /// Reads all that is new. A watcher that lags too far behind would get an error.
    async fn read(&mut self, watch: &mut Watch, world: &World) {
        while watch.seen() < world.board.snapshot().revision {
            match watch.next().await.expect("the watcher is not left behind") {
                Change::Changed(state) => self.note((*state).clone()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn note(&mut self, state: PeerState) {
        let peer = &state.peer;
        if state.verdict == Verdict::Alive {
            self.was_alive.insert(peer.clone());
        } else if self.was_alive.contains(peer) {
            self.not_alive.insert(peer.clone());
        }
        self.latest.insert(peer.clone(), state);
    }

    /// The peers that were Alive and then were not.
    fn ever_not_alive(&self) -> BTreeSet<PeerName> {
        self.not_alive.clone()
    }

    fn those(&self, are: impl Fn(&PeerState) -> bool) -> BTreeSet<PeerName> {
        let states = self.latest.values().filter(|state| are(state));
        states.map(|state| state.peer.clone()).collect()
    }
}
