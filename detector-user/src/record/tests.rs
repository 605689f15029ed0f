//! Recordings of an artificial power cut and of arbitrary inputs are written, read and replayed.

mod arbitrary;
mod before;
mod files;
mod lines;
mod recent;
mod replays;

use std::{
    collections::BTreeMap, fs::File, io::BufReader, ops::RangeInclusive, path::Path, time::Duration,
};

use jiff::Timestamp;

use super::*;
use crate::{
    core::{Core as _, Harness, Surroundings, probed, testing::established},
    model::{
        Destroyed, Effect, Endpoint, FlowEvent, FlowEventKind, FlowId, FlowReading, PeerName,
        PeerState, ProbeAnswer, ProbeEvent, ProbeOutcome, ProbeTarget, Settings, Signal,
        SourceKind, Time, TrialOutcome, Verdict,
    },
};

const NO_LIMIT: u64 = u64::MAX;
const FLOWS: u16 = 4;
/// When the power is cut, and when it is back.
const CUT_MS: u64 = 1_000;
const HEAL_MS: u64 = 4_000;
const END_MS: u64 = 6_000;

/// A moment on a machine that has been up for some days.
fn ms(millis: u64) -> Time {
    Time::from_nanos(987_654_321_000_000 + millis * 1_000_000)
}

fn peer() -> PeerName {
    PeerName::from_canonical("http://node4:9000")
}

fn header(settings: &Settings) -> Header {
    Header {
        detector_recording: 1,
        detector: "0.1.0".to_owned(),
        kernel: "6.18.0".to_owned(),
        started_at: Timestamp::new(1_700_000_000, 0).unwrap(),
        now: ms(0),
        settings: settings.clone(),
        excerpt: false,
    }
}

fn flow(n: u16) -> FlowId {
    FlowId {
        netns: 4_026_531_840,
        local: ([10, 0, 0, 1], 40_000 + n).into(),
        remote: ([10, 0, 0, 4], 9000).into(),
    }
}

/// The `n`th flow as the kernel would report it.
fn reading(n: u16, millis: u64) -> FlowReading {
    let dead = is_cut(millis);
    let silent = if dead { millis - CUT_MS } else { 0 };
    let rto_count = [214, 626, 1_460, 3_120]
        .iter()
        .filter(|&&at| at <= silent)
        .count() as u32;
    FlowReading {
        id: flow(n),
        rto_count,
        backoff: rto_count,
        unacked_segments: u32::from(dead) * 2,
        unacked_bytes: u32::from(dead) * 200,
        rtt_variance: Duration::ZERO,
        rto: Duration::from_millis(204 << rto_count),
        segments_sent: 1_000 + millis,
        segments_retransmitted: u64::from(rto_count),
        ..established(n, ms(millis - silent))
    }
}

fn event(n: u16, millis: u64, kind: FlowEventKind) -> Signal {
    Signal::Flow(FlowEvent {
        at: ms(millis),
        source: SourceKind::Ebpf,
        flow: flow(n),
        kind,
        reading: Some(reading(n, millis)),
    })
}

fn configured() -> Signal {
    Signal::PeerConfigured {
        peer: peer(),
        endpoints: vec![Endpoint {
            addr: [10, 0, 0, 4].into(),
            port: 9000,
        }],
        discovered: false,
    }
}

/// The events of the cut that the kernel sends unasked.
fn kernel_events() -> BTreeMap<u64, Vec<Signal>> {
    let mut events: BTreeMap<u64, Vec<Signal>> = BTreeMap::new();
    let mut all = |after: u64, kind| {
        let at = CUT_MS + after;
        let signals = (0..FLOWS).map(|n| event(n, at, kind));
        events.entry(at).or_default().extend(signals);
    };
    all(10, FlowEventKind::Tlp);
    for (count, after) in [(1, 214), (2, 626), (3, 1_460)] {
        all(after, FlowEventKind::Rto { count });
    }
    all(HEAL_MS - CUT_MS, FlowEventKind::Recovered);
    events.insert(0, vec![configured()]);
    events
}

/// The simulated kernel, whose peer dies and comes back, and what was published.
struct Kernel {
    /// The peer does not answer probes.
    firewalled: bool,
    published: Vec<PeerState>,
}

impl Surroundings for Kernel {
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal> {
        let answers = effects.into_iter().map(|effect| self.answers(now, effect));
        answers.flatten().collect()
    }
}

/// The error of flows that cannot be probed.
const EOPNOTSUPP: u32 = 95;

impl Kernel {
    fn answers(&mut self, at: Time, effect: Effect) -> Vec<Signal> {
        let millis = at.since(ms(0)).as_millis() as u64;
        match effect {
            Effect::Publish(state) => {
                self.published.push(state);
                Vec::new()
            }
            Effect::ReadSockets { peer, addr } => vec![Signal::SocketsRead {
                at,
                source: SourceKind::SockDiag,
                peer,
                addr,
                flows: (0..FLOWS).map(|n| reading(n, millis)).collect(),
            }],
            Effect::Probe { probe, target, .. } => {
                if let ProbeTarget::Flow { .. } = target {
                    let outcome = ProbeOutcome::Failed { errno: EOPNOTSUPP };
                    return vec![Signal::Probe(ProbeEvent {
                        at,
                        probe,
                        target,
                        outcome,
                    })];
                }
                let is_answered = !is_cut(millis) && !self.firewalled;
                let answer = is_answered.then_some(ProbeAnswer::SynAck);
                probed(at, probe, target, answer).collect()
            }
            Effect::DestroySockets(teardown) => vec![Signal::SocketsDestroyed {
                at,
                peer: teardown.peer,
                addr: teardown.addr,
                generation: teardown.generation,
                result: Destroyed::default(),
            }],
            _ => Vec::new(),
        }
    }
}

/// The daemon while its peer dies and comes back. Every time-out is handled `late` after it was due.
/// If clients try calls (`tries`), the peer does not answer probes: only then does its breaker
/// become half open after the recovery time-out. Returns the published states.
fn drive_a_cut(taped: Taped, late: Duration, tries: bool) -> Vec<PeerState> {
    let mut daemon = daemon(taped, tries);
    drive(&mut daemon, 0..=END_MS, late, tries);
    daemon.detector.finish(ms(END_MS));
    std::mem::take(&mut daemon.published)
}

fn daemon(taped: Taped, tries: bool) -> Harness<Taped, Kernel> {
    let kernel = Kernel {
        firewalled: tries,
        published: Vec::new(),
    };
    Harness::of(taped, ms(0), kernel)
}

/// The daemon between these moments; see [`drive_a_cut`].
fn drive(
    daemon: &mut Harness<Taped, Kernel>,
    between: RangeInclusive<u64>,
    late: Duration,
    tries: bool,
) {
    let mut events = kernel_events();
    for millis in between {
        let now = ms(millis);
        let due = daemon.detector.poll_timeout();
        if due.is_some_and(|due| due + late <= now) {
            daemon.timeout(now);
        }
        daemon.now = now;
        for signal in events.remove(&millis).unwrap_or_default() {
            daemon.signal(signal);
        }
        // A client tries a call as soon as it may, and fails.
        if tries && let Ok(trial) = daemon.detector.acquire_trial(now, &peer()) {
            let failed = TrialOutcome::Failed;
            let finished = daemon.detector.finish_trial(now, &peer(), trial.id, failed);
            finished.unwrap();
            daemon.settle();
        }
    }
}

fn is_cut(millis: u64) -> bool {
    (CUT_MS..HEAL_MS).contains(&millis)
}

/// Records the cut into a file, and returns the published states.
fn record_a_cut(file: &Path, settings: &Settings, late: Duration, tries: bool) -> Vec<PeerState> {
    let recorder = Recorder::create(file, NO_LIMIT, &header(settings)).unwrap();
    let taped = Taped::new(settings.clone(), Some(recorder));
    drive_a_cut(taped, late, tries)
}

fn open(file: &Path) -> Reader<BufReader<File>> {
    Reader::new(BufReader::new(File::open(file).unwrap())).unwrap()
}

/// Replays the whole recording, and returns what is published, and when.
fn replay(
    file: &Path,
    timeouts: Timeouts,
    change: impl FnOnce(&mut Settings),
) -> Vec<(Time, PeerState)> {
    let mut reader = open(file);
    let mut settings = reader.header().settings.clone();
    change(&mut settings);
    let mut replay = Replay::new(reader.header(), settings, timeouts);
    let mut published = Vec::new();
    while let Some(entry) = reader.read().unwrap() {
        replay.step(entry, &mut |at, state| published.push((at, state.clone())));
    }
    published
}

const STORY: [Verdict; 5] = [
    Verdict::Unknown,
    Verdict::Alive,
    Verdict::Suspect,
    Verdict::Dead,
    Verdict::Alive,
];

/// The sequence of verdicts, without repetitions.
fn story(published: &[PeerState]) -> Vec<Verdict> {
    let mut story: Vec<_> = published.iter().map(|state| state.verdict).collect();
    story.dedup();
    story
}
