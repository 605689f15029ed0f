//! ARP for IPv4 over Ethernet (RFC 826), the frame with its Ethernet header.

use std::net::{IpAddr, Ipv4Addr};

use super::malformed::Malformed;
use crate::model::HardwareAddress;

/// Destination, source and type.
const ETHERNET: usize = 14;
const FRAME: usize = ETHERNET + 28;

const BROADCAST: [u8; 6] = [0xff; 6];
/// The Ethernet type of ARP; its hardware and protocol types and the lengths of their
/// addresses, for IPv4 over Ethernet.
const ETHERTYPE: [u8; 2] = [0x08, 0x06];
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// "Who has `target`? Tell `source`", to the card that is known to have it, or to all. To
/// one card it names that card, as the kernel does (`arp_solicit` of net/ipv4/arp.c).
pub(super) fn request(
    mac: [u8; 6],
    source: Ipv4Addr,
    target: Ipv4Addr,
    to: Option<HardwareAddress>,
) -> Vec<u8> {
    let known = to.map(|card| card.0);
    let parts: [&[u8]; 9] = [
        &known.unwrap_or(BROADCAST),
        &mac,
        &ETHERTYPE,
        &ETHERNET_IPV4,
        &REQUEST,
        &mac,
        &source.octets(),
        &known.unwrap_or_default(),
        &target.octets(),
    ];
    parts.concat()
}

/// The sender's address and card, as the frame itself states them; `None` if it is no ARP for IPv4
/// over Ethernet.
pub(super) fn sender(frame: &[u8]) -> Result<Option<(Ipv4Addr, HardwareAddress)>, Malformed> {
    let Some((header, _padding)) = frame.split_at_checked(FRAME) else {
        return Err(Malformed::Short(frame.len()));
    };
    let operation = &header[20..22];
    let is_ours = header[12..14] == ETHERTYPE
        && header[14..20] == ETHERNET_IPV4
        && (operation == REQUEST || operation == REPLY);
    if !is_ours {
        return Ok(None);
    }
    let sender = Ipv4Addr::new(header[28], header[29], header[30], header[31]);
    if sender.is_unspecified() {
        // A host that checks whether an address is free (RFC 5227) has no address of its own yet.
        return Ok(None);
    }
    if sender.is_multicast() || sender.is_broadcast() {
        return Err(Malformed::Address(IpAddr::V4(sender)));
    }
    let mut card = [0; 6];
    card.copy_from_slice(&header[22..28]);
    Ok(Some((sender, HardwareAddress(card))))
}

/// Reads any bytes: see [`hostile`](crate::hostile).
pub(super) fn any_frame(frame: &[u8]) {
    if let Ok(Some((addr, _))) = sender(frame) {
        assert!(!addr.is_multicast() && !addr.is_broadcast() && !addr.is_unspecified());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured on a veth pair: 10.77.0.1 asks for 10.77.0.2, which answers.
    const CAPTURED_REQUEST: [u8; 42] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x06, 0x2c, 0x4a, 0x1b, 0xd3, 0x98, 0x08, 0x06, 0x00,
        0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x06, 0x2c, 0x4a, 0x1b, 0xd3, 0x98, 0x0a, 0x4d,
        0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x4d, 0x00, 0x02,
    ];
    const CAPTURED_REPLY: [u8; 42] = [
        0x06, 0x2c, 0x4a, 0x1b, 0xd3, 0x98, 0x52, 0xfb, 0xf2, 0xc2, 0xf6, 0x7f, 0x08, 0x06, 0x00,
        0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x02, 0x52, 0xfb, 0xf2, 0xc2, 0xf6, 0x7f, 0x0a, 0x4d,
        0x00, 0x02, 0x06, 0x2c, 0x4a, 0x1b, 0xd3, 0x98, 0x0a, 0x4d, 0x00, 0x01,
    ];

    const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    const OUR_CARD: HardwareAddress = HardwareAddress([0x06, 0x2c, 0x4a, 0x1b, 0xd3, 0x98]);
    const PEERS_CARD: HardwareAddress = HardwareAddress([0x52, 0xfb, 0xf2, 0xc2, 0xf6, 0x7f]);

    #[test]
    fn a_reply_names_its_sender() {
        let peer = Ok(Some((PEER, PEERS_CARD)));
        assert_eq!(sender(&CAPTURED_REPLY), peer);
        // Cards pad frames to 60 bytes.
        let mut padded = CAPTURED_REPLY.to_vec();
        padded.resize(60, 0);
        assert_eq!(sender(&padded), peer);
    }

    #[test]
    fn a_request_is_the_kernel_s_own_and_names_its_sender() {
        let frame = request(OUR_CARD.0, US, PEER, None);
        assert_eq!(frame, CAPTURED_REQUEST);
        assert_eq!(sender(&frame), Ok(Some((US, OUR_CARD))));
    }

    #[test]
    fn a_request_to_a_known_card_goes_to_it_alone_and_names_it() {
        let frame = request(OUR_CARD.0, US, PEER, Some(PEERS_CARD));
        let mut wanted = CAPTURED_REQUEST;
        wanted[..6].copy_from_slice(&PEERS_CARD.0);
        wanted[32..38].copy_from_slice(&PEERS_CARD.0);
        assert_eq!(frame, wanted);
    }

    /// By the frame alone it would be the card of whoever relayed it.
    #[test]
    fn the_card_is_the_one_that_the_message_names() {
        let mut frame = CAPTURED_REPLY;
        frame[6..12].fill(9);
        assert_eq!(sender(&frame), Ok(Some((PEER, PEERS_CARD))));
    }

    #[test]
    fn every_shorter_frame_is_malformed() {
        for length in 0..CAPTURED_REPLY.len() {
            let short = Err(Malformed::Short(length));
            assert_eq!(sender(&CAPTURED_REPLY[..length]), short);
        }
    }

    #[test]
    fn what_is_no_arp_for_ipv4_over_ethernet_says_nothing() {
        // Ethernet type, hardware type, protocol type, both lengths, operation.
        for place in [12, 14, 17, 18, 19, 21] {
            let mut frame = CAPTURED_REPLY;
            frame[place] = 0x77;
            assert_eq!(sender(&frame), Ok(None), "byte {place}");
        }
    }

    #[test]
    fn nobody_and_everybody_are_no_senders() {
        let mut frame = CAPTURED_REPLY;
        frame[28..32].copy_from_slice(&[0; 4]);
        assert_eq!(sender(&frame), Ok(None));
        for addr in [[255; 4], [224, 0, 0, 1]] {
            frame[28..32].copy_from_slice(&addr);
            assert_eq!(sender(&frame), Err(Malformed::Address(addr.into())));
        }
    }
}
