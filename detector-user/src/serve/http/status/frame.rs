//! What the page is told, as JSON: everything to a new viewer, then what has changed. The objects
//! are those of `--output json`.

use std::{collections::BTreeMap, fs, ops::RangeInclusive, sync::Arc};

use axum::body::Bytes;
use detector_api::v1;
use serde::{Serialize, Serializer};

use crate::{
    clock,
    json::{self, Object},
    model::{PeerName, PeerState, Verdict},
    serve::{board::Board, grpc},
    text::notes,
};

/// The most peers that are shown: of more, those that are worst.
const SHOWN: usize = 1000;

/// What this node's programs reported: the locks that are not healthy, the worst first, and the
/// newest cascades.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Reported {
    #[serde(serialize_with = "objects")]
    pub locks: Vec<v1::Lock>,
    #[serde(serialize_with = "objects")]
    pub cascades: Vec<v1::Cascade>,
}

fn objects<M: prost::Name, S: Serializer>(all: &[M], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(Object::of))
}

/// A peer, and what is to be said of it.
#[derive(Serialize)]
struct Row {
    state: Object,
    wrong: Vec<String>,
    advice: Option<&'static str>,
}

impl Row {
    fn of(state: &PeerState) -> Self {
        let state = grpc::peer_state(state);
        Self {
            wrong: notes::wrong(&state),
            advice: notes::advice(state.reason()),
            state: Object::of(&state),
        }
    }
}

#[derive(Serialize)]
struct Snapshot<'a> {
    at: Option<String>,
    host: &'a str,
    version: &'static str,
    peers: Vec<Row>,
    /// How many more there are.
    more: usize,
    histories: Vec<Object>,
    reported: &'a Reported,
}

#[derive(Serialize)]
struct Difference<'a> {
    at: Option<String>,
    peers: Vec<Row>,
    removed: Vec<PeerName>,
    transitions: Vec<Object>,
    reported: Option<&'a Reported>,
}

/// What all viewers have been told.
#[derive(Debug)]
pub(super) struct Frame {
    board: Board,
    host: String,
    peers: BTreeMap<PeerName, Arc<PeerState>>,
    more: usize,
    reported: Reported,
}

impl Frame {
    pub(super) fn new(board: Board) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            board,
            host: host.trim().to_owned(),
            peers: BTreeMap::new(),
            more: 0,
            reported: Reported::default(),
        }
    }

    /// Brings it up to date; returns the event with what has changed.
    pub(super) fn advance(&mut self, reported: Option<Reported>) -> Bytes {
        let before = std::mem::take(&mut self.peers);
        (self.peers, self.more) = shown(self.board.snapshot().peers);
        let changed = self.peers.iter().filter(|(name, state)| {
            let old = before.get(*name);
            old.is_none_or(|old| differs(old, state))
        });
        let changed: Vec<_> = changed.collect();
        let transitions = changed.iter().flat_map(|(name, state)| {
            let told = before.get(*name).map_or(0, |old| old.revision);
            self.transitions(name, told + 1..=state.revision)
        });
        let removed = before.keys().filter(|name| !self.peers.contains_key(*name));
        let news = reported.filter(|reported| *reported != self.reported);
        let event = event(
            "change",
            &Difference {
                at: now(),
                peers: changed.iter().map(|(_, state)| Row::of(state)).collect(),
                removed: removed.cloned().collect(),
                transitions: transitions.collect(),
                reported: news.as_ref(),
            },
        );
        if let Some(news) = news {
            self.reported = news;
        }
        event
    }

    fn transitions(&self, peer: &PeerName, revisions: RangeInclusive<u64>) -> Vec<Object> {
        let history = self.board.histories(Some(peer)).pop();
        let all = history
            .iter()
            .flat_map(|(_, history)| history.transitions());
        let new = all.filter(|one| revisions.contains(&one.revision));
        new.map(|one| Object::of(&grpc::transition(peer, one)))
            .collect()
    }

    /// The event with everything that has been told so far.
    pub(super) fn whole(&self) -> Bytes {
        let at = clock::now();
        let histories = self.board.histories(None).into_iter();
        let histories = histories.filter_map(|(peer, history)| {
            let told = self.peers.get(&peer)?.revision;
            let mut history = grpc::history(&peer, &history, at);
            history.transitions.retain(|one| one.revision <= told);
            Some(Object::of(&history))
        });
        event(
            "snapshot",
            &Snapshot {
                at: now(),
                host: &self.host,
                version: env!("CARGO_PKG_VERSION"),
                peers: self.peers.values().map(|state| Row::of(state)).collect(),
                more: self.more,
                histories: histories.collect(),
                reported: &self.reported,
            },
        )
    }
}

/// Whether anything has changed but the time at which the peer was last heard.
fn differs(old: &Arc<PeerState>, new: &Arc<PeerState>) -> bool {
    let measured = |state: &PeerState| -> Vec<_> {
        let paths = state.paths.iter();
        paths.map(|path| path.measured).collect()
    };
    !Arc::ptr_eq(old, new) && (old.revision != new.revision || measured(old) != measured(new))
}

/// The peers that are shown, and how many are not.
fn shown(mut peers: Vec<Arc<PeerState>>) -> (BTreeMap<PeerName, Arc<PeerState>>, usize) {
    let more = peers.len().saturating_sub(SHOWN);
    if more > 0 {
        let is_fine =
            |state: &Arc<PeerState>| matches!(state.verdict, Verdict::Alive | Verdict::Unknown);
        peers.sort_by_key(is_fine);
        peers.truncate(SHOWN);
    }
    let named = peers.into_iter().map(|state| (state.peer.clone(), state));
    (named.collect(), more)
}

fn now() -> Option<String> {
    clock::timestamp(clock::now()).map(|now| now.to_string())
}

/// A server-sent event; JSON has no line breaks of its own.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {}\n", json::line(data)))
}
