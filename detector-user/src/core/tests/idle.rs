//! What many peers cost while all is well: at how many moments anything is due.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const IDLE_FOR: Duration = Duration::from_secs(60);

/// Peers with one idle connection each, which answer every probe.
struct Idle {
    detector: Detector,
    now: Time,
    moments: BTreeSet<Time>,
    probes: usize,
    looks: BTreeSet<Time>,
    /// When each address last answered, which its socket shows.
    answered: BTreeMap<IpAddr, Time>,
    /// Whether traffic flows on all connections.
    is_busy: bool,
}

impl Idle {
    /// So many peers, each watched a little later than the one before.
    fn with_peers(peers: u8, is_busy: bool) -> Self {
        let mut idle = Self {
            detector: Detector::new(Settings::default()),
            now: ms(0),
            moments: BTreeSet::new(),
            probes: 0,
            looks: BTreeSet::new(),
            answered: BTreeMap::new(),
            is_busy,
        };
        for n in 0..peers {
            let configured = Signal::PeerConfigured {
                peer: name(n),
                endpoints: vec![at_node(n)],
                discovered: false,
            };
            idle.detector.handle_signal(idle.now, configured);
            idle.run(Duration::from_millis(37));
        }
        idle
    }

    /// Forgets what was counted until all peers were known well.
    fn settled(mut self) -> Self {
        self.run(IDLE_FOR);
        (self.moments, self.probes, self.looks) = Default::default();
        self
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.drain();
        while let Some(due) = self.detector.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.moments.insert(self.now);
            self.detector.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::ReadSockets { peer, addr } => self.look(peer, addr),
                Effect::Probe { probe, target, .. } => self.answer(probe, target),
                Effect::Publish(state) => assert_ne!(state.verdict, Verdict::Suspect),
                _ => {}
            }
        }
    }

    fn look(&mut self, peer: PeerName, addr: IpAddr) {
        self.looks.insert(self.now);
        let answered = self.answered.get(&addr).copied().unwrap_or_default();
        let heard = if self.is_busy { self.now } else { answered };
        let reading = established(0, heard);
        let id = FlowId {
            remote: (addr, 9000).into(),
            ..reading.id
        };
        let read = Signal::SocketsRead {
            at: self.now,
            source: SourceKind::SockDiag,
            peer,
            addr,
            flows: vec![FlowReading { id, ..reading }],
        };
        self.detector.handle_signal(self.now, read);
    }

    fn answer(&mut self, probe: ProbeId, target: ProbeTarget) {
        self.probes += 1;
        if let ProbeTarget::Flow { flow, .. } = target {
            self.answered.insert(flow.remote.ip(), self.now);
        }
        for event in probed(self.now, probe, target, ALL(target)) {
            self.detector.handle_signal(self.now, event);
        }
    }
}

fn name(n: u8) -> PeerName {
    PeerName::from_canonical(&format!("http://node{n}:9000"))
}

fn at_node(n: u8) -> Endpoint {
    Endpoint {
        addr: [10, 0, 1, n].into(),
        port: 9000,
    }
}

/// One moment for each idle probe interval, and few for anything else.
fn is_common(idle: &Idle) -> bool {
    let intervals = IDLE_FOR.as_millis() / 350;
    (intervals * 9 / 10..=intervals * 11 / 10).contains(&(idle.moments.len() as u128))
}

#[test]
fn idle_peers_are_probed_and_looked_at_at_moments_that_they_share() {
    for peers in [1, 2, 100] {
        let mut idle = Idle::with_peers(peers, false).settled();
        idle.run(IDLE_FOR);
        assert!(is_common(&idle), "{peers}: {} moments", idle.moments.len());
        assert!(idle.probes >= 150 * usize::from(peers), "{}", idle.probes);
        assert!(
            idle.looks.len() <= 15,
            "{peers}: {} looks",
            idle.looks.len()
        );
    }
}

#[test]
fn busy_peers_are_looked_at_at_moments_that_they_share() {
    for peers in [1, 2, 100] {
        let mut busy = Idle::with_peers(peers, true).settled();
        busy.run(IDLE_FOR);
        assert!(is_common(&busy), "{peers}: {} moments", busy.moments.len());
    }
}

/// Or its silence would count only once a survey has probed it.
#[test]
fn a_flow_that_is_busy_from_its_beginning_is_soon_tried_by_a_keepalive() {
    let mut busy = Idle::with_peers(5, true);
    busy.run(Duration::from_secs(10));
    assert_eq!(busy.answered.len(), 5);
}
