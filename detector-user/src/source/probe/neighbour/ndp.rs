//! Neighbour discovery for IPv6 (RFC 4861): the ICMPv6 message, whose checksum the kernel
//! fills in and verifies (`rawv6_push_pending_frames`, `rawv6_rcv` in net/ipv6/raw.c).

use std::net::Ipv6Addr;

use super::Malformed;

/// The types of ICMPv6 that are asked and listened for.
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;

/// What a neighbour sends and no router may forward (section 7.1).
pub(super) const HOP_LIMIT: u8 = 255;

/// Type, code, checksum, flags and the target's address.
const HEADER: usize = 24;
/// The option with the sender's hardware address, and its length in units of 8 bytes.
const SOURCE_LINK_LAYER: [u8; 2] = [1, 1];

/// "Who has `target`?", with the asker's hardware address, so that it can be answered at once.
pub(super) fn solicitation(mac: [u8; 6], target: Ipv6Addr) -> [u8; HEADER + 8] {
    let mut message = [0; HEADER + 8];
    message[0] = SOLICITATION;
    message[8..HEADER].copy_from_slice(&target.octets());
    message[HEADER..HEADER + 2].copy_from_slice(&SOURCE_LINK_LAYER);
    message[HEADER + 2..].copy_from_slice(&mac);
    message
}

/// The group that a host listens to for questions about its address (RFC 4291, 2.7.1).
pub(super) fn group(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// Whose life it shows: the address that is advertised, or the one that asks. `None` for
/// other messages.
pub(super) fn sender(
    message: &[u8],
    source: Ipv6Addr,
    hop_limit: i32,
) -> Result<Option<Ipv6Addr>, Malformed> {
    let kind = message.first().copied();
    if !matches!(kind, Some(SOLICITATION | ADVERTISEMENT)) {
        return Ok(None);
    }
    // Anyone can send the rest from afar; this no router lets through.
    if hop_limit != i32::from(HOP_LIMIT) {
        return Err(Malformed::HopLimit(hop_limit));
    }
    let Some((header, _options)) = message.split_first_chunk::<HEADER>() else {
        return Err(Malformed::Short(message.len()));
    };
    if header[1] != 0 {
        return Err(Malformed::Code(header[1]));
    }
    let addr = if kind == Some(ADVERTISEMENT) {
        let mut target = [0; 16];
        target.copy_from_slice(&header[8..]);
        Ipv6Addr::from(target)
    } else if source.is_unspecified() {
        // A host that looks whether an address is free (RFC 4862) has none of its own yet.
        return Ok(None);
    } else {
        source
    };
    if addr.is_multicast() || addr.is_unspecified() {
        return Err(Malformed::Address(addr.into()));
    }
    Ok(Some(addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9);

    /// Captured on a veth pair: fd77::1 asks for fd77::2, which advertises itself.
    const CAPTURED_SOLICITATION: [u8; 32] = [
        0x87, 0x00, 0x5a, 0xca, 0x00, 0x00, 0x00, 0x00, 0xfd, 0x77, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x01, 0x01, 0x06, 0x2c, 0x4a, 0x1b,
        0xd3, 0x98,
    ];
    const CAPTURED: [u8; 32] = [
        0x88, 0x00, 0xe0, 0xf8, 0x60, 0x00, 0x00, 0x00, 0xfd, 0x77, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x01, 0x52, 0xfb, 0xf2, 0xc2,
        0xf6, 0x7f,
    ];

    #[test]
    fn an_advertisement_names_its_target_whoever_sent_it() {
        assert_eq!(sender(&CAPTURED, OTHER, 255), Ok(Some(PEER)));
        assert_eq!(sender(&CAPTURED[..24], OTHER, 255), Ok(Some(PEER)));
    }

    #[test]
    fn a_solicitation_is_the_kernel_s_own_and_names_who_asks() {
        let message = solicitation([0x06, 0x2c, 0x4a, 0x1b, 0xd3, 0x98], PEER);
        let mut wanted = CAPTURED_SOLICITATION;
        // The kernel fills in the checksum.
        wanted[2..4].fill(0);
        assert_eq!(message, wanted);
        assert_eq!(sender(&CAPTURED_SOLICITATION, OTHER, 255), Ok(Some(OTHER)));
        let unspecified = Ipv6Addr::UNSPECIFIED;
        assert_eq!(sender(&CAPTURED_SOLICITATION, unspecified, 255), Ok(None));
    }

    #[test]
    fn what_may_come_from_afar_is_dropped() {
        for hop_limit in [-1, 0, 64, 254] {
            let dropped = Err(Malformed::HopLimit(hop_limit));
            assert_eq!(sender(&CAPTURED, OTHER, hop_limit), dropped);
        }
    }

    #[test]
    fn every_shorter_message_is_malformed() {
        assert_eq!(sender(&[], OTHER, 255), Ok(None));
        for length in 1..24 {
            let short = Err(Malformed::Short(length));
            assert_eq!(sender(&CAPTURED[..length], OTHER, 255), short);
        }
    }

    #[test]
    fn codes_and_groups_are_malformed_and_other_messages_say_nothing() {
        let mut message = CAPTURED;
        message[1] = 1;
        assert_eq!(sender(&message, OTHER, 255), Err(Malformed::Code(1)));
        let mut message = CAPTURED;
        message[8] = 0xff;
        assert!(matches!(
            sender(&message, OTHER, 255),
            Err(Malformed::Address(_))
        ));
        message[0] = 128;
        assert_eq!(sender(&message, OTHER, 64), Ok(None));
    }

    #[test]
    fn the_group_has_the_last_three_bytes() {
        let target: Ipv6Addr = "2001:db8::12:3456:789a".parse().unwrap();
        assert_eq!(
            group(target),
            "ff02::1:ff56:789a".parse::<Ipv6Addr>().unwrap()
        );
    }
}
