//! What was known before the first entry of an excerpt, as inputs that tell a new core the same.
//!
//! Of each link, route, neighbour, peer and so on the last input counts. So this does not grow with
//! time, only with what there is to know; beyond its bound it leaves out what is new.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{Entry, Input};
use crate::model::{NamespaceChange, NetworkEvent, PeerName, Signal};

/// What an input is about. A new core is told in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Peer(PeerName),
    Namespace(u32),
    Link(u32),
    Route(IpAddr),
    Neighbour(IpAddr, u32),
    Override(PeerName),
    Sockets(PeerName, IpAddr),
}

/// The last input about each subject.
#[derive(Debug)]
pub(super) struct Before {
    last: BTreeMap<Subject, Arc<Entry>>,
    bytes: usize,
    limit: usize,
}

impl Before {
    /// Keeps at most this many bytes of entries.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            last: BTreeMap::new(),
            bytes: 0,
            limit,
        }
    }

    /// Takes in an entry that is no longer part of the excerpt.
    pub(super) fn fold(&mut self, entry: Arc<Entry>) {
        let Some(subject) = subject(&entry.input) else {
            if let Input::Signal(Signal::PeerRemoved { peer }) = &entry.input {
                self.forget(|subject| is_of(subject, peer));
            }
            return;
        };
        match is_gone(&entry.input) {
            true => self.forget(|known| *known == subject),
            false => self.keep(subject, entry),
        }
    }

    /// The peers that are watched.
    pub(super) fn peers(&self) -> impl Iterator<Item = &PeerName> {
        self.last.keys().filter_map(|subject| match subject {
            Subject::Peer(peer) => Some(peer),
            _ => None,
        })
    }

    /// The inputs, in the order in which a new core is told.
    pub(super) fn inputs(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.last.values().cloned()
    }

    fn keep(&mut self, subject: Subject, entry: Arc<Entry>) {
        let weight = entry.weight();
        let earlier = self.last.remove(&subject);
        self.bytes -= earlier.map_or(0, |earlier| earlier.weight());
        if self.bytes + weight <= self.limit {
            self.bytes += weight;
            self.last.insert(subject, entry);
        }
    }

    fn forget(&mut self, is_meant: impl Fn(&Subject) -> bool) {
        let bytes = &mut self.bytes;
        self.last.retain(|subject, entry| {
            let stays = !is_meant(subject);
            *bytes -= if stays { 0 } else { entry.weight() };
            stays
        });
    }
}

/// What the input is about, if a later core has to know it.
fn subject(input: &Input) -> Option<Subject> {
    Some(match input {
        Input::Override { peer, .. } => Subject::Override(peer.clone()),
        Input::Signal(signal) => match signal {
            Signal::PeerConfigured { peer, .. } => Subject::Peer(peer.clone()),
            Signal::Namespace { netns, .. } => Subject::Namespace(*netns),
            Signal::SocketsRead { peer, addr, .. } => Subject::Sockets(peer.clone(), *addr),
            Signal::Network { event, .. } => match event {
                NetworkEvent::Link { link, .. } => Subject::Link(*link),
                NetworkEvent::Route { addr, .. } => Subject::Route(*addr),
                NetworkEvent::Neighbour { addr, link, .. } => Subject::Neighbour(*addr, *link),
            },
            _ => return None,
        },
        _ => return None,
    })
}

/// Whether the input says that its subject is no more.
fn is_gone(input: &Input) -> bool {
    match input {
        Input::Override { overridden, .. } => overridden.is_none(),
        Input::Signal(Signal::Namespace { change, .. }) => *change == NamespaceChange::Gone,
        _ => false,
    }
}

fn is_of(subject: &Subject, peer: &PeerName) -> bool {
    match subject {
        Subject::Peer(of) | Subject::Override(of) | Subject::Sockets(of, _) => of == peer,
        _ => false,
    }
}
