//! Neighbour discovery for IPv6 (RFC 4861), the frame with its Ethernet and IPv6 headers.
//!
//! Whole frames are sent, as for ARP: with a raw ICMPv6 socket the kernel would choose the card
//! that is asked, and the socket does not report the card from which a message came. A host that
//! answers a unicast solicitation need not name its card (section 7.2.4), and Linux does not
//! (`ndisc_recv_ns` of net/ipv6/ndisc.c).

use std::net::Ipv6Addr;

use super::malformed::Malformed;
use crate::model::HardwareAddress;

/// The ICMPv6 types that are sent and received.
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
/// ICMPv6 as the next header of IPv6.
pub(super) const ICMPV6: u8 = 58;

/// The hop limit of neighbour discovery; a forwarded message has a lower one (section 7.1).
const HOP_LIMIT: u8 = 255;

/// Destination, source and type, and the type of IPv6.
const ETHERNET: usize = 14;
const ETHERTYPE: [u8; 2] = [0x86, 0xdd];
/// Where the next header's type stands, and where that header begins.
pub(super) const NEXT_HEADER: usize = ETHERNET + 6;
pub(super) const MESSAGE: usize = ETHERNET + 40;
/// Type, code, checksum, flags and the target's address.
const HEADER: usize = 24;
/// An option with a hardware address, and its length in units of 8 bytes.
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const LINK_LAYER_UNITS: u8 = 1;
const FRAME: usize = MESSAGE + HEADER + 8;

/// The address that a message shows to be alive, and its card.
pub(super) type Sender = (Ipv6Addr, HardwareAddress);

/// "Who has `target`?", with the asker's hardware address, so that it can be answered at once. It
/// goes to the card that is known to have the address, or to the group of those that may have it.
pub(super) fn solicitation(
    mac: [u8; 6],
    source: Ipv6Addr,
    target: Ipv6Addr,
    to: Option<HardwareAddress>,
) -> Vec<u8> {
    let destination = to.map_or(group(target), |_| target);
    let length = (FRAME - MESSAGE) as u8;
    let parts: [&[u8]; 12] = [
        &to.map_or_else(|| group_card(destination), |card| card.0),
        &mac,
        &ETHERTYPE,
        // Version 6, no traffic class, no flow label.
        &[0x60, 0, 0, 0],
        &[0, length, ICMPV6, HOP_LIMIT],
        &source.octets(),
        &destination.octets(),
        // The checksum is still to come.
        &[SOLICITATION, 0, 0, 0],
        &[0; 4],
        &target.octets(),
        &[SOURCE_LINK_LAYER, LINK_LAYER_UNITS],
        &mac,
    ];
    let mut frame = parts.concat();
    let checksum = !sum(source, destination, &frame[MESSAGE..]);
    frame[MESSAGE + 2..MESSAGE + 4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// The group that a host listens to for questions about its address (RFC 4291, 2.7.1).
pub(super) fn group(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// The hardware address of a group (RFC 2464, section 7).
fn group_card(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The one's complement sum of a message behind its pseudo header (RFC 8200, 8.1): all ones
/// where its checksum is right.
fn sum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        rest => u16::from_be_bytes([rest.first().copied().unwrap_or(0), 0]),
    });
    let addresses = source.segments().into_iter().chain(destination.segments());
    let total: u64 = addresses.chain(words).map(u64::from).sum();
    let mut total = total + message.len() as u64 + u64::from(ICMPV6);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The address that a frame shows to be alive (the one that is advertised, or the one that asks),
/// and the card that it names, or else the one from which it came. `None` for other frames.
pub(super) fn sender(frame: &[u8]) -> Result<Option<Sender>, Malformed> {
    let is_icmp = frame.get(12..ETHERNET) == Some(&ETHERTYPE)
        && frame.get(NEXT_HEADER).copied() == Some(ICMPV6);
    let kind = frame.get(MESSAGE).copied();
    if !is_icmp || !matches!(kind, Some(SOLICITATION | ADVERTISEMENT)) {
        return Ok(None);
    }
    let Some((head, message)) = frame.split_first_chunk::<MESSAGE>() else {
        return Err(Malformed::Short(frame.len()));
    };
    // The other fields could be sent from another network; a hop limit of 255 could not pass a
    // router.
    if head[NEXT_HEADER + 1] != HOP_LIMIT {
        return Err(Malformed::HopLimit(head[NEXT_HEADER + 1]));
    }
    // Anything after that is padding.
    let length = usize::from(u16::from_be_bytes([head[18], head[19]]));
    let message = message.get(..length).ok_or(Malformed::Short(frame.len()))?;
    let (source, destination) = (address(&head[22..38]), address(&head[38..54]));
    if sum(source, destination, message) != u16::MAX {
        return Err(Malformed::Checksum);
    }
    let mut card = [0; 6];
    card.copy_from_slice(&head[6..12]);
    read(message, source, HardwareAddress(card))
}

/// What the message itself says.
fn read(
    message: &[u8],
    source: Ipv6Addr,
    from: HardwareAddress,
) -> Result<Option<Sender>, Malformed> {
    let Some((header, options)) = message.split_first_chunk::<HEADER>() else {
        return Err(Malformed::Short(message.len()));
    };
    if header[1] != 0 {
        return Err(Malformed::Code(header[1]));
    }
    let (addr, option) = match header[0] {
        ADVERTISEMENT => (address(&header[8..]), TARGET_LINK_LAYER),
        // A host that checks whether an address is free (RFC 4862) has no address of its own yet.
        _ if source.is_unspecified() => return Ok(None),
        _ => (source, SOURCE_LINK_LAYER),
    };
    if addr.is_multicast() || addr.is_unspecified() {
        return Err(Malformed::Address(addr.into()));
    }
    Ok(Some((addr, link_layer(options, option)?.unwrap_or(from))))
}

/// The hardware address in the first option of this kind.
fn link_layer(mut options: &[u8], wanted: u8) -> Result<Option<HardwareAddress>, Malformed> {
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        let Some((option, rest)) = options.split_at_checked(length.max(2)) else {
            return Err(Malformed::Option(kind));
        };
        if units == 0 {
            return Err(Malformed::Option(kind));
        }
        if kind == wanted && units == LINK_LAYER_UNITS {
            return Ok(option[2..].try_into().ok().map(HardwareAddress));
        }
        options = rest;
    }
    Ok(None)
}

/// Reads any bytes: see [`hostile`](crate::hostile). A wrong checksum ends the reading early, so it
/// is read with the right one as well.
pub(super) fn any_frame(frame: &[u8]) {
    let is_somebody = |found: Result<Option<Sender>, Malformed>| {
        if let Ok(Some((addr, _))) = found {
            assert!(!addr.is_multicast() && !addr.is_unspecified(), "{addr}");
        }
    };
    is_somebody(sender(frame));
    let mut repaired = frame.to_vec();
    let Some((head, message)) = repaired.split_first_chunk_mut::<MESSAGE>() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes([head[18], head[19]]));
    if let Some(message) = message.get_mut(..length)
        && length >= HEADER
    {
        message[2..4].fill(0);
        let right = !sum(address(&head[22..38]), address(&head[38..54]), message);
        message[2..4].copy_from_slice(&right.to_be_bytes());
    }
    is_somebody(sender(&repaired));
}

/// The address in these bytes; `UNSPECIFIED` if they have another length.
fn address(bytes: &[u8]) -> Ipv6Addr {
    <[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
}

#[cfg(test)]
mod tests;
