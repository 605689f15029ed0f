//! The last minute of the core's inputs, in memory, for `detector report`.
//!
//! What becomes too old is folded into [`Before`]: the core cannot be copied, so a replay of the
//! last minute begins with a new core that is told what was known by then. Its verdicts follow from
//! the same evidence as the daemon's. If nothing has become too old yet, the excerpt is a whole
//! recording, and its replay gives exactly the daemon's verdicts.
//!
//! A dead peer is asked rarely, so a death that is older than the excerpt does not follow from it.
//! But that is when people ask. So the minute around the last death is kept until the next one.

use std::{
    collections::{BTreeSet, VecDeque},
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use super::{Ending, Entry, Header, Input, before::Before};
use crate::{
    core::Detector,
    model::{Effect, Memory, PeerName, Settings, Time, Verdict},
};

/// How far back an excerpt reaches.
pub const RECENT: Duration = Duration::from_secs(60);

/// The most memory that entries take, in bytes; the same again for what was known before them, and
/// twice more for the last death. An excerpt of a busy node may be shorter than [`RECENT`].
pub const RECENT_BYTES: usize = 8 << 20;

/// How long after a death its excerpt ends: peers that share a cause die within it.
const AFTER_DEATH: Duration = Duration::from_secs(1);

/// Keeps the last entries.
#[derive(Debug)]
pub struct Recent {
    keep: Duration,
    limit: usize,
    /// The header of a recording of everything.
    header: Header,
    before: Before,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    /// Whether an entry has become too old.
    is_excerpt: bool,
    /// The settings that hold now.
    settings: Settings,
    dead: BTreeSet<PeerName>,
    /// The peers that have just died, and when the excerpt with their death ends.
    dying: Option<(Time, BTreeSet<PeerName>)>,
    death: Option<Death>,
}

/// The excerpt around the last death.
#[derive(Clone, Debug)]
struct Death {
    of: BTreeSet<PeerName>,
    excerpt: Excerpt,
}

impl Recent {
    /// Keeps the entries of the last minute.
    pub fn new(header: Header) -> Self {
        Self::with(header, RECENT, RECENT_BYTES)
    }

    pub(super) fn with(header: Header, keep: Duration, limit: usize) -> Self {
        Self {
            keep,
            limit,
            settings: header.settings.clone(),
            header,
            before: Before::new(limit),
            entries: VecDeque::new(),
            bytes: 0,
            is_excerpt: false,
            dead: BTreeSet::new(),
            dying: None,
            death: None,
        }
    }

    pub(super) fn record(&mut self, entry: Arc<Entry>, detector: &Detector) {
        self.keep_death(entry.now, detector);
        self.push(entry);
    }

    fn push(&mut self, entry: Arc<Entry>) {
        if let Input::Settings(settings) = &entry.input {
            self.settings = settings.clone();
        }
        let now = entry.now;
        self.bytes += entry.weight();
        self.entries.push_back(entry);
        while let Some(oldest) = self.entries.front()
            && (self.bytes > self.limit || now.since(oldest.now) > self.keep)
        {
            self.drop_oldest();
        }
    }

    /// Takes note of what the core has found.
    pub(super) fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Publish(state) if state.verdict == Verdict::Dead => self.died(&state.peer),
            Effect::Publish(state) => {
                self.dead.remove(&state.peer);
            }
            Effect::Retract { peer, .. } => {
                self.dead.remove(peer);
            }
            Effect::OverrideEnded { peer, .. } => self.override_ended(peer),
            _ => {}
        }
    }

    fn died(&mut self, peer: &PeerName) {
        if self.dead.insert(peer.clone()) {
            let ends = self.last() + AFTER_DEATH;
            let (_, dying) = self.dying.get_or_insert((ends, BTreeSet::new()));
            dying.insert(peer.clone());
        }
    }

    fn keep_death(&mut self, now: Time, detector: &Detector) {
        if let Some((_, of)) = self.dying.take_if(|(ends, _)| *ends <= now) {
            let excerpt = self.excerpt(self.last(), detector);
            self.death = Some(Death { of, excerpt });
        }
    }

    /// The excerpt around the peer's death, if it was the last one.
    pub(super) fn death(&self, peer: &PeerName) -> Option<Excerpt> {
        let death = self.death.as_ref().filter(|death| death.of.contains(peer));
        death.map(|death| death.excerpt.clone())
    }

    fn last(&self) -> Time {
        self.entries.back().map_or(self.header.now, |last| last.now)
    }

    /// An override has ended by itself, which is no input: without this, it would be told again once
    /// it is too old.
    fn override_ended(&mut self, peer: &PeerName) {
        let now = self.last();
        let input = Input::Override {
            peer: peer.clone(),
            overridden: None,
        };
        self.push(Arc::new(Entry { now, input }));
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.weight();
            self.is_excerpt = true;
            self.before.fold(oldest);
        }
    }

    /// The recording that ends at this moment.
    pub(super) fn excerpt(&self, now: Time, detector: &Detector) -> Excerpt {
        let start = self.entries.front().map_or(now, |first| first.now);
        let mut excerpt = Excerpt {
            header: self.header.clone(),
            before: Vec::new(),
            entries: self.entries.iter().cloned().collect(),
            now,
        };
        if self.is_excerpt {
            let memories = self.before.peers();
            let memories = memories.flat_map(|peer| memories_at(start, peer, detector));
            excerpt.before = self.before.inputs().chain(memories).collect();
            excerpt.header = self.header.excerpt(start, self.settings.clone());
        }
        excerpt
    }
}

/// What is known now of what answers at the peer, as if it had been known at the start.
fn memories_at(start: Time, peer: &PeerName, detector: &Detector) -> Vec<Arc<Entry>> {
    let known = detector.memories(peer).into_iter();
    known
        .filter(|memory| !memory.answers.is_empty())
        .map(|Memory { addr, mut answers }| {
            for answer in &mut answers {
                answer.at = answer.at.min(start);
            }
            let input = Input::Remember {
                peer: peer.clone(),
                memory: Memory { addr, answers },
            };
            Arc::new(Entry { now: start, input })
        })
        .collect()
}

/// A recording in memory. Copying it out of the loop is cheap; writing it is not.
#[derive(Clone, Debug)]
pub struct Excerpt {
    header: Header,
    /// As if it all came at the moment of the header.
    before: Vec<Arc<Entry>>,
    entries: Vec<Arc<Entry>>,
    now: Time,
}

impl Excerpt {
    /// How much time it covers.
    pub fn covers(&self) -> Duration {
        self.now.since(self.header.now)
    }

    /// Writes it as `detector run --record` writes a recording.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        line(out, &self.header)?;
        for entry in &self.before {
            let (now, input) = (self.header.now, entry.input.clone());
            line(out, &Entry { now, input })?;
        }
        for entry in &self.entries {
            line(out, &**entry)?;
        }
        let last = self.entries.last().map_or(self.header.now, |last| last.now);
        let end = Entry {
            now: self.now.max(last),
            input: Input::End(Ending::Copied),
        };
        line(out, &end)
    }
}

fn line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
