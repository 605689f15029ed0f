//! Where signals come from. A source turns what the kernel reports into
//! [`Signal`](crate::model::Signal)s, sends them to the loop, and decides nothing.

pub mod discover;
pub mod ebpf;
pub mod network;
pub mod probe;
pub mod resolve;
mod select;
pub mod sock_diag;
pub mod stores;
pub mod support;

pub use self::select::open;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    model::{Endpoint, PeerName, SourceKind},
    netns::Set,
};

/// The peers that a source should watch: each name with its endpoints.
pub type Watched = BTreeMap<PeerName, Vec<Endpoint>>;

/// A source of events on flows with watched peers.
pub trait Source: Send {
    /// The word for it.
    fn kind(&self) -> SourceKind;

    /// Replaces the set of watched endpoints. An error leaves the previous set in force.
    fn watch(&mut self, watched: &Watched) -> anyhow::Result<()>;

    /// Sets whether finished handshakes with this address of a peer are reported.
    fn report_established(&mut self, peer: &PeerName, addr: IpAddr, on: bool)
    -> anyhow::Result<()>;

    /// Replaces the set of network namespaces that are watched besides the daemon's own. An error
    /// leaves some of the previous ones in force.
    fn look_at(&mut self, namespaces: &Arc<Set>) -> anyhow::Result<()>;

    /// Does what is due about once a second.
    fn chores(&mut self) {}

    /// What the source has counted since it started, for metrics.
    fn counters(&self) -> SourceCounters;
}

/// What a source has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounters {
    /// Records that found the ring full and were healed from the map.
    pub ring_drops: u64,
    /// Flows that found the kernel's map full.
    pub flows_full: u64,
    /// Retransmissions of watched flows that raised no record.
    pub retransmits: u64,
    /// Records that could not be decoded.
    pub malformed_records: u64,
    /// Flows in the kernel's map now.
    pub flows_tracked: u64,
}
