//! Five thousand peers, a flow to each, a tenth of them cut at once: exactly those are Dead.
//!
//! The core runs on a virtual clock. What it asks for goes through the real queues, made for so
//! many peers, and is answered as a kernel and living hosts would answer. How long the machine
//! takes for it does not matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use detector_user::{
    core::{
        Bounds, Breaker, Detector, Effect, Endpoint, FlowEvent, FlowEventKind, FlowId, FlowReading,
        HardwareAddress, Harness, PeerName, PeerState, ProbeAnswer, ProbeEvent, ProbeId,
        ProbeOutcome, ProbeTarget, Settings, Signal, SourceKind, Surroundings, TcpState, Teardown,
        Time, Verdict,
    },
    pending::Pending,
    serve::board::{Board, Change, WatchEvent},
};

const PEERS: usize = 5_000;
/// Every so many is cut.
const OF_WHICH_ONE: usize = 10;
/// Each flow repeats one segment, which is answered: TCP is heard by way of each card.
const HEARD_MS: u64 = 1_000;
const CUT_MS: u64 = 2_000;
const END_MS: u64 = 3_500;

/// What the kernel does to a flow with something in flight, so long after the cut.
const UNANSWERED: [(u64, FlowEventKind); 4] = [
    (10, FlowEventKind::Tlp),
    (214, FlowEventKind::Rto { count: 1 }),
    (626, FlowEventKind::Rto { count: 2 }),
    (1_460, FlowEventKind::Rto { count: 3 }),
];

fn ms(millis: u64) -> Time {
    Time::from_nanos(987_654_321_000_000 + millis * 1_000_000)
}

fn name(n: usize) -> PeerName {
    PeerName::from_canonical(&format!("http://node{n:04}:9000"))
}

fn addr(n: usize) -> IpAddr {
    [10, 1, (n / 250) as u8, (n % 250) as u8 + 1].into()
}

fn is_cut(n: usize, now: Time) -> bool {
    n.is_multiple_of(OF_WHICH_ONE) && now >= ms(CUT_MS)
}

fn answer(target: ProbeTarget) -> ProbeAnswer {
    match target {
        ProbeTarget::Neighbour { .. } => ProbeAnswer::Neighbour(HardwareAddress([2; 6])),
        ProbeTarget::Connect(Endpoint { port: 9000, .. })
        | ProbeTarget::ConnectFrom {
            endpoint: Endpoint { port: 9000, .. },
            ..
        } => ProbeAnswer::SynAck,
        ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => ProbeAnswer::Reset,
        ProbeTarget::Flow { .. } => ProbeAnswer::Ack,
    }
}

/// The core, with the queues of a daemon that was configured for so many peers.
type World = Harness<Detector, Daemon>;

struct Daemon {
    bounds: Bounds,
    by_name: BTreeMap<PeerName, usize>,
    by_addr: BTreeMap<IpAddr, usize>,
    looks: Pending<PeerName, Vec<IpAddr>>,
    orders: Pending<(PeerName, IpAddr), usize>,
    board: Board,
    states: BTreeMap<PeerName, PeerState>,
    looked_at: BTreeSet<PeerName>,
    most_looks: usize,
    to_destroy: BTreeSet<PeerName>,
}

fn world() -> World {
    let settings = Settings {
        max_peers: PEERS,
        // All of them have answered before the cut, and who is suspected is asked at once.
        max_probes_per_second: 20 * PEERS as u32,
        ..Settings::default()
    };
    let daemon = Daemon::new(settings.bounds());
    let mut detector = Detector::new(settings);
    for n in 0..PEERS {
        let configured = Signal::PeerConfigured {
            peer: name(n),
            endpoints: vec![Endpoint {
                addr: addr(n),
                port: 9000,
            }],
            discovered: false,
        };
        detector.handle_signal(ms(0), configured);
    }
    let mut world = World::of(detector, ms(0), daemon);
    world.settle();
    world
}

fn reading(n: usize, now: Time) -> FlowReading {
    let since_cut = now.since(ms(CUT_MS)).as_millis() as u64;
    let silent = is_cut(n, now);
    let passed = UNANSWERED[1..].iter();
    let timeouts = passed.filter(|(after, _)| silent && since_cut >= *after);
    let rto_count = timeouts.count() as u32;
    FlowReading {
        id: FlowId {
            netns: 1,
            local: ([10, 0, 0, 1], 30_000 + n as u16).into(),
            remote: (addr(n), 9000).into(),
        },
        cookie: n as u64 + 1,
        state: TcpState::Established,
        rto_count,
        backoff: rto_count,
        probes_out: 0,
        unacked_segments: if silent { 2 } else { 0 },
        unacked_bytes: if silent { 200 } else { 0 },
        send_window_bytes: 65_535,
        last_heard: Some(if silent { ms(CUT_MS) } else { now }),
        srtt: Duration::from_micros(200),
        rtt_variance: Duration::from_micros(50),
        rto: Duration::from_millis(204 << rto_count),
        segments_sent: 1_000,
        segments_retransmitted: u64::from(rto_count),
        bytes_acked: 0,
        mss: 1_448,
        awaiting_since: None,
    }
}

/// What the kernel tells of the flows that were cut.
fn cut(world: &mut World) {
    for (after, kind) in UNANSWERED {
        world.run_until(ms(CUT_MS + after));
        let those = (0..PEERS).step_by(OF_WHICH_ONE);
        flow_events(world, those, kind);
    }
}

/// The same happens to the flows of these peers at once.
fn flow_events(world: &mut World, peers: impl Iterator<Item = usize>, kind: FlowEventKind) {
    let at = world.now;
    for n in peers {
        let reading = reading(n, at);
        let event = FlowEvent {
            at,
            source: SourceKind::Ebpf,
            flow: reading.id,
            kind,
            reading: Some(reading),
        };
        world.detector.handle_signal(at, Signal::Flow(event));
    }
    world.settle();
}

impl Surroundings for Daemon {
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal> {
        let (mut waiting, mut probes) = (0, Vec::new());
        for effect in effects {
            match effect {
                Effect::ReadSockets { peer, addr } => {
                    waiting += 1;
                    let refused = self.looks.put(&peer, vec![addr], Vec::extend);
                    assert_eq!(refused, None, "no room for {peer}");
                }
                Effect::Probe { probe, target, .. } => probes.push((probe, target)),
                effect => self.note(effect),
            }
        }
        self.most_looks = self.most_looks.max(waiting);
        assert!(probes.len() <= self.bounds.probes());
        let results = probes
            .into_iter()
            .map(|(id, target)| self.probe(now, id, target));
        let mut answers: Vec<_> = results.flatten().collect();
        if waiting > 0 {
            answers.extend(self.look(now));
        }
        answers
    }
}

impl Daemon {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            by_name: (0..PEERS).map(|n| (name(n), n)).collect(),
            by_addr: (0..PEERS).map(|n| (addr(n), n)).collect(),
            looks: Pending::new(bounds),
            orders: Pending::new(bounds),
            board: Board::new("this-run", bounds),
            states: BTreeMap::new(),
            looked_at: BTreeSet::new(),
            most_looks: 0,
            to_destroy: BTreeSet::new(),
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Publish(state) => {
                self.board.publish(state.clone());
                self.states.insert(state.peer.clone(), state);
            }
            Effect::DestroySockets(Teardown {
                peer,
                addr,
                sockets,
                ..
            }) => {
                let key = (peer.clone(), addr);
                let refused = self.orders.put(&key, sockets.len(), |_, _| {});
                assert_eq!(refused, None, "no room for {peer}");
                self.to_destroy.insert(peer);
            }
            _ => {}
        }
    }

    /// All that wait are answered at once, as from one dump.
    fn look(&mut self, at: Time) -> Vec<Signal> {
        let waiting = self.looks.take_all().expect("looks wait").into_iter();
        let read = waiting.map(|(peer, addrs)| {
            self.looked_at.insert(peer.clone());
            Signal::SocketsRead {
                at,
                source: SourceKind::SockDiag,
                flows: vec![reading(self.by_name[&peer], at)],
                peer,
                addr: addrs[0],
            }
        });
        read.collect()
    }

    fn probe(&self, at: Time, probe: ProbeId, target: ProbeTarget) -> Vec<Signal> {
        let host = self.by_addr.get(&target.addr()).copied();
        let answers = host.is_some_and(|n| !is_cut(n, at));
        let answer = answers.then(|| ProbeOutcome::Answered(answer(target)));
        let outcomes = [Some(ProbeOutcome::Sent), answer].into_iter().flatten();
        let events = outcomes.map(|outcome| ProbeEvent {
            at,
            probe,
            target,
            outcome,
        });
        events.map(Signal::Probe).collect()
    }

    fn those(&self, are: impl Fn(&PeerState) -> bool) -> BTreeSet<PeerName> {
        let states = self.states.values().filter(|state| are(state));
        states.map(|state| state.peer.clone()).collect()
    }
}

/// Names a few of the differences: five hundred names are nothing to read.
#[track_caller]
fn same(are: &str, found: &BTreeSet<PeerName>, expected: &BTreeSet<PeerName>) {
    let some = |set: BTreeSet<PeerName>| set.into_iter().take(3).collect::<Vec<_>>();
    let (extra, missing) = (some(found - expected), some(expected - found));
    assert!(
        extra.is_empty() && missing.is_empty(),
        "{} are {are}, of {}; {extra:?} should not be, {missing:?} are not",
        found.len(),
        expected.len()
    );
}

#[tokio::test]
async fn of_five_thousand_peers_exactly_the_tenth_that_was_cut_is_dead() {
    let mut world = world();
    let mut watch = world.board.watch("this-run", 0);
    world.run_until(ms(HEARD_MS));
    flow_events(&mut world, 0..PEERS, FlowEventKind::Tlp);
    world.run_until(ms(CUT_MS));
    assert_eq!(world.those(|s| s.verdict == Verdict::Alive).len(), PEERS);
    assert_eq!(world.looked_at.len(), PEERS);
    assert_eq!(world.most_looks, PEERS, "all at once, at the start");

    cut(&mut world);
    world.run_until(ms(END_MS));
    let were_cut: BTreeSet<_> = (0..PEERS).step_by(OF_WHICH_ONE).map(name).collect();
    same(
        "Dead",
        &world.those(|s| s.verdict == Verdict::Dead),
        &were_cut,
    );
    same(
        "Open",
        &world.those(|s| s.breaker == Breaker::Open),
        &were_cut,
    );
    same(
        "not Alive",
        &world.those(|s| s.verdict != Verdict::Alive),
        &were_cut,
    );
    same("to be destroyed", &world.to_destroy, &were_cut);

    // Who watched from the start and reads only now has missed none of it.
    let mut told = BTreeMap::new();
    while watch.seen() < Some(world.board.snapshot().revision) {
        match watch.next().await.unwrap() {
            WatchEvent::Change(Change::Changed(state)) => {
                told.insert(state.peer.clone(), state.verdict);
            }
            other => panic!("{other:?}"),
        }
    }
    let dead = told.iter().filter(|(_, is)| **is == Verdict::Dead);
    assert_eq!(
        dead.map(|(peer, _)| peer.clone()).collect::<BTreeSet<_>>(),
        were_cut
    );
}
