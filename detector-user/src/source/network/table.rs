//! The kernel's neighbour table, read one entry at a time.

use std::net::IpAddr;

use super::{decode::Change, socket::Requests};
use crate::model::HardwareAddress;

/// The kernel's neighbour table, in the network namespace of the thread that first uses it.
#[derive(Debug, Default)]
pub(in crate::source) struct NeighbourTable {
    /// `None` after a failed request: the rest of its answer is discarded together with the socket.
    requests: Option<Requests>,
}

impl NeighbourTable {
    /// The card to which the kernel sends for this address; `None` if it knows none, or if the
    /// request fails.
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
