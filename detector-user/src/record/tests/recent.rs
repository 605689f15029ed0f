//! The last minute in memory: its replay, its bounds, what was known before.

use std::io::Cursor;

use super::*;
use crate::model::{NetworkEvent, Override, OverrideKind, PeerName};

const ALL: usize = usize::MAX;

fn taped(keep_ms: u64, limit: usize) -> Taped {
    let settings = Settings::default();
    let keep = Duration::from_millis(keep_ms);
    let recent = Recent::with(header(&settings), keep, limit);
    Taped::keeping(recent, settings, None)
}

fn written(excerpt: &Excerpt) -> Reader<Cursor<Vec<u8>>> {
    let mut bytes = Vec::new();
    excerpt.write(&mut bytes).unwrap();
    Reader::new(Cursor::new(bytes)).unwrap()
}

fn entries(excerpt: &Excerpt) -> Vec<Entry> {
    let mut reader = written(excerpt);
    let entries = std::iter::from_fn(|| reader.read().unwrap()).collect();
    assert_eq!(reader.ending(), Some(Ending::Copied));
    entries
}

fn verdicts(excerpt: &Excerpt, timeouts: Timeouts) -> Vec<Verdict> {
    let mut reader = written(excerpt);
    let settings = reader.header().settings.clone();
    let mut replay = Replay::new(reader.header(), settings, timeouts);
    let mut published = Vec::new();
    while let Some(entry) = reader.read().unwrap() {
        replay.step(entry, &mut |_, state| published.push(state.clone()));
    }
    story(&published)
}

#[test]
fn what_is_younger_than_a_minute_is_a_whole_recording() {
    let mut daemon = daemon(taped(60_000, ALL), false);
    drive(&mut daemon, 0..=END_MS, Duration::ZERO, false);
    let excerpt = daemon.detector.excerpt(ms(END_MS));
    assert!(!written(&excerpt).header().excerpt);
    assert_eq!(excerpt.covers(), Duration::from_millis(END_MS));
    assert_eq!(verdicts(&excerpt, Timeouts::Recorded), STORY);
}

#[test]
fn the_end_of_a_longer_run_gives_its_verdicts_too() {
    let mut daemon = daemon(taped(2_000, ALL), false);
    drive(&mut daemon, 0..=2_500, Duration::ZERO, false);
    let excerpt = daemon.detector.excerpt(ms(2_500));
    let reader = written(&excerpt);
    assert!(reader.header().excerpt);
    assert!(reader.header().now >= ms(500), "{:?}", reader.header().now);
    assert!(reader.header().now < ms(CUT_MS));
    let found = verdicts(&excerpt, Timeouts::Punctual);
    assert_eq!(found.last(), Some(&Verdict::Dead), "{found:?}");
    assert!(found.contains(&Verdict::Alive), "{found:?}");
}

/// A peer that has been dead for longer than what is kept does not die in it.
#[test]
fn the_last_death_is_kept() {
    let mut daemon = daemon(taped(1_900, ALL), false);
    drive(&mut daemon, 0..=2_000, Duration::ZERO, false);
    assert!(daemon.detector.death(&peer()).is_none(), "it is not over");
    drive(&mut daemon, 2_001..=3_900, Duration::ZERO, false);
    let excerpt = daemon.detector.excerpt(ms(3_900));
    assert!(written(&excerpt).header().now > ms(CUT_MS + 500));
    let death = daemon.detector.death(&peer()).expect("it has died");
    assert!(written(&death).header().now < ms(CUT_MS));
    let found = verdicts(&death, Timeouts::Punctual);
    assert_eq!(found.last(), Some(&Verdict::Dead), "{found:?}");
    let other = PeerName::from_canonical("http://node5:9000");
    assert!(daemon.detector.death(&other).is_none());
}

#[test]
fn bytes_bound_it_and_what_was_known_before() {
    let few = 50 * size_of::<Entry>();
    let mut daemon = daemon(taped(60_000, few), false);
    drive(&mut daemon, 0..=END_MS, Duration::ZERO, false);
    let excerpt = daemon.detector.excerpt(ms(END_MS));
    let weight: usize = entries(&excerpt).iter().map(Entry::weight).sum();
    assert!(weight <= 2 * few, "{weight}");
    assert!(excerpt.covers() < Duration::from_millis(END_MS / 2));
}

#[test]
fn of_what_was_known_before_the_last_counts() {
    let mut taped = taped(1_000, ALL);
    let link = |millis, up| Signal::Network {
        at: ms(millis),
        event: NetworkEvent::Link {
            link: 2,
            name: "eth0".into(),
            up,
        },
    };
    let other = PeerName::from_canonical("http://node5:9000");
    let gone = Signal::PeerConfigured {
        peer: other.clone(),
        endpoints: Vec::new(),
        discovered: false,
    };
    for signal in [configured(), gone, link(0, false), link(1, true)] {
        taped.handle_signal(ms(1), signal);
    }
    taped.handle_signal(ms(2), Signal::PeerRemoved { peer: other });
    taped.handle_timeout(ms(5_000));
    taped.handle_timeout(ms(5_001));
    let inputs: Vec<_> = entries(&taped.excerpt(ms(5_001)))
        .into_iter()
        .map(|entry| entry.input)
        .collect();
    let signals = [configured(), link(1, true)].map(Input::Signal);
    assert_eq!(inputs[..2], signals);
    assert_eq!(inputs[2..4], [Input::Timeout, Input::Timeout]);
}

#[test]
fn an_override_that_has_ended_is_not_told_again() {
    let told = |lasts_ms| {
        let mut taped = taped(1_000, ALL);
        taped.handle_signal(ms(0), configured());
        let held = Override {
            kind: OverrideKind::Open,
            until: ms(lasts_ms),
            reason: "a test".into(),
            uid: 0,
        };
        taped.set_override(ms(0), &peer(), Some(held));
        for millis in [100, 2_000, 4_000, 4_001] {
            taped.handle_timeout(ms(millis));
            while taped.poll_effect().is_some() {}
        }
        let all = entries(&taped.excerpt(ms(4_001)));
        all.iter()
            .filter(|entry| matches!(entry.input, Input::Override { .. }))
            .count()
    };
    assert_eq!((told(50), told(60_000)), (0, 1));
}
