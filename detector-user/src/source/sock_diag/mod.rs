//! Signals from the kernel's socket dump, which anyone may read.
//!
//! [`Reader`] answers the core's requests for one peer's sockets; [`SockDiagSource`] polls the
//! dump, for machines without eBPF.

mod poll;
mod reader;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

pub use self::{poll::SockDiagSource, reader::Reader};
use crate::{
    core::{FlowReading, NamespaceChange, PeerName, Signal, SourceKind},
    netlink::sock_diag::Reading,
};

/// One signal for each address of each peer, also for addresses without a flow. Before them comes
/// one for each namespace that could not be read: its flows are only unseen and not gone, and what
/// was unanswered on them must not count as if they were gone.
fn signals(
    reading: Reading,
    unread: &[u32],
    peers: &BTreeMap<PeerName, Vec<IpAddr>>,
) -> Vec<Signal> {
    let mut by_remote: BTreeMap<IpAddr, Vec<FlowReading>> = BTreeMap::new();
    for flow in reading.flows {
        by_remote.entry(flow.id.remote.ip()).or_default().push(flow);
    }
    let signals = |(peer, addrs): (&PeerName, &Vec<IpAddr>)| {
        let addrs: BTreeSet<IpAddr> = addrs.iter().map(IpAddr::to_canonical).collect();
        let signal = |addr: IpAddr| Signal::SocketsRead {
            at: reading.at,
            source: SourceKind::SockDiag,
            peer: peer.clone(),
            addr,
            flows: by_remote.get(&addr).cloned().unwrap_or_default(),
        };
        addrs.into_iter().map(signal).collect::<Vec<_>>()
    };
    let unread = unread.iter().map(|&netns| Signal::Namespace {
        at: reading.at,
        netns,
        change: NamespaceChange::Unreadable,
    });
    unread.chain(peers.iter().flat_map(signals)).collect()
}

/// Every address of every peer.
fn all_addresses(peers: &BTreeMap<PeerName, Vec<IpAddr>>) -> BTreeSet<IpAddr> {
    peers.values().flatten().map(IpAddr::to_canonical).collect()
}
