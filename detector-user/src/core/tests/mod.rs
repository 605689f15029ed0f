//! The rules of the verdict, told as what happens to one peer's sockets over time.

mod always;
mod asking;
mod cards;
mod cluster;
mod death;
mod ending;
mod flows;
mod health;
mod idle;
mod isolation;
mod keepalives;
mod late;
mod layers;
mod life;
mod looks;
mod namespaces;
mod overrides;
mod paths;
mod pauses;
mod recovery;
mod reports;
mod restarts;
mod stalls;
mod starting;
mod switches;
mod waiting;

use std::{net::IpAddr, time::Duration};

use super::{
    testing::{endpoint, established, ms},
    *,
};
use crate::model::*;

/// The card of everyone who answers on the link.
const CARD: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 4]);

const EOPNOTSUPP: u32 = 95;

/// Who answers probes: everybody, nobody, or the card alone.
type Answers = fn(ProbeTarget) -> Option<ProbeAnswer>;

const ALL: Answers = |target| {
    Some(match target {
        ProbeTarget::Neighbour { .. } => ProbeAnswer::Neighbour(CARD),
        ProbeTarget::Connect(endpoint) | ProbeTarget::ConnectFrom { endpoint, .. }
            if endpoint.port == 9000 =>
        {
            ProbeAnswer::SynAck
        }
        ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => ProbeAnswer::Reset,
        ProbeTarget::Flow { .. } => ProbeAnswer::Ack,
    })
};
const NONE: Answers = |_| None;
const NEIGHBOUR: Answers = |target| match target {
    ProbeTarget::Neighbour { .. } => ALL(target),
    _ => None,
};

/// A detector that watches one peer.
type World = Harness<Detector, Around>;

/// What the detector asked for and published, and who answers it.
struct Around {
    published: Vec<PeerState>,
    looks_asked: usize,
    /// The addresses whose sockets are to be read.
    to_read: Vec<IpAddr>,
    established_reported: Vec<bool>,
    /// Each probe that was asked for, and when.
    probed: Vec<(u64, ProbeTarget)>,
    probes_leave: bool,
    /// Whether flows can be probed on this machine.
    keepalives: bool,
    /// Who answers probes.
    answers: Answers,
    destroyed: Vec<Effect>,
    overrides_ended: Vec<OverrideEnd>,
    last_probe: u64,
    heard: Vec<Time>,
}

impl Around {
    fn new() -> Self {
        Self {
            published: Vec::new(),
            looks_asked: 0,
            to_read: Vec::new(),
            established_reported: Vec::new(),
            probed: Vec::new(),
            probes_leave: true,
            keepalives: false,
            answers: NONE,
            destroyed: Vec::new(),
            overrides_ended: Vec::new(),
            last_probe: 0,
            heard: Vec::new(),
        }
    }

    /// What becomes of a probe when it should leave, and whether it leaves.
    fn leaves(&mut self, now: Time, probe: ProbeId, target: ProbeTarget) -> ProbeOutcome {
        let is_flow = matches!(target, ProbeTarget::Flow { .. });
        if is_flow && !self.keepalives {
            return ProbeOutcome::Failed { errno: EOPNOTSUPP };
        }
        self.probed.push((millis(now), target));
        self.last_probe = probe.0;
        match self.probes_leave {
            true => ProbeOutcome::Sent,
            false => ProbeOutcome::Failed { errno: 11 },
        }
    }
}

impl Surroundings for Around {
    /// Probes leave together, and each is answered then, or never.
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal> {
        let (mut left, mut answered) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Publish(state) => self.published.push(state),
                Effect::ReadSockets { addr, .. } => {
                    self.looks_asked += 1;
                    self.to_read.push(addr);
                }
                Effect::ReportEstablished { on, .. } => self.established_reported.push(on),
                Effect::Retract { .. }
                | Effect::CancelTeardown { .. }
                | Effect::Measured { .. } => {}
                Effect::Heard { at, .. } => self.heard.push(at),
                Effect::Probe { probe, target, .. } => {
                    let outcome = self.leaves(now, probe, target);
                    left.push(told(now, probe, target, outcome));
                    let answer = (self.answers)(target).filter(|_| outcome == ProbeOutcome::Sent);
                    answered
                        .extend(answer.map(|answer| {
                            told(now, probe, target, ProbeOutcome::Answered(answer))
                        }));
                }
                effect @ Effect::DestroySockets(_) => self.destroyed.push(effect),
                Effect::OverrideEnded { why, .. } => self.overrides_ended.push(why),
            }
        }
        left.append(&mut answered);
        left
    }
}

/// What became of a probe.
fn told(at: Time, probe: ProbeId, target: ProbeTarget, outcome: ProbeOutcome) -> Signal {
    Signal::Probe(ProbeEvent {
        at,
        probe,
        target,
        outcome,
    })
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut world = Self::of(Detector::new(settings), ms(0), Around::new());
        world.signal(Signal::PeerConfigured {
            peer: peer(),
            endpoints: vec![endpoint()],
            discovered: false,
        });
        world
    }

    /// A world whose peer is Alive on `flows` flows, heard at 0 ms.
    fn alive(flows: u16) -> Self {
        let mut world = Self::new(Settings::default());
        world.look(0, (0..flows).map(|n| idle(n, 0)).collect());
        assert_eq!(world.state().verdict, Verdict::Alive);
        world
    }

    /// A peer on the link that answers everything, whose one connection can be probed, idle
    /// and heard at 0 ms; two seconds later.
    fn with_keepalives(settings: Settings) -> Self {
        let mut world = Self::new(settings);
        world.keepalives = true;
        world.answers = ALL;
        world.route(None);
        world.run(2000, |_| vec![idle(0, 0)]);
        assert_eq!(world.state().verdict, Verdict::Alive);
        world
    }

    fn route(&mut self, gateway: Option<IpAddr>) {
        let event = NetworkEvent::Route {
            addr: endpoint().addr,
            route: Some(Route { link: 2, gateway }),
        };
        self.network(event);
    }

    fn network(&mut self, event: NetworkEvent) {
        let at = self.now;
        self.signal(Signal::Network { at, event });
    }

    /// Time passes, and whatever falls due is done on time.
    fn at(&mut self, millis: u64) {
        self.run_until(ms(millis));
    }

    fn event(&mut self, millis: u64, kind: FlowEventKind, reading: FlowReading) {
        self.told_late(millis, millis, kind, reading);
    }

    /// An event that is told later than it happened.
    fn told_late(&mut self, millis: u64, at: u64, kind: FlowEventKind, reading: FlowReading) {
        self.at(millis);
        self.signal(Signal::Flow(FlowEvent {
            at: ms(at),
            source: SourceKind::Ebpf,
            flow: reading.id,
            kind,
            reading: Some(reading),
        }));
    }

    /// A look that comes back later than it was taken.
    fn look_late(&mut self, millis: u64, at: u64, flows: Vec<FlowReading>) {
        self.at(millis);
        self.to_read.retain(|addr| *addr != endpoint().addr);
        self.read(ms(at), endpoint().addr, flows);
    }

    fn read(&mut self, at: Time, addr: IpAddr, flows: Vec<FlowReading>) {
        self.signal(Signal::SocketsRead {
            at,
            source: SourceKind::SockDiag,
            peer: peer(),
            addr,
            flows,
        });
    }

    /// Until then, whatever falls due is done and each look shows these flows.
    fn run(&mut self, until: u64, flows: impl Fn(u64) -> Vec<FlowReading>) {
        self.run_each(until, |addr, at| match addr == endpoint().addr {
            true => flows(at),
            false => Vec::new(),
        });
    }

    /// The same with the flows of each address.
    fn run_each(&mut self, until: u64, flows: impl Fn(IpAddr, u64) -> Vec<FlowReading>) {
        loop {
            for addr in std::mem::take(&mut self.to_read) {
                self.read(self.now, addr, flows(addr, millis(self.now)));
            }
            let due = self.detector.poll_timeout().expect("something is due");
            if due > ms(until) {
                break;
            }
            self.at(due.since(ms(0)).as_nanos().div_ceil(1_000_000) as u64);
        }
        self.now = ms(until);
    }

    /// The same until the peer is Dead; says when, if it is.
    fn run_until_dead(
        &mut self,
        until: u64,
        flows: impl Fn(u64) -> Vec<FlowReading>,
    ) -> Option<u64> {
        while self.state().verdict != Verdict::Dead {
            let next = millis(self.now) + 1;
            if next > until {
                return None;
            }
            self.run(next, &flows);
        }
        Some(millis(self.now))
    }

    /// When the next look is asked for; it is that time then.
    fn next_look(&mut self) -> u64 {
        let asked = self.looks_asked;
        while self.looks_asked == asked {
            let due = self
                .detector
                .poll_timeout()
                .expect("a look is due some time");
            self.at(due.since(ms(0)).as_nanos().div_ceil(1_000_000) as u64);
        }
        millis(self.now)
    }

    /// The transmissions that stand unanswered.
    fn unanswered(&self) -> u32 {
        self.explain().silence.unanswered_transmissions
    }

    fn explain(&self) -> Explanation {
        self.detector.explain(self.now, &peer()).unwrap()
    }

    fn look(&mut self, millis: u64, flows: Vec<FlowReading>) {
        self.look_late(millis, millis, flows);
    }

    fn state(&self) -> &PeerState {
        self.published.last().expect("a peer is published at once")
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.published.iter().map(|state| state.verdict).collect()
    }

    /// The peer falls silent at 0 ms with something in flight on each flow: probes at 10 ms,
    /// time-outs at 214 ms.
    fn cut(&mut self, flows: u16) {
        for n in 0..flows {
            self.event(10, FlowEventKind::Tlp, established(n, ms(0)));
        }
        self.look(11, (0..flows).map(|n| established(n, ms(0))).collect());
        for n in 0..flows {
            self.event(214, FlowEventKind::Rto { count: 1 }, established(n, ms(0)));
        }
    }
}

fn millis(at: Time) -> u64 {
    at.since(ms(0)).as_millis() as u64
}

fn peer() -> PeerName {
    PeerName::from_canonical("http://node4:9000")
}

fn idle(n: u16, heard_ms: u64) -> FlowReading {
    FlowReading {
        unacked_bytes: 0,
        unacked_segments: 0,
        ..established(n, ms(heard_ms))
    }
}

fn stalled(n: u16, rto_count: u32) -> FlowReading {
    FlowReading {
        rto_count,
        backoff: rto_count,
        rto: Duration::from_millis(204 << rto_count),
        ..established(n, ms(0))
    }
}

fn all_stalled(flows: u16, rto_count: u32) -> Vec<FlowReading> {
    (0..flows).map(|n| stalled(n, rto_count)).collect()
}
