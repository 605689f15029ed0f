//! The core with the queues of a daemon for many peers, and the hosts that answer it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use detector_user::{
    core::{Detector, probed},
    model::{
        Destroyed, Effect, Endpoint, FlowEvent, FlowEventKind, NetworkEvent, PeerName, PeerState,
        ProbeId, ProbeTarget, Route, Settings, Signal, SourceKind, Teardown, Time,
    },
    pending::Pending,
    serve::board::Board,
};

use crate::plan::{Plan, addr, answer, cookie, ms, name};

/// The core, with the queues of a daemon that was configured for so many peers.
#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub detector: Detector,
    pub now: Time,
    by_name: BTreeMap<PeerName, usize>,
    by_addr: BTreeMap<IpAddr, usize>,
    looks: Pending<PeerName, Vec<IpAddr>>,
    dump: Option<Dump>,
    orders: Pending<(PeerName, IpAddr), Teardown>,
    pub board: Board,
    pub states: BTreeMap<PeerName, PeerState>,
    /// When each peer's state was published, with the state.
    pub told: Vec<(Time, PeerState)>,
    pub looked_at: BTreeSet<PeerName>,
    pub most_looks: usize,
    most_probes: usize,
    pub counts: Counts,
    /// The sockets that were destroyed, and how often each was named.
    pub destroyed: BTreeMap<u64, u32>,
}

/// A dump of the socket table that is under way, with the signals that it will end with.
#[derive(Debug)]
struct Dump {
    ends: Time,
    read: Vec<Signal>,
}

/// What the daemon had to do for the core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// How often the loop's timer ended.
    pub timeouts: usize,
    pub probes: usize,
    pub looks: usize,
}

impl World {
    pub fn new(plan: Plan, settings: Settings) -> Self {
        let bounds = settings.bounds();
        let mut world = Self {
            plan,
            detector: Detector::new(settings),
            now: ms(0),
            by_name: (0..plan.peers).map(|n| (name(n), n)).collect(),
            by_addr: (0..plan.peers).map(|n| (addr(n), n)).collect(),
            looks: Pending::new(bounds),
            dump: None,
            orders: Pending::new(bounds),
            board: Board::new("this-run", bounds),
            states: BTreeMap::new(),
            told: Vec::new(),
            looked_at: BTreeSet::new(),
            most_looks: 0,
            most_probes: bounds.probes(),
            counts: Counts::default(),
            destroyed: BTreeMap::new(),
        };
        for n in 0..plan.peers {
            world.configure(n);
        }
        world
    }

    fn configure(&mut self, n: usize) {
        let configured = Signal::PeerConfigured {
            peer: name(n),
            endpoints: vec![Endpoint {
                addr: addr(n),
                port: 9000,
            }],
            discovered: false,
        };
        self.detector.handle_signal(self.now, configured);
    }

    /// The kernel's route to a peer, all by way of one gateway.
    pub fn route(&mut self, n: usize) {
        let route = Some(Route {
            link: 2,
            gateway: Some([10, 0, 0, 254].into()),
        });
        let event = NetworkEvent::Route {
            addr: addr(n),
            route,
        };
        let at = self.now;
        self.detector
            .handle_signal(at, Signal::Network { at, event });
    }

    /// Time passes up to then, and all that falls due is done.
    pub fn run_until(&mut self, until: Time) {
        self.settle();
        while let Some(due) = self.next()
            && due <= until
        {
            self.now = due.max(self.now);
            if self.detector.poll_timeout() <= Some(self.now) {
                self.counts.timeouts += 1;
                self.detector.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = until;
    }

    /// When something happens next.
    fn next(&self) -> Option<Time> {
        let dump = self.dump.as_ref().map(|dump| dump.ends);
        [self.detector.poll_timeout(), dump]
            .into_iter()
            .flatten()
            .min()
    }

    /// Carries out what the core asks for, until it asks for nothing more.
    pub fn settle(&mut self) {
        loop {
            let (looks, probes) = self.take_effects();
            self.most_looks = self.most_looks.max(looks);
            self.counts.looks += looks;
            self.counts.probes += probes.len();
            assert!(probes.len() <= self.most_probes);
            let destroyed = self.destroy();
            let is_quiet = probes.is_empty() && !destroyed;
            for (probe, target) in probes {
                self.probe(probe, target);
            }
            let read = self.look();
            if is_quiet && !read {
                return;
            }
        }
    }

    fn take_effects(&mut self) -> (usize, Vec<(ProbeId, ProbeTarget)>) {
        let (mut looks, mut probes) = (0, Vec::new());
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::ReadSockets { peer, addr } => {
                    looks += 1;
                    let refused = self.looks.put(&peer, vec![addr], Vec::extend);
                    assert_eq!(refused, None, "no room for {peer}");
                }
                Effect::Probe { probe, target, .. } => probes.push((probe, target)),
                Effect::Publish(state) => {
                    self.board.publish(state.clone());
                    self.states.insert(state.peer.clone(), state.clone());
                    self.told.push((self.now, state));
                }
                Effect::DestroySockets(order) => {
                    let key = (order.peer.clone(), order.addr);
                    let refused = self.orders.put(&key, order, |_, _| {});
                    assert_eq!(refused, None, "no room for {}", key.0);
                }
                _ => {}
            }
        }
        (looks, probes)
    }

    /// Destroys what was ordered, as one thread does it: one peer after the other.
    fn destroy(&mut self) -> bool {
        let mut any = false;
        while let Some(order) = self.orders.take_first() {
            any = true;
            for (_, cookie) in &order.sockets {
                *self.destroyed.entry(*cookie).or_default() += 1;
            }
            let result = Destroyed {
                destroyed: order.sockets.len() as u32,
                ..Destroyed::default()
            };
            let done = Signal::SocketsDestroyed {
                at: self.now,
                peer: order.peer,
                addr: order.addr,
                generation: order.generation,
                result,
            };
            self.detector.handle_signal(self.now, done);
        }
        any
    }

    /// All that wait when a dump begins are answered when it ends. Returns whether one has ended.
    fn look(&mut self) -> bool {
        if self.dump.is_none()
            && let Some(waiting) = self.looks.take_all()
        {
            self.dump = Some(self.begin_dump(waiting));
        }
        let now = self.now;
        let Some(dump) = self.dump.take_if(|dump| dump.ends <= now) else {
            return false;
        };
        for read in dump.read {
            self.detector.handle_signal(self.now, read);
        }
        true
    }

    fn begin_dump(&mut self, waiting: BTreeMap<PeerName, Vec<IpAddr>>) -> Dump {
        self.looked_at.extend(waiting.keys().cloned());
        let read = waiting.into_iter().map(|(peer, addrs)| {
            let n = self.by_name[&peer];
            let there = |flow: &u16| !self.destroyed.contains_key(&cookie(n, *flow));
            let flows = (0..(self.plan.flows)(n)).filter(there);
            Signal::SocketsRead {
                at: self.now,
                source: SourceKind::SockDiag,
                peer,
                addr: addrs[0],
                flows: flows
                    .map(|flow| self.plan.reading(self.now, n, flow))
                    .collect(),
            }
        });
        let sockets: usize = (0..self.plan.peers)
            .map(|n| usize::from((self.plan.flows)(n)))
            .sum();
        let left = sockets - self.destroyed.len();
        Dump {
            ends: self.now + self.plan.a_socket_takes * left as u32,
            read: read.collect(),
        }
    }

    fn probe(&mut self, probe: ProbeId, target: ProbeTarget) {
        let host = self.by_addr.get(&target.addr()).copied();
        let answers = host.is_some_and(|n| !self.plan.is_silent(n, self.now));
        let answer = answers.then(|| answer(target));
        for event in probed(self.now, probe, target, answer) {
            self.detector.handle_signal(self.now, event);
        }
    }

    /// What the kernel tells of one flow now, though it happened at `at`.
    pub fn flow_event(&mut self, at: Time, n: usize, flow: u16, kind: FlowEventKind) {
        let reading = self.plan.reading(self.now, n, flow);
        let event = FlowEvent {
            at,
            source: SourceKind::Ebpf,
            flow: reading.id,
            kind,
            reading: Some(reading),
        };
        self.detector.handle_signal(self.now, Signal::Flow(event));
    }

    pub fn those(&self, are: impl Fn(&PeerState) -> bool) -> BTreeSet<PeerName> {
        let states = self.states.values().filter(|state| are(state));
        states.map(|state| state.peer.clone()).collect()
    }
}
