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
    assert_eq!(&attribute[..4], [52, 0, 1, 0], "INET_DIAG_REQ_BYTECODE");
    assert_eq!(&attribute[4..8], [8, 16, 20, 0], "holds: on to the jump");
    // The family, the bits that count, padding, any port, and the address.
    let host = [2, 24, 0, 0, 0xff, 0xff, 0xff, 0xff, 10, 0, 0, 1];
    assert_eq!(&attribute[8..20], host);
    assert_eq!(&attribute[20..24], [1, 4, 32, 0], "jump to the end");
    assert_eq!(&attribute[24..28], [8, 28, 32, 0], "fails: beyond the end");
}

fn key() -> SocketKey {
    SocketKey {
        family: AF_INET6,
        id: SocketId {
            source_port: 40_000,
            destination_port: 9000,
            source_address: "::ffff:10.0.0.1".parse().unwrap(),
            destination_address: "::ffff:10.0.0.2".parse().unwrap(),
            interface_id: 3,
            cookie: [1, 2, 3, 4, 5, 6, 7, 8],
        },
    }
}

/// `struct nlmsghdr`: length, type, flags, sequence, port.
fn header(length: u32, kind: u16, flags: u16) -> Vec<u8> {
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(9_u32.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// `struct inet_diag_sockid`: ports and addresses in network order, interface, cookie.
fn socket_id() -> Vec<u8> {
    let mapped = |last: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
    let mut bytes = vec![0x9c, 0x40, 0x23, 0x28];
    bytes.extend(mapped(1));
    bytes.extend(mapped(2));
    bytes.extend(3_u32.to_ne_bytes());
    bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    bytes
}

/// Requests for all sockets of a family, for one, and for its end.
#[test]
fn a_request_names_what_it_is_for() {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const SOCK_DESTROY: u16 = 21;
    // struct inet_diag_req_v2: family, IPPROTO_TCP, extensions, padding, states.
    let request = |family, extensions, states: u32| {
        [&[family, 6, extensions, 0][..], &states.to_ne_bytes()].concat()
    };
    // INET_DIAG_INFO is the second extension. ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT,
    // LAST_ACK, CLOSING.
    let states = [1, 2, 4, 5, 8, 9, 11]
        .into_iter()
        .map(|state| 1 << state)
        .sum();
    for family in [AF_INET, AF_INET6] {
        // NLM_F_REQUEST and NLM_F_DUMP.
        let header = header(72, SOCK_DIAG_BY_FAMILY, 0x301);
        let expected = [header, request(family, 2, states), vec![0; 48]].concat();
        assert_eq!(dump(family, flow_states(), &[], 9), expected);
    }
    let all = 0xffe;
    let expected = [
        header(72, SOCK_DIAG_BY_FAMILY, 1),
        request(AF_INET6, 2, all),
        socket_id(),
    ];
    assert_eq!(one(&key(), 9), expected.concat());
    // It is acknowledged: NLM_F_ACK.
    let expected = [
        header(72, SOCK_DESTROY, 1 | 4),
        request(AF_INET6, 0, all),
        socket_id(),
    ];
    assert_eq!(destroy(&key(), 9), expected.concat());
}
