//! Three peers on one link, or behind one gateway.

use super::*;

/// A detector with three peers on one link, at 10.0.0.4, .5 and .6.
pub(super) type Cluster = Harness<Detector, Link>;

/// The hosts of the link, and what the detector asked for and published.
pub(super) struct Link {
    pub states: std::collections::BTreeMap<PeerName, PeerState>,
    pub ever_dead: bool,
    /// Who answers probes, and is heard at looks.
    pub alive: Vec<u8>,
    /// Who has something in flight.
    pub busy: Vec<u8>,
    /// With whom there is no connection.
    pub unconnected: Vec<u8>,
    /// How many teardowns were asked for.
    pub destroyed: usize,
    pub probed: Vec<(Time, ProbeTarget)>,
    pub heard: std::collections::BTreeMap<u8, Time>,
}

pub(super) const NODES: [u8; 3] = [4, 5, 6];

pub(super) fn name(n: u8) -> PeerName {
    PeerName::from_canonical(&format!("http://node{n}:9000"))
}

pub(super) fn at_node(n: u8) -> Endpoint {
    Endpoint {
        addr: [10, 0, 0, n].into(),
        port: 9000,
    }
}

impl Cluster {
    pub(super) fn new(gateway: Option<u8>) -> Self {
        Self::with(gateway, Settings::default())
    }

    pub(super) fn with(gateway: Option<u8>, settings: Settings) -> Self {
        let mut cluster = Self::unwatched(settings);
        cluster.alive.extend(gateway);
        cluster.watch(gateway);
        cluster.run(2000);
        assert!(NODES.iter().all(|n| cluster.verdict(*n) == Verdict::Alive));
        cluster
    }

    /// A daemon that has not begun yet.
    pub(super) fn unwatched(settings: Settings) -> Self {
        let link = Link {
            states: Default::default(),
            ever_dead: false,
            alive: NODES.to_vec(),
            busy: Vec::new(),
            unconnected: Vec::new(),
            destroyed: 0,
            probed: Vec::new(),
            heard: NODES.iter().map(|&n| (n, ms(0))).collect(),
        };
        Self::of(Detector::new(settings), ms(0), link)
    }

    /// It begins.
    pub(super) fn watch(&mut self, gateway: Option<u8>) {
        self.link(true);
        for n in NODES {
            self.signal(Signal::PeerConfigured {
                peer: name(n),
                endpoints: vec![at_node(n)],
                discovered: false,
            });
            self.network(NetworkEvent::Route {
                addr: at_node(n).addr,
                route: Some(Route {
                    link: 2,
                    gateway: gateway.map(|g| at_node(g).addr),
                }),
            });
        }
    }

    pub(super) fn link(&mut self, up: bool) {
        let name = "eth0".to_owned();
        self.network(NetworkEvent::Link { link: 2, name, up });
    }

    pub(super) fn network(&mut self, event: NetworkEvent) {
        let at = self.now;
        self.signal(Signal::Network { at, event });
    }

    /// Lets so many milliseconds pass.
    pub(super) fn run(&mut self, millis: u64) {
        self.run_until(self.now + Duration::from_millis(millis));
    }

    /// These fall silent; tail loss probes follow where something is in flight.
    pub(super) fn silence(&mut self, nodes: &[u8]) {
        self.alive.retain(|n| !nodes.contains(n));
        let now = self.now;
        for n in nodes {
            self.heard.insert(*n, now);
        }
        self.run(10);
        self.tail_loss_probes(nodes);
    }

    /// What these have in flight is not acknowledged in time.
    pub(super) fn tail_loss_probes(&mut self, nodes: &[u8]) {
        for &n in nodes.iter().filter(|n| NODES.contains(n)) {
            if self.busy.contains(&n) {
                let mut reading = established(0, self.heard[&n]);
                reading.id.remote = (at_node(n).addr, 9000).into();
                self.signal(Signal::Flow(FlowEvent {
                    at: self.now,
                    source: SourceKind::Ebpf,
                    flow: reading.id,
                    kind: FlowEventKind::Tlp,
                    reading: Some(reading),
                }));
            }
        }
    }

    pub(super) fn verdict(&self, n: u8) -> Verdict {
        self.states[&name(n)].verdict
    }

    pub(super) fn isolated(&self, n: u8) -> bool {
        self.states[&name(n)].isolated
    }
}

impl Surroundings for Link {
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal> {
        let mut answers = Vec::new();
        for effect in effects {
            match effect {
                Effect::Publish(state) => {
                    self.ever_dead |= state.verdict == Verdict::Dead;
                    self.states.insert(state.peer.clone(), state);
                }
                Effect::ReadSockets { peer, .. } => answers.push(self.look(now, peer)),
                Effect::Probe { probe, target, .. } => {
                    self.probed.push((now, target));
                    answers.extend(self.probe(now, probe, target));
                }
                Effect::DestroySockets(_) => self.destroyed += 1,
                _ => {}
            }
        }
        answers
    }
}

impl Link {
    fn look(&mut self, now: Time, peer: PeerName) -> Signal {
        let n = NODES.into_iter().find(|n| name(*n) == peer).unwrap();
        let (busy, alive) = (self.busy.contains(&n), self.alive.contains(&n));
        if busy && alive {
            self.heard.insert(n, now);
        }
        let heard = self.heard[&n];
        let stalls = busy && !alive;
        let flow = |k: u16| FlowReading {
            id: FlowId {
                remote: (at_node(n).addr, 9000).into(),
                ..established(k, heard).id
            },
            rto_count: match stalls {
                // Each time-out is twice as long as the one before.
                true => (now.since(heard).as_millis() / 204 + 1).ilog2(),
                false => 0,
            },
            unacked_bytes: u32::from(stalls) * 100,
            unacked_segments: u32::from(stalls) * 2,
            ..established(k, heard)
        };
        Signal::SocketsRead {
            at: now,
            source: SourceKind::SockDiag,
            peer,
            addr: at_node(n).addr,
            flows: match self.unconnected.contains(&n) {
                true => Vec::new(),
                false => (0..4).map(flow).collect(),
            },
        }
    }

    fn probe(&self, now: Time, probe: ProbeId, target: ProbeTarget) -> Vec<Signal> {
        let std::net::IpAddr::V4(addr) = target.addr() else {
            return Vec::new();
        };
        let card = HardwareAddress([2, 0, 0, 0, 0, addr.octets()[3]]);
        let answer = match target {
            ProbeTarget::Neighbour { .. } => ProbeAnswer::Neighbour(card),
            ProbeTarget::Connect(Endpoint { port: 9000, .. }) => ProbeAnswer::SynAck,
            ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => ProbeAnswer::Reset,
            ProbeTarget::Flow { .. } => ProbeAnswer::Ack,
        };
        let answered = self.alive.contains(&addr.octets()[3]);
        let answer = answered.then_some(ProbeOutcome::Answered(answer));
        let outcomes = std::iter::once(ProbeOutcome::Sent).chain(answer);
        outcomes
            .map(|outcome| told(now, probe, target, outcome))
            .collect()
    }
}
