//! Requests, octet by octet.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

#[test]
fn the_filter_is_laid_out_as_the_kernel_audits_it() {
    let prefix = |addr, bits| Prefix { addr, bits };
    let prefixes = [
        prefix(IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)), 24),
        prefix(IpAddr::from(Ipv6Addr::LOCALHOST), 128),
    ];
    let unfiltered = dump(AF_INET, flow_states(), &[], 1);
    let filtered = dump(AF_INET, flow_states(), &prefixes, 1);
    let length = u32::from_ne_bytes(*filtered.first_chunk().unwrap());
    assert_eq!(length as usize, filtered.len());
    let attribute = &filtered[unfiltered.len()..];
    // Header; condition (16) and jump (4) for IPv4; condition (28) for IPv6.
    assert_eq!(attribute.len(), 4 + 16 + 4 + 28);
    assert_eq!(&attribute[4..8], [8, 16, 20, 0], "holds: on to the jump");
    assert_eq!(attribute[9], 24, "the bits that count");
    assert_eq!(&attribute[20..24], [1, 4, 32, 0], "jump to the end");
    assert_eq!(&attribute[24..28], [8, 28, 32, 0], "fails: beyond the end");
}

#[test]
fn the_end_of_a_socket_is_asked_for_by_all_that_names_it() {
    let key = SocketKey {
        family: AF_INET6,
        id: SocketId {
            source_port: 40_000,
            destination_port: 9000,
            source_address: "::ffff:10.0.0.1".parse().unwrap(),
            destination_address: "::ffff:10.0.0.2".parse().unwrap(),
            interface_id: 3,
            cookie: [1, 2, 3, 4, 5, 6, 7, 8],
        },
    };
    // struct nlmsghdr: length, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, sequence, port.
    let mut expected = 72u32.to_ne_bytes().to_vec();
    expected.extend(21u16.to_ne_bytes());
    expected.extend(5u16.to_ne_bytes());
    expected.extend(9u32.to_ne_bytes());
    expected.extend([0; 4]);
    // struct inet_diag_req_v2: AF_INET6, IPPROTO_TCP, no extensions, padding, states.
    expected.extend([10, 6, 0, 0]);
    expected.extend(0xffeu32.to_ne_bytes());
    // struct inet_diag_sockid: ports and addresses in network order, interface, cookie.
    expected.extend([0x9c, 0x40, 0x23, 0x28]);
    let mapped = |last: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
    expected.extend(mapped(1));
    expected.extend(mapped(2));
    expected.extend(3u32.to_ne_bytes());
    expected.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(destroy(&key, 9), expected);
}
