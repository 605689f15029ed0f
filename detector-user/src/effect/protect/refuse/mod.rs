//! Decides which addresses are refused: those on which every peer is Dead with its breaker Open. If
//! only some addresses of a peer are dead, only those are refused, and programs can use the others.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use detector_ebpf::canonical;
use tracing::{info, warn};

use super::kept::{Entries, Kept};
use crate::{
    clock,
    model::{Breaker, Mode, PathState, PeerName, PeerState, Verdict},
};

/// How long the kernel side refuses without a renewal; the daemon renews every second. A daemon
/// that hangs must not keep a service from a peer that is back.
const LEASE: Duration = Duration::from_secs(3);

/// An address in the kernel side's format.
pub type Address = [u8; 16];

/// The maps of the kernel side, or a fake. An address that has a slot is refused, and counted there.
pub trait Dead: Entries<Address> {
    /// Renews the lease of all refusals.
    fn renew(&mut self) -> Result<(), MapError>;

    /// How many connects were counted in the slot.
    fn refused(&self, slot: u32) -> u64;
}

/// The maps of the connect programs.
pub struct DeadMaps {
    pub dead: HashMap<MapData, Address, u32>,
    pub refusals: PerCpuArray<MapData, u64>,
    pub lease: Array<MapData, u64>,
}

impl fmt::Debug for DeadMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadMaps").finish_non_exhaustive()
    }
}

impl Entries<Address> for DeadMaps {
    fn put(&mut self, address: &Address, slot: Option<u32>) -> Result<(), MapError> {
        self.dead.put(address, slot)?;
        say(address, slot.is_some());
        Ok(())
    }
}

impl Dead for DeadMaps {
    fn renew(&mut self) -> Result<(), MapError> {
        let until = (clock::now() + LEASE).as_nanos();
        self.lease.set(0, until, 0)
    }

    fn refused(&self, slot: u32) -> u64 {
        let each = self.refusals.get(&slot, 0);
        each.map_or(0, |each| each.iter().sum())
    }
}

/// Decides what is refused, and keeps the kernel's maps up to date.
#[derive(Debug)]
pub struct Refuser<D> {
    dead: Kept<Address, D>,
    peers: BTreeMap<PeerName, Peer>,
    /// The peers of each address; several peers may share one.
    sharing: BTreeMap<Address, BTreeSet<PeerName>>,
    slots: Slots,
}

#[derive(Debug, Default)]
struct Peer {
    /// The addresses of this peer to which connects are refused.
    refused: BTreeSet<Address>,
    addresses: BTreeSet<Address>,
    slot: Option<Slot>,
}

/// A peer's counter, which it gets when it is first refused.
#[derive(Clone, Copy, Debug)]
struct Slot {
    index: u32,
    /// The counter's value when the peer got it: earlier counts belong to another peer.
    base: u64,
}

#[derive(Debug)]
struct Slots {
    free: Vec<u32>,
    next: u32,
    /// The number of slots, which is one past the last index.
    end: u32,
}

impl Slots {
    /// Returns a free slot. If there is none, it returns one past the end, where nothing is
    /// counted.
    fn take(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        let index = self.next;
        if index < self.end {
            self.next += 1;
        }
        index
    }

    fn give_back(&mut self, index: u32) {
        if index < self.end {
            self.free.push(index);
        }
    }
}

impl<D: Dead> Refuser<D> {
    /// Creates it with this many counters of peers.
    pub fn new(dead: D, peers: u32) -> Self {
        Self {
            dead: Kept::new(dead, "refused addresses"),
            peers: BTreeMap::new(),
            sharing: BTreeMap::new(),
            slots: Slots {
                free: Vec::new(),
                next: 0,
                end: peers,
            },
        }
    }

    fn renew(&mut self) {
        if let Err(error) = self.dead.map.renew() {
            warn!(%error, "refusals cannot be renewed: connects to dead peers pass");
        }
    }

    /// Refuses the peer's addresses, or lets them pass, according to its breaker.
    pub fn publish(&mut self, state: &PeerState) {
        let refused = refused(state);
        if !refused.is_empty() && self.dead.len() == 0 {
            // The first call of `chores` may be yet to come.
            self.renew();
        }
        let addresses = state.addresses.iter().copied().map(canonical).collect();
        let peer = self.peers.entry(state.peer.clone()).or_default();
        if peer.refused == refused && peer.addresses == addresses {
            return;
        }
        if !refused.is_empty() && peer.slot.is_none() {
            let index = self.slots.take();
            let base = self.dead.map.refused(index);
            peer.slot = Some(Slot { index, base });
        }
        peer.refused = refused;
        let before = std::mem::replace(&mut peer.addresses, addresses.clone());
        self.share(&state.peer, &before, &addresses);
        self.settle(before.union(&addresses).copied().collect());
    }

    /// Forgets the peer; its addresses are no longer refused on its account.
    pub fn retract(&mut self, name: &PeerName) {
        let Some(peer) = self.peers.remove(name) else {
            return;
        };
        self.share(name, &peer.addresses, &BTreeSet::new());
        self.settle(peer.addresses);
        if let Some(slot) = peer.slot {
            self.slots.give_back(slot.index);
        }
    }

    /// Must be called once a second. Renews the lease, and retries what the kernel's map did not
    /// accept.
    pub fn chores(&mut self) {
        self.renew();
        self.dead.retry();
    }

    /// How many connects were refused, for each peer that was ever Open.
    pub fn refused(&self) -> Vec<(PeerName, u64)> {
        let of = |(name, peer): (&PeerName, &Peer)| {
            let Slot { index, base } = peer.slot?;
            Some((
                name.clone(),
                self.dead.map.refused(index).saturating_sub(base),
            ))
        };
        self.peers.iter().filter_map(of).collect()
    }

    fn share(&mut self, name: &PeerName, before: &BTreeSet<Address>, now: &BTreeSet<Address>) {
        for address in before.difference(now) {
            if let Some(peers) = self.sharing.get_mut(address) {
                peers.remove(name);
                if peers.is_empty() {
                    self.sharing.remove(address);
                }
            }
        }
        for address in now.difference(before) {
            let peers = self.sharing.entry(*address).or_default();
            peers.insert(name.clone());
        }
    }

    /// Updates the kernel's map for these addresses.
    fn settle(&mut self, addresses: BTreeSet<Address>) {
        let wanted = addresses
            .into_iter()
            .map(|address| (address, self.wanted(&address)));
        let wanted: Vec<_> = wanted.collect();
        self.dead.set(wanted);
    }

    /// The slot in which connects to the address are counted: that of its first peer, if all of its
    /// peers refuse it.
    fn wanted(&self, address: &Address) -> Option<u32> {
        let mut peers = self
            .sharing
            .get(address)?
            .iter()
            .map(|name| self.peers.get(name));
        let all_open = peers.all(|peer| peer.is_some_and(|peer| peer.refused.contains(address)));
        let first = self.sharing.get(address)?.first()?;
        let slot = self.peers.get(first)?.slot?;
        all_open.then_some(slot.index)
    }
}

/// The addresses of a peer that are refused. Reports alone refuse nothing: unmodified programs must
/// not suffer from what other programs report.
fn refused(state: &PeerState) -> BTreeSet<Address> {
    if state.breaker == Breaker::Open && !state.presumed_down {
        return state.addresses.iter().copied().map(canonical).collect();
    }
    let is_dead = |path: &&PathState| {
        state.mode == Mode::Enforce
            && path.breaker == Breaker::Open
            && path.verdict == Verdict::Dead
    };
    let dead = state.paths.iter().filter(is_dead);
    dead.map(|path| canonical(path.address)).collect()
}

fn say(address: &Address, refused: bool) {
    let address = std::net::Ipv6Addr::from(*address).to_canonical();
    if refused {
        info!(%address, "connects are refused");
    } else {
        info!(%address, "connects pass again");
    }
}
