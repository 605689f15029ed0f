//! Dumps that were captured from a kernel, and dumps of real connections over loopback.

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use netlink_packet_sock_diag::{AF_INET, AF_INET6, inet::SocketId};

use super::{
    SockDiag, SockDiagError, SocketKey,
    decode::{self, Progress, ReadAt},
    prefixes::Prefix,
    request,
};
use crate::{
    clock,
    model::{FlowReading, TcpState, Time},
};

/// A dump of both ends of a loopback connection to the listening port 45678, taken on Linux 6.18.
const DUMP: &[u8] = include_bytes!("testdata/loopback.bin");
/// A dump with a connect that was not answered.
const SYN_SENT: &[u8] = include_bytes!("testdata/syn_sent.bin");
/// A dump with a connection whose peer was cut off 0.75 s earlier, with 1,000 bytes in flight: the
/// TLP and two RTOs were not answered.
const CUT: &[u8] = include_bytes!("testdata/cut.bin");
/// The sequence number of their requests.
const SEQUENCE: u32 = 1;

const READ_AT: ReadAt = ReadAt {
    received: Time::from_nanos(1_000_000_000_000_000),
    jiffy: Duration::from_millis(4),
    netns: 7,
};

fn readings(bytes: &[u8], at: ReadAt) -> Result<(Vec<FlowReading>, Progress), SockDiagError> {
    let mut flows = Vec::new();
    let progress = decode::datagram(bytes, SEQUENCE, |response| {
        flows.extend(decode::reading(response, at)?);
        Ok(())
    })?;
    Ok((flows, progress))
}

/// The offset of the first `INET_DIAG_INFO` payload. It comes after the attribute's header, whose
/// type is 2.
fn info_offset(bytes: &[u8]) -> usize {
    // nlmsghdr (16) and inet_diag_msg (72) come first.
    let mut at = 88;
    loop {
        let length = u16::from_ne_bytes([bytes[at], bytes[at + 1]]) as usize;
        if bytes[at + 2] == 2 {
            return at + 4;
        }
        at += (length + 3) & !3;
    }
}

fn patched(offset: usize, value: u32) -> Vec<u8> {
    let mut bytes = DUMP.to_vec();
    let at = info_offset(&bytes) + offset;
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    bytes
}

#[test]
fn a_captured_dump_is_read() {
    let (flows, progress) = readings(DUMP, READ_AT).unwrap();
    assert_eq!(progress, Progress::More);
    assert_eq!(flows.len(), 2);
    let [a, b] = &flows[..] else { unreachable!() };
    assert_eq!((a.id.local, a.id.remote), (b.id.remote, b.id.local));
    assert_ne!(a.cookie, b.cookie);
    for flow in &flows {
        assert_eq!(flow.state, TcpState::Established);
        assert_eq!(flow.id.netns, 7);
        assert!(flow.id.local.ip().is_loopback());
        assert_eq!((flow.rto_count, flow.backoff, flow.probes_out), (0, 0, 0));
        assert_eq!((flow.unacked_segments, flow.unacked_bytes), (0, 0));
        assert!(flow.send_window_bytes > 0 && flow.send_window_bytes < u32::MAX);
        assert!(flow.rto >= Duration::from_millis(200));
        assert_eq!(flow.segments_retransmitted, 0);
    }
    assert_eq!(a.segments_sent + b.segments_sent, 1, "one write was made");
}

#[test]
fn a_cut_flow_shows_what_stands_unanswered_and_since_when() {
    let (flows, _) = readings(CUT, READ_AT).unwrap();
    let [flow] = &flows[..] else {
        panic!("{flows:?}")
    };
    assert_eq!(flow.id.remote, "10.99.0.2:45680".parse().unwrap());
    assert_eq!((flow.rto_count, flow.backoff), (2, 2));
    assert_eq!((flow.unacked_segments, flow.unacked_bytes), (1, 1000));
    assert_eq!(flow.send_window_bytes, 65536);
    assert_eq!(flow.rto, Duration::from_millis(816));
    assert_eq!((flow.segments_sent, flow.segments_retransmitted), (6, 3));
    // The kernel reported 1060 ms.
    let heard = READ_AT.received - Duration::from_millis(1055);
    assert_eq!(flow.last_heard, Some(heard));
}

#[test]
fn an_unanswered_connect_was_never_heard_and_has_no_closed_window() {
    let (flows, _) = readings(SYN_SENT, READ_AT).unwrap();
    let [flow] = &flows[..] else {
        panic!("{flows:?}")
    };
    assert_eq!(flow.state, TcpState::SynSent);
    assert_eq!(flow.last_heard, None);
    assert_eq!(flow.unacked_segments, 1);
    assert_eq!(flow.send_window_bytes, u32::MAX);
}

#[test]
fn last_heard_is_the_younger_age_rounded_towards_now() {
    const LAST_DATA_RECV: usize = 52;
    const LAST_ACK_RECV: usize = 56;
    let mut bytes = patched(LAST_DATA_RECV, 5000);
    let at = info_offset(&bytes) + LAST_ACK_RECV;
    bytes[at..at + 4].copy_from_slice(&300u32.to_ne_bytes());
    let (flows, _) = readings(&bytes, READ_AT).unwrap();
    // 300 ms minus a jiffy and the millisecond by which the kernel rounds up.
    let expected = READ_AT.received - Duration::from_millis(295);
    assert_eq!(flows[0].last_heard, Some(expected));

    bytes[at..at + 4].copy_from_slice(&2u32.to_ne_bytes());
    let (flows, _) = readings(&bytes, READ_AT).unwrap();
    assert_eq!(flows[0].last_heard, Some(READ_AT.received));
}

#[test]
fn a_call_may_wait_where_data_was_sent_and_none_arrived_later() {
    const LAST_DATA_SENT: usize = 44;
    const LAST_DATA_RECV: usize = 52;
    const DATA_SEGS_IN: usize = 152;
    const DATA_SEGS_OUT: usize = 156;
    let awaiting = |fields: [(usize, u32); 4]| {
        let mut bytes = DUMP.to_vec();
        let info = info_offset(&bytes);
        for (offset, value) in fields {
            bytes[info + offset..info + offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let (flows, _) = readings(&bytes, READ_AT).unwrap();
        let since = flows[0].awaiting_since?;
        Some(READ_AT.received.since(since).as_millis())
    };
    let ages = |sent, arrived| [(LAST_DATA_SENT, sent), (LAST_DATA_RECV, arrived)];
    let with = |[sent, arrived]: [(usize, u32); 2], out, into| {
        awaiting([sent, arrived, (DATA_SEGS_OUT, out), (DATA_SEGS_IN, into)])
    };
    assert_eq!(with(ages(300, 400), 3, 3), Some(300));
    assert_eq!(with(ages(400, 300), 3, 3), None, "a reply");
    assert_eq!(with(ages(300, 300), 3, 3), Some(300), "in either order");
    assert_eq!(with(ages(400, 300), 3, 0), Some(400), "the handshake alone");
    assert_eq!(with(ages(300, 300), 0, 0), None, "nothing was sent");
}

#[test]
fn an_age_from_before_the_boot_is_a_stamp_never_set() {
    let mut bytes = patched(52, u32::MAX);
    let at = info_offset(&bytes) + 56;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
    let at = ReadAt {
        received: Time::from_nanos(3_600_000_000_000),
        ..READ_AT
    };
    let (flows, _) = readings(&bytes, at).unwrap();
    assert_eq!(flows[0].last_heard, None);
}

#[test]
fn another_dumps_messages_are_passed_over() {
    let mut seen = 0;
    let progress = decode::datagram(DUMP, SEQUENCE + 1, |_| {
        seen += 1;
        Ok(())
    });
    assert_eq!((progress.unwrap(), seen), (Progress::More, 0));
}

#[test]
fn every_truncation_is_an_error_or_fewer_whole_messages() {
    let (all, _) = readings(DUMP, READ_AT).unwrap();
    let mut whole = 0;
    for length in 0..DUMP.len() {
        match readings(&DUMP[..length], READ_AT) {
            Ok((flows, _)) => {
                assert!(flows.len() < all.len());
                assert_eq!(flows[..], all[..flows.len()]);
                whole += 1;
            }
            Err(SockDiagError::Malformed(_)) => {}
            Err(error) => panic!("{length}: {error}"),
        }
    }
    assert!(whole <= 4, "{whole} truncations went unnoticed");
}

#[test]
fn a_short_tcp_info_is_malformed() {
    // The attribute is the last one of its message: both are cut at the end of the required part.
    let info = info_offset(SYN_SENT);
    let cut = |length: usize| {
        let mut bytes = SYN_SENT[..info + length].to_vec();
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_ne_bytes());
        let attribute = (4 + length as u16).to_ne_bytes();
        bytes[info - 4..info - 2].copy_from_slice(&attribute);
        readings(&bytes, READ_AT)
    };
    let (flows, _) = cut(104).unwrap();
    assert_eq!(flows[0].segments_sent, 0, "not known to an old kernel");
    let error = cut(100).unwrap_err().to_string();
    assert!(error.contains("INET_DIAG_INFO has 100 bytes"), "{error}");
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(SEQUENCE.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[test]
fn control_messages_are_told_apart() {
    const NLM_F_MULTI: u16 = 2;
    let end = |bytes: &[u8]| readings(bytes, READ_AT).map(|(_, progress)| progress);

    let done = message(3, NLM_F_MULTI, &0i32.to_ne_bytes());
    assert_eq!(end(&done).unwrap(), Progress::Done);
    let failed = message(3, NLM_F_MULTI, &(-12i32).to_ne_bytes());
    assert_eq!(end(&failed).unwrap(), Progress::Refused(12));
    let mut error = (-2i32).to_ne_bytes().to_vec();
    error.extend([0; 16]);
    assert_eq!(end(&message(2, 0, &error)).unwrap(), Progress::Refused(2));
    let overrun = message(4, 0, &[]);
    assert!(matches!(end(&overrun), Err(SockDiagError::Overrun)));
    let interrupted = message(3, NLM_F_MULTI | 0x10, &0i32.to_ne_bytes());
    assert!(matches!(end(&interrupted), Err(SockDiagError::Interrupted)));
    assert!(matches!(end(&[]), Err(SockDiagError::Malformed(_))));
    let mut acknowledged = 0i32.to_ne_bytes().to_vec();
    acknowledged.extend([0; 16]);
    assert_eq!(
        end(&message(2, 0, &acknowledged)).unwrap(),
        Progress::Acknowledged
    );
    let unknown = message(99, 0, &[0; 8]);
    assert!(matches!(end(&unknown), Err(SockDiagError::Malformed(_))));
}

#[test]
fn the_filter_is_laid_out_as_the_kernel_audits_it() {
    let prefix = |addr, bits| Prefix { addr, bits };
    let prefixes = [
        prefix(IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)), 24),
        prefix(IpAddr::from(Ipv6Addr::LOCALHOST), 128),
    ];
    let unfiltered = request::dump(AF_INET, request::flow_states(), &[], 1);
    let filtered = request::dump(AF_INET, request::flow_states(), &prefixes, 1);
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

/// Both ends of a loopback connection.
fn connection(addr: IpAddr) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind((addr, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"x").unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

fn read_peer(sock_diag: &mut SockDiag, addrs: &[IpAddr]) -> Vec<FlowReading> {
    let addrs: BTreeSet<IpAddr> = addrs.iter().copied().collect();
    sock_diag.read_peers(&addrs).unwrap().flows
}

fn find(flows: &[FlowReading], stream: &TcpStream) -> FlowReading {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let local = canonical(stream.local_addr().unwrap());
    let remote = canonical(stream.peer_addr().unwrap());
    let mut found = flows
        .iter()
        .filter(|flow| flow.id.local == local && flow.id.remote == remote);
    let flow = found.next().expect("the connection is in the dump");
    assert!(found.next().is_none(), "and only once");
    flow.clone()
}

#[test]
fn a_real_connection_is_found_by_its_addresses() {
    for addr in ["127.0.0.1", "::1"] {
        let addr: IpAddr = addr.parse().unwrap();
        let before = clock::now();
        let (_listener, client, server) = connection(addr);
        let mut sock_diag = SockDiag::open().unwrap();
        for flows in [
            sock_diag.read_all().unwrap(),
            read_peer(&mut sock_diag, &[addr]),
        ] {
            let ends = [find(&flows, &client), find(&flows, &server)];
            for flow in &ends {
                assert_eq!(flow.state, TcpState::Established);
                assert_ne!(flow.cookie, 0);
                assert_ne!(flow.id.netns, 0);
                // The time is rounded towards now, so it is never before the connection was made.
                let heard = flow.last_heard.expect("the handshake was heard");
                assert!(heard >= before && heard <= clock::now());
            }
            assert_eq!(ends[0].segments_sent, 1);
        }
        let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(read_peer(&mut sock_diag, &[elsewhere]), []);
        assert_eq!(read_peer(&mut sock_diag, &[]), []);
        let both = read_peer(&mut sock_diag, &[elsewhere, addr]);
        find(&both, &client);
        // These are too many for the kernel's filter, which gets prefixes of them.
        let mut many: Vec<IpAddr> = (0..40)
            .map(|i| Ipv4Addr::new(192, 0, 2, i).into())
            .collect();
        many.push(addr);
        let flows = read_peer(&mut sock_diag, &many);
        find(&flows, &client);
        assert!(flows.iter().all(|flow| many.contains(&flow.id.remote.ip())));
    }
}

#[test]
fn v4_mapped_sockets_are_found_by_their_ipv4_address() {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    assert!(server.peer_addr().unwrap().is_ipv6());
    let mut sock_diag = SockDiag::open().unwrap();
    let flows = read_peer(&mut sock_diag, &[Ipv4Addr::LOCALHOST.into()]);
    assert!(find(&flows, &server).id.remote.is_ipv4());
    find(&flows, &client);
    let ports = sock_diag.listening_ports().unwrap();
    assert!(ports.contains(&port));
    assert!(!ports.contains(&client.local_addr().unwrap().port()));
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
    assert_eq!(request::destroy(&key, 9), expected);
}

#[test]
fn a_key_has_the_kernels_own_form_of_the_addresses() {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let addrs = BTreeSet::from([Ipv4Addr::LOCALHOST.into()]);
    let sockets = SockDiag::open().unwrap().sockets(&addrs).unwrap().flows;
    for (stream, family) in [(client, AF_INET), (server, AF_INET6)] {
        let remote = stream.peer_addr().unwrap();
        let local = stream.local_addr().unwrap();
        let socket = sockets
            .iter()
            .find(|socket| {
                let id = &socket.key.id;
                (id.source_port, id.destination_port) == (local.port(), remote.port())
            })
            .expect("the connection is in the dump");
        assert_eq!(socket.key.family, family);
        // The standard library shows the address in the form that the socket has.
        assert_eq!(socket.key.id.destination_address, remote.ip());
        assert_eq!(socket.key.id.source_address, local.ip());
        assert_ne!(socket.reading.cookie, 0);
    }
}
