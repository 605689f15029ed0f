//! The polling source with real connections over loopback.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use super::{Reader, SockDiagSource};
use crate::{
    model::{Bounds, Endpoint, FlowReading, PeerName, Signal, SourceKind},
    netns::Namespaces,
    signals,
    source::Source as _,
};

/// A loopback connection, both ends.
fn connection() -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

#[track_caller]
fn find(flows: &[FlowReading], stream: &TcpStream) {
    let ends = |flow: &FlowReading| (flow.id.local, flow.id.remote);
    let wanted: (SocketAddr, SocketAddr) =
        (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let found = flows.iter().filter(|flow| ends(flow) == wanted);
    assert_eq!(found.count(), 1, "{flows:?}");
}

fn peer(name: &str) -> PeerName {
    PeerName::from_canonical(name)
}

#[tokio::test]
async fn the_reader_answers_for_each_peer() {
    let (_listener, client, _server) = connection();
    let (sender, mut signals) = signals::channel(8);
    let reader = Reader::spawn(sender, Namespaces::only_own().unwrap(), Bounds::new(4)).unwrap();
    let (here, gone) = (peer("http://here:1"), peer("http://gone:1"));
    reader.request(here.clone(), Ipv4Addr::LOCALHOST.into());
    reader.request(gone.clone(), Ipv4Addr::new(192, 0, 2, 1).into());

    let mut answers = BTreeMap::new();
    while answers.len() < 2 {
        match signals.recv().await.unwrap() {
            Signal::SocketsRead {
                source: SourceKind::SockDiag,
                peer,
                flows,
                ..
            } => answers.insert(peer, flows),
            other => panic!("{other:?}"),
        };
    }
    find(&answers[&here], &client);
    assert_eq!(answers[&gone], []);

    drop(reader);
    assert_eq!(signals.recv().await, None, "the thread has ended");
}

#[tokio::test]
async fn the_source_yields_every_watched_peer_at_every_poll() {
    let (_listener, client, _server) = connection();
    let (sender, mut signals) = signals::channel(8);
    let namespaces = Namespaces::only_own().unwrap();
    let mut source = SockDiagSource::spawn(Duration::from_millis(1), namespaces, sender).unwrap();
    let (here, gone) = (peer("http://here:1"), peer("http://gone:1"));
    let endpoint = |addr| Endpoint { addr, port: 1 };
    let watched = BTreeMap::from([
        (here.clone(), vec![endpoint(Ipv4Addr::LOCALHOST.into())]),
        (
            gone.clone(),
            vec![endpoint(Ipv4Addr::new(192, 0, 2, 1).into())],
        ),
    ]);
    source.watch(&watched).unwrap();
    for _ in 0..3 {
        let batch = [signals.recv().await, signals.recv().await];
        let [
            Some(Signal::SocketsRead {
                peer: first,
                flows: none,
                ..
            }),
            Some(Signal::SocketsRead {
                peer: second,
                flows,
                ..
            }),
        ] = &batch
        else {
            panic!("{batch:?}")
        };
        assert_eq!((first, second), (&gone, &here));
        assert_eq!(none[..], []);
        find(flows, &client);
    }
    assert!(source.counters().flows_tracked >= 2);
    // The thread may wait for room.
    drop(signals);
}
