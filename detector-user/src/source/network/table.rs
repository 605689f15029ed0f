use std::net::IpAddr;

use super::{decode::Change, socket::Requests};
use crate::core::HardwareAddress;

/// The kernel's neighbour table, of the network namespace of the thread that first asks.
#[derive(Debug, Default)]
pub(in crate::source) struct NeighbourTable {
    /// `None` after a failed request: what remains of it in the socket is thrown away with it.
    requests: Option<Requests>,
}

impl NeighbourTable {
    /// The card that the kernel sends to for this address; `None` where it knows none, or
    /// cannot be asked.
    pub(in crate::source) fn hardware(
        &mut self,
        addr: IpAddr,
        link: u32,
    ) -> Option<HardwareAddress> {
        let mut requests = match self.requests.take() {
            Some(requests) => requests,
            None => Requests::open().ok()?,
        };
        let found = requests.neighbour(addr, link).ok()?;
        self.requests = Some(requests);
        match found {
            Some(Change::Neighbour(entry)) => entry.hardware,
            _ => None,
        }
    }
}
