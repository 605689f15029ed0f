//! The latest states from the daemon, and the slots that show them.
//!
//! Readers see a [`Table`] that never changes. It is replaced when peers or their addresses come or
//! go; a change of state is written into the slots. Every name that leads to a peer (its own name,
//! and one for each of its addresses) has its own slot, so that a handle by address follows the
//! address from peer to peer.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::{Details, Path, Slot, Source, State, slot::Told, table::Table};
use crate::{PeerName, v1};

/// The most names of unwatched peers for which slots are kept. A handle beyond that stays unwatched
/// for ever.
pub(crate) const MAX_UNWATCHED: usize = 4096;

/// The most addresses by which one peer can be found.
pub(crate) const MAX_ADDRESSES: usize = 64;

#[derive(Debug)]
pub(crate) struct Book {
    source: Arc<Source>,
    /// By the daemon's name for the peer.
    peers: BTreeMap<Arc<str>, Watched>,
    /// All slots in the table or in a handle.
    slots: HashMap<Box<str>, Arc<Slot>>,
    /// The number of slots in the table.
    tabled: usize,
}

#[derive(Debug)]
struct Watched {
    told: Told,
    addresses: Vec<String>,
    /// The slots of all its names.
    slots: Vec<Arc<Slot>>,
}

impl Watched {
    fn new(name: &Arc<str>, state: &v1::PeerState) -> Self {
        Self {
            told: Told {
                state: State::from_told(state),
                details: Details::from_told(state),
                paths: Path::all_from_told(state),
                watched_as: Some(Arc::clone(name)),
            },
            addresses: state
                .addresses
                .iter()
                .take(MAX_ADDRESSES)
                .cloned()
                .collect(),
            slots: Vec::new(),
        }
    }

    fn show(&self) {
        for slot in &self.slots {
            slot.set(self.told.clone());
        }
    }
}

impl Book {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            peers: BTreeMap::new(),
            slots: HashMap::new(),
            tabled: 0,
        }
    }

    /// Replaces all peers by these.
    pub(crate) fn replace(&mut self, states: &[v1::PeerState]) -> Table {
        let slots: Vec<_> = self.shown().cloned().collect();
        self.peers = states
            .iter()
            .map(|state| {
                let name = Arc::from(state.peer.as_str());
                let watched = Watched::new(&name, state);
                (name, watched)
            })
            .collect();
        self.retabulate(slots)
    }

    /// Sets a peer's new state; returns a table if its names changed.
    pub(crate) fn change(&mut self, state: &v1::PeerState) -> Option<Table> {
        let name: Arc<str> = match self.peers.get_key_value(state.peer.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(state.peer.as_str()),
        };
        let mut new = Watched::new(&name, state);
        if let Some(old) = self.peers.get_mut(&name)
            && old.addresses == new.addresses
        {
            new.slots = std::mem::take(&mut old.slots);
            new.show();
            *old = new;
            return None;
        }
        let slots: Vec<_> = self.shown().cloned().collect();
        self.peers.insert(name, new);
        Some(self.retabulate(slots))
    }

    /// Removes a peer that is no longer watched.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Table> {
        let slots: Vec<_> = self.shown().cloned().collect();
        self.peers.remove(name)?;
        Some(self.retabulate(slots))
    }

    /// Marks all states as no longer valid.
    pub(crate) fn forget(&mut self) {
        for slot in self.shown() {
            slot.forget();
        }
    }

    /// The slot of a canonical name, for a handle; `None` if there are too many.
    pub(crate) fn slot(&mut self, name: &str) -> Option<Arc<Slot>> {
        if let Some(slot) = self.slots.get(name) {
            return Some(Arc::clone(slot));
        }
        if self.unwatched() >= MAX_UNWATCHED {
            self.prune();
        }
        if self.unwatched() >= MAX_UNWATCHED {
            return None;
        }
        let slot = Arc::new(Slot::new(name, Arc::clone(&self.source)));
        self.slots.insert(name.into(), Arc::clone(&slot));
        Some(slot)
    }

    /// The slots of the peers under their own names, sorted by name.
    pub(crate) fn peers(&self) -> Vec<Arc<Slot>> {
        let own = |name: &Arc<str>| self.slots.get(&**name).cloned();
        self.peers.keys().filter_map(own).collect()
    }

    fn shown(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.peers.values().flat_map(|watched| &watched.slots)
    }

    fn unwatched(&self) -> usize {
        self.slots.len().saturating_sub(self.tabled)
    }

    fn retabulate(&mut self, before: Vec<Arc<Slot>>) -> Table {
        let table = self.tabulate();
        self.peers.values().for_each(Watched::show);
        forget_lost(before, &table);
        table
    }

    /// Gives each peer the slots of all its names. A peer's own name takes precedence over another
    /// peer's address.
    fn tabulate(&mut self) -> Table {
        let Self {
            source,
            peers,
            slots,
            tabled,
        } = self;
        let mut table = Table::default();
        let mut add = |name: &str, watched: &mut Watched| {
            if table.contains_key(name) {
                return;
            }
            let slot = slots
                .entry(name.into())
                .or_insert_with(|| Arc::new(Slot::new(name, Arc::clone(source))));
            table.insert(name.into(), Arc::clone(slot));
            watched.slots.push(Arc::clone(slot));
        };
        for (name, watched) in peers.iter_mut() {
            watched.slots.clear();
            add(name, watched);
        }
        for (name, watched) in peers.iter_mut() {
            for alias in aliases(name, &watched.addresses) {
                add(&alias, watched);
            }
        }
        *tabled = table.len();
        self.prune();
        table
    }

    /// Drops the slots that have no other holder.
    fn prune(&mut self) {
        self.slots.retain(|_, slot| Arc::strong_count(slot) > 1);
    }
}

/// Resets the slots to which no name leads any more.
fn forget_lost(before: Vec<Arc<Slot>>, table: &Table) {
    for slot in before {
        if !table.contains_key(slot.name()) {
            slot.forget();
        }
    }
}

/// The peer's name with its host replaced by each of its addresses.
fn aliases(name: &str, addresses: &[String]) -> Vec<String> {
    let Ok(name) = PeerName::parse(name) else {
        return Vec::new();
    };
    let hosts = addresses.iter().filter_map(|text| text.parse().ok());
    hosts
        .flat_map(|address: IpAddr| match address {
            IpAddr::V4(v4) => [Some(address), Some(v4.to_ipv6_mapped().into())],
            IpAddr::V6(_) => [Some(address), None],
        })
        .flatten()
        .map(|address| name.at(address).into())
        .collect()
}
