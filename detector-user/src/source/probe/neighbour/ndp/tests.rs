//! Neighbour discovery messages: captured, changed and damaged ones.

use super::*;

const US: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
const OUR_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x8c85, 0x15ff, 0xfee1, 0x1d28);
const OUR_CARD: HardwareAddress = HardwareAddress([0x8e, 0x85, 0x15, 0xe1, 0x1d, 0x28]);
const PEERS_CARD: HardwareAddress = HardwareAddress([0x12, 0x45, 0xe3, 0x73, 0x2a, 0xcf]);

/// Captured on a veth pair (6.18): fd77::1 asks for fd77::2 for the first time.
const TO_ALL: &str = "\
    3333ff0000028e8515e11d2886dd6000000000203afffd770000000000000000000000000001ff02\
    00000000000000000001ff0000028700bd1b00000000fd7700000000000000000000000000020101\
    8e8515e11d28";
/// The answer.
const ANSWER: &str = "\
    8e8515e11d281245e3732acf86dd6000000000203afffd770000000000000000000000000002fd77\
    00000000000000000000000000018800fcae60000000fd7700000000000000000000000000020201\
    1245e3732acf";
/// It asks again, the card that it knows.
const TO_ONE: &str = "\
    1245e3732acf8e8515e11d2886dd6000000000203afffe800000000000008c8515fffee11d28fd77\
    00000000000000000000000000028700fe1100000000fd7700000000000000000000000000020101\
    8e8515e11d28";
/// The answer to that does not name the card.
const BARE_ANSWER: &str = "\
    8e8515e11d281245e3732acf86dd6000000000183afffd770000000000000000000000000002fe80\
    0000000000008c8515fffee11d2888007fa940000000fd770000000000000000000000000002";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The frame with another byte there, and its checksum made right again.
fn with(hex: &str, place: usize, byte: u8) -> Vec<u8> {
    let mut frame = bytes(hex);
    frame[place] = byte;
    frame[MESSAGE + 2..MESSAGE + 4].fill(0);
    let addresses = (address(&frame[22..38]), address(&frame[38..54]));
    let checksum = !sum(addresses.0, addresses.1, &frame[MESSAGE..]);
    frame[MESSAGE + 2..MESSAGE + 4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[test]
fn questions_are_the_kernel_s_own_and_name_who_asks() {
    let to_all = solicitation(OUR_CARD.0, US, PEER, None);
    assert_eq!(to_all.to_vec(), bytes(TO_ALL));
    assert_eq!(sender(&to_all), Ok(Some((US, OUR_CARD))));
    let to_one = solicitation(OUR_CARD.0, OUR_LINK_LOCAL, PEER, Some(PEERS_CARD));
    assert_eq!(to_one.to_vec(), bytes(TO_ONE));
    assert_eq!(sender(&to_one), Ok(Some((OUR_LINK_LOCAL, OUR_CARD))));
}

#[test]
fn an_answer_names_its_target_and_its_card() {
    assert_eq!(sender(&bytes(ANSWER)), Ok(Some((PEER, PEERS_CARD))));
    // Whoever sent it, and from whichever card.
    let relayed = with(ANSWER, 6, 9);
    assert_eq!(sender(&relayed), Ok(Some((PEER, PEERS_CARD))));
    let from_another = with(ANSWER, 37, 9);
    assert_eq!(sender(&from_another), Ok(Some((PEER, PEERS_CARD))));
}

#[test]
fn one_that_names_no_card_came_from_that_of_its_frame() {
    assert_eq!(sender(&bytes(BARE_ANSWER)), Ok(Some((PEER, PEERS_CARD))));
    // An option of another kind, and one of another length, do not name it.
    for (place, byte) in [(78, 14), (78, 1)] {
        let mut relayed = with(ANSWER, place, byte);
        relayed[6..12].fill(2);
        let from = HardwareAddress([2; 6]);
        assert_eq!(sender(&relayed), Ok(Some((PEER, from))));
    }
}

#[test]
fn an_option_behind_another_is_found() {
    // A nonce (RFC 3971) of 16 bytes before the card.
    let mut frame = bytes(ANSWER);
    let card = frame.split_off(MESSAGE + HEADER);
    frame.extend([14, 2].into_iter().chain([7; 14]));
    frame.extend(&card);
    frame[19] += 16;
    frame[6..12].fill(2);
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let frame = with(&hex, 0, 0);
    assert_eq!(sender(&frame), Ok(Some((PEER, PEERS_CARD))));
}

#[test]
fn a_wrong_length_of_an_option_is_malformed() {
    for units in [0, 2, 255] {
        let frame = with(ANSWER, 79, units);
        let kind = TARGET_LINK_LAYER;
        assert_eq!(sender(&frame), Err(Malformed::Option(kind)), "{units}");
    }
}

#[test]
fn padding_is_not_read() {
    for hex in [ANSWER, BARE_ANSWER] {
        let mut frame = bytes(hex);
        frame.extend([2, 1, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(sender(&frame), Ok(Some((PEER, PEERS_CARD))));
    }
}

#[test]
fn what_may_come_from_afar_is_dropped() {
    for hop_limit in [0, 64, 254] {
        let mut frame = bytes(ANSWER);
        frame[NEXT_HEADER + 1] = hop_limit;
        let dropped = Err(Malformed::HopLimit(hop_limit));
        assert_eq!(sender(&frame), dropped);
    }
}

#[test]
fn a_changed_byte_of_the_message_or_its_addresses_is_malformed() {
    let whole = bytes(ANSWER);
    for place in (22..whole.len()).filter(|place| *place != MESSAGE) {
        let mut frame = whole.clone();
        frame[place] ^= 0x40;
        assert_eq!(sender(&frame), Err(Malformed::Checksum), "byte {place}");
    }
}

#[test]
fn every_shorter_frame_is_malformed() {
    let whole = bytes(ANSWER);
    for length in 0..=MESSAGE {
        assert_eq!(sender(&whole[..length]), Ok(None));
    }
    for length in MESSAGE + 1..whole.len() {
        let short = Err(Malformed::Short(length));
        assert_eq!(sender(&whole[..length]), short);
    }
    // Whole as a packet, too short as a message.
    let mut frame = bytes(BARE_ANSWER);
    frame.truncate(MESSAGE + 20);
    frame[19] = 20;
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sender(&with(&hex, 0, 0)), Err(Malformed::Short(20)));
}

#[test]
fn codes_and_groups_are_malformed_and_other_frames_say_nothing() {
    let code = with(ANSWER, MESSAGE + 1, 1);
    assert_eq!(sender(&code), Err(Malformed::Code(1)));
    let group = with(ANSWER, MESSAGE + 8, 0xff);
    assert!(matches!(sender(&group), Err(Malformed::Address(_))));
    // A ping, UDP, and IPv4.
    for (place, byte) in [(MESSAGE, 128), (NEXT_HEADER, 17), (12, 8)] {
        assert_eq!(sender(&with(ANSWER, place, byte)), Ok(None));
    }
}

#[test]
fn a_host_without_an_address_of_its_own_says_nothing() {
    let question = solicitation(OUR_CARD.0, Ipv6Addr::UNSPECIFIED, PEER, None);
    assert_eq!(sender(&question), Ok(None));
}

#[test]
fn the_group_has_the_last_three_bytes() {
    let target: Ipv6Addr = "2001:db8::12:3456:789a".parse().unwrap();
    let group = group(target);
    assert_eq!(group, "ff02::1:ff56:789a".parse::<Ipv6Addr>().unwrap());
    assert_eq!(group_card(group), [0x33, 0x33, 0xff, 0x56, 0x78, 0x9a]);
}
