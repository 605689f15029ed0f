//! The rules of the verdict, told as what happens to one peer's sockets over time.

mod always;
mod asking;
mod death;
mod ending;
mod flows;
mod isolation;
mod life;
mod looks;
mod namespaces;
mod pauses;
mod recovery;
mod reports;

use std::time::Duration;

use super::{
    testing::{endpoint, established, ms},
    *,
};

/// The card of everyone who answers on the link.
const CARD: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 4]);

/// A detector that watches one peer, and what it asked for and published.
struct World {
    detector: Detector,
    now: Time,
    published: Vec<PeerState>,
    looks_asked: usize,
    established_reported: Vec<bool>,
    /// Each probe that was asked for, and when.
    probed: Vec<(u64, ProbeTarget)>,
    probes_leave: bool,
    /// Who answers probes.
    answers: fn(ProbeTarget) -> Option<ProbeAnswer>,
    destroyed: Vec<Effect>,
    last_probe: u64,
    heard: Vec<Time>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut world = Self {
            detector: Detector::new(settings),
            now: ms(0),
            published: Vec::new(),
            looks_asked: 0,
            established_reported: Vec::new(),
            probed: Vec::new(),
            probes_leave: true,
            answers: |_| None,
            destroyed: Vec::new(),
            last_probe: 0,
            heard: Vec::new(),
        };
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

    fn signal(&mut self, signal: Signal) {
        self.detector.handle_signal(self.now, signal);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::Publish(state) => self.published.push(state),
                Effect::ReadSockets { .. } => self.looks_asked += 1,
                Effect::ReportEstablished { on, .. } => self.established_reported.push(on),
                Effect::Retract { .. } | Effect::Cascade(_) | Effect::CancelTeardown { .. } => {}
                Effect::Heard { at, .. } => self.heard.push(at),
                Effect::Probe { probe, target, .. } => self.probe(probe, target),
                effect @ Effect::DestroySockets(_) => self.destroyed.push(effect),
            }
        }
    }

    /// A probe leaves, and is answered at once or never.
    fn probe(&mut self, probe: ProbeId, target: ProbeTarget) {
        self.probed.push((millis(self.now), target));
        self.last_probe = probe.0;
        let outcomes = match self.probes_leave {
            true => [
                Some(ProbeOutcome::Sent),
                (self.answers)(target).map(ProbeOutcome::Answered),
            ],
            false => [Some(ProbeOutcome::Failed { errno: 11 }), None],
        };
        for outcome in outcomes.into_iter().flatten() {
            let event = ProbeEvent {
                at: self.now,
                probe,
                target,
                outcome,
            };
            self.detector.handle_signal(self.now, Signal::Probe(event));
        }
    }

    /// Time passes, and whatever falls due is done on time.
    fn at(&mut self, millis: u64) {
        while let Some(due) = self.detector.poll_timeout()
            && due <= ms(millis)
        {
            self.now = due.max(self.now);
            self.detector.handle_timeout(self.now);
            self.drain();
            let next = self.detector.poll_timeout();
            assert!(next > Some(self.now), "nothing stays due: {next:?}");
        }
        self.now = ms(millis);
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
        self.signal(Signal::SocketsRead {
            at: ms(at),
            source: SourceKind::SockDiag,
            peer: peer(),
            flows,
        });
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
