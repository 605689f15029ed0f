//! The requests to the kernel.

use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::LinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};

/// All links.
pub(super) fn links(sequence: u32) -> Vec<u8> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    bytes(request, NLM_F_DUMP, sequence)
}

/// One link.
pub(super) fn link(index: u32, sequence: u32) -> Vec<u8> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    bytes(RouteNetlinkMessage::GetLink(request), 0, sequence)
}

/// All neighbours.
pub(super) fn neighbours(sequence: u32) -> Vec<u8> {
    let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    bytes(request, NLM_F_DUMP, sequence)
}

/// One neighbour of one link (5.0+).
pub(super) fn neighbour((addr, link): (IpAddr, u32), sequence: u32) -> Vec<u8> {
    let mut request = NeighbourMessage::default();
    let (family, addr) = match addr {
        IpAddr::V4(addr) => (AddressFamily::Inet, NeighbourAddress::Inet(addr)),
        IpAddr::V6(addr) => (AddressFamily::Inet6, NeighbourAddress::Inet6(addr)),
    };
    request.header.family = family;
    request.header.ifindex = link;
    let destination = NeighbourAttribute::Destination(addr);
    request.attributes.push(destination);
    bytes(RouteNetlinkMessage::GetNeighbour(request), 0, sequence)
}

/// The route that the kernel would use to this address, by its rules and policies.
pub(super) fn route(addr: IpAddr, sequence: u32) -> Vec<u8> {
    let mut request = RouteMessage::default();
    let (family, length, addr) = match addr {
        IpAddr::V4(addr) => (AddressFamily::Inet, 32, RouteAddress::Inet(addr)),
        IpAddr::V6(addr) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(addr)),
    };
    request.header.address_family = family;
    request.header.destination_prefix_length = length;
    request.attributes.push(RouteAttribute::Destination(addr));
    bytes(RouteNetlinkMessage::GetRoute(request), 0, sequence)
}

fn bytes(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_multiples_of_four_bytes_so_that_they_can_be_joined() {
        for addr in ["10.0.0.1", "fd00::1"] {
            assert_eq!(route(addr.parse().unwrap(), 1).len() % 4, 0);
        }
    }
}
