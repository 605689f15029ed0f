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

    /// `struct nlmsghdr` of a request with this body: length, type, flags, sequence, port.
    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(9_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    const REQUEST: u16 = 1;
    const DUMP: u16 = 0x300;

    #[test]
    fn all_links_and_neighbours_are_dumps_and_one_is_named() {
        const RTM_GETLINK: u16 = 18;
        const RTM_GETNEIGH: u16 = 30;
        let all = message(RTM_GETLINK, REQUEST | DUMP, &[0; 16]);
        assert_eq!(links(9), all);
        let one = [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(link(7, 9), message(RTM_GETLINK, REQUEST, &one));
        let all = message(RTM_GETNEIGH, REQUEST | DUMP, &[0; 12]);
        assert_eq!(neighbours(9), all);
        // Family, link, and NDA_DST with the address.
        let one = [2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 1];
        let asked = neighbour(([10, 0, 0, 1].into(), 7), 9);
        assert_eq!(asked, message(RTM_GETNEIGH, REQUEST, &one));
    }

    /// They are multiples of four bytes, so that they can be joined.
    #[test]
    fn a_route_is_asked_for_by_its_whole_address() {
        const RTM_GETROUTE: u16 = 26;
        let asked = route([10, 0, 0, 1].into(), 9);
        let (head, attribute) = asked.split_at(28);
        let body = [head, attribute].concat();
        assert_eq!(
            body[..16],
            message(RTM_GETROUTE, REQUEST, &body[16..])[..16]
        );
        assert_eq!(head[16..18], [2, 32], "the family, and all bits");
        assert_eq!(attribute, [8, 0, 1, 0, 10, 0, 0, 1], "RTA_DST");
        let asked = route("fd00::1".parse().unwrap(), 9);
        assert_eq!(asked.len(), 28 + 20);
        assert_eq!(asked[16..18], [10, 128]);
    }
}
