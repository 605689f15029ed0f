//! What is shown: the peers in their order, which of them is chosen, and the explanation.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use detector_api::v1::{PeerHistory, PeerState, Transition, Verdict};
use jiff::Timestamp;
use ratatui::widgets::TableState;

use super::follow::{News, Reading};
use crate::text;

/// The order of the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Worst,
    Name,
    RoundTrip,
    Loss,
    Flows,
}

impl Order {
    pub fn next(self) -> Self {
        match self {
            Self::Worst => Self::Name,
            Self::Name => Self::RoundTrip,
            Self::RoundTrip => Self::Loss,
            Self::Loss => Self::Flows,
            Self::Flows => Self::Worst,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Worst => "worst first",
            Self::Name => "by name",
            Self::RoundTrip => "slowest first",
            Self::Loss => "most loss first",
            Self::Flows => "most flows first",
        }
    }
}

/// The explanation of one peer, over everything else.
#[derive(Debug)]
pub struct Explained {
    pub peer: String,
    pub text: String,
    pub scrolled: u16,
}

/// Everything that is shown.
#[derive(Debug)]
pub struct App {
    peers: Vec<PeerState>,
    histories: HashMap<String, PeerHistory>,
    pub order: Order,
    pub filter: String,
    /// Whether keys go into the filter.
    pub is_typing: bool,
    pub explained: Option<Explained>,
    /// The peer that is chosen.
    chosen: Option<String>,
    /// Why the daemon cannot be reached; what is shown is old then.
    pub away: Option<String>,
    /// Whether the daemon has ever answered.
    pub has_read: bool,
    pub has_color: bool,
    pub now: Timestamp,
    pub is_done: bool,
    /// Where the table is scrolled to.
    pub table: TableState,
}

impl App {
    pub fn new(has_color: bool) -> Self {
        Self {
            peers: Vec::new(),
            histories: HashMap::new(),
            order: Order::Worst,
            filter: String::new(),
            is_typing: false,
            explained: None,
            chosen: None,
            away: None,
            has_read: false,
            has_color,
            now: Timestamp::default(),
            is_done: false,
            table: TableState::default(),
        }
    }

    pub fn take(&mut self, news: News) {
        let reading = match news {
            News::Away(why) => {
                self.away = Some(why);
                return;
            }
            News::Read(reading) => reading,
        };
        (self.away, self.has_read) = (None, true);
        let Reading {
            peers,
            histories,
            explained,
        } = *reading;
        self.peers = peers;
        let named = histories.into_iter().map(|one| (one.peer.clone(), one));
        self.histories = named.collect();
        if let Some(shown) = &mut self.explained
            && let Some(told) = explained
            && told
                .peer
                .as_ref()
                .is_some_and(|told| told.peer == shown.peer)
        {
            shown.text = text::explanation(&told);
        }
    }

    /// All peers, whether or not they are shown.
    pub fn all(&self) -> &[PeerState] {
        &self.peers
    }

    pub fn history(&self, peer: &str) -> Option<&PeerHistory> {
        self.histories.get(peer)
    }

    /// The peers that are shown, in their order.
    pub fn shown(&self) -> Vec<&PeerState> {
        let sought = self.filter.to_lowercase();
        let is_sought = |peer: &&PeerState| {
            let text = format!(
                "{} {} {} {} {}",
                peer.peer,
                peer.verdict(),
                peer.reason(),
                peer.addresses.join(" "),
                text::overridden(peer).unwrap_or_default()
            );
            text.to_lowercase().contains(&sought)
        };
        let mut shown: Vec<_> = self.peers.iter().filter(is_sought).collect();
        shown.sort_by_cached_key(|peer| (self.rank(peer), peer.peer.clone()));
        shown
    }

    fn rank(&self, peer: &PeerState) -> Reverse<u64> {
        Reverse(match self.order {
            Order::Name => 0,
            Order::Worst => u64::from(severity(peer.verdict())),
            Order::RoundTrip => srtt(peer).map_or(0, |srtt| srtt.as_micros() as u64),
            Order::Loss => (loss(peer) * 1000.0) as u64,
            Order::Flows => u64::from(flows(peer)),
        })
    }

    /// The last transitions of all peers, newest first.
    pub fn transitions(&self, most: usize) -> Vec<&Transition> {
        let kept = self.histories.values();
        let mut all: Vec<_> = kept.flat_map(|history| &history.transitions).collect();
        all.sort_by_key(|one| Reverse(one.revision));
        all.truncate(most);
        all
    }

    /// The place of the chosen peer among those that are shown; the first if there is none.
    pub fn chosen_row(&self) -> Option<usize> {
        let shown = self.shown();
        let chosen = self
            .chosen
            .as_deref()
            .and_then(|chosen| shown.iter().position(|peer| peer.peer == chosen));
        chosen.or((!shown.is_empty()).then_some(0))
    }

    /// Chooses the peer so many rows further down.
    pub fn choose(&mut self, down: isize) {
        let last = self.shown().len().saturating_sub(1);
        let row = self.chosen_row().unwrap_or(0).saturating_add_signed(down);
        let chosen = self
            .shown()
            .get(row.min(last))
            .map(|peer| peer.peer.clone());
        self.chosen = chosen;
    }

    /// Opens the explanation of the chosen peer.
    pub fn explain(&mut self) {
        let row = self.chosen_row();
        let peer = row.and_then(|row| self.shown().get(row).map(|peer| peer.peer.clone()));
        self.chosen.clone_from(&peer);
        self.explained = peer.map(|peer| Explained {
            peer,
            text: String::new(),
            scrolled: 0,
        });
    }

    /// The peer to explain.
    pub fn explained_peer(&self) -> Option<String> {
        self.explained.as_ref().map(|shown| shown.peer.clone())
    }
}

/// How urgent a verdict is.
pub fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Dead => 4,
        Verdict::Suspect => 3,
        Verdict::Degraded => 2,
        Verdict::Alive => 0,
        _ => 1,
    }
}

/// The longest round-trip time of its addresses; a dead peer has none.
pub fn srtt(peer: &PeerState) -> Option<Duration> {
    let paths = peer
        .paths
        .iter()
        .filter(|_| peer.verdict() != Verdict::Dead);
    let known = paths.filter_map(|path| path.srtt);
    known.filter_map(|srtt| srtt.try_into().ok()).max()
}

/// The highest loss of its addresses.
pub fn loss(peer: &PeerState) -> f64 {
    let known = peer.paths.iter().filter_map(|path| path.loss);
    known.fold(0.0, f64::max)
}

pub fn flows(peer: &PeerState) -> u32 {
    peer.paths
        .iter()
        .fold(0, |sum, path| sum.saturating_add(path.flows))
}
