//! For arbitrary inputs at arbitrary times, the replay publishes the same states.

use proptest::prelude::*;

use super::*;
use crate::model::{Operation, OperationReport, Outcome};

/// One input, after some time.
#[derive(Clone, Debug)]
enum Step {
    Configure,
    Remove,
    Event(u16, FlowEventKind),
    Look { flows: u16, as_at_ms: u64 },
    Unreadable,
    Timeout,
    Acquire,
    Finish(u64, TrialOutcome),
    Report(Outcome),
}

fn step() -> impl Strategy<Value = Step> {
    let flow = 0..FLOWS;
    let kind = prop_oneof![
        Just(FlowEventKind::Tlp),
        (1..5_u32).prop_map(|count| FlowEventKind::Rto { count }),
        Just(FlowEventKind::Recovered),
        Just(FlowEventKind::Established),
        Just(FlowEventKind::ErrorReport { errno: 110 }),
        Just(FlowEventKind::Closed { errno: 0 }),
    ];
    let outcome = prop_oneof![Just(TrialOutcome::Succeeded), Just(TrialOutcome::Failed)];
    prop_oneof![
        1 => Just(Step::Configure),
        1 => Just(Step::Remove),
        8 => (flow, kind).prop_map(|(flow, kind)| Step::Event(flow, kind)),
        12 => (0..=FLOWS, 0..END_MS).prop_map(|(flows, as_at_ms)| Step::Look { flows, as_at_ms }),
        1 => Just(Step::Unreadable),
        8 => Just(Step::Timeout),
        2 => Just(Step::Acquire),
        2 => (0..4_u64, outcome).prop_map(|(trial, outcome)| Step::Finish(trial, outcome)),
        6 => prop::sample::select(Outcome::ALL).prop_map(Step::Report),
    ]
}

/// What was published, and when; nothing is carried out.
#[derive(Default)]
struct Published(Vec<(Time, PeerState)>);

impl Surroundings for Published {
    fn carry_out(&mut self, now: Time, effects: Vec<Effect>) -> Vec<Signal> {
        let states = effects.into_iter().filter_map(|effect| match effect {
            Effect::Publish(state) => Some((now, state)),
            _ => None,
        });
        self.0.extend(states);
        Vec::new()
    }
}

fn take(daemon: &mut Harness<Taped, Published>, millis: u64, step: &Step) {
    let now = ms(millis);
    daemon.now = now;
    let signal = match step {
        Step::Configure => configured(),
        Step::Remove => Signal::PeerRemoved { peer: peer() },
        Step::Event(n, kind) => event(*n, millis, *kind),
        Step::Look { flows, as_at_ms } => Signal::SocketsRead {
            at: now,
            source: SourceKind::SockDiag,
            peer: peer(),
            addr: [10, 0, 0, 4].into(),
            flows: (0..*flows)
                .map(|n| FlowReading {
                    last_heard: Some(ms(millis.min(*as_at_ms))),
                    ..reading(n, *as_at_ms)
                })
                .collect(),
        },
        Step::Unreadable => Signal::SocketsUnreadable {
            peer: peer(),
            addr: [10, 0, 0, 4].into(),
        },
        Step::Report(outcome) => Signal::Reported {
            reports: vec![OperationReport {
                operation: Operation::Control,
                outcome: *outcome,
                peer: Some(peer()),
                lock: None,
                ended_at: now,
                duration: Duration::from_millis(10),
                retries: 0,
            }],
        },
        Step::Timeout => return daemon.timeout(now),
        Step::Acquire => {
            let _ = daemon.detector.acquire_trial(now, &peer());
            return daemon.settle();
        }
        Step::Finish(trial, outcome) => {
            let _ = daemon.detector.finish_trial(now, &peer(), *trial, *outcome);
            return daemon.settle();
        }
    };
    daemon.signal(signal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_replay_publishes_what_any_inputs_published(
        steps in prop::collection::vec((0..400_u64, step()), 1..60)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r");
        let settings = Settings {
            recovery_timeout: Duration::from_millis(500),
            ..Settings::default()
        };
        let recorder = Recorder::create(&file, NO_LIMIT, &header(&settings)).unwrap();
        let taped = Taped::new(settings, Some(recorder));
        let mut daemon = Harness::of(taped, ms(0), Published::default());
        daemon.signal(configured());
        let mut millis = 0;
        for (gap, step) in &steps {
            millis += gap;
            take(&mut daemon, millis, step);
        }
        daemon.detector.finish(ms(millis));
        let replayed = replay(&file, Timeouts::Recorded, |_| {});
        prop_assert_eq!(&replayed, &daemon.0);
    }
}
