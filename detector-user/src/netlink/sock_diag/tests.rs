//! Dumps of real connections over loopback.

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use netlink_packet_sock_diag::{AF_INET, AF_INET6};

use super::{SockDiag, SockDiagError, repeated};
use crate::{
    clock,
    model::{FlowReading, TcpState},
};

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

/// What comes of dumps that end like this, one after the other, and how many of them were made.
fn dumps(ends: &[fn() -> Result<u8, SockDiagError>]) -> (Result<u8, SockDiagError>, usize) {
    let mut left = ends.iter();
    let result = repeated(|| left.next().expect("no more dumps than these")());
    (result, ends.len() - left.len())
}

#[test]
fn a_dump_during_which_the_sockets_change_is_repeated_twice() {
    let changed = || Err(SockDiagError::Interrupted);
    let lost = || Err(SockDiagError::Overrun);
    let whole = || Ok(7);
    assert!(matches!(dumps(&[whole, whole]), (Ok(7), 1)));
    assert!(matches!(dumps(&[changed, whole, whole]), (Ok(7), 2)));
    assert!(matches!(dumps(&[changed, changed, whole]), (Ok(7), 3)));
    assert!(matches!(
        dumps(&[changed, changed, changed, whole]),
        (Err(SockDiagError::Interrupted), 3)
    ));
    assert!(matches!(
        dumps(&[lost, whole]),
        (Err(SockDiagError::Overrun), 1)
    ));
}
