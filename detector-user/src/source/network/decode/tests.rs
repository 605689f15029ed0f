//! What a kernel really sent, and what none would send.

mod captured;

use netlink_packet_core::NLMSG_DONE;
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState as Nud};
use nix::libc::{EEXIST, ENOMEM};

use self::captured as c;
use super::{super::decode, *};

const ETH0: u32 = 3;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Decodes the only message there is.
fn only<T>(bytes: &[u8], decode: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut messages = decode::messages(bytes);
    let decoded = decode(&messages.next().unwrap().unwrap());
    assert!(messages.next().is_none());
    decoded
}

fn change(hex: &str) -> Option<Change> {
    only(&bytes(hex), decode::change).unwrap()
}

fn route(hex: &str) -> Result<Option<Route>, i32> {
    only(&bytes(hex), decode::route).unwrap()
}

fn eth0(up: bool) -> Option<Change> {
    Some(Change::Link(Link {
        index: ETH0,
        name: Some("eth0".to_owned()),
        up,
    }))
}

#[test]
fn a_link_is_up_when_it_is_set_up_and_has_its_carrier() {
    assert_eq!(change(c::LINK_UP), eth0(true));
    assert_eq!(change(c::LINK_ADMIN_UP), eth0(false));
    assert_eq!(change(c::CARRIER_DOWN), eth0(false));
    assert_eq!(change(c::LINK_SET_DOWN), eth0(false));
    let lo = Link {
        index: 1,
        name: Some("lo".to_owned()),
        up: true,
    };
    assert_eq!(change(c::LO_UP), Some(Change::Link(lo)));
}

#[test]
fn each_of_the_three_flags_is_needed() {
    /// `ifi_flags` of `struct ifinfomsg`, behind `struct nlmsghdr`.
    const FLAGS: std::ops::Range<usize> = 24..28;
    let whole = bytes(c::LINK_UP);
    let flags = u32::from_ne_bytes(whole[FLAGS].try_into().unwrap());
    for (flag, name) in [(1, "UP"), (1 << 6, "RUNNING"), (1 << 16, "LOWER_UP")] {
        let mut without = whole.clone();
        without[FLAGS].copy_from_slice(&(flags & !flag).to_ne_bytes());
        let change = only(&without, decode::change).unwrap();
        assert_eq!(change, eth0(false), "without {name}");
    }
}

#[test]
fn a_port_that_leaves_a_bridge_is_not_gone() {
    assert_eq!(change(c::BRIDGE_PORT_GONE), None);
    assert_eq!(change(c::LINK_GONE), Some(Change::LinkGone(ETH0)));
}

#[test]
fn neighbours_come_with_who_asked_and_their_ages() {
    let neighbour = |addr: &str, card: &str, state, by_request| Neighbour {
        addr: addr.parse().unwrap(),
        link: ETH0,
        state,
        flags: NeighbourFlags::empty(),
        hardware: Some(card.parse().unwrap()),
        ages: Some(Ages {
            confirmed: Duration::ZERO,
            updated: Duration::ZERO,
        }),
        by_request,
    };
    let (peer, set) = ("e2:37:64:01:e6:06", "02:00:00:00:00");
    let (permanent, reachable) = (format!("{set}:08"), format!("{set}:09"));
    for (hex, expected) in [
        (
            c::REACHABLE,
            neighbour("10.77.0.2", peer, Nud::Reachable, false),
        ),
        (
            c::REACHABLE_V6,
            neighbour("fd77::2", peer, Nud::Reachable, false),
        ),
        (
            c::SET_REACHABLE,
            neighbour("10.77.0.9", &reachable, Nud::Reachable, true),
        ),
        (
            c::PERMANENT,
            neighbour("10.77.0.8", &permanent, Nud::Permanent, true),
        ),
    ] {
        assert_eq!(change(hex), Some(Change::Neighbour(expected)));
    }
    let Some(Change::Neighbour(failed)) = change(c::FAILED) else {
        panic!("{:?}", change(c::FAILED));
    };
    assert_eq!(
        (failed.addr, failed.state),
        (addr("10.77.0.7"), Nud::Failed)
    );
    assert!(!failed.by_request);
    assert_eq!(failed.hardware, None);
    assert_eq!(failed.ages.unwrap().updated, Duration::ZERO);
    let Some(Change::Neighbour(deleted)) = change(c::SET_FAILED) else {
        panic!("{:?}", change(c::SET_FAILED));
    };
    assert_eq!((deleted.state, deleted.by_request), (Nud::Failed, true));
}

#[test]
fn a_hardware_address_of_another_length_is_none() {
    // The attribute's header, as in the captured entry, behind address and header.
    let mut longer = bytes(c::REACHABLE);
    let place = 28 + 8;
    assert_eq!(longer[place..place + 4], [10, 0, 2, 0]);
    longer[place] = 12;
    let Some(Change::Neighbour(entry)) = only(&longer, decode::change).unwrap() else {
        panic!("no neighbour");
    };
    assert_eq!(entry.hardware, None);
}

#[test]
fn ages_are_in_hundredths_of_a_second() {
    let Some(Change::Neighbour(entry)) = change(c::DUMP_REACHABLE) else {
        panic!("{:?}", change(c::DUMP_REACHABLE));
    };
    let age = Duration::from_millis(9540);
    let ages = Ages {
        confirmed: age,
        updated: age,
    };
    assert_eq!(entry.ages, Some(ages));
}

#[test]
fn a_bridge_s_forwarding_entry_is_no_neighbour() {
    assert_eq!(change(c::BRIDGE_ENTRY), None);
}

#[test]
fn a_changed_route_is_for_the_addresses_of_its_prefix() {
    let routes = |first, last| Some(Change::Routes(addr(first), addr(last)));
    assert_eq!(change(c::ROUTE), routes("10.99.0.0", "10.99.255.255"));
    assert_eq!(
        change(c::DEFAULT_ROUTE),
        routes("0.0.0.0", "255.255.255.255")
    );
    let v6 = routes("fd99::", "fd99::ffff:ffff:ffff:ffff");
    assert_eq!(change(c::ROUTE_V6), v6);
}

/// Bits of the address behind the prefix count no more than those before them.
#[test]
fn a_range_begins_and_ends_with_its_prefix() {
    let expected = (addr("10.99.3.0"), addr("10.99.3.255"));
    assert_eq!(range(addr("10.99.3.5"), 24), expected);
    let expected = (addr("fd99::"), addr("fd99::ffff"));
    assert_eq!(range(addr("fd99::5"), 112), expected);
}

#[test]
fn addresses_rules_and_next_hops_may_change_any_route() {
    for hex in [c::ADDRESS, c::RULE, c::NEXTHOP] {
        assert_eq!(change(hex), Some(Change::AllRoutes), "{hex}");
    }
}

#[test]
fn an_answer_names_the_link_and_the_gateway() {
    let by = |gateway: Option<&str>| {
        Ok(Some(Route {
            link: ETH0,
            gateway: gateway.map(addr),
        }))
    };
    assert_eq!(route(c::GET_ON_LINK), by(None));
    assert_eq!(route(c::GET_ON_LINK_V6), by(None));
    assert_eq!(route(c::GET_BY_GATEWAY), by(Some("10.77.0.2")));
    assert_eq!(route(c::GET_BY_GATEWAY_V6), by(Some("fd77::2")));
    assert_eq!(route(c::GET_BY_LINK_LOCAL), by(Some("fe80::1")));
    assert_eq!(route(c::GET_BY_V6_GATEWAY), by(Some("fd77::2")), "RTA_VIA");
    assert_eq!(route(c::GET_BY_NEXTHOP), by(Some("10.77.0.3")));
}

/// `struct rtvia`: the family before the address.
#[test]
fn a_gateway_may_come_with_its_family() {
    let mut answer = bytes(c::GET_ON_LINK);
    // RTA_VIA of ten bytes, AF_INET, the address, and padding.
    answer.extend([10, 0, 18, 0, 2, 0, 10, 77, 0, 5, 0, 0]);
    let length = (answer.len() as u32).to_ne_bytes();
    answer[..4].copy_from_slice(&length);
    let by = Route {
        link: ETH0,
        gateway: Some(addr("10.77.0.5")),
    };
    assert_eq!(only(&answer, decode::route).unwrap(), Ok(Some(by)));
}

#[test]
fn what_leads_to_no_other_host_is_no_route() {
    for hex in [
        c::GET_OWN,
        c::GET_OWN_V6,
        c::GET_BROADCAST,
        c::GET_UNREACHABLE,
        c::GET_BLACKHOLE,
        c::GET_PROHIBITED,
        c::GET_NO_ROUTE_V6,
    ] {
        assert_eq!(route(hex), Ok(None), "{hex}");
    }
}

#[test]
fn only_an_address_that_the_kernel_keeps_is_local() {
    for hex in [c::GET_OWN, c::GET_OWN_V6] {
        assert!(only(&bytes(hex), decode::is_local).unwrap(), "{hex}");
    }
    for hex in [
        c::GET_ON_LINK,
        c::GET_BY_GATEWAY_V6,
        c::GET_BROADCAST,
        c::GET_UNREACHABLE,
        c::GET_NO_ROUTE_V6,
    ] {
        assert!(!only(&bytes(hex), decode::is_local).unwrap(), "{hex}");
    }
}

#[test]
fn an_error_that_is_not_about_the_route_says_nothing_about_it() {
    let mut error = bytes(c::GET_UNREACHABLE);
    for errno in [ENOMEM, EEXIST] {
        error[16..20].copy_from_slice(&(-errno).to_ne_bytes());
        assert_eq!(only(&error, decode::route).unwrap(), Err(errno));
    }
    let neighbour = bytes(c::REACHABLE);
    assert!(only(&neighbour, decode::route).is_err());
}

#[test]
fn the_end_of_a_dump_is_one() {
    let end = bytes(c::DUMP_END);
    assert_eq!(only(&end, |m| (m.kind, m.end())), (NLMSG_DONE, Some(0)));
    assert_eq!(only(&bytes(c::REACHABLE), |m| m.end()), None);
}

#[test]
fn several_messages_of_a_datagram_are_told_apart() {
    let mut datagram = bytes(c::LINK_UP);
    datagram.extend(bytes(c::REACHABLE));
    datagram.extend(bytes(c::DUMP_END));
    let kinds: Vec<u16> = decode::messages(&datagram)
        .map(|m| m.unwrap().kind)
        .collect();
    assert_eq!(kinds, [16, 28, 3]);
}

#[test]
fn a_wrong_length_is_malformed_and_ends_the_datagram() {
    let mut datagram = bytes(c::REACHABLE);
    let whole = datagram.len() as u32;
    datagram.extend(bytes(c::REACHABLE));
    for length in [0, 15, 2 * whole + 1, u32::MAX] {
        datagram[..4].copy_from_slice(&length.to_ne_bytes());
        let messages: Vec<_> = decode::messages(&datagram).collect();
        assert!(matches!(messages[..], [Err(Malformed { .. })]), "{length}");
    }
}

#[test]
fn a_neighbour_without_an_address_is_malformed() {
    let whole = bytes(c::REACHABLE);
    // The header, and nothing behind it.
    let mut bare = whole[..28].to_vec();
    bare[..4].copy_from_slice(&28_u32.to_ne_bytes());
    assert!(only(&bare, decode::change).is_err());
}
