//! Signals from the kernel's socket dump, which anyone may read.
//!
//! [`Reader`] answers the core's requests for one peer's sockets; [`SockDiagSource`] polls the
//! dump, for machines without eBPF.

mod poll;
mod reader;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

pub use self::{poll::SockDiagSource, reader::Reader};
use crate::{
    model::{FlowReading, NamespaceChange, PeerName, Signal, SourceKind},
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
    let mut by_remote: HashMap<IpAddr, Vec<FlowReading>> = HashMap::new();
    for flow in reading.flows {
        by_remote.entry(flow.id.remote.ip()).or_default().push(flow);
    }
    let addresses = |addrs: &Vec<IpAddr>| -> BTreeSet<IpAddr> {
        addrs.iter().map(IpAddr::to_canonical).collect()
    };
    // How many peers have each address: mostly one, which gets the flows themselves.
    let mut users: HashMap<IpAddr, usize> = HashMap::new();
    for addr in peers.values().flat_map(addresses) {
        *users.entry(addr).or_default() += 1;
    }
    let mut flows_with = |addr: IpAddr| {
        let left = users.get_mut(&addr).map_or(0, |left| {
            *left -= 1;
            *left
        });
        let flows = match left {
            0 => by_remote.remove(&addr),
            _ => by_remote.get(&addr).cloned(),
        };
        flows.unwrap_or_default()
    };
    let mut signals: Vec<Signal> = unread
        .iter()
        .map(|&netns| Signal::Namespace {
            at: reading.at,
            netns,
            change: NamespaceChange::Unreadable,
        })
        .collect();
    for (peer, addrs) in peers {
        signals.extend(
            addresses(addrs)
                .into_iter()
                .map(|addr| Signal::SocketsRead {
                    at: reading.at,
                    source: SourceKind::SockDiag,
                    peer: peer.clone(),
                    addr,
                    flows: flows_with(addr),
                }),
        );
    }
    signals
}

/// Every address of every peer.
fn all_addresses(peers: &BTreeMap<PeerName, Vec<IpAddr>>) -> BTreeSet<IpAddr> {
    peers.values().flatten().map(IpAddr::to_canonical).collect()
}
