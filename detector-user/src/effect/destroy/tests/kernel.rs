//! The kernel's own table. It is changed only where this process may destroy sockets.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
};

use nix::libc::ECONNABORTED;

use super::*;
use crate::{effect::destroy::prove, netlink::sock_diag::Everywhere};

/// A connection to this address of this host, as the kernel shows it.
fn connection(
    everywhere: &mut Everywhere,
    listener: &TcpListener,
    to: [u8; 4],
) -> (TcpStream, FlowReading) {
    let port = listener.local_addr().unwrap().port();
    let stream = TcpStream::connect((IpAddr::from(to), port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let (reading, _) = everywhere.read_peers(&BTreeSet::from([to.into()])).unwrap();
    let local = stream.local_addr().unwrap();
    let mut flows = reading.flows.into_iter();
    let flow = flows.find(|flow| flow.id.local == local);
    (stream, flow.expect("the connection is in the dump"))
}

fn is_aborted(stream: &mut TcpStream) -> bool {
    let error = stream.read(&mut [0]).expect_err("nothing was sent");
    error.raw_os_error() == Some(ECONNABORTED)
}

/// Two hosts die together: the second one's socket was shown by the first one's snapshot, and is read
/// again.
#[test]
fn sockets_that_are_destroyed_are_gone_and_no_others() {
    if let Err(error) = prove() {
        println!("skipped: {error}");
        return;
    }
    let mut everywhere = Everywhere::open(Namespaces::only_own().unwrap()).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut connect = |last| connection(&mut everywhere, &listener, [127, 0, 7, last]);
    let mut connections = [2, 3, 4].map(&mut connect);
    let dead = |flow: &FlowReading| Teardown {
        spare: Spare::Nothing,
        ..request(std::slice::from_ref(flow))
    };
    let next = BTreeSet::from([connections[1].1.id.remote.ip()]);
    let mut teardowns = Teardowns::default();
    let mut tables = everywhere.tables();
    for (_, flow) in &connections[..2] {
        let told = teardowns.carry_out(&mut tables, &dead(flow), &next, || Wish::GoOn);
        assert_eq!(told, Some(result(1, 0, 0, 0)), "{}", flow.id);
    }
    // In a namespace that nobody watches: left alone, and not taken for gone.
    let mut elsewhere = connections[2].1.clone();
    elsewhere.id.netns = 1;
    let told = teardowns.carry_out(&mut tables, &dead(&elsewhere), &ALONE, || Wish::GoOn);
    assert_eq!(told, Some(result(0, 0, 0, 1)));
    let aborted = connections.each_mut().map(|(stream, _)| is_aborted(stream));
    assert_eq!(aborted, [true, true, false]);
}
