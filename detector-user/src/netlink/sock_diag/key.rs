//! What names one socket.

#[cfg(test)]
use std::net::IpAddr;

use netlink_packet_sock_diag::inet::SocketId;
#[cfg(test)]
use netlink_packet_sock_diag::{AF_INET, AF_INET6};

use super::decode::Response;
#[cfg(test)]
use crate::model::FlowReading;

/// Identifies one socket in the kernel's own terms: the family and form of the addresses under
/// which it is hashed, the interface to which it is bound, and the cookie, which is unique since
/// boot.
///
/// It always comes from a dump, so all parts are exact: a v4-mapped socket is named as such, and a
/// socket that is bound to a device is found (`inet_diag_find_one_icsk` compares the device).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketKey {
    pub(super) family: u8,
    pub(super) id: SocketId,
}

impl SocketKey {
    /// The key that the kernel would use for the socket of such a flow.
    #[cfg(test)]
    pub(crate) fn of_flow(flow: &FlowReading) -> Self {
        let family = match flow.id.remote.ip() {
            IpAddr::V4(_) => AF_INET,
            IpAddr::V6(_) => AF_INET6,
        };
        let id = SocketId {
            source_port: flow.id.local.port(),
            destination_port: flow.id.remote.port(),
            source_address: flow.id.local.ip(),
            destination_address: flow.id.remote.ip(),
            interface_id: 0,
            cookie: flow.cookie.to_ne_bytes(),
        };
        Self { family, id }
    }

    pub(super) fn of(response: &Response) -> Self {
        Self {
            family: response.header.family,
            id: response.header.socket_id.clone(),
        }
    }
}
